"""Sources in, one comparable set out: what was, what became of it, and what happens when the work is disturbed."""

import fcntl
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from builds import LAW, SCRIPT, build_set, digests, pictures_in, shell
from PIL import Image

from datasets import assemble, build, built, manifest, origins
from datasets.equalize import EqualizeSettings
from datasets.manifest import FAKE, REAL, DataError


@pytest.fixture
def pictures(tmp_path):
    return pictures_in(tmp_path)


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


def test_pictures_of_the_users_own_are_never_removed_nor_built_over(pictures, tmp_path):
    data_root = tmp_path / "data"
    own = data_root / "mine" / "images" / "made"
    own.parent.mkdir(parents=True)
    (pictures / "made").rename(own)
    before = digests(data_root)
    for words in ((str(own), str(pictures / "shot")), (str(data_root), str(pictures / "shot"))):
        with pytest.raises(DataError, match="holds something else"):
            found = [
                origins.find(word, data_root, label=label) for word, label in zip(words, (FAKE, REAL), strict=True)
            ]
            assemble.assemble("mine", found, LAW, data_root=data_root)
    assert digests(data_root) == before
    with pytest.raises(DataError, match="which is no place apart"):
        assemble.assemble("other", [origins.find(str(data_root), data_root, label=FAKE)], LAW, data_root=data_root)
    own.rename(pictures / "made")
    own.parent.rmdir()
    made = build_set(pictures, data_root)
    (made.home / "images" / "made" / "holiday.jpg").write_text("mine")
    build_set(pictures, data_root)
    assert (made.home / "images" / "made" / "holiday.jpg").read_text() == "mine"


def test_one_file_in_both_classes_is_refused_naming_both(pictures, tmp_path):
    (pictures / "shot" / "copy.png").write_bytes((pictures / "made" / "5.png").read_bytes())
    with pytest.raises(DataError, match=r"made/5.png and shot/copy.png: the same file as REAL and as FAKE"):
        build_set(pictures, tmp_path / "data")


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
    assert "made" in card and "file facts" in card.split("## Audit")[1] and "| REAL | 48x48 (40) | JPEG |" in card


def test_two_builders_at_once_and_a_taken_name_are_refused_in_one_line(pictures, tmp_path):
    home = tmp_path / "data" / "mine"
    home.mkdir(parents=True)
    with (home / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _, err = (process := shell(pictures, tmp_path / "data")).communicate()
    assert process.returncode == 3 and err.count("\n") == 1 and "another process is building it" in err
    (home / ".build.lock").unlink()
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
