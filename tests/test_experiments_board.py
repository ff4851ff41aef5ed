"""The page as a reader sees it: TensorBoard served over a folder of runs, opened in a real browser."""

import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import SMALL

ROOT = Path(__file__).resolve().parents[1]
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
CONDITIONS = ("none", "saturate_x8")
SEEDS = range(3)
PATIENCE = 60  # seconds, for a machine that does other things too


@pytest.fixture(scope="module")
def board_folder(tmp_path_factory, small_data) -> Path:
    """Runs of two conditions with three seeds each, made by the verb that users run."""
    root = tmp_path_factory.mktemp("board") / "runs"
    words = [f"aug={','.join(CONDITIONS)}", f"seed=range({len(SEEDS)})", f"data_root={small_data}", f"runs_root={root}"]
    subprocess.run([sys.executable, "-m", "experiments.run", "-m", *SMALL, *words], cwd=ROOT, check=True)
    return root


@pytest.fixture(scope="module")
def address(board_folder) -> Iterator[str]:
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


def mean_over_seeds(root: Path, condition: str, tag: str) -> float:
    values = []
    for folder in root.glob(f"*/*/{condition}/*-seed*"):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        values.append(events.Scalars(tag)[-1].value)
    assert len(values) == len(SEEDS)
    return float(np.mean(values))


def test_the_hparams_page_shows_one_row_for_each_condition_averaged_over_its_seeds(page, address, board_folder):
    from playwright.sync_api import expect

    page.goto(f"{address}#hparams")
    table = page.locator("#sessionGroupsTable")
    rows = table.locator("tbody tr:visible")
    expect(rows).to_have_count(len(CONDITIONS), timeout=PATIENCE * 1000)
    cells = table.locator("vaadin-grid-cell-content:visible")
    for text in (*CONDITIONS, "final/test/auc"):
        expect(cells.get_by_text(text, exact=True)).to_have_count(1, timeout=PATIENCE * 1000)
    numbers = [float(text) for text in cells.all_inner_texts() if re.fullmatch(r"\d+\.\d+", text.strip())]
    for condition in CONDITIONS:
        assert pytest.approx(mean_over_seeds(board_folder, condition, "final/test/auc"), abs=1e-4) in numbers


def test_the_images_page_shows_the_views_of_real_and_fake_pictures_of_every_condition(page, address):
    from playwright.sync_api import expect

    page.goto(f"{address}#images")
    views = page.locator("tf-category-paginated-view").filter(
        has=page.locator("tf-image-loader"), has_text="before_after/real"
    )
    for condition in CONDITIONS:
        for name in ("real", "fake"):
            cards = (
                views.locator("tf-image-loader")
                .filter(has_text=f"before_after/{name}")
                .filter(has_text=f"/{condition}/")
            )
            expect(cards).to_have_count(len(SEEDS), timeout=PATIENCE * 1000)
    pictures = views.locator("img")
    expect(pictures).to_have_count(len(CONDITIONS) * len(SEEDS) * 2, timeout=PATIENCE * 1000)
    page.wait_for_function("pictures => pictures.every(it => it.naturalWidth > 0)", arg=pictures.element_handles())
