"""The command where things go wrong: services and hosts that stumble, a full folder, a user's mistakes, Ctrl-C."""

from email.utils import formatdate
from time import time

import pytest
import test_scripts_collect_photos as regular
from servers.commons import Commons
from servers.photo_host import ODD_FILES, File, good_files
from test_scripts_collect_photos import WORDS, of_kind, table

from datasets import ledger, photos
from datasets.photos import collecting
from datasets.photos.candidates import Candidate

bare_environment, collect, folder, waits = regular.bare_environment, regular.collect, regular.folder, regular.waits


def test_this_machine_is_asked_for_pictures_only_in_a_trial(collect, monkeypatch):
    here = Candidate(source="commons", origin="p", url="http://127.0.0.1:9/a.jpg", license="CC0", uploaded="2010-01-01")
    monkeypatch.setattr("datasets.photos.commons.candidates", lambda *_, **__: iter([here]))
    status, lines, _ = collect(*WORDS)
    assert status == 2 and table(lines) == {"taken": 0, "a private address": 1}


@pytest.mark.parametrize("fault", ["html", "broken json", "reset", "500", "429 9999", "maxlag", "403", "strange"])
def test_a_service_that_fails_is_one_line_and_status_7_and_what_came_is_kept(collect, folder, waits, fault):
    with Commons(good_files(6)) as server:
        server.batch = 3
        server.faults = ["", *[fault] * 5]
        status, lines, err = collect(*WORDS, "--n", 6, "--api", server.api)
        assert status == 7 and err.count("\n") == 1 and err.startswith("collect_photos: Wikimedia Commons: ")
        assert table(lines) == {"taken": 3} and len(photos.rows(folder)) == 3
        assert (folder / "ATTRIBUTION.csv").read_text().count("\n") == 4
        server.faults = []
        assert table(collect(*WORDS, "--n", 6, "--api", server.api)[1]) == {"taken": 6}


def test_a_picture_is_asked_for_again_when_its_host_stumbles(collect, folder, waits):
    with Commons(good_files(3)) as server:
        server.picture_faults = ["429 7", "reset", "500"]
        status, lines, _ = collect(*WORDS, "--n", 3, "--api", server.api)
        assert status == 0 and table(lines) == {"taken": 3} and 7 in waits


def test_a_picture_that_cannot_be_reached_is_counted_and_tried_another_time(collect, folder, waits):
    files = good_files(5)
    with Commons([*files[:2], File("Conference speaker off.jpg", fault="503"), *files[2:]]) as server:
        status, lines, err = collect(*WORDS, "--n", 6, "--api", server.api)
        assert (status, err) == (0, "") and table(lines) == {"taken": 5, "could not be reached": 1}
        assert "1 could not be reached; the same command asks for them again" in lines
        assert of_kind(folder, "unreachable")[0]["reason"] == "the server answers 503"
        server.files[2] = File("Conference speaker off.jpg")
        assert table(collect(*WORDS, "--n", 6, "--api", server.api)[1]) == {"taken": 6}


def test_a_picture_that_cannot_be_reached_is_no_loose_end_where_another_took_its_place(collect, waits):
    with Commons([File("Conference speaker off.jpg", fault="503"), *good_files(3)]) as server:
        status, lines, _ = collect(*WORDS, "--n", 2, "--api", server.api)
        assert status == 0 and table(lines) == {"taken": 2, "could not be reached": 1}
        assert "1 could not be reached; others took their place" in lines
        asked = len(server.pictures_asked)
        assert collect(*WORDS, "--n", 2, "--api", server.api)[1] == lines and len(server.pictures_asked) == asked


@pytest.mark.parametrize("fault", ["429 3600", "503 Thu, 01 Jan 2099 00:00:00 GMT"])
def test_a_file_host_that_asks_for_a_long_pause_is_asked_no_more_today(collect, folder, waits, fault):
    with Commons(good_files(8)) as server:
        server.picture_faults = ["", "", fault]
        status, lines, err = collect(*WORDS, "--n", 8, "--api", server.api)
        assert status == 7 and err.count("\n") == 1 and "and asks to wait" in err and "is kept: run the same" in err
        assert waits == [] and len(server.pictures_asked) <= 4  # one may have been on its way beside it
        assert table(lines) == {"taken": len(photos.rows(folder)), "could not be reached": 1}
        assert table(collect(*WORDS, "--n", 8, "--api", server.api)[1]) == {"taken": 8}


