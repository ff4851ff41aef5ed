"""An order whose answer did not come: it is found at the service, or nothing more is paid."""

# ruff: noqa: F811 - the fixtures are those of another file
import json
import time
from collections import Counter
from datetime import datetime, timedelta

import pytest
from test_datasets_flux_generators import USUAL, command, counts, folder, is_right, server  # noqa: F401

from datasets import ledger
from datasets.flux import recent


@pytest.fixture
def in_doubt(server, command):
    """The one prediction there is: paid, without an answer, and its sender gave up."""
    server.faults = ["paid 500"]
    server.answers = ["500"] * 6
    assert command("--n", 1)[0] == 7
    (ours,) = server.paid.values()
    return ours


def others(server, ours, number, age=timedelta(0)):
    for seed in range(number):
        server.pay({**ours.input, "seed": seed}, "").created -= age


def test_a_service_that_is_gone_is_given_up_and_the_last_order_is_looked_for_by_the_next_call(server, command, folder):
    server.faults = ["500", "500", "500", "paid 500"]
    status, _, err = command("--n", 1)
    assert status == 7 and "does not answer, 4 times, but may have billed" in err and err.count("\n") == 1
    assert counts(folder) == Counter({"asking": 4, "unanswered": 4, "possibly billed": 3})
    status, out, _ = command("--n", 1)
    assert status == 0 and "ordered so far: 4, 3 of them without an answer, at most 0.012 dollars" in out
    assert is_right(folder, 1) and len(server.paid) == 1


def test_the_order_looked_for_is_found_pages_behind_and_an_aborted_one_before_it_does_no_harm(server, command, folder):
    server.faults = ["paid 500"]
    server.page_size = 2
    server.answers = ["500"] * 6
    assert command("--n", 1)[0] == 7
    (ours,) = server.paid.values()
    for number in range(11):
        server.pay({**ours.input, "seed": number}, "aborted")
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == 12


def test_an_order_that_some_line_claims_is_not_claimed_again(server, command, folder):
    """The half file is lost: its prediction has the right input, stands in the list, and is worth nothing."""
    server.faults = ["half file", "reset"]
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == 2
    assert counts(folder) == USUAL + Counter(
        {"asking": 2, "created": 1, "outcome": 1, "lost": 1, "unanswered": 1, "possibly billed": 1}
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("404", "does not show its list"), ("object", "does not show its list"), ("html", "6 times: no JSON came")],
)
def test_a_list_that_cannot_be_read_is_no_reason_to_pay_again(server, command, folder, in_doubt, answer, reason):
    server.answers = [answer] * 6
    status, _, err = command("--n", 1)
    assert status == 7 and reason in err and err.count("\n") == 1 and len(server.paid) == 1
    server.answers = []
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == 1


def test_pages_that_end_before_the_hour_does_are_no_reason_to_pay_again(server, command, monkeypatch, in_doubt):
    monkeypatch.setattr(recent, "MOST_PAGES", 4)
    server.page_size = 2
    others(server, in_doubt, 11)
    status, _, err = command("--n", 1)
    assert status == 7 and "does not end within 4 pages" in err and err.count("\n") == 1 and len(server.paid) == 12


def test_what_is_older_than_an_hour_is_not_read_through(server, command, folder, monkeypatch, in_doubt):
    monkeypatch.setattr(recent, "MOST_PAGES", 4)
    server.page_size = 2
    server.paid.clear()
    others(server, in_doubt, 20, timedelta(hours=3))
    others(server, in_doubt, 5)
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == 26 and counts(folder)["possibly billed"] == 1


@pytest.mark.parametrize("minutes", [50, 59])
def test_all_of_the_hour_before_the_newest_is_looked_at(server, command, folder, in_doubt, minutes):
    server.page_size = 1
    in_doubt.created -= timedelta(minutes=minutes)
    others(server, in_doubt, 3, timedelta(minutes=20))
    others(server, in_doubt, 3)
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == 7


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_the_time_zone_is_no_reason_to_pay_again(server, command, folder, monkeypatch, zone):
    pay = server.pay

    def busy(wanted, fault):
        ours = pay(wanted, fault)
        for seed in range(3 * (fault == "paid 500")):
            pay({**wanted, "seed": seed}, "")
        return ours

    server.pay, server.page_size, server.faults = busy, 1, ["paid 500"]
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert command("--n", 1)[0] == 0
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert is_right(folder, 1) and len(server.paid) == 4


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_was_wrong_is_no_reason_to_pay_again(server, command, folder, in_doubt, hours):
    server.page_size = 1
    others(server, in_doubt, 3)
    path = folder / ledger.FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[1:]:
        line["time"] = f"{datetime.fromisoformat(line['time']) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == 4


def test_an_order_that_shows_up_late_is_waited_for(server, command, folder, monkeypatch):
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.05")
    server.late, server.faults = 1.0, ["paid late"]
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == counts(folder)["asking"] == 1


def test_a_list_without_inputs_is_completed_by_asking_for_each(server, command, folder, in_doubt):
    server.listed = ("id", "version", "urls", "created_at", "started_at", "completed_at", "source", "status")
    others(server, in_doubt, 3)
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == 4


def test_a_prediction_that_keeps_its_input_to_itself_is_no_reason_to_pay_again(server, command, in_doubt):
    server.listed = ("id", "created_at", "status")
    in_doubt.input = None
    status, _, err = command("--n", 1)
    assert status == 7 and f"does not show the input of prediction {in_doubt.id}" in err and len(server.paid) == 1
