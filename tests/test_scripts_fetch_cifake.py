"""The download is tried against a server on this machine that speaks as Kaggle's does, and misbehaves on demand."""

import base64
import fcntl
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datasets.fetch import DownloadBusy, DownloadError, download
from datasets.manifest import DataError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "fetch_cifake.py"
FOLDERS = [f"{split}/{label}" for split in ("train", "test") for label in ("REAL", "FAKE")]


def small_archive() -> bytes:
    """300 kB of noise in CIFAKE's layout."""
    out, noise = io.BytesIO(), random.Random(0)
    with zipfile.ZipFile(out, "w") as archive:
        for folder in FOLDERS:
            archive.writestr(zipfile.ZipInfo(f"{folder}/0000.jpg"), noise.randbytes(75_000))
    return out.getvalue()


class Kaggle(ThreadingHTTPServer):
    """/api leads to /storage, which gives `data`; faults: what goes wrong with its coming answers, in order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = small_archive()
        self.faults: list[str] = []
        self.asked: list[str] = []  # the Range of each request to /storage
        self.stalled, self.go_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Kaggle

    def do_GET(self) -> None:
        if self.path.startswith("/api"):
            return self.answer(302, {"Location": "/storage?signature=1"})
        data = self.server.data
        asked = self.headers.get("Range", "")
        self.server.asked.append(asked)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        md5 = base64.b64encode(hashlib.md5(data + (b"!" if fault == "wrong md5" else b"")).digest()).decode()
        etag = f"W/{etag}" if fault == "weak" else etag
        headers = {"ETag": etag, "x-goog-hash": f"crc32c=AAAAAA==,md5={md5}", "Content-Type": "application/zip"}
        if fault.isdecimal():
            return self.answer(int(fault), {"Retry-After": "0"}, b"<html>")
        if fault == "page":
            return self.answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>log in</html>")
        if fault == "to http elsewhere":
            return self.answer(302, {"Location": "http://example.org/archive.zip"})
        if fault == "round in circles":
            return self.answer(302, {"Location": "/api"})
        valid = self.headers.get("If-Range") == etag or fault == "ignores If-Range"
        if asked and valid and fault != "ignores Range":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
            stop = start + 1000 if fault == "a little" else len(data)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            return self.answer(206, headers, data[start:stop], fault)
        return self.answer(200, headers, data, "cut" if fault == "weak" else fault)

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"", fault: str = "") -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if fault in ("cut", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            if fault == "stall":
                self.wfile.flush()
                self.server.stalled.set()
                self.server.go_on.wait(30)
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def kaggle(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Kaggle() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "cifake" / "archive.zip"


def fetch(kaggle: Kaggle, target: Path, *faults: str, attempts: int = 3) -> None:
    kaggle.faults[:] = faults
    download(kaggle.url, target, attempts=attempts, timeout=20, backoff=0)


def only_the_file(target: Path, data: bytes) -> bool:
    return target.read_bytes() == data and list(target.parent.iterdir()) == [target]


def test_a_file_comes_whole_and_a_second_call_asks_for_nothing(kaggle, target):
    fetch(kaggle, target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == [""]
    fetch(kaggle, target)
    assert kaggle.asked == [""]


def test_after_a_cut_only_the_rest_is_asked_for(kaggle, target):
    fetch(kaggle, target, "cut", "cut")
    assert only_the_file(target, kaggle.data)
    starts = [int(asked[6:-1]) for asked in kaggle.asked[1:]]
    assert kaggle.asked[0] == "" and 0 < starts[0] < starts[1] < len(kaggle.data)


def test_a_server_that_gives_the_rest_in_pieces_is_asked_on(kaggle, target):
    fetch(kaggle, target, "cut", "a little")
    assert only_the_file(target, kaggle.data) and len(kaggle.asked) == 3


def test_a_weak_etag_does_not_vouch_for_what_came(kaggle, target):
    fetch(kaggle, target, "weak")
    assert only_the_file(target, kaggle.data) and kaggle.asked == ["", ""]


def test_what_came_from_another_address_is_not_used(kaggle, target):
    with pytest.raises(DownloadError):
        fetch(kaggle, target, "cut", attempts=1)
    download(f"{kaggle.url}/mirror", target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == ["", ""]


def test_the_next_call_goes_on_where_the_last_gave_up(kaggle, target):
    with pytest.raises(DownloadError, match="bytes are kept: run the same command again to resume"):
        fetch(kaggle, target, "cut", attempts=1)
    kept = target.with_name("archive.zip.part").stat().st_size
    assert not target.exists() and kept > 100_000
    fetch(kaggle, target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == ["", f"bytes={kept}-"]


@pytest.mark.parametrize("fault", ["ignores Range", "416"])
def test_a_server_that_cannot_resume_sends_all_again(kaggle, target, fault):
    fetch(kaggle, target, "cut", fault)
    assert only_the_file(target, kaggle.data)


@pytest.mark.parametrize("fault", ["", "ignores If-Range"])
def test_a_file_that_changed_between_two_calls_is_begun_anew(kaggle, target, fault):
    with pytest.raises(DownloadError):
        fetch(kaggle, target, "cut", attempts=1)
    kaggle.data = kaggle.data[::-1]
    fetch(kaggle, target, fault)
    assert only_the_file(target, kaggle.data)


def test_a_part_of_unknown_origin_is_not_used(kaggle, target):
    target.parent.mkdir(parents=True)
    target.with_name("archive.zip.part").write_bytes(b"something else")
    fetch(kaggle, target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == [""]


def test_a_part_that_is_already_whole_is_only_verified(kaggle, target):
    with pytest.raises(DownloadError):
        fetch(kaggle, target, "cut", attempts=1)
    target.with_name("archive.zip.part").write_bytes(kaggle.data)
    fetch(kaggle, target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == [""]


@pytest.mark.parametrize("fault", ["500", "503", "429"])
def test_a_busy_server_is_asked_again_but_not_for_ever(kaggle, target, fault):
    fetch(kaggle, target, fault, fault)
    assert only_the_file(target, kaggle.data)
    target.unlink()
    with pytest.raises(DownloadError, match=f"answers {fault}, 3 times"):
        fetch(kaggle, target, *[fault] * 3)
    assert list(target.parent.iterdir()) == []


def test_retry_after_is_obeyed_up_to_a_minute(kaggle, target, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("datasets.fetch.time.sleep", waits.append)
    answer = Handler.answer
    asked = iter(["7", "86400", "soon"])
    monkeypatch.setattr(
        Handler,
        "answer",
        lambda self, status, headers, *rest: answer(
            self, status, headers | ({"Retry-After": next(asked)} if status == 429 else {}), *rest
        ),
    )
    kaggle.faults[:] = ["429"] * 3
    download(kaggle.url, target, attempts=4, timeout=20, backoff=0.5)
    assert waits == [7, 60, 2]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404", "answers 404"),
        ("403", "answers 403"),
        ("page", "a web page came"),
        ("to http elsewhere", "without https"),
        ("wrong md5", "was removed"),
    ],
)
def test_what_no_second_attempt_would_mend_ends_at_once_and_leaves_nothing(kaggle, target, fault, reason):
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch(kaggle, target, fault)
    assert "\n" not in str(caught.value)
    assert kaggle.asked == [""] and list(target.parent.iterdir()) == []


def test_redirects_have_an_end(kaggle, target):
    with pytest.raises(DownloadError, match="redirected more than 5 times"):
        fetch(kaggle, target, *["round in circles"] * 9)


@pytest.mark.parametrize(
    "url", ["http://example.org/a.zip", "ftp://127.0.0.1/a", "file:///etc/passwd", "https://", "a.zip"]
)
def test_an_address_without_https_is_refused(target, url):
    with pytest.raises(DataError, match="expected an address that begins with https://"):
        download(url, target)
    assert not target.parent.exists()


def test_two_at_once_are_told_apart(kaggle, target):
    target.parent.mkdir(parents=True)
    with target.with_name("archive.zip.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadBusy, match="another process"):
            fetch(kaggle, target)


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], cwd=folder, capture_output=True, text=True)


def test_the_command_downloads_notes_and_says_what_comes_next(kaggle, tmp_path):
    done = run("--url", kaggle.url, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    home = tmp_path / "data" / "cifake"
    assert sorted(file.name for file in home.iterdir()) == ["archive.zip", "origin.json"]
    assert json.loads((home / "origin.json").read_text()) == {"archive": "archive.zip"}
    assert "train/FAKE: 1 images, 49,999 fewer than the official 50,000" in done.stdout
    assert "python -m experiments.run data=cifake aug=" in done.stdout.splitlines()[-1]
    again = run(folder=tmp_path)  # no network is needed any more
    assert (again.returncode, again.stdout) == (0, done.stdout) and len(kaggle.asked) == 1


def test_an_archive_or_a_tree_is_used_where_it_lies(tmp_path):
    (tmp_path / "my.zip").write_bytes(small_archive())
    with zipfile.ZipFile(tmp_path / "my.zip") as archive:
        archive.extractall(tmp_path / "tree")
    for option, place in (("archive", "my.zip"), ("root", "tree")):
        done = run(f"--{option}", place, "--data-root", "kept", folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "") and "data_root=kept" in done.stdout
        origin = json.loads((tmp_path / "kept" / "cifake" / "origin.json").read_text())
        assert origin == {option: str(tmp_path / place)}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept", "my.zip", "tree"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--archive", "missing.zip"], "no such file"),
        (["--archive", "cut.zip"], "cut off or broken"),
        (["--archive", "outside.zip"], "leads elsewhere"),
        (["--root", "missing"], "no such folder"),
        (["--root", "faek"], "faek: has pictures in train/FAEK (1), train/REAL (1)"),
        (["--url", "http://example.org/a.zip"], "https://"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(tmp_path, arguments, reason):
    (tmp_path / "cut.zip").write_bytes(small_archive()[:-30])
    with zipfile.ZipFile(tmp_path / "outside.zip", "w") as archive:
        archive.writestr("../x.jpg", b"x")
    for label in ("REAL", "FAEK"):
        (tmp_path / "faek" / "train" / label).mkdir(parents=True)
        (tmp_path / "faek" / "train" / label / "0000.jpg").touch()
    before = sorted(tmp_path.rglob("*"))
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("fetch_cifake: ") and reason in done.stderr and done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_server_without_the_file_is_status_7(kaggle, tmp_path):
    kaggle.faults[:] = ["404"]
    done = run("--url", kaggle.url, folder=tmp_path)
    assert done.returncode == 7 and done.stderr.count("\n") == 1
    assert "404" in done.stderr and "--archive FILE" in done.stderr


def test_a_full_disk_is_status_4(kaggle, tmp_path):
    small_disk = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=128k none . && cd "$PWD" && exec "$@"', "sh"]
    try:
        subprocess.run([*small_disk, "true"], cwd=tmp_path, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here")
    command = [*small_disk, sys.executable, SCRIPT, "--url", kaggle.url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 4 and done.stderr.count("\n") == 1 and "space" in done.stderr


def test_an_interrupted_command_keeps_what_came_and_resumes(kaggle, tmp_path):
    kaggle.faults[:] = ["stall"]
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and so would its child
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--url", kaggle.url], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert kaggle.stalled.wait(30)
    part = tmp_path / "data" / "cifake" / "archive.zip.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size >= 65536):
        pass
    process.send_signal(signal.SIGINT)
    _, text = process.communicate()
    assert process.returncode == 130 and text.count("\n") == 1 and "Traceback" not in text
    kaggle.go_on.set()
    assert run("--url", kaggle.url, folder=tmp_path).returncode == 0
    assert (part.parent / "archive.zip").read_bytes() == kaggle.data
    assert kaggle.asked[1].startswith("bytes=")


def test_help_teaches_by_example_at_once(tmp_path):
    done = run("--help", folder=tmp_path)
    assert done.returncode == 0 and "python scripts/fetch_cifake.py --archive" in done.stdout
    timed = subprocess.run([sys.executable, "-X", "importtime", SCRIPT, "--help"], capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in timed.stderr.splitlines()}
    assert "argparse" in loaded and not loaded & {"requests", "torch", "numpy", "PIL", "tqdm"}


def test_the_default_address_is_the_public_one_of_the_data_set():
    shown = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    assert (
        "https://www.kaggle.com/api/v1/datasets/download/birdy654/cifake-real-and-ai-generated-synthetic-images"
        in shown
    )
