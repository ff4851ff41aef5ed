"""Work in forked processes: in order, in several, and none is left however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datasets import forked, likeness, planted
from datasets.duplicates import near_pairs

ROOT = Path(forked.__file__).parents[1]
several = pytest.mark.skipif(
    sys.platform != "linux" or forked.usable_cpus() < 2, reason="one CPU, or no Linux: nothing is forked"
)


def children():
    listed = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,args="], capture_output=True, text=True)
    return {line for line in listed.stdout.splitlines() if " ps " not in line}


@several
def test_answers_come_in_order_from_several_processes_that_see_what_is_here():
    before, held = children(), np.arange(200_000)  # an answer is more than a pipe holds
    answers = forked.each(range(7), lambda place: (place, os.getpid(), held * place))
    assert [place for place, _, _ in answers] == list(range(7))
    assert len({process for _, process, _ in answers}) > 1 and os.getpid() not in {answer[1] for answer in answers}
    assert all(np.array_equal(values, held * place) for place, _, values in answers)
    assert children() == before


def test_one_cpu_or_one_place_needs_no_process(monkeypatch):
    assert forked.each([3], lambda place: (place, os.getpid())) == [(3, os.getpid())]
    assert forked.each([], lambda place: place) == []
    monkeypatch.setattr(forked, "usable_cpus", lambda: 1)
    assert {process for _, process in forked.each([1, 2], lambda place: (place, os.getpid()))} == {os.getpid()}


@several
@pytest.mark.parametrize(("fault", "told"), [("raise", "ValueError: of place three"), ("kill", "ended in the middle")])
def test_a_process_that_fails_or_dies_is_an_error_here_and_the_others_end_too(fault, told):
    def work(place):
        if place == 3:
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("of place three")
        return place

    before = children()
    with pytest.raises(RuntimeError, match=told):
        forked.each(range(100), work)
    assert children() == before


@several
def test_who_is_still_at_work_is_not_waited_for_when_another_fails():
    def work(place):
        if place == 0:
            raise ValueError("of place nought")
        time.sleep(60)

    before, began = children(), time.monotonic()
    with pytest.raises(RuntimeError, match="of place nought"):
        forked.each(range(2), work)
    assert time.monotonic() - began < 30 and children() == before


@several
def test_ctrl_c_is_for_the_one_that_forked_them():
    assert forked.each([signal.SIGINT] * 2, lambda number: os.kill(os.getpid(), number)) == [None, None]


@several
def test_where_no_process_can_be_forked_signals_are_heard_as_before_and_nothing_stays_open(monkeypatch):
    def refuse():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(BlockingIOError):
        forked.each(range(2), id)
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, ()), sorted(Path("/proc/self/fd").iterdir())) == before


@several
def test_processes_end_with_the_one_that_forked_them():
    code = (
        "import os, time\nfrom datasets import forked\n"
        "def work(place):\n    os.write(1, b'%d\\n' % os.getpid())\n    time.sleep(.05)\n"
        "forked.each(range(10_000), work)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        pids = {int(process.stdout.readline()) for _ in range(6)}
        process.kill()
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(pids) > 1 and not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked")
def test_near_duplicates_searched_in_several_processes_are_those_of_one(monkeypatch):
    thumbs, _ = planted.with_copies(1000, 300)
    thumbs = np.concatenate([thumbs, thumbs[:200]])
    found, places = {}, []
    real = forked._Hand.start
    monkeypatch.setattr(forked._Hand, "start", lambda mine, work: places.append(len(mine)) or real(mine, work))
    monkeypatch.setattr(likeness, "WORTH_A_FORK", 2)  # parts: all steps of the search are shared
    for processes in (1, 3):
        monkeypatch.setattr(forked, "usable_cpus", lambda processes=processes: processes)
        assert not places
        found[processes] = near_pairs(thumbs)
    assert len(places) >= 4 * 3  # copies, looks, candidates, pixels
    assert np.array_equal(found[1], found[3]) and found[1].dtype == found[3].dtype and len(found[1]) > 400
