"""A built set read back: what changed in the meantime is noticed, and a half-built one is not used."""

import csv
import hashlib
from collections import Counter

import pytest
from builds import build_set, picture, pictures_in, shell
from PIL import Image

from datasets import assemble, build, built, manifest, origins
from datasets.equalize import EqualizeSettings
from datasets.ledger import Ledger
from datasets.manifest import FAKE, REAL, DataError


@pytest.fixture
def pictures(tmp_path):
    return pictures_in(tmp_path)


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


def test_a_set_whose_build_was_interrupted_is_not_trained_on(pictures, tmp_path, monkeypatch):
    made = build_set(pictures, tmp_path / "data")
    monkeypatch.setattr(assemble, "_remove_others", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build_set(pictures, tmp_path / "data", EqualizeSettings(sizes=((40, 40),), long_side=(60, 90)))
    with pytest.raises(DataError, match="its build was interrupted"):
        build.prepare(built.BuiltSettings(name="mine"), data_root=tmp_path / "data")
    monkeypatch.undo()
    build_set(pictures, tmp_path / "data")
    assert build.prepare(built.BuiltSettings(name="mine"), data_root=tmp_path / "data").rows
    assert made.rows


def test_a_label_or_a_tie_that_changes_in_the_manifest_changes_the_data(pictures, tmp_path):
    made = build_set(pictures, tmp_path / "data")
    settings = built.BuiltSettings(name="mine", image_size=32)
    first = build.prepare(settings, data_root=tmp_path / "data")
    rows = manifest.read(made.home / "manifest.csv")
    changed = [
        row._replace(label=1 - row.label) if i == 3 else row._replace(ties="author:z") if i in (7, 50) else row
        for i, row in enumerate(rows)
    ]
    manifest.write(made.home / "manifest.csv", changed)
    second = build.prepare(settings, data_root=tmp_path / "data")
    assert second.digest != first.digest and second.content != first.content
    assert second.labels[3] == 1 - first.labels[3] and second.rows[7].group == second.rows[50].group


def test_a_set_too_closely_tied_to_be_split_is_built_and_described_all_the_same(pictures, tmp_path):
    for file in (pictures / "made").iterdir():
        if file.name != "0.png":
            with Image.open(pictures / "made" / "0.png") as image:
                image.point(lambda value, n=int(file.stem): min(255, value + n % 3)).save(file)
    out, err = (process := shell(pictures, tmp_path / "data")).communicate()
    assert process.returncode == 0, err
    assert "not ready for training: no FAKE image is left for the split" in out
    assert "not ready for training" in (tmp_path / "data" / "mine" / "dataset_card.md").read_text()


def test_a_data_root_may_move_with_its_collections(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for name, kind, label in (("flux", "flux", FAKE), ("photos", "photos", REAL)):
        with Ledger(first / "collections" / name, kind=kind) as ledger:
            for i in range(12):
                picture(first / "collections" / name / "images" / f"{i}.png", 100 * label + i, (40, 30))
                facts = {"prompt": str(i), "record": {}} if label else {"key": str(i), "author": "", "license": "CC0"}
                data = (first / "collections" / name / "images" / f"{i}.png").read_bytes()
                sha256 = hashlib.sha256(data).hexdigest()
                ledger.append("saved", file=f"images/{i}.png", sha256=sha256, page="", **facts)
    found = [origins.find(name, first) for name in ("flux", "photos")]
    assemble.assemble("mine", found, None, data_root=first)
    first.rename(second)
    data = build.prepare(built.BuiltSettings(name="mine", image_size=32), data_root=second)
    assert Counter(row.label for row in data.rows) == {REAL: 12, FAKE: 12}


def test_an_image_that_changed_after_it_was_built_is_quarantined_not_trained_on(pictures, tmp_path):
    made = build_set(pictures, tmp_path / "data")
    picture(made.home / made.rows[3].path, 77, (48, 48), quality=80)
    data = build.prepare(built.BuiltSettings(name="mine", image_size=32, max_bad=0.1), data_root=tmp_path / "data")
    with data.manifest.with_name("quarantine.csv").open(newline="") as file:
        [(path, reason)] = list(csv.reader(file))[1:]
    assert path == made.rows[3].path and "not those that were noted" in reason
    assert made.rows[3].path not in {row.path for row in data.rows}
