"""The verb on a folder of drawn pictures: table, files beside the set, exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "audit_dataset.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """25 photographs of many sizes and 25 fakes of one, as PNG."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for label in ("real", "fake"):
        (root / label).mkdir()
        for number in range(25):
            size = (96, 64) if label == "fake" else random.integers(48, 128, 2).tolist()
            Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize(size).save(
                root / label / f"{number}.png"
            )
    return root


def run(*words: object, data_root: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, words), "--data-root", str(data_root)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_confounded_folder_is_named_drawn_and_stops_only_the_strict(folder, tmp_path):
    done = run(folder, data_root=tmp_path)
    assert done.returncode == 0, done.stderr
    *_, verdict, last = done.stdout.splitlines()
    assert verdict == "verdict: confounded" and "size (" in done.stdout
    home = tmp_path / "folder"
    assert last == f"confounded: {home / 'audit.json'} and {home / 'audit.png'}"
    assert json.loads((home / "audit.json").read_text())["verdict"] == "confounded"
    with Image.open(home / "audit.png") as drawing:
        assert drawing.width > 1000
    strict = run(folder, "--strict", "--out", tmp_path / "elsewhere", data_root=tmp_path)
    assert strict.returncode == 1 and strict.stderr == ""
    assert {file.name for file in (tmp_path / "elsewhere").iterdir()} == {"audit.json", "audit.png"}


def test_the_page_tells_the_quartiles_of_each_class_and_shows_pictures(folder, tmp_path):
    done = run(folder, "--explore", "--out", tmp_path / "out", data_root=tmp_path)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "out" / "exploration.html"
    assert f"page: {place}" in done.stdout.splitlines()
    page = place.read_text()
    widths = []
    for file in (folder / "real").iterdir():
        with Image.open(file) as image:
            widths.append(image.width)
    low, middle, high = np.quantile(widths, (0.25, 0.5, 0.75))
    cells = f"width (pixels)</th><td>{middle:.4g} ({low:.4g} to {high:.4g})</td><td>96 (96 to 96)</td>"
    assert cells in page
    found = json.loads((tmp_path / "out" / "audit.json").read_text())["distributions"]
    for fact in ("brightness", "saturation", "red", "green", "blue", "sharpness", "noise"):
        assert f"{found[fact]['quartiles']['FAKE'][1]:.4g} (" in page
    assert "8 real and 8 fake pictures" in page and "Immerkaer 1996" in page and str(tmp_path) not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing_of_that_name"], "nothing_of_that_name"),
        (["cifake"], "fetch_cifake"),
        (["x", "--seed", "-1"], "--seed"),
    ],
    ids=str,
)
def test_what_cannot_be_audited_is_one_line_and_status_2(words, says, tmp_path):
    done = run(*words, data_root=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr
