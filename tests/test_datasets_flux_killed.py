"""Stops and kills at any moment: what was paid is fetched by the next call, and nothing is paid twice."""

# ruff: noqa: F811 - the fixtures are those of another file
import json
import math
import random
import signal
import threading
import time
from collections import Counter

import pytest
from test_scripts_generate_flux import folder, run, saved, server, start  # noqa: F401

from datasets import flux, ledger


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_tells_what_is_paid_and_the_next_call_fetches_it(server, start, run, folder, number, status):
    server.seconds = 60
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so its child
    process = start("--n", 6)
    while process.poll() is None and len(server.paid) < 4:
        time.sleep(0.01)
    process.send_signal(number)
    if number == signal.SIGINT:  # a second one ends it at once
        start_of_end = time.monotonic()
        time.sleep(0.5)
        process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert number != signal.SIGINT or time.monotonic() - start_of_end < 3
    assert process.returncode == status and err.count("\n") == 2 and "the same command goes on" in err
    assert "4 paid images wait at Replicate for one hour; start again within it" in err
    server.seconds = 0
    assert run("--n", 6)[0] == 0
    assert len(server.paid) == len(saved(folder)) == 6


def test_a_stop_brings_home_what_is_under_way_and_orders_nothing_more(server, start, folder):
    server.seconds = 1.0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start("--n", 20)
    while process.poll() is None and len(server.paid) < 4:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err.count("\n") == 1 and len(server.paid) == len(saved(folder)) == 4


def test_killed_at_thirty_moments_sixty_images_are_paid_for_once_each(server, start, run, folder):
    """The server answers a process a few times more; a little later, in whatever step it is, it is killed.

    Every third one is killed between an order that was paid and the answer to it.
    """
    draw = random.Random(0)
    for number in range(30):
        server.answers_left, server.answer_on = draw.randint(0, 5), threading.Event()
        if number % 3 == 2:
            server.answers_left, server.faults = math.inf, ["paid hang"]
        asked = server.requests
        process = start("--n", 60)
        while process.poll() is None and (server.faults or server.requests == asked or 0 < server.answers_left < 9):
            time.sleep(0.001)
        while process.poll() is None and server.answers_left == 0 and draw.random() < 0.95:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        server.answer_on.set()
        assert process.returncode == -signal.SIGKILL and len(saved(folder)) < 60
    server.answers_left = math.inf
    status, _, err = run("--n", 60)
    assert (status, err) == (0, "")
    keys = Counter(event["key"] for event in saved(folder))
    assert len(keys) == 60 and set(keys.values()) == {1}
    inputs = Counter(json.dumps(order.input, sort_keys=True) for order in server.paid.values())
    assert len(server.paid) == len(inputs) == 60
    assert len(flux.rows(folder)) == len(list((folder / "images").iterdir())) == 60
    created = [event for event in ledger.read(folder)[1] if event["event"] == "created"]
    assert sorted(event["id"] for event in created) == sorted(server.paid)
    assert sum("found" in event for event in created) >= 10
