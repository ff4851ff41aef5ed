"""Shared by all tests: one thread, verbs run in this process the way the shell runs them, TensorBoard and a browser."""

import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ADDRESS = r"http://\S+:\d+/"
PATIENCE = 60  # seconds, for a machine that does other things too
SMALL = [
    "data.train=64",
    "data.val=32",
    "data.test=32",
    "train.epochs=2",
    "train.batch_size=16",
    "threads=1",
    "device=cpu",
]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A data root whose small drawn data set is packed once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def called(monkeypatch, capsys):
    """called(name, main, *words) -> (exit status, stdout, stderr) of `python -m name words`, in this process."""
    import signal

    from experiments import shell

    def call(name, main, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            shell.main(name, main)
        signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


@pytest.fixture
def verb(called):
    """verb(*words) -> (exit status, stdout, stderr) of `python -m experiments.run words`, in this process."""
    from experiments import run

    return lambda *words: called("experiments.run", run._main, *words)


@pytest.fixture
def train(verb, small_data, tmp_path):
    """train(*overrides) -> (exit status, stdout, stderr) of a small run under tmp_path/runs."""

    def call(*words):
        drawn = not any(word.startswith("data=") for word in words)
        small = [word for word in SMALL if drawn or not word.startswith("data.")]  # sizes are the drawn data's alone
        given = {word.split("=")[0] for word in words}
        roots = [f"data_root={small_data}", f"runs_root={tmp_path / 'runs'}"]
        return verb(*words, *(word for word in (*small, *roots) if word.split("=")[0] not in given))

    return call


@pytest.fixture
def kaggle(monkeypatch):
    """A server on this machine that gives a small CIFAKE, see servers/kaggle.py."""
    from servers.kaggle import Kaggle

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Kaggle() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def address(board_folder) -> Iterator[str]:
    """Of TensorBoard over the folder that the test module's own fixture `board_folder` gives."""
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(board_folder),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in server.stderr:
            lines.put(line)
        lines.put("")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        said = line = lines.get(timeout=PATIENCE)
        while line and not re.search(ADDRESS, said):
            said += (line := lines.get(timeout=PATIENCE))
        found = re.search(ADDRESS, said)
        assert found, f"TensorBoard ended without an address:\n{said}"
        yield found[0]
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        reader.join()
        server.stderr.close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser on PATH; any of {', '.join(BROWSERS)} would do")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """A page that fails its test when the scripts in it fail."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(PATIENCE * 1000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert not errors
