"""Sweeps side by side: the bytes of runs alone, deaths, interruptions, and what the user sees of it."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from experiments import child, crew, jobs, runs, single, sweep
from experiments.config import from_hydra
from tests.conftest import SMALL
from tests.test_experiments_run import fingerprint, folders

ROOT = Path(sweep.__file__).parents[1]
ARMS = ["aug=none,jitter", "seed=range(2)"]
ROOTS = ("runs", "alone")


def prints(root: Path) -> dict[str, dict[str, str]]:
    return {str(folder.relative_to(root)): fingerprint(folder) for folder in folders(root)}


@pytest.fixture(scope="module")
def alone(small_data, tmp_path_factory):
    """The four runs of ARMS, each a single run with one thread."""
    root = tmp_path_factory.mktemp("alone")
    for job in jobs.composed([["-m", *ARMS, *SMALL, f"data_root={small_data}", f"runs_root={root}"]]):
        single.train_one(from_hydra(OmegaConf.create(job.settings)))
    return prints(root)


def test_runs_side_by_side_have_the_bytes_that_they_have_alone(train, tmp_path, alone):
    words = [word for word in SMALL if word != "threads=1"]
    status, out, err = train("-m", *ARMS, *words, "jobs=2", "threads=auto")
    assert (status, err) == (0, "")
    assert "4 runs, 2 at a time, one thread each" in out and "4 of 4 runs are done" in out
    assert prints(tmp_path / "runs") == alone
    lines = out.splitlines()
    for number, words in enumerate(("none seed=0", "none seed=1", "jitter seed=0", "jitter seed=1"), start=1):
        assert [line for line in lines if line.startswith(f"[{number} of 4] aug={words} ")]
        assert len([line for line in lines if line.startswith(f"[{number}] epoch ")]) == 2
    begun = [lines.index(next(line for line in lines if line.startswith(f"[{k} of 4]"))) for k in (1, 2)]
    assert max(begun) < min(i for i, line in enumerate(lines) if "test accuracy" in line)


def test_a_killed_worker_fails_its_run_alone_in_one_line_and_the_same_command_goes_on(train, tmp_path, alone):
    def kill() -> None:
        while not list((tmp_path / "runs").rglob("last.pt")):
            time.sleep(0.001)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    status, out, err = train("-m", *ARMS, "jobs=2")
    killer.join()
    assert status == 1 and "3 of 4 runs are done" in out
    told, summed = err.splitlines()
    assert "killed by SIGKILL; the same command goes on" in told and "killed by SIGKILL" in summed
    assert not multiprocessing.active_children()
    assert train("-m", *ARMS, "jobs=2")[0] == 0
    assert prints(tmp_path / "runs") == alone


def group_of(process: subprocess.Popen) -> list[str]:
    """What is left of the processes that a command started, which have its process group."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [args for group, state, *args in lines if int(group) == process.pid and not state.startswith("Z")]


