"""The ledger: whatever happens while it is written, what it said before stays readable."""

import errno
import json
import os
import threading

import pytest

from datasets import ledger
from datasets.ledger import Ledger, LedgerBusy
from datasets.manifest import DataError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "collections" / "flux"


def bare(events):
    return [{name: value for name, value in event.items() if name != "time"} for event in events]


def test_what_was_appended_is_there_again_after_it_was_closed(folder):
    with Ledger(folder, kind="flux") as book:
        book.append("asking", prompt="a stage, 舞台 \u2028 \ud800", number=1)
        assert book.append("saved") is book.events[-1]
        first = list(book.events)
    with Ledger(folder, kind="flux") as book:
        assert book.events == first
        book.append("saved", file="b.png")
    expected = [
        {"event": "asking", "prompt": "a stage, 舞台 \u2028 \ud800", "number": 1},
        {"event": "saved"},
        {"event": "saved", "file": "b.png"},
    ]
    kind, events = ledger.read(folder)
    assert kind == "flux" and bare(events) == expected
    assert all(event["time"].endswith("Z") and len(event["time"]) == 20 for event in events)
    lines = (folder / ledger.FILE).read_text().splitlines()
    assert json.loads(lines[0]) == {"event": "collection", "kind": "flux", "version": 1} and len(lines) == 4


def test_a_line_is_on_disk_before_append_returns(folder, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), fsync(file)))
    with Ledger(folder, kind="flux") as book:
        book.append("asking")
        assert synced[-1] == (folder / ledger.FILE).stat().st_size


def test_wherever_a_kill_cuts_the_file_whole_lines_stay_and_the_torn_one_goes(folder):
    with Ledger(folder, kind="flux") as book:
        book.append("asking", number=1)
        book.append("created", text="longer than the line that comes after it " * 3)
    whole = (folder / ledger.FILE).read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in sorted({*range(0, len(whole), 5), *ends, *(end - 1 for end in ends)}):
        (folder / ledger.FILE).write_bytes(whole[:cut])
        events = sum(cut >= end for end in ends[1:])
        if cut >= ends[0]:
            assert len(ledger.read(folder)[1]) == events
        with Ledger(folder, kind="flux") as book:
            assert len(book.events) == events
            book.append("saved")
        assert len(ledger.read(folder)[1]) == events + 1
        assert (folder / ledger.FILE).read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("text", ["my own notes", "my own notes\nand more", '{"event": "saved"}\n{"eve'])
def test_a_file_that_is_no_ledger_stays_as_it_is(folder, text):
    folder.mkdir(parents=True)
    (folder / ledger.FILE).write_text(text)
    with pytest.raises(DataError, match=r"ledger\.jsonl"):
        Ledger(folder, kind="flux")
    assert (folder / ledger.FILE).read_text() == text


@pytest.mark.parametrize("written", [0, 7])
def test_a_full_disk_leaves_no_part_of_a_line(folder, monkeypatch, written):
    pwrite = os.pwrite

    def full(file, data, place):
        if written:
            pwrite(file, data[:written], place)
        raise OSError(errno.ENOSPC, "No space left on device")

    with Ledger(folder, kind="flux") as book:
        book.append("asking")
        before = (folder / ledger.FILE).read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", full)
            with pytest.raises(OSError, match=r"No space.*ledger\.jsonl"):
                book.append("created")
        assert (folder / ledger.FILE).read_bytes() == before
        book.append("saved")
        assert [event["event"] for event in book.events] == ["asking", "saved"]
    assert [event["event"] for event in ledger.read(folder)[1]] == ["asking", "saved"]


def test_lines_of_several_threads_do_not_mix(folder):
    with Ledger(folder, kind="flux") as book:
        threads = [
            threading.Thread(target=lambda who=who: [book.append("asking", who=who, text="x" * 500) for _ in range(20)])
            for who in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = ledger.read(folder)[1]
    assert sorted(event["who"] for event in events) == sorted([*range(8)] * 20)


def test_only_one_holds_it_at_a_time_and_anyone_may_read(folder):
    with Ledger(folder, kind="flux") as book:
        book.append("asking")
        with pytest.raises(LedgerBusy, match="another process") as caught:
            Ledger(folder, kind="flux")
        assert caught.value.exit_status == 3
        assert len(ledger.read(folder)[1]) == 1
    Ledger(folder, kind="flux").close()


def test_a_collection_of_another_kind_is_refused_and_let_go(folder):
    Ledger(folder, kind="photos").close()
    with pytest.raises(DataError, match="a collection of photos; expected one of flux"):
        Ledger(folder, kind="flux")
    Ledger(folder, kind="photos").close()


@pytest.mark.parametrize("line", ["{broken", "[1, 2]", "", '{"time": "now"}', "\0\0\0"])
def test_a_line_edited_by_hand_is_named(folder, line):
    with Ledger(folder, kind="flux") as book:
        book.append("asking")
    with (folder / ledger.FILE).open("a") as file:
        file.write(f"{line}\n")
    for read in (lambda: ledger.read(folder), lambda: Ledger(folder, kind="flux")):
        with pytest.raises(DataError, match=r"ledger\.jsonl:3: not a line"):
            read()


def test_a_folder_without_a_ledger_is_no_collection(folder):
    with pytest.raises(DataError, match="no collection there"):
        ledger.read(folder)
    folder.mkdir(parents=True)
    (folder / ledger.FILE).write_text('{"event": "collection", "kind": "flux", "version": 2}\n')
    with pytest.raises(DataError, match=r"jsonl:1: expected the first line of a ledger of version 1"):
        ledger.read(folder)
