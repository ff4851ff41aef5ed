"""The page and the endpoint as a user starts them: the script in its own process, on a free port of this machine."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120  # seconds, for a machine that does other things too


@contextlib.contextmanager
def served(script: str, health: str, log: Path, *words: str | Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of `scripts/<script>.py`, once `health` there answers, and its process; all it says goes to `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, ROOT / "scripts" / f"{script}.py", "--port", port, *words]
    with log.open("w") as said:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
        process = subprocess.Popen(list(map(str, command)), stdout=said, stderr=said, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(address + health, timeout=PATIENCE)
                break
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield address, process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
