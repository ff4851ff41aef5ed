"""The page as a reader sees it: TensorBoard served over a folder of runs, opened in a real browser."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import PATIENCE, SMALL

ROOT = Path(__file__).resolve().parents[1]
CONDITIONS = ("none", "saturate_x8")
SEEDS = range(3)


@pytest.fixture(scope="module")
def board_folder(tmp_path_factory, small_data) -> Path:
    """Runs of two conditions with three seeds each, made by the verb that users run."""
    root = tmp_path_factory.mktemp("board") / "runs"
    words = [f"aug={','.join(CONDITIONS)}", f"seed=range({len(SEEDS)})", f"data_root={small_data}", f"runs_root={root}"]
    subprocess.run([sys.executable, "-m", "experiments.run", "-m", *SMALL, *words], cwd=ROOT, check=True)
    return root


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
