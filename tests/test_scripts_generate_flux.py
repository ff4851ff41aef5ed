"""scripts/generate_flux.py as its user meets it: bad input, settings that change, a full disk."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from servers.replicate import Replicate

from datasets import flux, ledger, photos
from datasets.flux import local
from datasets.ledger import Ledger

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "generate_flux.py"


@pytest.fixture
def server():
    with Replicate(tiny=True) as running:
        yield running


@pytest.fixture
def start(server, tmp_path):
    """start(*words, **environment) -> the script as a process of its own, in tmp_path."""

    def call(*words, before=(), **environment):
        service = {"REPLICATE_BASE_URL": server.url, "REPLICATE_API_TOKEN": "r8_x", "REPLICATE_POLL_INTERVAL": "0.02"}
        settings = {**os.environ, **service, **environment}
        command = [*before, sys.executable, SCRIPT, *map(str, words)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        settings = {name: value for name, value in settings.items() if value}
        return subprocess.Popen(command, cwd=tmp_path, env=settings, **pipes)

    return call


@pytest.fixture
def run(start):
    """run(*words, **environment) -> (exit status, stdout, stderr)."""

    def call(*words, **environment):
        process = start(*words, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return call


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "collections" / "flux"


def saved(folder):
    return [event for event in ledger.read(folder)[1] if event["event"] == "saved"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "--n is missing: how many images?"),
        (["--n", 0], "--n 0: expected a whole number from 1"),
        (["--n", 5, "--seed", -1], "--seed -1: expected a whole number of at least 0"),
        (["--n", 5, "--workers", 0], "--workers 0: expected a whole number from 1 to 32"),
        (["--n", 5, "--max-cost", "nan"], "--max-cost nan: expected an amount in dollars"),
        (["--n", 5, "--max-cost", "-1"], "--max-cost -1.0: expected an amount in dollars"),
        (["--n", 5, "--max-cost", "inf"], "--max-cost inf: expected an amount in dollars"),
        (["--n", 5, "--max-cost", "0"], "--max-cost 0: 5 images to order cost 0.015 dollars"),
        (["--n", 5, "--max-cost", "0.014"], "--max-cost 0.014: 5 images to order cost 0.015 dollars"),
        (["--n", 334], "334 for about 1.00 dollars, in about 4 min (56 min below 5 dollars of credit"),
        (["--n", 5, "--aspect-ratio", "16:10"], "--aspect-ratio 16:10: expected one of 1:1, 16:9"),
        (["--n", 5, "--megapixels", "2"], "--megapixels 2: expected one of 1, 0.25"),
        (["--n", 5, "--name", "../x"], "--name ../x: expected the name of a collection"),
        (["--n", 5, "--prompts", "nowhere.txt"], "--prompts nowhere.txt: no such file"),
        (["--n", 5, "--prompts", "empty.txt"], "empty.txt: holds no prompt"),
        (["--n", 5, "--prompts", "binary.txt"], "binary.txt: not a text file"),
        (["--n", 5, "--prompts", "long.txt"], "long.txt:1: 10,000 characters; accepted are 2,000"),
        (["--n", 5, "--prompts", "theme.txt"], "theme.txt: a theme needs at least 2 different modifiers, this has 1"),
        (["--match", "photos"], "data/collections/photos: no collection there"),
        (["--n", 5, "--name", "other"], "data/collections/other: a collection of photos; expected one of gen"),
    ],
)
def test_a_mistake_is_one_line_and_status_2_and_costs_nothing(server, tmp_path, monkeypatch, capsys, words, reason):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_x")
    monkeypatch.setenv("REPLICATE_BASE_URL", server.url)
    Ledger(tmp_path / "data" / "collections" / "other", kind="photos").close()
    texts = {"empty": b"\n", "binary": b"\x89PNG\xff", "long": b"x" * 10_000, "theme": b"base: a\nb\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_bytes(text)
    status, out, err = here(monkeypatch, capsys, *words)
    assert (status, out) == (2, "") and err.startswith("generate_flux: ") and err.count("\n") == 1
    assert reason in err and server.requests == 0 and not (tmp_path / "data" / "collections" / "flux").exists()


def here(monkeypatch, capsys, *words):
    """The script in this process."""
    from scripts import generate_flux

    monkeypatch.setattr(sys, "argv", ["generate_flux.py", *map(str, words)])
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        generate_flux.main()
    signal.signal(signal.SIGTERM, before)
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"REPLICATE_API_TOKEN": ""}, "no token for Replicate: export REPLICATE_API_TOKEN="),
        ({"REPLICATE_API_TOKEN": "r8_se\ncret"}, "REPLICATE_API_TOKEN holds a space or a special character"),
        ({"REPLICATE_BASE_URL": "http://example.org"}, "REPLICATE_BASE_URL=http://example.org: expected an address"),
    ],
)
def test_a_token_that_is_missing_or_would_go_astray_is_noticed_before_anything(
    server, run, folder, environment, reason
):
    status, out, err = run("--n", 3, **environment)
    assert (status, out, err.count("\n")) == (2, "", 1) and reason in err
    assert "cret" not in err and server.requests == 0 and not list(folder.glob("images/*"))


def test_an_expired_token_is_one_line_and_status_7(server, run, folder):
    status, out, err = run("--n", 3, REPLICATE_API_TOKEN="expired")
    assert (status, out, err.count("\n")) == (7, "", 1) and "export REPLICATE_API_TOKEN=" in err
    assert not server.paid and saved(folder) == []


def test_a_dry_run_shows_prompts_count_price_and_time_and_needs_nothing(server, run, tmp_path):
    status, out, err = run("--n", 1000, "--dry-run", REPLICATE_API_TOKEN="")
    assert (status, err) == (0, "") and server.requests == 0 and list(tmp_path.iterdir()) == []
    assert out.count("  woman presenting on stage, ") == 10 and "and 990 more" in out
    assert "1,000 for about 3.00 dollars, in about 11 min (167 min below" in out


def test_the_same_command_again_and_a_larger_n_go_on_with_one_list(server, run, folder, tmp_path):
    assert run("--n", 2)[0] == 0
    first = {event["key"]: event["sha256"] for event in saved(folder)}
    status, out, _ = run("--n", 4, "--max-cost", 0.012)
    assert status == 0 and "4 images are in data/collections/flux/images, 2 of them new" in out
    assert out.splitlines()[-1] == "next: python scripts/build_dataset.py --name flux --fake flux --real photos"
    assert run("--n", 4, "--max-cost", 0)[0] == run("--n", 3)[0] == 0 and len(server.paid) == 4
    made = {event["key"]: event["sha256"] for event in saved(folder)}
    assert first.items() <= made.items() and len(set(made.values())) == 4
    assert run("--n", 4, "--name", "again")[0] == 0
    assert {event["key"]: event["sha256"] for event in saved(folder.with_name("again"))} == made


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--prompts", "mine.txt"], "has the prompt 'woman presenting on stage, wide angle view"),
        (["--seed", 1], "image 000000 has the "),
        (["--aspect-ratio", "1:1"], "image 000000 has the aspect_ratio '16:9' and this call asks for '1:1'"),
    ],
)
def test_an_image_that_would_be_another_one_now_is_not_mixed_in(server, run, folder, tmp_path, words, reason):
    (tmp_path / "mine.txt").write_text("a dog")
    server.faults = ["", "", "402"]
    assert run("--n", 3, "--workers", 1)[0] == 7
    before = (folder / ledger.FILE).read_bytes()
    for n in (1, 3):
        status, out, err = run("--n", n, *words)
        assert (status, out, err.count("\n")) == (2, "", 1) and reason in err and "give another --name" in err
    assert (folder / ledger.FILE).read_bytes() == before and len(server.paid) == 2


def test_an_order_under_way_is_not_forgotten_for_another_one(server, run):
    server.faults = ["", "402"]
    server.answers = ["401"]
    assert run("--n", 1)[0] == 7
    status, _, err = run("--n", 1, "--aspect-ratio", "1:1")
    assert status == 2 and "image 000000 has the aspect_ratio '16:9'" in err and len(server.paid) == 1


def test_one_image_for_each_photograph_is_tied_to_its_page(server, monkeypatch, capsys, tmp_path, folder):
    for name, value in {"BASE_URL": server.url, "API_TOKEN": "r8_x", "POLL_INTERVAL": "0.01"}.items():
        monkeypatch.setenv(f"REPLICATE_{name}", value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(photos, "titles", lambda _: [("0a" * 6, "A speaker in Oslo"), ("0b" * 6, "Keynote")])
    assert here(monkeypatch, capsys, "--match", "photos")[0] == 0
    assert [row.path for row, _ in flux.rows(folder)] == ["images/0a0a0a0a0a0a.png", "images/0b0b0b0b0b0b.png"]
    assert [row.ties.split()[1] for row, _ in flux.rows(folder)] == ["page:0a0a0a0a0a0a", "page:0b0b0b0b0b0b"]
    assert {order.input["prompt"] for order in server.paid.values()} == {"A speaker in Oslo", "Keynote"}
    status, _, err = here(monkeypatch, capsys, "--match", "photos", "--n", 5)
    assert status == 2 and "data/collections/photos holds 2 photographs, asked for are 5" in err
    (folder / "images" / "0a0a0a0a0a0a.png").unlink()
    with pytest.raises(ValueError, match=r"0a0a0a0a0a0a\.png: missing, though the ledger says it was saved"):
        flux.rows(folder)


def test_another_generator_is_an_object_with_one_function_and_needs_no_token(monkeypatch, capsys, tmp_path, folder):
    class Drawer:
        def __init__(self, *, width, height):
            self.record = {"generator": "drawer", "width": width, "height": height, "versions": {"x": tmp_path.name}}

        def generate(self, prompt, seed):
            out = io.BytesIO()
            Image.new("RGB", (self.record["width"], self.record["height"]), (seed % 256, 0, 0)).save(out, "PNG")
            return out.getvalue()

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    monkeypatch.setattr(local, "DiffusersGenerator", Drawer)
    words = ["--n", 3, "--generator", "diffusers", "--megapixels", "0.25", "--max-cost", 0]
    assert here(monkeypatch, capsys, *words)[0] == 0
    with Image.open(folder / "images" / "000002.png") as image:
        assert len(saved(folder)) == 3 and image.size == (672, 384)
    status, _, err = here(monkeypatch, capsys, "--n", 3, "--generator", "replicate", "--dry-run")
    assert status == 2 and "has the generator 'drawer' and this call asks for 'replicate'" in err


def test_two_at_once_are_told_apart(server, run, folder):
    with Ledger(folder, kind="flux"):
        status, out, err = run("--n", 3)
    assert (status, out, err.count("\n")) == (3, "", 1) and "another process" in err and not server.paid


def test_a_full_disk_is_status_4_and_the_ledger_stays_readable(server, start, tmp_path):
    server.tiny = False
    keep = 'mount -t tmpfs -o size=600k none data && "$@"; status=$?; rm -rf kept; cp -r data kept; exit $status'
    small_disk = ["unshare", "-Urm", "sh", "-c", keep, "sh"]
    (tmp_path / "data").mkdir()
    if subprocess.run([*small_disk, "true"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    process = start("--n", 9, "--megapixels", "0.25", before=small_disk)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4 and err.count("\n") == 1 and "space" in err
    kept = tmp_path / "kept" / "collections" / "flux"
    assert 1 <= len(saved(kept)) == len(flux.rows(kept)) == len(list((kept / "images").iterdir()))


def test_help_teaches_by_example_at_once():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "python scripts/generate_flux.py --n 1000 --max-cost 5" in done.stdout
    timed = subprocess.run([sys.executable, "-X", "importtime", SCRIPT, "--help"], capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in timed.stderr.splitlines()}
    assert "argparse" in loaded and not loaded & {"replicate", "httpx", "requests", "torch", "numpy", "PIL", "tqdm"}
