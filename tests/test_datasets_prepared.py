"""A data set found again by the sizes and times of its files, and made anew whenever it may be another."""

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
import pytest
from builds import build_set, pictures_in

from datasets import build, built, cifake, folder, manifest, origins, prepared, sources
from datasets.cifake import CifakeSettings
from datasets.folder import FolderSettings
from datasets.manifest import DataError
from datasets.synthetic import SyntheticSettings


def draw(path, seed, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (*size[::-1], 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    for label, name in enumerate(("Real", "FAKE")):
        for i in range(12):
            draw(tmp_path / "in" / name / "deep" / f"{i}.png", seed=1000 * label + i)
    return tmp_path / "in"


@pytest.fixture
def listed(monkeypatch):
    """The sources that were listed, one after the other."""
    calls = []
    for name, source in sources.SOURCES.items():

        def rows(settings, home, name=name, real=source.rows):
            calls.append(name)
            return real(settings, home)

        monkeypatch.setitem(sources.SOURCES, name, replace(source, rows=rows))
    return calls


def prepare(root, tmp_path, *, split=True, **settings):
    settings = FolderSettings(root=str(root), **{"val_share": 0.25, "test_share": 0.25, "image_size": 16} | settings)
    return build.prepare(settings, data_root=tmp_path / "data", split=split)


def assert_same(one, other):
    for name in ("rows", "digest", "content", "manifest", "quarantined", "audit", "notes", "locations"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("images", "labels", "first", "thumbs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(other, name).dtype


def test_what_was_prepared_is_found_again_whole_without_listing(root, tmp_path, listed):
    (root / "Real" / "torn.png").write_bytes(b"nothing")
    for settings in ({}, {"fit": "patches", "patches": 2, "image_size": 15}, {"image_size": 32}, {"fold": 1}):
        settings |= {"max_bad": 0.1}
        first = prepare(root, tmp_path, **settings)
        before = len(listed)
        again = prepare(root, tmp_path, **settings)
        assert len(listed) == before
        assert_same(first, again)  # its locations are listed only now
        assert len(listed) > before
        assert first.quarantined == 1 and len(again.locations) == 24


CHANGES = {
    "a file changed": lambda root: draw(root / "Real" / "deep" / "0.png", 77),
    "its bytes changed and its time did not": lambda root: kept_time(root / "Real" / "deep" / "0.png"),
    "a file added": lambda root: draw(root / "FAKE" / "new.png", 77),
    "a file removed": lambda root: (root / "FAKE" / "deep" / "3.png").unlink(),
    "a file renamed": lambda root: (root / "FAKE" / "deep" / "4.png").rename(root / "FAKE" / "deep" / "44.png"),
    "two files changed places": lambda root: swapped(*(root / name / "deep" / "5.png" for name in ("FAKE", "Real"))),
    "a folder renamed": lambda root: (root / "FAKE" / "deep").rename(root / "FAKE" / "deeper"),
}
REFUSED = [
    (
        lambda root: draw(root / "stray.png", 3),
        "a picture beside the class folders",
        lambda root: (root / "stray.png").unlink(),
    ),
    (lambda root: (root / "REAL").mkdir(), "holds both", lambda root: (root / "REAL").rmdir()),
    (
        lambda root: (root / "Real").rename(root.parent / "Real"),
        "expected real and fake",
        lambda root: (root.parent / "Real").rename(root / "Real"),
    ),
    (lambda root: root.rename(root.parent / "out"), "no such folder", lambda root: (root.parent / "out").rename(root)),
]


def kept_time(file):
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def swapped(one, other):
    one.rename(one.with_suffix(".tmp"))
    other.rename(one)
    one.with_suffix(".tmp").rename(other)


def test_whatever_changes_among_the_files_is_noticed(root, tmp_path, listed):
    before = prepare(root, tmp_path, max_bad=0.1)
    for name, change in CHANGES.items():
        change(root)
        after = prepare(root, tmp_path, max_bad=0.1)
        assert after.digest != before.digest, name
        before = after
    assert listed == ["folder"] * (1 + len(CHANGES))
    assert prepare(root, tmp_path, max_bad=0.1).digest == before.digest
    assert len(listed) == 1 + len(CHANGES)


def test_a_folder_that_is_no_longer_as_expected_is_refused_as_before_and_not_walked_through(
    root, tmp_path, monkeypatch
):
    first = prepare(root, tmp_path)
    for harm, expected, mend in REFUSED:
        harm(root)
        with monkeypatch.context() as patch, pytest.raises(DataError, match=expected):
            patch.setattr(folder, "_below", None)
            prepare(root, tmp_path)
        mend(root)
        assert prepare(root, tmp_path).digest == first.digest


def test_other_settings_and_another_program_do_not_find_it(root, tmp_path, listed, monkeypatch):
    first = prepare(root, tmp_path)
    assert prepare(root, tmp_path, data_seed=1).digest != first.digest
    whole = prepare(root, tmp_path, split=False)
    assert {row.split for row in whole.rows} == {""} and len(listed) == 3
    monkeypatch.setattr(PIL, "__version__", "0")
    prepare(root, tmp_path)
    assert len(listed) == 4
    code = tmp_path / "code"
    shutil.copytree(Path(prepared.__file__).parent, code)
    assert prepared.code_in(code) == prepared.CODE
    with (code / "audit" / "verdicts.py").open("a") as file:
        file.write("# another line\n")
    monkeypatch.setattr(prepared, "CODE", prepared.code_in(code))
    prepare(root, tmp_path)
    assert len(listed) == 5


def test_whatever_is_gone_or_damaged_is_made_anew(root, tmp_path, listed):
    first = prepare(root, tmp_path)
    [record] = (tmp_path / "data" / "folder").glob("prepared-*.json")
    packed, split = Path(first.images.filename), first.manifest.parent
    damaged = [record, first.manifest, split / "audit-2.json", packed, packed.with_name("files.npy")]
    first = replace(first, images=np.array(first.images), thumbs=np.array(first.thumbs))  # what is mapped is harmed
    text = first.manifest.read_bytes()
    first.manifest.write_bytes(text.replace(b"FAKE,train", b"REAL,train", 1))
    assert_same(prepare(root, tmp_path), first)
    for file in damaged:
        data = file.read_bytes()
        for harm in (data[: len(data) // 2], None):
            file.unlink() if harm is None else file.write_bytes(harm)
            assert_same(prepare(root, tmp_path), first)
            assert file.read_bytes() == data
    record.write_text(json.dumps(json.loads(record.read_text()) | {"packed": "packed-gone"}))
    assert_same(prepare(root, tmp_path), first)
    (split / "quarantine.csv").unlink()
    prepare(root, tmp_path)
    assert (split / "quarantine.csv").exists()


def cifake_zip(path, seed):
    with zipfile.ZipFile(path, "w") as out:
        for part in ("train", "test"):
            for label in ("REAL", "FAKE"):
                for i in range(12):
                    seed += 1
                    draw(path.with_name("one.png"), seed, (32, 32))
                    out.write(path.with_name("one.png"), f"{part}/{label}/{i:04}.png")


@pytest.mark.parametrize("form", ["it.zip", "tree", "data/cifake"])
def test_cifake_is_found_again_until_its_zip_or_tree_changes(tmp_path, listed, form):
    def bring(seed):
        cifake_zip(tmp_path / "it.zip", seed)
        if form != "it.zip":
            with zipfile.ZipFile(tmp_path / "it.zip") as archive:
                archive.extractall(tmp_path / form)
        return tmp_path / form

    cifake.write_origin(tmp_path / "data" / "cifake", bring(0))
    first = build.prepare(CifakeSettings(), data_root=tmp_path / "data")
    stamp = origins.stamp(origins.Origin("cifake", "cifake"), tmp_path / "data")
    assert_same(build.prepare(CifakeSettings(), data_root=tmp_path / "data"), first)
    assert listed.count("cifake") == 3  # made once; the two were asked for their locations
    (tmp_path / "data" / "cifake" / "degraded" / "jpeg_90").mkdir(parents=True)  # what experiments.robustness leaves
    assert origins.stamp(origins.Origin("cifake", "cifake"), tmp_path / "data") == stamp
    bring(1000)
    assert origins.stamp(origins.Origin("cifake", "cifake"), tmp_path / "data") != stamp
    assert build.prepare(CifakeSettings(), data_root=tmp_path / "data").digest != first.digest
    if form == "data/cifake":
        return  # to move it away would move what was made of it
    moved = bring(0).rename(tmp_path / "moved")
    with pytest.raises(DataError, match="gone, but"):
        build.prepare(CifakeSettings(), data_root=tmp_path / "data")
    cifake.write_origin(tmp_path / "data" / "cifake", moved)
    assert build.prepare(CifakeSettings(), data_root=tmp_path / "data").digest == first.digest


@pytest.mark.parametrize("equalised", [True, False])
def test_a_built_set_is_found_again_until_its_recipe_or_its_images_change(tmp_path, listed, equalised):
    pictures = pictures_in(tmp_path)
    made = build_set(pictures, tmp_path / "data", *([] if equalised else [None]))
    settings = built.BuiltSettings(name="mine", image_size=32, max_bad=0.1)
    first = build.prepare(settings, data_root=tmp_path / "data")
    assert build.prepare(settings, data_root=tmp_path / "data").digest == first.digest and listed == ["built"]
    image = made.home / made.rows[3].path if equalised else pictures / "made" / "3.png"
    image.write_bytes(b"damaged")
    assert build.prepare(settings, data_root=tmp_path / "data").quarantined == 1
    manifest.write(made.home / "manifest.csv", [row for row in made.rows if row.path != made.rows[5].path])
    assert len(build.prepare(settings, data_root=tmp_path / "data").rows) == len(first.rows) - 2
    recipe = built.read_recipe(made.home)
    built.write_recipe(made.home, replace(recipe, finished=False))
    with pytest.raises(DataError, match="its build was interrupted"):
        build.prepare(settings, data_root=tmp_path / "data")


def test_drawn_pictures_are_found_again(tmp_path, listed):
    settings = SyntheticSettings(train=8, val=8, test=8)
    first = build.prepare(settings, data_root=tmp_path)
    assert_same(build.prepare(settings, data_root=tmp_path), first)
    assert listed.count("synthetic") == 3


def test_a_new_store_says_what_lies_beside_it_and_removes_nothing(root, tmp_path, capfd):
    prepare(root, tmp_path)
    assert "other store" not in capfd.readouterr().err
    prepare(root, tmp_path, image_size=20)
    assert "other store" in (said := capfd.readouterr().err) and said.count("\n") == 1
    draw(root / "Real" / "new.png", 5)
    prepare(root, tmp_path)
    assert "2 other stores of this data set" in capfd.readouterr().err
    prepare(root, tmp_path)
    assert capfd.readouterr().err == ""
    assert len(list((tmp_path / "data" / "folder").glob("packed-*/store.json"))) == 3
