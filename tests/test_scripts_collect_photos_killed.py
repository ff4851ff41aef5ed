"""The command as a process of its own: killed, out of space, and against the servers a developer starts."""

import hashlib
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from servers.commons import Commons
from servers.photo_host import ODD_FILES, good_files
from test_scripts_collect_photos import SCRIPT, WORDS, of_kind, state


def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_collection(tmp_path):
    files = [*good_files(10), *ODD_FILES[:12], *good_files(10, "A conference speaker")]
    delays = random.Random(4)
    with Commons(files) as server:
        command = [sys.executable, str(SCRIPT), *WORDS, "--n", "18", "--api", server.api, "--data-root"]
        subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
        kills, folder = 0, tmp_path / "killed" / "collections" / "photos"
        asked = len(server.pictures_asked)
        while True:
            wanted, reached = threading.Semaphore(delays.randrange(4)), threading.Event()
            server.on_picture = lambda wanted=wanted, reached=reached: wanted.acquire(blocking=False) or reached.set()
            process = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while not reached.wait(0.02) and process.poll() is None:
                pass
            reached.wait(delays.random() / 20)
            process.kill() if kills < 10 else None
            process.communicate()
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            kills += 1
            if (folder / "ledger.jsonl").exists():
                for event in of_kind(folder, "saved"):  # what the ledger says is true, whenever it was stopped
                    assert hashlib.sha256((folder / event["file"]).read_bytes()).hexdigest() == event["sha256"]
        again = len(server.pictures_asked) - asked
    assert kills >= 8
    assert state(folder) == state(tmp_path / "whole" / "collections" / "photos")
    assert again <= asked + 2 * kills  # only what was on its way is brought a second time


def test_a_full_disk_is_status_4(tmp_path):
    small_disk = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=400k none . && cd "$PWD" && exec "$@"', "sh"]
    try:
        subprocess.run([*small_disk, "true"], cwd=tmp_path, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here")
    with Commons(good_files(12)) as server:
        command = [*small_disk, sys.executable, str(SCRIPT), *WORDS, "--api", server.api]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 4 and done.stderr.count("\n") == 1 and "space" in done.stderr


def test_a_limit_on_the_size_of_files_is_status_4_and_names_the_file(tmp_path):
    with Commons(good_files(1)) as server:
        limited = ["sh", "-c", 'ulimit -f 20 && exec "$@"', "sh", sys.executable, str(SCRIPT)]
        command = [*limited, *WORDS, "--api", server.api, "--data-root", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4 and done.stderr.count("\n") == 1
    folder = tmp_path / "collections" / "photos" / "images"
    assert done.stderr.startswith(f"collect_photos: {folder}/") and done.stderr.endswith(".jpg: File too large\n")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("server", ["commons", "openverse"])
def test_the_servers_start_for_a_trial_and_say_how_to_use_them(server):
    place = Path(__file__).parent / "servers" / f"{server}.py"
    with subprocess.Popen([sys.executable, place, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        first, second = process.stdout.readline(), process.stdout.readline()
        process.terminate()
    assert first.startswith("listening on http://127.0.0.1:") and "--api http://127.0.0.1:" in second
    assert second.startswith("python scripts/collect_photos.py ")
