"""What a collection of paid images costs: each one once, whatever becomes of files, disks, ledgers and users."""

# ruff: noqa: F811 - the fixtures are those of another file
import contextlib
import errno
import json
import random
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from test_datasets_flux_generators import HELD_BACK, command, counts, events, folder, is_right, server  # noqa: F401

from datasets import flux, ledger
from datasets.flux import generation, generators, prompts, schnell, service
from datasets.ledger import Ledger
from datasets.manifest import DataError


@pytest.mark.parametrize("seed", range(4))
def test_max_cost_is_never_passed_whatever_goes_wrong(server, command, folder, seed):
    draw = random.Random(seed)
    server.faults = draw.choices(["", "failed", "500", "paid 500", "half file", "forgotten", "reset"], k=60)
    most = draw.randint(12, 16)
    status, _, err = command("--n", 12, "--max-cost", f"{most * 0.003:.3f}", "--workers", 8)
    assert len(server.paid) <= most and status in (0, 7) and err.count("\n") == (status == 7)
    assert is_right(folder, counts(folder)["saved"])


def test_max_cost_counts_what_went_wrong_and_stops_before_it_would_be_passed(server, command, folder):
    server.faults = ["failed", "500"]
    status, _, err = command("--n", 3, "--max-cost", 0.012, "--workers", 1)
    assert status == 7 and "--max-cost 0.012 is reached by what was ordered so far; give more" in err
    assert is_right(folder, 2) and len(server.paid) == 3
    status, _, err = command("--n", 3, "--max-cost", 0.012)
    assert status == 2 and "1 images to order cost 0.003 dollars, 0.015 with earlier orders for it" in err
    assert command("--n", 3, "--max-cost", 0.015)[0] == 0 and is_right(folder, 3)


def test_what_the_service_deleted_in_the_meantime_is_lost_and_ordered_again(server, command, folder, monkeypatch):
    monkeypatch.setattr(generators, "MODEL_SECONDS", 0.0)
    server.seconds = 60
    status, _, err = command("--n", 2)
    assert status == 7 and "is not done after 0 s; 0 of 2 images are there" in err
    old = list(server.paid.values())
    for order in old:
        order.created -= timedelta(hours=2)
    server.seconds = 0
    assert command("--n", 2)[0] == 0
    assert is_right(folder, 2) and counts(folder)["lost"] == len(old) == len(server.paid) - 2
    # the first that is given up may stop the second from being ordered at all
    assert {order.input["seed"] for order in old} <= {order.input["seed"] for order in list(server.paid.values())[-2:]}


def test_files_that_are_always_broken_are_not_paid_for_ever(server, command, folder):
    server.faults = ["half file"] * 50
    status, _, err = command("--n", 9, "--workers", 1)
    assert status == 7 and "3 paid files of one image were lost" in err and len(server.paid) == 3
    assert counts(folder)["lost"] == 3


@pytest.mark.parametrize("fault", HELD_BACK)
def test_a_paid_file_that_is_held_back_is_neither_lost_nor_paid_again(server, command, folder, fault):
    server.faults = [fault] * 20
    for _ in range(2):
        status, _, err = command("--n", 8, "--workers", 1)
        assert status == 7 and f"does not come: {HELD_BACK[fault]}; 0 of 8 images are there" in err
        assert err.count("\n") == 1 and len(server.paid) == 1 and counts(folder)["lost"] == 0
    server.faults = []
    (order,) = server.paid.values()
    order.fault = ""
    assert command("--n", 8)[0] == 0
    assert is_right(folder, 8) and len(server.paid) == 8


