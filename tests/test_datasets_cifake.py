import io
import json
import pickle
import random
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from datasets import archive, cifake
from datasets.manifest import FAKE, REAL, DataError

REAL_ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifake" / "archive.zip"
NAMES = [
    f"{split}/{label}/0000{k}.jpg" for split in ("train", "test") for label in ("REAL", "FAKE") for k in ("", " (2)")
]


def picture(grey: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8), grey).save(out, "JPEG")
    return out.getvalue()


def laid_out(place: Path, names: list[str], form: str) -> Path:
    """The same small pictures as a zip or as a tree."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if form == "zip":
        with zipfile.ZipFile(place, "w") as out:
            for grey, name in enumerate(names):
                out.writestr(name, picture(grey))
        return place
    place.mkdir()
    for grey, name in enumerate(names):
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(grey))
    return place


both_forms = pytest.mark.parametrize("form", ["zip", "tree"])


@both_forms
def test_rows_come_sorted_with_label_split_and_class(tmp_path, form):
    names = random.Random(0).sample(NAMES, len(NAMES))
    listed = cifake.listing(laid_out(tmp_path / "it", names, form))
    assert [row.path for row, _ in listed] == sorted(NAMES)
    assert [location.read() for _, location in listed] == [picture(names.index(name)) for name in sorted(NAMES)]
    row = listed[-1][0]
    assert (row.path, row.label, row.split, row.source) == ("train/REAL/0000.jpg", REAL, "train", "cifake")
    assert row.category == "airplane"
    row = listed[0][0]
    assert (row.path, row.label, row.split, row.category) == ("test/FAKE/0000 (2).jpg", FAKE, "test", "automobile")


def test_zip_and_tree_give_the_same_rows(tmp_path):
    both = [cifake.listing(laid_out(tmp_path / form, NAMES, form)) for form in ("zip", "tree")]
    assert [row for row, _ in both[0]] == [row for row, _ in both[1]]


@both_forms
def test_a_folder_around_all_is_taken_away_and_a_readme_is_no_picture(tmp_path, form):
    names = [f"cifake-1.0/{name}" for name in NAMES] + ["cifake-1.0/README.txt", "LICENSE", "__MACOSX/train/._0000.jpg"]
    listed = cifake.listing(laid_out(tmp_path / "it", names, form))
    assert [row.path for row, _ in listed] == sorted(NAMES)


@both_forms
def test_folder_names_count_in_any_case(tmp_path, form):
    names = [name.replace("train/REAL", "Train/real") for name in NAMES]
    found = [
        row for row, _ in cifake.listing(laid_out(tmp_path / "it", names, form)) if row.path.startswith("Train/real")
    ]
    assert [(row.split, row.label) for row in found] == [("train", REAL)] * 2


@both_forms
def test_a_file_that_is_no_picture_is_left_to_the_decoder(tmp_path, form):
    listed = cifake.listing(laid_out(tmp_path / "it", [*NAMES, "test/FAKE/notes.txt", "test/FAKE/Thumbs.db"], form))
    assert {row.path for row, _ in listed} == {*NAMES, "test/FAKE/notes.txt"}


@both_forms
@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("train/FAKE", "train/FAEK", "train/FAEK (2)"),  # misspelt
        ("test/REAL", "test/FAKE/more", "test/FAKE/more (2)"),  # missing, and pictures too deep
        ("test/", "val/", "val/REAL (2)"),
        (".jpg", ".txt", "has pictures in no folder"),  # empty of pictures
        ("train/REAL/", "", "no folder (2)"),
    ],
)
def test_another_layout_is_refused_with_what_is_there_and_what_was_expected(tmp_path, form, old, new, named):
    place = laid_out(tmp_path / "it", [name.replace(old, new) for name in NAMES], form)
    with pytest.raises(DataError) as caught:
        cifake.listing(place)
    text = str(caught.value)
    assert text.startswith(f"{place}: ") and named in text and "\n" not in text
    assert "expected train/REAL, train/FAKE, test/REAL and test/FAKE" in text


@both_forms
def test_a_fifth_folder_of_pictures_is_refused(tmp_path, form):
    with pytest.raises(DataError, match=r"train/FAEK \(1\)"):
        cifake.listing(laid_out(tmp_path / "it", [*NAMES, "train/FAEK/0001.jpg"], form))


def test_the_bracketed_number_names_the_class_of_cifar10():
    assert [cifake.category(f"0007 ({k}).jpg") for k in range(2, 11)] == list(cifake.CLASSES[1:])
    assert cifake.category("0007.jpg") == "airplane"
    assert [cifake.category(name) for name in ("0007 (11).jpg", "0007 (0).jpg", "cat (4).jpg", "0007 (4).png")] == [
        ""
    ] * 4


def test_without_an_origin_the_command_that_brings_it_is_named(tmp_path):
    with pytest.raises(DataError, match=r"origin\.json: .*python scripts/fetch_cifake\.py"):
        cifake.rows(tmp_path)


@both_forms
def test_the_origin_is_found_again_and_missed_when_gone(tmp_path, form):
    home, place = tmp_path / "data" / "cifake", laid_out(tmp_path / "elsewhere", NAMES, form)
    cifake.write_origin(home, place)
    assert json.loads((home / "origin.json").read_text()) == {"archive" if form == "zip" else "root": str(place)}
    assert len(cifake.rows(home)) == len(NAMES)
    place.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"elsewhere: gone.*fetch_cifake\.py --"):
        cifake.rows(home)


def test_an_archive_inside_the_data_folder_moves_with_it(tmp_path):
    home = tmp_path / "data" / "cifake"
    cifake.write_origin(home, laid_out(home / "archive.zip", NAMES, "zip"))
    assert len(cifake.rows((tmp_path / "data").rename(tmp_path / "other") / "cifake")) == len(NAMES)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"archive": 3}', '{"zip": "a"}', '{"archive": "a", "root": "b"}'])
def test_a_spoilt_origin_says_how_to_make_it_anew(tmp_path, text):
    (tmp_path / "origin.json").write_text(text)
    with pytest.raises(DataError, match=r"expected \{\"archive\": FILE\}.*fetch_cifake"):
        cifake.rows(tmp_path)


def test_counts_that_are_not_the_official_ones_are_reported(monkeypatch, tmp_path):
    rows = [row for row, _ in cifake.listing(laid_out(tmp_path / "it", NAMES, "zip"))]
    assert len(cifake.count_report(rows)) == 4
    monkeypatch.setattr(cifake, "OFFICIAL_COUNTS", dict.fromkeys(cifake.OFFICIAL_COUNTS, 2))
    assert cifake.count_report(rows) == []
    assert cifake.count_report(rows[1:]) == ["test/FAKE: 1 images, 1 fewer than the official 2"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("val_share", 0), ("val_share", 1.0), ("leaks", "x"), ("data_seed", -1), ("max_bad", float("nan"))],
)
def test_a_setting_out_of_range_is_named_with_what_is_expected(key, value):
    with pytest.raises(ValueError, match=rf"^data\.{key}={value!r}: expected "):
        cifake.CifakeSettings(**{key: value})


def test_the_real_archive_lists_whole_and_reads_as_zipfile_does():
    if not REAL_ARCHIVE.exists():
        pytest.skip("the CIFAKE archive is not on this machine")
    listed = cifake.listing(REAL_ARCHIVE)
    counts = {("train", "REAL"): 39_992, ("train", "FAKE"): 40_025, ("test", "REAL"): 5_006, ("test", "FAKE"): 4_926}
    assert cifake.count([row for row, _ in listed]) == counts and len(listed) == 89_949
    assert [row.path for row, _ in listed] == sorted(row.path for row, _ in listed)
    assert all(row.category for row, _ in listed)
    with zipfile.ZipFile(REAL_ARCHIVE) as oracle:
        for row, entry in random.Random(0).sample(listed, 500):
            assert isinstance(entry, archive.Entry)
            assert pickle.loads(pickle.dumps(entry)).read() == oracle.read(row.path)
