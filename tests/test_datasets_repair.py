"""Damaged pictures that are completed or replaced: what is kept is the original's, and only training has any."""

import csv
import hashlib
import io
import json
import shutil
import sys
from collections import Counter

import numpy as np
import PIL
import pytest
from PIL import Image

from datasets import build, images, inpaint, partition, repair, store
from datasets.built import BuiltSettings
from datasets.folder import FolderSettings
from datasets.images import BadImage, ImageSettings
from datasets.manifest import FAKE, NAME_OF_LABEL, REAL, DataError, Row
from datasets.synthetic import Drawing

OTHER = [("label", FAKE), ("split", "val"), ("source", "b")]  # than the damaged ones
WIDTH, HEIGHT = 76, 101  # neither is whole in blocks


def drawn(index, label=REAL):
    return Image.open(io.BytesIO(Drawing("train", label, index, HEIGHT, WIDTH, "none", 0.0, 5).read()))


def encoded(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 90, "subsampling": "4:2:0", "restart_marker_rows": 1} | options)
    return out.getvalue()


def ends_of_block_rows(data):
    """Where each row of blocks ends but the last one, by the restart marker behind it."""
    return [i + 2 for i in range(data.index(b"\xff\xda"), len(data)) if data[i] == 0xFF and 0xD0 <= data[i + 1] <= 0xD7]


def picture_of(data):
    return images.decode(data, ImageSettings())[0]


def completed(data):
    with pytest.raises(BadImage) as caught:
        picture_of(data)
    return inpaint.inpainted(data, ImageSettings(), caught.value)