@pytest.mark.parametrize(
    ("send", "number", "told"),
    [
        (os.killpg, signal.SIGINT, "experiments.run: interrupted; the same command goes on from here"),
        (os.kill, signal.SIGTERM, "experiments.run: terminated; the same command goes on from here"),
        (os.kill, signal.SIGKILL, ""),
    ],
)
def test_an_interrupted_sweep_leaves_no_process_and_no_traceback_and_goes_on(
    send, number, told, train, small_data, tmp_path, alone
):
    words = ["-m", *ARMS, *SMALL, f"data_root={small_data}", f"runs_root={tmp_path / 'runs'}", "jobs=2"]
    command = [sys.executable, "-u", "-m", "experiments.run", *words]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in process.stdout:
        if "] epoch 1/" in line:
            send(process.pid, number)
            break
    _, err = process.communicate(timeout=60)  # it waits for every process that could still write there
    assert process.returncode in (128 + number, -number) and err.strip() == told
    deadline = time.monotonic() + 60
    while group_of(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert group_of(process) == []
    assert len(folders(tmp_path / "runs")) < 4
    assert train("-m", *ARMS, "jobs=2")[0] == 0
    assert prints(tmp_path / "runs") == alone


def test_what_cannot_be_run_is_told_and_the_others_are_not_disturbed(train, tmp_path):
    status, out, err = train("-m", "train.learning_rate=1e-3,1e30,-1", "jobs=2")
    assert status == 1 and "1 of 3 runs are done" in out and len(folders(tmp_path / "runs")) == 1
    assert "[3] failed: train.learning_rate=-1.0: expected a number above 0" in err
    assert "[2] failed: the loss became" in err and "error.txt)" in err and len(err.splitlines()) == 4
    status, out, err = train("-m", "data=folder", "data.root=/nowhere", "seed=0,1", "jobs=2")
    assert status == 1 and err.count(": no such folder") == len(err.splitlines()) == 4 and "0 of 2 runs" in out
    for lost in ("data_root", "device"):  # what OmegaConf cannot read
        status, out, err = train("-m", f"{lost}=${{oc.env:NOT_THERE}}", "seed=0,1", "jobs=2")
        assert status == 1 and err.count("'NOT_THERE' not found") == len(err.splitlines()) == 4
        assert "0 of 2 runs" in out


def test_a_job_that_comes_twice_is_run_once(train, tmp_path):
    status, out, err = train("-m", "aug=none,invert,none", "train.epochs=1", "jobs=2")
    assert (status, err) == (0, "") and "3 jobs, of which 2 differ" in out and "2 of 2 runs are done" in out
    assert len(folders(tmp_path / "runs")) == 2


def test_runs_whose_data_follow_the_seed_are_of_different_families():
    words = ["-m", "data.fold=${seed}", "data.folds=3", "seed=range(4)"]
    *known, wrong = child.check(jobs.composed([words]))
    assert len({check.family for check in known}) == 3 and "fold" in wrong.wrong
    assert len({check.family for check in child.check(jobs.composed([["-m", "seed=range(4)"]]))}) == 1


def test_a_word_that_is_no_override_is_refused(train, tmp_path):
    status, _, err = train("-m", "aug=none,invert", "seed", "range(2)")
    assert status == 2 and "seed" in err and not folders(tmp_path / "runs")


def test_two_sweeps_at_once_do_not_share_a_run(train, tmp_path):
    train("aug=none", "seed=1")
    [held] = folders(tmp_path / "runs")
    (held / "done").unlink()
    holding = (
        "from experiments import record; from pathlib import Path\n"
        f"with record.lock(Path({str(held)!r})): print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", holding]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        status, out, err = train("-m", "aug=none", "seed=0,1", "jobs=2")
        other.communicate(b"\n")
    assert status == 1 and "1 of 2 runs are done" in out and "[2] failed: " in err and "another process" in err


def test_all_lines_of_an_experiment_are_counted_as_one_sweep(train, tmp_path):
    words = ["experiment=resampler", "data=synthetic", "seed=0", "train.epochs=1", *SMALL[:3], "train.batch_size=16"]
    status, out, _ = train(*words)
    assert status == 0 and "4 of 4 runs are done" in out
    assert [f"[{number} of 4]" in out for number in range(1, 6)] == [True] * 4 + [False]
    assert {folder.parent.name for folder in folders(tmp_path / "runs")} == {
        "none",
        *(f"resample_{size}" for size in (24, 16, 8)),
    }


def test_with_one_core_one_job_or_jobs_1_a_sweep_stays_in_its_process(train, monkeypatch):
    monkeypatch.setattr(crew, "work", None)
    assert train("-m", "seed=0", "train.epochs=1")[0] == 0
    status, out, _ = train("-m", "seed=0,1", "train.epochs=1", "jobs=1")
    assert status == 0 and "[2 of 2] seed=1 " in out and "2 of 2 runs are done" in out
    monkeypatch.setattr(sweep, "usable_cpus", lambda: 1)
    assert train("-m", "seed=0,2", "train.epochs=1")[0] == 0


def test_threads_and_jobs_together_are_taken_at_their_word_with_a_warning_where_cores_are_few(train, monkeypatch):
    asked = []
    monkeypatch.setattr(crew, "start", lambda: None)
    monkeypatch.setattr(sweep, "_checked", lambda ready, board: [(job, crew.Checked()) for job in ready])
    monkeypatch.setattr(sweep, "usable_cpus", lambda: 8)

    def work(tasks, size):
        asked.append((size, {task.jobs[0].settings["threads"] for task in tasks}))
        for place in range(len(tasks)):
            yield place, crew.Died("killed by SIGKILL")

    monkeypatch.setattr(crew, "work", work)
    for words in (["jobs=3"], ["jobs=3", "threads=4"], ["threads=4"], ["threads=3"], ["threads=auto"]):
        _, _, err = train("-m", "seed=range(10)", *words)
        assert ("12 threads for 8 cores" in err) == (words == ["jobs=3", "threads=4"])
    assert asked == [(3, {1}), (3, {4}), (2, {4}), (2, {3}), (8, {1})]


def test_a_sweep_is_composed_as_hydra_composes_it(monkeypatch, tmp_path):
    """Against Hydra's own sweeper, for arms, strengths, deleted and added settings."""
    from experiments import run

    words = ["-m", "aug=saturate", "aug.factor=2,4", "train=fast", "+aug.seed_offset=5", "seed=3,7", "~plan.margin"]
    ours = jobs.composed([words])
    monkeypatch.setattr(sys, "argv", ["run", *words, f"hydra.sweep.dir={tmp_path}"])
    hydras = run._compose([sys.argv[1:]])
    assert [job.settings for job in ours] == [job.settings for job in hydras] and len(ours) == 4
    assert [job.number for job in ours] == [1, 2, 3, 4] and len({job.name for job in ours}) == 4


def test_the_bar_counts_parts_of_runs_and_takes_no_credit_for_what_was_done_before(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    three = [jobs.Job(number, f"seed={number}", {}) for number in (1, 2, 3)]

    def said(place, share, ended=False):
        return crew.Said(place, ["a line"], [], share, ended, "folder", "")

    with sweep._Board(three) as board:
        board.take(three, said(0, 0.5))
        board.take(three, said(1, 0.0))
        board.take(three, said(1, 0.5))
        board.take(three, said(2, 1.0, ended=True))
        assert board._bar.n == 2.0 and board._bar.initial == 1.5
        board._bar.refresh()
    assert "2.0/3 runs" in screen.getvalue()
    assert board.ended == {3: sweep.Ended("folder")}


def test_without_a_fork_server_processes_are_spawned(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    composed = jobs.composed([["-m", "seed=0,-1", "device=cpu"]])
    [(place, checked)] = crew.work([crew.Check(composed)], 2)
    assert place == 0 and checked[0].family and "seed=-1: expected" in checked[1].wrong
    assert not multiprocessing.active_children()


def test_groups_that_are_trained_together_end_as_each_run_alone_but_for_rounding(train, tmp_path, small_data):
    pytest.importorskip("detector.together")
    assert train("-m", *ARMS, "jobs=1", f"runs_root={tmp_path / 'alone'}")[0] == 0
    assert train("-m", *ARMS, "jobs=2", "train.together=2")[0] == 0
    for folder in folders(tmp_path / "runs"):
        grouped, single_run = (runs.read(tmp_path / root / folder.relative_to(tmp_path / "runs")) for root in ROOTS)
        assert grouped.provenance["processes"][0]["together"] == 2
        for ours, theirs in zip(grouped.metrics, single_run.metrics, strict=True):
            for line in (ours, theirs):  # of logits near 0 the temperature magnifies rounding
                line.pop("val/temperature", None)
            assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_all_runs_of_a_family_go_together_in_one_process(train, tmp_path):
    status, out, _ = train("-m", *ARMS, "device=cuda")
    assert status == 0 and "4 of 4 runs are done" in out
    for folder in folders(tmp_path / "runs"):
        assert runs.read(folder).provenance["processes"][0]["together"] == 4
