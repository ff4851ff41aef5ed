"""The command is tried against services on this machine: what its user sees, what the ledger holds, what is on disk."""

import csv
import hashlib
import io
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from servers.commons import Commons
from servers.openverse import Openverse
from servers.photo_host import ODD_FILES, File, good_files, jpeg

from datasets import ledger, photos, web
from datasets.photos import collecting
from scripts import collect_photos

SCRIPT = Path(collect_photos.__file__)
WORDS = ["--query", "conference speaker", "--contact", "you@example.org"]
BY_DESCRIPTION = {
    "not yet public before 2022-01-01": 2,
    "licence CC BY-NC": 1,
    "licence CC BY-ND": 1,
    "licence GFDL 1.2": 1,
    "no licence named": 1,
    "smaller than 600 px": 1,
    "described as AI-generated": 1,
    "not a photograph: image/svg+xml": 1,
}
BY_WHAT_CAME = {
    "cannot be decoded whole": 2,
    "not an image: image/svg+xml": 1,
    "redirects to a private address": 1,
    "larger than 50 MB": 1,
    "opted out (noai)": 1,
    "not an image: text/html": 1,
    "404": 1,
    "the same file as another": 1,
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    monkeypatch.delenv("HUEPRINT_CONTACT", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must be left alone, as must what a proxy is spared
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(collecting, "BYTES_A_SECOND", 1e12)  # a server on this machine needs no mercy


@pytest.fixture
def waits(monkeypatch):
    """The pauses that were made, in seconds; none of them is really made."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


@pytest.fixture
def collect(monkeypatch, capsys, tmp_path):
    """collect(*words) -> (exit status, lines of stdout, stderr) of the script in this process, under tmp_path/data."""

    def call(*words: object) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["collect_photos.py", *map(str, words), "--data-root", str(tmp_path / "data")])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            collect_photos.main()
        signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        return ended.value.code, out.splitlines(), err

    return call


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "collections" / "photos"


def table(lines: list[str]) -> dict[str, int]:
    """The closing table as reason -> count; the lines behind it are left out."""
    rows = [line.rsplit(maxsplit=1) for line in lines if line.startswith(("taken", "refused", "could not be reached "))]
    return {text.strip().removeprefix("refused: "): int(count.replace(",", "")) for text, count in rows}


def state(folder: Path) -> tuple:
    """What a later step sees of a collection: its rows, its files' bytes, its attribution."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "images").iterdir()}
    return [row for row, _ in photos.rows(folder)], files, (folder / "ATTRIBUTION.csv").read_text()


def of_kind(folder: Path, kind: str) -> list[dict]:
    return [event for event in ledger.read(folder)[1] if event["event"] == kind]


@pytest.fixture
def most_at_once(monkeypatch):
    """most_at_once() -> how many pictures were on their way together at most."""
    fetch, guard, under_way, seen = web.fetch_picture, threading.Lock(), [0], [0]

    def counted(*words, **options):
        with guard:
            under_way[0] += 1
            seen.append(under_way[0])
        try:
            return fetch(*words, **options)
        finally:
            with guard:
                under_way[0] -= 1

    monkeypatch.setattr(web, "fetch_picture", counted)
    return lambda: max(seen)


def test_photographs_are_collected_as_they_came_with_licence_and_author(collect, folder, most_at_once):
    with Commons([*good_files(20), *ODD_FILES, *good_files(5, "A conference speaker")]) as server:
        status, lines, err = collect(*WORDS, "--n", 22, "--api", server.api)
        assert (status, err) == (0, "") and most_at_once() == 2
        assert all(agent.startswith("Hueprint/0.1.0 (you@example.org) python-requests/") for agent in server.agents)
        pictures = {path.split("/")[-1].split("px-")[-1]: path for path in server.pictures_asked}
    assert table(lines) == {"taken": 22} | BY_DESCRIPTION | BY_WHAT_CAME
    assert lines[-1].startswith(f"{folder}: 22 photographs") and "generate_flux.py --match photos" in lines[-1]
    with (folder / "ATTRIBUTION.csv").open(newline="") as handle:
        attribution = {line["file"]: line for line in csv.DictReader(handle)}
    rows = photos.rows(folder)
    assert [row.path for row, _ in rows] == list(attribution) and len(rows) == 22
    assert not [agent for agent in server.agents if "\n" in agent]
    for event in of_kind(folder, "saved"):
        data = (folder / event["file"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (event["sha256"], event["bytes"])
        assert event["file"] == f"images/{hashlib.sha256(event['page'].encode()).hexdigest()[:12]}.jpg"
        assert attribution[event["file"]] == {key: event[key] for key in photos.ATTRIBUTION}
        assert event["url"].endswith(pictures[event["page"].rpartition("File:")[2]]) and event["uploaded"] < "2022"
    original = next(event for event in of_kind(folder, "saved") if event["title"] == "Conference speaker 006")
    file = good_files(7)[6]
    assert original["author"] == "Béla & Söhne" and original["license"] == "CC BY 3.0"
    small = jpeg(file.name, 1280, 640, 87, False, False)
    assert (folder / original["file"]).read_bytes() == small  # untouched


def test_the_same_command_again_asks_for_nothing_and_says_the_same(collect, folder):
    with Commons([*good_files(6), *ODD_FILES]) as server:
        first = collect(*WORDS, "--n", 5, "--api", server.api)
        before, asked = state(folder), (len(server.api_asked), len(server.pictures_asked))
        assert collect(*WORDS, "--n", 5, "--api", server.api) == first and state(folder) == before
        assert (len(server.api_asked), len(server.pictures_asked)) == asked and asked == (1, 5)
        status, lines, _ = collect(*WORDS, "--n", 9, "--api", server.api)
        assert status == 0 and table(lines)["taken"] == 6
        assert lines[-2] == "only 6 of 9: Wikimedia Commons has no more that fit; other words may find others"
        everything = len(server.pictures_asked)
        assert collect(*WORDS, "--n", 9, "--api", server.api)[1] == lines
        assert len(server.pictures_asked) == everything  # what was refused for what came is not brought again


def test_another_search_adds_to_the_collection_and_other_rules_look_again(collect, folder):
    files = [*good_files(4), File("Small speaker.jpg", width=1000, height=500), *good_files(2, "Other speaker")]
    with Openverse(files) as server:
        words = [*WORDS[2:], "--source", "openverse", "--api", server.api, "--query"]
        # Openverse does not always know the size, so that the small one is found out when it is here
        server.sizes = False
        assert table(collect(*words, "speaker", "--n", 3)[1]) == {"taken": 3}
        again = "in the collection already, from another search"
        status, lines, _ = collect(*words, "conference", "--n", 9)
        assert status == 0 and table(lines) == {"taken": 3, "smaller than 600 px": 1, again: 3}
        assert lines[-1].startswith(f"{folder}: 6 photographs")
        assert len(server.pictures_asked) == 7
        assert table(collect(*words, "conference", "--min-side", 400)[1]) == {"taken": 4, again: 3}
        assert len(server.pictures_asked) == 8
    assert Counter(event["query"] for event in of_kind(folder, "saved")) == {"speaker": 3, "conference": 4}


def test_a_page_that_the_search_gives_twice_is_looked_at_once(collect, folder):
    with Commons([*good_files(3), *good_files(3)]) as server:
        assert table(collect(*WORDS, "--api", server.api)[1]) == {"taken": 3} and len(server.pictures_asked) == 3


def test_what_a_killed_process_left_half_written_is_swept_away(collect, folder):
    (folder / "images").mkdir(parents=True)
    (folder / "images" / ".0123456789ab.jpg.x1y2z3.part").write_bytes(b"half")
    with Commons(good_files(1)) as server:
        assert collect(*WORDS, "--api", server.api)[0] == 0
    assert [path.suffix for path in (folder / "images").iterdir()] == [".jpg"]


def test_a_photograph_that_was_removed_is_brought_again(collect, folder):
    with Commons(good_files(4)) as server:
        collect(*WORDS, "--n", 3, "--api", server.api)
        before = state(folder)
        (folder / before[0][1].path).unlink()
        assert table(collect(*WORDS, "--n", 3, "--api", server.api)[1]) == {"taken": 3}
        assert state(folder) == before and len(server.pictures_asked) == 4


def test_a_later_day_is_allowed_with_a_word_of_warning(collect, monkeypatch):
    monkeypatch.setenv("HUEPRINT_CONTACT", "you@example.org")
    with Commons(ODD_FILES[:2]) as server:
        status, lines, err = collect(*WORDS[:2], "--before", "2025-01-01", "--api", server.api)
    assert status == 0 and table(lines) == {"taken": 2} and "may be generated" in err and err.count("\n") == 1


def test_openverse_gives_pictures_of_known_hosts_only(collect, folder):
    far = File("Conference speaker far.jpg", fault="elsewhere")
    undated = File("Conference speaker undated.jpg", uploaded="")
    with Openverse([*good_files(4), far, undated, *ODD_FILES[:-1]]) as server:
        status, lines, err = collect(*WORDS, "--source", "openverse", "--n", 6, "--api", server.api)
    assert (status, err) == (0, "")
    assert table(lines) == {
        "taken": 4,
        "not yet public before 2022-01-01": 2,
        "smaller than 600 px": 1,
        "described as AI-generated": 1,
        "not a photograph: image/svg": 1,
        "no date": 1,
        "a host that is not on the list": 1,
        **{reason: count for reason, count in BY_WHAT_CAME.items() if reason != "the same file as another"},
    }
    assert {event["source"] for event in of_kind(folder, "saved")} == {"openverse"}


def test_a_folder_is_copied_with_the_licences_that_are_known(collect, folder, tmp_path):
    own = tmp_path / "own"
    (own / "talks").mkdir(parents=True)
    (own / "talks" / "Talk_07.jpg").write_bytes(jpeg("a", 700, 600, 90, True, False))
    (own / "b.JPG").write_bytes(jpeg("b", 640, 640, 90, True, True))
    shutil.copy(own / "b.JPG", own / "copy of b.jpg")
    Image.new("L", (800, 800)).save(own / "grey.png")
    (own / "nc.jpg").write_bytes(jpeg("c", 640, 640, 90, True, False))
    (own / "half.jpg").write_bytes(jpeg("d", 640, 640, 90, True, False)[:5000])
    (own / "notes.txt").write_text("no picture")
    out = io.StringIO("file,license,author,page,title\ntalks/Talk_07.jpg,CC BY 4.0,Ada,https://example.org/7,\n")
    (own / "licenses.csv").write_text(out.getvalue() + "nc.jpg,CC BY-NC 4.0,,,\n")
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    status, lines, err = collect("--from-dir", own, "--licenses", own / "licenses.csv")
    assert (status, err) == (0, "")
    counts = {"taken": 3, "cannot be decoded whole": 2, "the same file as another": 1, "licence CC BY-NC": 1}
    assert table(lines) == counts
    assert "2 of the taken have no licence: name it with --licenses before you pass them on" in lines
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before
    saved = {event["origin"]: event for event in of_kind(folder, "saved")}
    talk = saved["talks/Talk_07.jpg"]
    assert (talk["title"], talk["license"], talk["author"]) == ("Talk 07", "CC BY 4.0", "Ada")
    assert {Path(event["file"]).suffix for event in saved.values()} == {".jpg", ".png"}
    assert all(event["key"] == event["sha256"][:12] for event in saved.values())
    first = state(folder)
    assert collect("--from-dir", own, "--licenses", own / "licenses.csv")[1] == lines and state(folder) == first


def test_help_teaches_by_example_at_once():
    timed = subprocess.run([sys.executable, "-X", "importtime", SCRIPT, "--help"], capture_output=True, text=True)
    assert timed.returncode == 0 and "--from-dir pictures" in timed.stdout and "--before does not apply" in timed.stdout
    loaded = {line.rpartition("|")[2].strip() for line in timed.stderr.splitlines()}
    assert "argparse" in loaded and not loaded & {"requests", "torch", "numpy", "PIL", "tqdm"}