@pytest.mark.parametrize(
    ("mode", "sampling", "block", "above"),
    [
        ("RGB", "4:4:4", 8, 0),
        ("RGB", "4:2:2", 8, 0),
        ("RGB", "4:2:0", 16, 2),
        ("L", "4:4:4", 8, 0),
        ("CMYK", "4:4:4", 8, 0),
    ],
)
def test_every_whole_row_of_blocks_is_kept_as_it_was_and_no_other_row(mode, sampling, block, above):
    """`above`: rows of a block whose colour the block below would have smoothed, and which wait for it."""
    pytest.importorskip("cv2", reason="the extra [repair] is not installed")
    data = encoded(drawn(0).convert(mode), subsampling=sampling)
    whole, ends = picture_of(data), ends_of_block_rows(data)
    assert len(ends) == -(-HEIGHT // block) - 1
    for blocks, end in enumerate(ends, start=1):
        for cut in (end, end + 7):
            if (rows := block * blocks - above) < HEIGHT / 2:
                with pytest.raises(
                    BadImage, match=rf"truncated.*; {rows} of {HEIGHT} rows decode, in-painting needs 50%"
                ):
                    completed(data[:cut])
                continue
            found, facts, (reason, done, by) = completed(data[:cut])
            assert "truncated" in reason and done == f"rows {rows} to 100 of 101 in-painted" and "OpenCV" in by
            np.testing.assert_array_equal(found[:rows], whole[:rows])
            assert (facts.width, facts.height) == (WIDTH, HEIGHT) and (found[rows:] != whole[rows:]).any()


@pytest.mark.parametrize("factor", [1, 8])  # as it is, and larger than what is painted in its own size
def test_what_is_painted_goes_on_from_the_rows_above_and_is_nearer_to_the_original_than_their_mean(factor):
    pytest.importorskip("cv2", reason="the extra [repair] is not installed")
    errors = []
    for index in range(12):
        data = encoded(drawn(index).resize((WIDTH * factor, HEIGHT * factor)))
        whole = picture_of(data).astype(float)
        found, _, (_, done, _) = completed(data[: len(data) * 8 // 10])
        first = int(done.split()[1])
        near = slice(first, first + 8 * factor)
        errors.append([np.abs(guess - whole[near]).mean() for guess in (found[near], whole[:first].mean((0, 1)))])
    painted, mean = np.mean(errors, axis=0)
    assert painted < 0.85 * mean


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_turned_picture_is_completed_where_it_was_cut(orientation):
    pytest.importorskip("cv2", reason="the extra [repair] is not installed")
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(drawn(1), subsampling="4:4:4", exif=exif)
    found, facts, _ = completed(data[: ends_of_block_rows(data)[8]])
    whole = picture_of(data)
    assert found.shape == whole.shape == (facts.height, facts.width, 3)
    same = Image.fromarray(((found == whole).all(axis=2) * 255).astype(np.uint8))
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE}[orientation]
    rows = np.asarray(same.transpose(back)).mean(axis=1) / 255
    assert (rows[:72] == 1).all() and (rows[72:] < 0.5).all()


def test_what_is_not_a_jpeg_cut_short_is_refused_for_the_reason_it_had():
    png = io.BytesIO()
    drawn(0).save(png, "PNG")
    jpeg = encoded(drawn(0))
    for data in (png.getvalue()[:-200], b"text", jpeg[:20], encoded(drawn(0).resize((4, 40)))):
        with pytest.raises(BadImage) as plain:
            picture_of(data)
        with pytest.raises(BadImage) as tried:
            completed(data)
        assert str(tried.value) == str(plain.value)
    with pytest.raises(BadImage, match="; 0 of 101 rows decode"):
        completed(encoded(drawn(0), progressive=True)[:-50])


def folder_of(root, layout, count):
    """Drawn JPEGs, `layout` with label and i; their bytes by path."""
    files = {}
    for label in (REAL, FAKE):
        for i in range(count):
            path = root / layout.format(label=NAME_OF_LABEL[label].lower(), i=i)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(drawn(100 * len(layout) + i, label)))
            files[path.relative_to(root).as_posix()] = path
    return files


def cut(path, share=0.8):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def prepare(root, data_root, **settings):
    usual = {"max_bad": 0.5, "image_size": [HEIGHT, WIDTH], "val_share": 0.25, "test_share": 0.25}
    return build.prepare(FolderSettings(root=str(root), **usual | settings), data_root=data_root)


def listed(data, name):
    with data.manifest.with_name(name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_images_are_completed_and_those_of_other_splits_only_where_that_is_asked_for(tmp_path):
    pytest.importorskip("cv2", reason="the extra [repair] is not installed")
    root = tmp_path / "in"
    files = {}
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        files |= folder_of(root, split + "/{label}/{i}.jpg", count)
    for name in ("train/real/3.jpg", "val/fake/1.jpg", "test/real/2.jpg"):
        cut(files[name])
    cut(files["train/fake/5.jpg"], 0.3)  # too little is left
    before = prepare(root, tmp_path / "data")
    data = prepare(root, tmp_path / "data", repair="inpaint")
    assert (before.quarantined, before.repairs, data.quarantined, len(data.repairs)) == (4, [], 3, 1)
    assert data.digest != before.digest and data.content != before.content
    [line] = listed(data, "repaired.csv")
    assert line["path"] == "train/real/3.jpg" and "truncated" in line["reason"] and "in-painted" in line["repair"]
    left_out = {line["path"]: line["reason"] for line in listed(data, "quarantine.csv")}
    assert set(left_out) == {"train/fake/5.jpg", "val/fake/1.jpg", "test/real/2.jpg"}
    assert "rows decode, in-painting needs 50%" in left_out["train/fake/5.jpg"]
    assert left_out["val/fake/1.jpg"].endswith("not repaired, as it is not for training")
    assert [note.split(",")[0] for note in data.notes[:2]] == ["repaired: 1 of 40 files", "quarantined: 3 of 40 files"]

    used = {data.rows[i].path for split in ("train", "val", "test") for i in data.indices(split)}
    assert used == set(files) - set(left_out)
    [place] = [i for i, row in enumerate(data.rows) if row.path == "train/real/3.jpg"]
    stored = int(line["repair"].split()[1])
    assert place in data.indices("train") and stored >= HEIGHT / 2
    original = picture_of(encoded(drawn(100 * len("train/{label}/{i}.jpg") + 3)))
    np.testing.assert_array_equal(data.images[place][:stored], original[:stored])

    asked = prepare(root, tmp_path / "data", repair="inpaint", repair_test=True)
    assert {line["path"] for line in listed(asked, "repaired.csv")} == set(files) - used - {"train/fake/5.jpg"} | {
        "train/real/3.jpg"
    }
    assert Counter(row.split for row in asked.rows) == {"train": 23, "val": 8, "test": 8}
    assert prepare(root, tmp_path / "data").digest == before.digest


def test_a_completed_picture_that_looks_like_one_of_the_test_split_is_a_leak(tmp_path):
    pytest.importorskip("cv2", reason="the extra [repair] is not installed")
    root = tmp_path / "in"
    files = folder_of(root, "train/{label}/{i}.jpg", 12) | folder_of(root, "test/{label}/{i}.jpg", 4)
    shutil.copy(files["test/fake/0.jpg"], files["train/fake/0.jpg"])
    cut(files["train/fake/0.jpg"], 0.95)
    data = prepare(root, tmp_path / "data", repair="inpaint")
    assert [row.split for row in data.rows if row.path == "train/fake/0.jpg"] == ["unused"]
    assert data.repairs == [] and data.quarantined == 1 and any("leaks: 1 images" in note for note in data.notes)


@pytest.mark.parametrize("settings", [{}, {"fold": 1}, {"fit": "patches", "patches": 3, "image_size": 32}])
def test_a_damaged_training_picture_is_replaced_by_another_of_its_class_and_no_other_split_has_any(tmp_path, settings):
    root = tmp_path / "in"
    files = folder_of(root, "{label}/{i}.jpg", 24)
    for i in range(8):
        cut(files[f"real/{3 * i}.jpg"])
    files["fake/4.jpg"].write_text("not a picture")
    data = prepare(root, tmp_path / "data", repair="replace", **settings)
    damaged = {f"real/{3 * i}.jpg" for i in range(8)} | {"fake/4.jpg"}
    replaced = {line["path"]: line for line in listed(data, "repaired.csv")}
    left_out = {line["path"] for line in listed(data, "quarantine.csv")}
    assert left_out | set(replaced) == damaged and not left_out & set(replaced)
    assert 2 <= len(replaced) < 9 and data.quarantined == len(left_out) and len(data.repairs) == len(replaced)
    of_file = [row.path.partition("#")[0] for row in data.rows]
    assert not damaged & set(of_file)

    times = {split: Counter(data.indices(split).tolist()) for split in ("train", "val", "test")}
    assert {*times["val"].values()} == {*times["test"].values()} == {1} and {*times["train"].values()} == {1, 2}
    seen_twice = {of_file[i] for i, number in times["train"].items() if number == 2}
    assert seen_twice == {line["by"] for line in replaced.values()} and len(seen_twice) == len(replaced)
    assert all(path.split("/")[0] == line["by"].split("/")[0] for path, line in replaced.items())
    assert not set(times["train"]) & {*times["val"], *times["test"]}
    for i, number in times["train"].items():
        assert number == 1 + (of_file[i] in seen_twice)  # every patch of it

    again = prepare(root, tmp_path / "data", repair="replace", **settings)
    np.testing.assert_array_equal(again.indices("train"), data.indices("train"))
    assert (again.digest, again.repairs) == (data.digest, data.repairs)
    other = prepare(root, tmp_path / "data", repair="replace", data_seed=1, **settings)
    assert [line.by for line in other.repairs] != [line.by for line in data.repairs] and other.digest != data.digest


def test_which_picture_replaces_which_is_drawn_by_seed_and_none_comes_twice_before_each_came_once():
    whole = [Row(f"{i}.jpg", REAL, split="train", source="a", sha256=f"{i:064}") for i in range(6)]
    others = [row._replace(path=f"other {i}", **{key: value}) for i, row in enumerate(whole) for key, value in OTHER]
    damaged = [(Row(f"bad {i}.jpg", REAL, split="train", source="a"), "torn") for i in range(8)]
    drawn = [[each.by for each in repair.replace(damaged, [*others, *whole], seed)] for seed in range(4)]
    for donors in drawn:
        assert set(donors[:6]) == {row.path for row in whole} and donors[6:] == donors[:2]
    assert len(set(map(tuple, drawn))) == 4
    assert repair.replace(damaged, whole[::-1], 0) == repair.replace(damaged, whole, 0)
    assert repair.decoded(repair.encoded(repair.replace(damaged, whole, 0))) == repair.replace(damaged, whole, 0)


def test_stores_and_digests_of_before_are_found_again():
    law = {"size": [32, 32], "fit": "stretch", "patches": 1, "min_side": 8, "max_pixels": 50_000_000}
    law["max_bytes"] = 100_000_000
    known = hashlib.sha256(json.dumps([3, PIL.__version__, law]).encode()).hexdigest()[:16]
    assert store.digest([], ImageSettings()) == known != store.digest([], ImageSettings(inpaint=True))


def test_where_nothing_whole_is_left_there_is_nothing_to_replace_with_and_too_much_damage_is_an_error(tmp_path):
    root = tmp_path / "in"
    files = folder_of(root, "train/{label}/{i}.jpg", 6)
    files |= folder_of(root, "val/{label}/{i}.jpg", 2) | folder_of(root, "test/{label}/{i}.jpg", 2)
    for i in range(6):
        cut(files[f"train/fake/{i}.jpg"])
    with pytest.raises(partition.TooFewGroups, match="no whole FAKE image of folder is left for training, to replace"):
        prepare(root, tmp_path / "data", repair="replace")
    pytest.importorskip("cv2", reason="the extra [repair] is not installed")
    with pytest.raises(DataError, match=r"6 of 20 files are damaged, more than data.max_bad=0.1 allows.*repaired.csv"):
        prepare(root, tmp_path / "data", repair="inpaint", max_bad=0.1)


def test_without_the_library_a_line_says_what_to_install(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", "{label}/{i}.jpg", 1)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DataError, match=r'data.repair=inpaint needs OpenCV: pip install -e "\.\[repair\]"'):
        prepare(tmp_path / "in", tmp_path / "data", repair="inpaint")


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({"repair": "mend"}, FolderSettings, "data.repair=mend: expected quarantine, inpaint or replace"),
        ({"repair": "inpaint"}, BuiltSettings, "data.repair=inpaint: expected quarantine or replace"),
        ({"repair": "replace", "repair_test": True}, FolderSettings, "data.repair_test=true: expected false"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, kind, expected):
    with pytest.raises(ValueError, match=expected):
        kind(**settings)
