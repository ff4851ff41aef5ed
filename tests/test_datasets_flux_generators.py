"""Every fault that a paid service is known for: what becomes of the image, what was paid, what the ledger holds."""

import contextlib
import io
import signal
import sys
from collections import Counter

import pytest
from servers.replicate import ORDER_FAULTS, Replicate

from datasets import flux, ledger
from datasets.flux import service
from datasets.images import ImageSettings, decode
from scripts import generate_flux

TOKEN = "r8_SecretSecretSecretSecret"
USUAL = Counter(asking=1, created=1, outcome=1, fetched=1, saved=1)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("REPLICATE_API_TOKEN", TOKEN)
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.01")
    with Replicate(tiny=True) as running:
        monkeypatch.setenv("REPLICATE_BASE_URL", running.url)
        yield running


@pytest.fixture
def command(server, tmp_path, monkeypatch, capsys):
    """command(*words) -> (exit status, stdout, stderr) of scripts/generate_flux.py, in this process."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["generate_flux.py", *map(str, words)])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            generate_flux.main()
        signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        assert TOKEN not in out + err and "Traceback" not in err
        return ended.value.code, out, err

    return call


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "collections" / "flux"


def events(folder):
    return ledger.read(folder)[1]


def counts(folder):
    return Counter(event["event"] for event in events(folder))


def is_right(folder, number):
    """All images are there once, whole, and nothing else is; the token is nowhere."""
    saved = [event for event in events(folder) if event["event"] == "saved"]
    files = sorted((folder / "images").iterdir())
    assert [file.name for file in files] == sorted(f"{event['key']}.png" for event in saved)
    assert len(saved) == number == len({event["seed"] for event in saved})
    for file in files:
        assert decode(file.read_bytes(), ImageSettings())[1].format == "PNG"
    assert TOKEN not in (folder / ledger.FILE).read_text()
    assert len(flux.rows(folder)) == number
    return True


OUTCOMES = {  # fault: orders that were paid for one image, and what the ledger holds besides the usual
    "429 ~1s": (1, {"asking": 1, "refused": 1}),
    "500": (1, {"asking": 1, "unanswered": 1, "possibly billed": 1}),
    "reset": (1, {"asking": 1, "unanswered": 1, "possibly billed": 1}),
    "hang": (1, {"asking": 1, "unanswered": 1, "possibly billed": 1}),
    "html": (1, {"unanswered": 1}),
    "list": (1, {"unanswered": 1}),
    "paid 500": (1, {"unanswered": 1}),
    "paid reset": (1, {"unanswered": 1}),
    "paid hang": (1, {"unanswered": 1}),
    "failed": (2, {"asking": 1, "created": 1, "outcome": 1}),
    "canceled": (2, {"asking": 1, "created": 1, "outcome": 1}),
    "aborted": (2, {"asking": 1, "created": 1, "outcome": 1}),
    "slow": (1, {}),
    "forgotten": (2, {"asking": 1, "created": 1, "lost": 1}),
    "no output": (2, {"asking": 1, "created": 1, "outcome": 1, "lost": 1}),
    "paid late": (1, {"unanswered": 1}),
    "half file": (2, {"asking": 1, "created": 1, "outcome": 1, "lost": 1}),
    "once half file": (1, {}),
    "noai file": (1, {}),
    "gone file": (2, {"asking": 1, "created": 1, "outcome": 1, "lost": 1}),
    "expired file": (2, {"asking": 1, "created": 1, "outcome": 1, "lost": 1}),
    "busy file": (1, {}),
    "reset file": (1, {}),
}


HELD_BACK = {  # fault: why a paid file does not come, nor any other
    "jpeg file": "JPEG instead of PNG",
    "html file": "not an image: text/html",
    "forbidden file": "403",
    "pause file": (
        "127.0.0.1: the server answers 503, and asks to wait 3,600 s; what is paid is kept there for one hour"
    ),
    "file elsewhere": "a host that is not on the list",
}


@pytest.mark.parametrize("fault", OUTCOMES)
def test_a_fault_of_one_order_is_mended_and_written_down(server, command, folder, monkeypatch, fault):
    monkeypatch.setattr(service, "REQUEST_SECONDS", 0.3)
    server.faults = [fault]
    status, out, err = command("--n", 1)
    paid, more = OUTCOMES[fault]
    assert (status, err) == (0, "") and "1 images are in data/collections/flux/images, 1 of them new" in out
    assert is_right(folder, 1) and len(server.paid) == paid
    assert counts(folder) == USUAL + Counter(more)
    seeds = [order.input["seed"] for order in server.paid.values()]
    assert len(set(seeds)) == (2 if fault in ("failed", "canceled", "aborted") else 1)
    assert server.leaks == server.early == 0 and server.tokens == {TOKEN}
    asked = server.requests
    assert command("--n", 1)[0] == 0
    assert server.requests == asked and len(server.paid) == paid


def test_what_the_service_says_is_one_short_line_without_the_token(server):
    with contextlib.closing(service.Service(TOKEN)) as replicate:
        assert replicate.plain(f"no {TOKEN}\n at  all" + "!" * 400) == "no [token] at all" + "!" * 283
        assert TOKEN not in f"{replicate!r} {replicate}"


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("\n", 2), ("", 2)])
def test_above_a_dollar_it_asks_first(server, command, monkeypatch, typed, status):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(generate_flux, "ASK_ABOVE", 0.01)
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    got, out, err = command("--n", 4)
    assert got == status and "4 for about 0.01 dollars" in out and len(server.paid) == (4 if status == 0 else 0)
    assert status == 0 or ("nothing was ordered" in err and err.count("\n") == 1)


def test_no_fault_of_the_server_is_left_untried():
    assert set(ORDER_FAULTS) == {*OUTCOMES, *HELD_BACK, "401", "402", "422"}


def test_what_was_sent_is_what_was_decided(server, command, folder):
    assert command("--n", 2, "--aspect-ratio", "3:2", "--megapixels", "0.25", "--seed", 5)[0] == 0
    for order in server.paid.values():
        fixed = {
            "aspect_ratio": "3:2",
            "megapixels": "0.25",
            "num_outputs": 1,
            "output_format": "png",
            "go_fast": False,
        }
        assert order.input == {**fixed, "prompt": order.input["prompt"], "seed": order.input["seed"]}
    found = events(folder)
    asked = {event["input"]["seed"]: event["input"] for event in found if event["event"] == "asking"}
    assert asked == {order.input["seed"]: order.input for order in server.paid.values()}
    assert {event["id"] for event in found if event["event"] == "created"} == set(server.paid)
    urls = {event["url"] for event in found if event["event"] == "outcome"}
    assert urls == {f"{server.url}/files/{name}/out-0.png" for name in server.paid}
    rows = [row for row, _ in flux.rows(folder)]
    assert [row.path for row in rows] == ["images/000000.png", "images/000001.png"]
    assert {(row.label, row.source, row.license) for row in rows} == {(1, "flux", "FLUX.1-schnell output")}
    assert all(row.ties.startswith("prompt:") and len(row.ties) == 19 for row in rows)


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ("401", 7, "does not accept the token, it may have expired: export REPLICATE_API_TOKEN="),
        ("402", 7, "no credit left at Replicate; buy some at replicate.com/account/billing"),
        ("422", 2, "refuses the prompt or its settings: - input.prompt: this prompt is not accepted"),
    ],
)
def test_an_answer_that_the_next_order_would_get_too_stops_all_and_keeps_what_came(
    server, command, folder, answer, status, words
):
    server.seconds = 0.05
    server.faults = ["", "", "", answer, *["402"] * 20]
    got, out, err = command("--n", 12)
    assert got == status and out == "" and err.count("\n") == 1 and words in err
    assert "; 3 of 12 images are there, and the same command goes on from there" in err
    assert is_right(folder, 3) and len(server.paid) == 3 and len(server.faults) == 20
    assert [event["status"] for event in events(folder) if event["event"] == "refused"] == [int(answer)]
    server.faults = []
    assert command("--n", 12)[0] == 0
    assert is_right(folder, 12) and len(server.paid) == 12


def test_a_token_that_expires_while_waiting_stops_all_and_the_order_is_fetched_later(server, command, folder):
    server.answers = ["401"]
    status, _, err = command("--n", 1)
    assert status == 7 and "export REPLICATE_API_TOKEN=" in err and len(server.paid) == 1
    assert command("--n", 1)[0] == 0
    assert is_right(folder, 1) and len(server.paid) == 1


@pytest.mark.parametrize("answer", ["500", "503", "429", "reset", "html"])
def test_questions_that_cost_nothing_are_asked_again_but_not_for_ever(server, command, folder, answer):
    server.answers = [answer] * 3
    assert command("--n", 1)[0] == 0
    server.answers = [answer] * 40
    status, _, err = command("--n", 2)
    assert status == 7 and "Replicate does not answer, 6 times" in err and err.count("\n") == 1
    server.answers = []
    assert command("--n", 2)[0] == 0
    assert is_right(folder, 2) and len(server.paid) == 2


def test_an_image_whose_seeds_all_fail_is_reported_and_not_tried_again(server, command, folder):
    server.faults = ["failed"] * 5
    status, _, err = command("--n", 3, "--workers", 1)
    assert status == 7 and err.count("\n") == 1
    assert "1 of 3 images cannot be made, each of their 5 seeds gave a fault, the first: 000000: failed: NSFW" in err
    assert is_right(folder, 2) and len(server.paid) == 7
    assert command("--n", 3)[0] == 7 and len(server.paid) == 7


def test_small_credit_is_waited_for_and_no_worker_asks_early(server, command, folder):
    server.every = 1.0
    assert command("--n", 3, "--workers", 4)[0] == 0
    assert is_right(folder, 3) and server.early == 0 and counts(folder)["refused"] == 2


def test_a_rate_limit_of_an_hour_is_not_waited_for(server, command):
    server.faults = ["429 ~3600s"]
    status, _, err = command("--n", 1)
    assert status == 7 and "takes orders again in 3600 s" in err and err.count("\n") == 1