def test_a_service_that_cannot_be_reached_was_not_asked_and_costs_nothing(server, command, folder, monkeypatch):
    with socket.socket() as unused, monkeypatch.context() as patched:
        unused.bind(("127.0.0.1", 0))
        patched.setenv("REPLICATE_BASE_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        for _ in range(3):
            status, _, err = command("--n", 1, "--max-cost", 0.003)
            assert status == 7 and "is there a network?" in err and err.count("\n") == 1
    assert counts(folder) == {"asking": 3, "refused": 3}
    assert command("--n", 1, "--max-cost", 0.003)[0] == 0 and is_right(folder, 1)


def test_two_images_that_share_a_seed_are_told_apart():
    wanted = generation.wishes(prompts.read(prompts.DEFAULT_THEME), n=5875, seed=0)
    one, other = wanted[497], wanted[5874]
    assert one.seeds[0] in other.seeds and one.prompt != other.prompt
    record = schnell.record("16:9", "1")
    order = {"event": "asking", **record, "input": {"prompt": one.prompt, "seed": one.seeds[0], **record["input"]}}
    lacking = generation.missing(wanted, [order], record, Path("nowhere"))
    assert lacking[0] == one and len(lacking) == 5875 and lacking[-1] == other


def test_the_estimate_leaves_out_orders_under_way_of_the_images_that_are_wanted_and_only_those(server, command):
    server.answers = ["401"]
    assert command("--n", 1)[0] == 7 and len(server.paid) == 1
    assert "to make: 2 images\nto order: 1 for about 0.00 dollars" in command("--n", 2, "--dry-run")[1]
    assert "to make: 2 images\nto order: 2 for about 0.01 dollars" in command("--n", 2, "--dry-run", "--seed", 1)[1]


@pytest.mark.parametrize("torn", ["", '{"event": "coll'])
def test_a_kill_before_the_first_line_is_no_obstacle(server, command, folder, torn):
    folder.mkdir(parents=True)
    (folder / ledger.FILE).write_text(torn)
    assert command("--n", 1, "--dry-run")[0] == command("--n", 1)[0] == 0 and is_right(folder, 1)


def test_a_file_that_was_whole_when_its_process_was_killed_is_taken_in(server, command, folder):
    assert command("--n", 2)[0] == 0
    path = folder / ledger.FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"saved"' not in line))
    (folder / "images" / "000001.png").write_bytes(b"another file")
    for order in server.paid.values():
        order.created -= timedelta(hours=2)
    assert command("--n", 2)[0] == 0
    assert is_right(folder, 2) and len(server.paid) == 3


def test_a_file_removed_by_hand_is_reported_with_its_price_and_made_again(server, command, folder):
    assert command("--n", 3)[0] == 0
    for order in server.paid.values():
        order.created -= timedelta(hours=2)
    (folder / "images" / "000001.png").unlink()
    with pytest.raises(DataError, match=r"000001\.png: missing, though"):
        flux.rows(folder)
    out = command("--n", 3, "--dry-run")[1]
    assert "1 images that were saved are gone from" in out and "up to 0.003 dollars" in out and "to order: 1 " in out
    server.answers = ["", "401"]  # its new order is under way when the token expires
    assert command("--n", 3)[0] == 7
    assert "to make: 1 images\nto order: 0 " in command("--n", 3, "--dry-run")[1]
    status, out, _ = command("--n", 3)
    assert status == 0 and "ordered so far: 4" in out and len(server.paid) == 4 and len(flux.rows(folder)) == 3
    assert "are gone" not in command("--n", 3)[1] and len(server.paid) == 4


@pytest.mark.parametrize(
    "line",
    [
        {"event": "saved"},
        {"event": "asking", "input": {"prompt": "a"}},
        {"event": "created", "request": 9, "id": "x"},
        {"event": "outcome", "request": -1, "fault": ""},
        {"event": "lost", "request": "0"},
    ],
)
def test_a_line_that_lacks_what_is_read_of_it_is_named(server, command, folder, line):
    assert command("--n", 1)[0] == 0
    with (folder / ledger.FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")
    status, _, err = command("--n", 1)
    assert status == 2 and f"ledger.jsonl:7: the event {line['event']} " in err and err.count("\n") == 1
    if line["event"] == "saved":
        with pytest.raises(DataError, match=r"ledger\.jsonl:7: "):
            flux.rows(folder)


@pytest.mark.parametrize("seconds", ["abc", "nan", "0", "-1", "inf", ""])
def test_a_poll_interval_that_cannot_be_is_one_line(server, command, folder, monkeypatch, seconds):
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", seconds)
    status, out, err = command("--n", 1)
    assert (status, out, err.count("\n")) == (2, "", 1) and f"REPLICATE_POLL_INTERVAL={seconds}: expected" in err
    assert server.requests == 0 and not folder.exists()


def test_somebody_elses_service_is_not_asked_too_often(server, monkeypatch):
    monkeypatch.setenv("REPLICATE_BASE_URL", "https://api.example.org")
    far = service.Service("token")
    assert (far.pause, far.settle) == (0.1, 30.0)


def test_an_order_refused_for_good_ends_the_ordering_before_another_takes_its_turn(server, folder):
    server.faults, ending = ["402"], threading.Event()
    with Ledger(folder, kind="flux") as book:
        record = schnell.record("16:9", "1")
        maker = generators.ReplicateGenerator(book, record=record, token="t", max_cost=None, ending=ending)
        for error in (service.ServiceError, generators.Stopped):
            with contextlib.closing(maker), pytest.raises(error):
                maker.generate("a stage", 1)
        assert ending.is_set() and [event["event"] for event in book.events] == ["asking", "refused"]


def test_after_a_full_disk_nothing_more_is_ordered(server, command, folder, monkeypatch):
    """The second worker waits for the rate limit when the first finds that its image cannot be kept."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "disk")

    monkeypatch.setattr(generation, "whole_file", full)
    server.every = 2.0
    status, _, err = command("--n", 4, "--workers", 2)
    assert status == 4 and "No space left on device" in err and len(server.paid) == 1
