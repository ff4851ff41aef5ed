"""CIFAKE brought by the script: from a server on this machine, from a zip, from a tree."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from servers.kaggle import small_archive

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "fetch_cifake.py"


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
