"""What the network sees, drawn: every arm of conf/aug on drawn and on one's own pictures."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.manifest import DataError
from experiments import views
from experiments.config import ConfigError

ROOT = Path(views.__file__).parents[1]


def script(*words):
    command = [sys.executable, str(ROOT / "scripts" / "show_augmentation.py"), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_every_arm_is_drawn_and_does_what_its_name_says():
    images, labels = views.drawn(4)
    assert labels == ["real", "real", "fake", "fake"]
    seen = {arm: views.see(images, arm) for arm in views.arms()}
    assert len(seen) == len(list((ROOT / "experiments" / "conf" / "aug").glob("*.yaml")))
    for arm, other in views.SAME_AS.items():
        np.testing.assert_array_equal(seen[arm], seen[other])
    shown = [seen[arm].tobytes() for arm in views.distinct_arms()]
    assert len(set(shown)) == len(shown)
    np.testing.assert_array_equal(seen["none"], images)
    np.testing.assert_array_equal(seen["invert"], 255 - images)
    assert (seen["grayscale"].std(axis=-1) == 0).all()
    spread = {arm: np.ptp(seen[arm], axis=-1).mean() for arm in seen}
    assert spread["none"] < spread["saturate_x2"] < spread["saturate_x8"] < spread["saturate_x500"]
    extremes = np.isin(seen["saturate_x500"], (0, 255)).mean()
    assert extremes > 0.9 > np.isin(seen["saturate_hsv_x500"], (0, 255)).mean()
    difference = np.abs(255 - seen["saturate_x8"].astype(int) - seen["invert_saturate_x8"])
    assert difference.max() <= 1  # under luma, inversion commutes


def test_the_script_writes_a_sheet_of_ones_own_pictures(tmp_path):
    for name in ("real", "fake"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (90, 60), (200, 120, 40)).save(tmp_path / name / "a.png")
    out = tmp_path / "sheet.png"
    pictures = ["--images", tmp_path / "real" / "a.png", tmp_path / "fake" / "a.png"]
    done = script("--out", out, *pictures, "--size", "64", "--augs", "none", "invert")
    assert done.returncode == 0 and f"{out}: 2 pictures under 2 arms" in done.stdout, done.stderr
    colors = {color for _, color in Image.open(out).convert("RGB").getcolors(1 << 20)}
    assert {(200, 120, 40), (55, 135, 215)} <= colors


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--images", "nowhere.jpg"], "nowhere.jpg: cannot be read"),
        (["--images", "setup.cfg"], "setup.cfg: not a readable image"),
        (["--augs", "saturate_x9"], "aug=saturate_x9: no such arm; there are none, both, channel_shuffle"),
        (["--n", "3"], "--n 3: expected an even number"),
        (["--out", "docs"], "--out docs: is a folder; expected a file such as views.png"),
    ],
)
def test_a_users_mistake_is_one_line_and_nothing_is_written(tmp_path, words, expected):
    done = script("--out", tmp_path / "sheet.png", *words)
    assert done.returncode == 2 and expected in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "sheet.png").exists()


def test_unknown_names_are_errors_of_the_user_in_the_library_too():
    with pytest.raises(ConfigError):
        views.see(np.zeros((1, 8, 8, 3), np.uint8), "unheard")
    with pytest.raises(DataError):
        views.opened([ROOT / "setup.cfg"], 32)