def test_a_short_pause_that_is_asked_for_as_a_date_is_made(collect, waits):
    with Commons(good_files(1)) as server:
        server.picture_faults = ["503 " + formatdate(time() + 90, usegmt=True)]
        assert collect(*WORDS, "--n", 1, "--api", server.api)[0] == 0
    assert len(waits) == 1 and 80 < waits[0] <= 90


def test_all_downloads_share_one_pace(collect, folder, monkeypatch):
    spent: dict[collecting.Pace, int] = {}
    monkeypatch.setattr(collecting.Pace, "spend", lambda pace, size: spent.update({pace: spent.get(pace, 0) + size}))
    with Commons(good_files(4)) as server:
        assert collect(*WORDS, "--n", 4, "--api", server.api)[0] == 0
    assert list(spent.values()) == [sum(event["bytes"] for event in of_kind(folder, "saved"))]


def test_a_file_host_that_is_down_stops_it(collect, folder, waits):
    first, second = good_files(2)
    down = [File(f"Conference speaker {n}.jpg", fault="503") for n in range(9)]
    with Commons([first, *down[:2], second, *down[2:]]) as server:
        status, lines, err = collect(*WORDS, "--n", 6, "--api", server.api)
    assert (
        status == 7
        and err.count("\n") == 1
        and "answers 503, as 3 pictures in a row; what was collected is kept" in err
    )
    assert table(lines) == {"taken": 2, "could not be reached": 5}


def test_ctrl_c_keeps_what_came_and_says_whom_to_name(collect, folder, monkeypatch):
    keep = ledger.Ledger.append

    def interrupted(self, event, **facts):
        if len(self.events) == 2:
            raise KeyboardInterrupt
        keep(self, event, **facts)

    with Commons(good_files(4)) as server:
        monkeypatch.setattr(ledger.Ledger, "append", interrupted)
        status, lines, err = collect(*WORDS, "--n", 4, "--api", server.api)
        assert status == 130 and err == "collect_photos: interrupted; the same command goes on from here\n"
        assert table(lines) == {"taken": 2} and (folder / "ATTRIBUTION.csv").read_text().count("\n") == 3
        monkeypatch.undo()


def test_a_search_without_results_or_without_any_that_fit_is_status_2(collect, folder):
    with Commons(ODD_FILES[:3]) as server:
        status, lines, err = collect("--query", "zebra", *WORDS[2:], "--api", server.api)
        assert (status, lines) == (2, []) and err == (
            "collect_photos: --query 'zebra': Wikimedia Commons finds no photograph; try other or fewer words\n"
        )
        status, lines, err = collect(*WORDS, "--api", server.api)
        assert status == 2 and err.count("\n") == 1 and "none of the 3 found" in err and "taken" in table(lines)
    assert photos.rows(folder) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--query", "x"], "--contact is missing: the services ask every program to say who runs it"),
        (["--query", "x", "--contact", "me"], "--contact 'me': expected a mail address"),
        (["--query", " ", *WORDS[2:]], "--query: 0 characters"),
        (["--query", "x" * 201, *WORDS[2:]], "--query: 201 characters"),
        ([*WORDS, "--n", "0"], "--n 0: expected a whole number from 1"),
        ([*WORDS, "--min-side", "-5"], "--min-side -5: expected a whole number from 1"),
        ([*WORDS, "--before", "2022"], "--before 2022: expected a day such as 2022-01-01"),
        ([*WORDS, "--name", "../x"], "--name '../x': expected letters"),
        ([*WORDS, "--api", "http://example.org/w/api.php"], "--api http://example.org/w/api.php: expected an address"),
        ([*WORDS, "--accept-licenses", ""], "--accept-licenses: one is empty"),
        ([*WORDS, "--licenses", "x.csv"], "--licenses: expected with --from-dir only"),
        ([*WORDS, "--source", "openverse", "--width", "960"], "--width: Openverse gives pictures at one size"),
        (["--from-dir", "missing"], "--from-dir missing: no such folder"),
        (["--from-dir", ".", "--before", "2020-01-01"], "--before: has no meaning with --from-dir"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(collect, tmp_path, words, reason):
    status, lines, err = collect(*words)
    assert (status, lines) == (2, []) and err.startswith(f"collect_photos: {reason}") and err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_two_at_once_are_told_apart(collect, folder):
    with ledger.Ledger(folder, kind="photos"), Commons(good_files(1)) as server:
        status, _, err = collect(*WORDS, "--api", server.api)
        assert status == 3 and err.count("\n") == 1 and server.api_asked == []
