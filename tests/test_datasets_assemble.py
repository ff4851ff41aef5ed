"""Sources in, one comparable set out: what was, what became of it, and what happens when the work is disturbed."""

import csv
import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import assemble, build, built, manifest, origins
from datasets.equalize import EqualizeSettings
from datasets.manifest import FAKE, REAL, DataError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "build_dataset.py"
LAW = EqualizeSettings(sizes=((48, 48),), long_side=(60, 90))
SMALL = ["--size", "48", "--long-side", "60", "90"]


def picture(path, seed, size, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    random_state = np.random.RandomState(seed)
    coarse = random_state.randint(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(path, **options)


@pytest.fixture
def pictures(tmp_path):
    """Forty fakes of one size as PNG, forty photographs of many sizes as JPEG; one too small, one torn."""
    for i in range(40):
        picture(tmp_path / "in" / "made" / f"{i}.png", i, (134, 77))
        size = random.Random(i).choice([(150, 100), (100, 150), (128, 96), (160, 120)])
        picture(tmp_path / "in" / "shot" / f"{i}.jpg", 1000 + i, size, quality=50 + i)
    picture(tmp_path / "in" / "shot" / "small.jpg", 5, (50, 50))
    whole = (tmp_path / "in" / "shot" / "0.jpg").read_bytes()
    (tmp_path / "in" / "shot" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "in"


def build_set(pictures, data_root, law=LAW, name="mine"):
    found = [
        origins.find(str(pictures / word), data_root, label=label) for word, label in (("made", FAKE), ("shot", REAL))
    ]
    return assemble.assemble(name, found, law, data_root=data_root)


def digests(folder):
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def shell(pictures, data_root, *words, **options):
    command = [sys.executable, SCRIPT, "--name", "mine", "--fake", pictures / "made", "--real", pictures / "shot"]
    return subprocess.Popen(
        [*map(str, command), *SMALL, "--data-root", str(data_root), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def test_both_classes_leave_with_one_size_and_codec_and_the_manifest_says_what_they_were(pictures, tmp_path):
    before = digests(pictures)
    made = build_set(pictures, tmp_path / "data")
    assert Counter((row.label, row.width, row.height, row.format, row.sampling) for row in made.rows) == {
        (label, 48, 48, "JPEG", "4:2:0"): 40 for label in (REAL, FAKE)
    }
    assert all(70 <= row.quality <= 95 for row in made.rows)
    reasons = dict(made.quarantine)
    assert "50x50 pixels; to cover 48x48" in reasons["shot/small.jpg"] and reasons["shot/torn.jpg"]
    assert digests(pictures) == before
    for row in manifest.read(made.home / "manifest.csv"):
        was = json.loads(row.was)
        original = (pictures / was["path"]).read_bytes()
        assert was["sha256"] == hashlib.sha256(original).hexdigest() and was["bytes"] == len(original)
        file = made.home / row.path
        assert hashlib.sha256(file.read_bytes()).hexdigest() == row.sha256
        assert (row.label == FAKE) == was["path"].startswith("made/")
        with Image.open(file) as image:
            assert image.size == (48, 48) and not image.getexif() and "icc_profile" not in image.info
    data = build.prepare(built.BuiltSettings(name="mine", image_size=48), data_root=tmp_path / "data")
    assert data.images.shape == (80, 48, 48, 3) and data.audit["verdict"]


def test_a_copy_saved_again_stays_with_its_original_though_equalising_crops_the_two_differently(pictures, tmp_path):
    for i in range(5):
        with Image.open(pictures / "shot" / f"{i}.jpg") as image:
            image.save(pictures / "shot" / f"again{i}.jpg", quality=60)
    made = build_set(pictures, tmp_path / "data")
    named = {json.loads(row.was)["path"]: row for row in made.rows}
    data = build.prepare(built.BuiltSettings(name="mine", image_size=32), data_root=tmp_path / "data")
    group = {json.loads(row.was)["path"]: row.group for row in data.rows}
    for i in range(5):
        assert group[f"shot/{i}.jpg"] == group[f"shot/again{i}.jpg"] and "like:" in named[f"shot/{i}.jpg"].ties
    assert len(set(group.values())) == 80


def test_built_again_it_is_the_same_and_another_law_leaves_nothing_of_the_first(pictures, tmp_path):
    made = build_set(pictures, tmp_path / "data")
    first = digests(made.home)
    stamps = {file: file.stat().st_mtime_ns for file in (made.home / "images").rglob("*.jpg")}
    build_set(pictures, tmp_path / "data")
    assert digests(made.home) == first
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    next(iter(stamps)).write_bytes(b"damaged")
    build_set(pictures, tmp_path / "data")
    assert digests(made.home) == first
    build_set(pictures, tmp_path / "data", EqualizeSettings(sizes=((40, 40),), long_side=(60, 90)))
    assert len(list((made.home / "images").rglob("*.jpg"))) == 81  # the small one covers 40x40
    assert not any(file.exists() for file in stamps)


def test_without_equalising_every_image_passes_as_it_is_and_is_found_where_it_lies(pictures, tmp_path):
    made = build_set(pictures, tmp_path / "data", None)
    assert not (made.home / "images").exists() and len(made.rows) == 81
    data = build.prepare(built.BuiltSettings(name="mine", image_size=32), data_root=tmp_path / "data")
    row = next(row for row in data.rows if row.path == "made/7.png")
    assert (row.label, row.width, row.height, row.format, row.was) == (FAKE, 134, 77, "PNG", "")
    assert data.locations[data.rows.index(row)].read() == (pictures / "made" / "7.png").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (",FAKE,", ",FAEK,", "label is 'FAEK'"),
        ("images/made/", "images/maid/", "names images/maid/"),
        ("images/made/", "images/../made/", "which is not there"),
        ("twice", "twice", "stands there twice"),
    ],
)
def test_a_manifest_edited_by_hand_is_refused_naming_what_is_wrong(pictures, tmp_path, old, new, expected):
    made = build_set(pictures, tmp_path / "data")
    path = made.home / "manifest.csv"
    text = path.read_text()
    path.write_text(text + text.splitlines(keepends=True)[-1] if old == "twice" else text.replace(old, new, 1))
    with pytest.raises(DataError, match=expected) as caught:
        build.prepare(built.BuiltSettings(name="mine"), data_root=tmp_path / "data")
    assert str(path) in str(caught.value)


def test_a_source_that_would_vanish_whole_stops_the_build_and_what_was_built_before_stays(pictures, tmp_path):
    made = build_set(pictures, tmp_path / "data")
    before = digests(made.home)
    with pytest.raises(DataError, match="made: none of its 40 images can be used; the first: 134x77 pixels; to cover"):
        build_set(pictures, tmp_path / "data", EqualizeSettings(sizes=((80, 80),), long_side=(90, 99)))
    with pytest.raises(DataError, match="made: no REAL image among them"):
        assemble.assemble(
            "mine", [origins.Origin("made", "folder", str(pictures / "made"), FAKE)], LAW, data_root=tmp_path / "data"
        )
    assert digests(made.home).items() >= before.items()


def test_an_image_that_changed_after_it_was_built_is_quarantined_not_trained_on(pictures, tmp_path):
    made = build_set(pictures, tmp_path / "data")
    picture(made.home / made.rows[3].path, 77, (48, 48), quality=80)
    data = build.prepare(built.BuiltSettings(name="mine", image_size=32, max_bad=0.1), data_root=tmp_path / "data")
    with data.manifest.with_name("quarantine.csv").open(newline="") as file:
        [(path, reason)] = list(csv.reader(file))[1:]
    assert path == made.rows[3].path and "not those that were noted" in reason
    assert made.rows[3].path not in {row.path for row in data.rows}


def test_killed_at_any_moment_and_started_again_it_ends_in_the_same_bytes(pictures, tmp_path):
    reference = build_set(pictures, tmp_path / "reference").home
    wanted = {path.removeprefix(str(reference)): digest for path, digest in digests(reference).items()}
    moments = random.Random(0)
    home = tmp_path / "data" / "mine"
    for _ in range(6):
        process = shell(pictures, tmp_path / "data")
        target = moments.randrange(1, 80)
        while process.poll() is None and len(list(home.rglob("*.jpg"))) < target:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for file in home.rglob("*.jpg"):
            with Image.open(file) as image:
                image.load()
    out, err = (process := shell(pictures, tmp_path / "data")).communicate()
    assert process.returncode == 0, err
    built_again = {path.removeprefix(str(home)): digest for path, digest in digests(home).items()}
    assert {path: built_again.get(path) for path in wanted} == wanted
    assert not list(home.rglob("*.part"))
    assert "2 left out" in out and "next: python -m experiments.run data=flux data.name=mine" in out
    card = (home / "dataset_card.md").read_text()
    assert "made" in card and "4:2:0" not in card.split("## Audit")[1] and "| REAL | 48x48 (40) | JPEG |" in card


def test_two_builders_at_once_and_a_taken_name_are_refused_in_one_line(pictures, tmp_path):
    home = tmp_path / "data" / "mine"
    home.mkdir(parents=True)
    with (home / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _, err = (process := shell(pictures, tmp_path / "data")).communicate()
    assert process.returncode == 3 and err.count("\n") == 1 and "another process is building it" in err
    (home / "thesis.txt").write_text("mine")
    _, err = (process := shell(pictures, tmp_path / "data")).communicate()
    assert process.returncode == 2 and "holds something else" in err and (home / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--name", "x"], "no source given"),
        (["--name", "x", "--fake", "nowhere", "--real", "nowhere"], "nowhere: expected a collection in"),
        (["--name", "x", "--fake", "flux"], "make one with: python scripts/generate_flux.py"),
        (["--name", "a/b", "--fake", ".", "--real", "."], "expected a plain name"),
        (["--name", "cifake", "--fake", ".", "--real", "."], "expected a plain name"),
        (["--name", "x", "--fake", ".", "--real", ".", "--size", "0"], "sizes is"),
        (["--name", "x", "--fake", ".", "--real", ".", "--quality", "90", "70"], "quality is"),
    ],
)
def test_what_cannot_be_built_is_one_line_and_status_2(tmp_path, words, expected):
    command = [sys.executable, str(SCRIPT), *words, "--data-root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and expected in done.stderr and done.stderr.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
