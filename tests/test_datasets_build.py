"""From folders of pictures to a packed, split data set: listing, store, quarantine, notes."""

import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import build, manifest, store
from datasets.folder import FolderSettings
from datasets.images import fit
from datasets.manifest import FAKE, REAL, DataError

ROOT = Path(build.__file__).parents[1]


def draw(path, seed, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def drawn_folder(root, count=12, layout="{label}/{i}.png"):
    for label, name in enumerate(("Real", "FAKE")):
        for i in range(count):
            draw(root / layout.format(label=name, i=i), seed=1000 * label + i)
    return root


def prepare(root, tmp_path, **settings):
    return build.prepare(
        FolderSettings(root=str(root), **{"val_share": 0.25, "test_share": 0.25} | settings),
        data_root=tmp_path / "data",
    )


def test_pixels_labels_and_rows_stand_in_one_order_and_labels_follow_the_folders_in_any_case(tmp_path):
    data = prepare(drawn_folder(tmp_path / "in", layout="{label}/deep/er/{i}.png"), tmp_path, image_size=[30, 40])
    assert data.images.shape == (24, 30, 40, 3)
    for row, pixels, label in zip(data.rows, data.images, data.labels, strict=True):
        assert label == row.label == (REAL if row.path.startswith("Real/") else FAKE)
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(tmp_path / "in" / row.path)))
    assert sorted(np.concatenate([data.indices(s) for s in ("train", "val", "test")])) == list(range(24))
    assert data.manifest.exists()


def test_splits_that_the_folder_brings_stay(tmp_path):
    for split in ("Train", "val", "TEST"):
        drawn_folder(tmp_path / "in" / split, count=3, layout=split + "-{label}-{i}.png")
        for name in ("Real", "FAKE"):
            (tmp_path / "in" / split / name.lower()).mkdir()
            for path in (tmp_path / "in" / split).glob(f"{split}-{name}-*.png"):
                path.rename(path.parent / name.lower() / path.name)
    # the same three pictures in every split: training and validation copies are leaks
    with pytest.raises(DataError, match="no REAL image is left for the split train"):
        prepare(tmp_path / "in", tmp_path)
    data = prepare(tmp_path / "in", tmp_path, leaks="keep")
    assert all(row.path.lower().startswith(row.split) for row in data.rows)
    assert any("12 images for training also stand in" in note for note in data.notes)


def test_a_store_is_found_again_and_a_changed_added_or_missing_file_is_noticed(tmp_path, monkeypatch):
    root = drawn_folder(tmp_path / "in")
    first = prepare(root, tmp_path)
    calls = []
    monkeypatch.setattr(store, "_pack", lambda *a, real=store._pack: calls.append(1) or real(*a))
    assert prepare(root, tmp_path).digest == first.digest
    prepare(root, tmp_path, data_seed=7, max_bad=0.5)  # another split of the same pixels
    assert not calls
    draw(root / "Real" / "0.png", seed=99)
    changed = prepare(root, tmp_path)
    assert changed.digest != first.digest and calls == [1]
    (root / "FAKE" / "1.png").unlink()
    assert len(prepare(root, tmp_path).rows) == 23 and calls == [1, 1]


def test_a_store_whose_pixels_were_altered_is_packed_again(tmp_path):
    root = drawn_folder(tmp_path / "in")
    before = np.array(prepare(root, tmp_path).images)
    path = next((tmp_path / "data").rglob("images.npy"))
    with path.open("r+b") as file:
        file.seek(500)
        file.write(b"\x01\x02\x03")
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(prepare(root, tmp_path).images, before)


def test_what_cannot_be_decoded_is_quarantined_with_its_reason_and_more_than_allowed_is_an_error(tmp_path):
    root = drawn_folder(tmp_path / "in")
    (root / "Real" / "text.jpg").write_text("not a picture")
    draw(root / "FAKE" / "dot.png", seed=5, size=(1, 1))
    with pytest.raises(DataError, match=r"2 of 26 files cannot be used, more than data.max_bad=0.01 allows") as caught:
        prepare(root, tmp_path)
    path = Path(str(caught.value).rsplit(" ", 1)[-1])
    with path.open(newline="") as file:
        listed = dict(list(csv.reader(file))[1:])
    assert set(listed) == {"Real/text.jpg", "FAKE/dot.png"} and "1x1" in listed["FAKE/dot.png"]
    data = prepare(root, tmp_path, max_bad=0.1)
    assert len(data.rows) == 24 and any("quarantined: 2 of 26" in note for note in data.notes)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda root: (root / "real").mkdir(parents=True), "holds the folders real; expected real and fake"),
        (
            lambda root: [(root / n).mkdir(parents=True) for n in ("real", "faek")],
            "holds the folders faek, real; expected",
        ),
        (lambda root: [(root / n).mkdir(parents=True) for n in ("real", "fake")], "holds no file"),
        (
            lambda root: (root / "trian" / "real").mkdir(parents=True),
            "holds the folders trian; expected real and fake, or train",
        ),
        (lambda root: None, "no such folder"),
    ],
)
def test_a_folder_that_is_not_as_expected_is_named(tmp_path, make, expected):
    make(tmp_path / "in")
    with pytest.raises(DataError, match=expected):
        prepare(tmp_path / "in", tmp_path)


def test_two_folders_of_one_class_and_pictures_beside_the_classes_are_refused_not_skipped(tmp_path):
    root = drawn_folder(tmp_path / "in")
    (root / "REAL").mkdir()
    with pytest.raises(DataError, match="holds both REAL and Real"):
        prepare(root, tmp_path)
    (root / "REAL").rmdir()
    draw(root / "stray.png", seed=3)
    with pytest.raises(DataError, match=r"stray.png: a picture beside the class folders"):
        prepare(root, tmp_path)


def test_a_link_that_leads_nowhere_is_quarantined(tmp_path):
    root = drawn_folder(tmp_path / "in")
    (root / "FAKE" / "gone.png").symlink_to(tmp_path / "nothing.png")
    data = prepare(root, tmp_path, max_bad=0.1)
    assert len(data.rows) == 24 and data.quarantined == 1
    assert "gone.png,cannot be read" in data.manifest.with_name("quarantine.csv").read_text()


def test_a_process_killed_while_packing_leaves_no_store_and_the_next_one_makes_it(tmp_path):
    root = drawn_folder(tmp_path / "in", count=60)
    code = (
        "import os, sys, signal, pathlib; from datasets import build, folder, store\n"
        "real = store.decode_all\n"
        "def dying(*a, **k):\n"
        "    for i, result in enumerate(real(*a, **k)):\n"
        "        if i == 100: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield result\n"
        "store.decode_all = dying\n"
        "build.prepare(folder.FolderSettings(root=sys.argv[1]), data_root=pathlib.Path(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root), str(tmp_path / "data")], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert not list((tmp_path / "data").rglob("store.json"))
    assert len(prepare(root, tmp_path).rows) == 120
    assert not [path for path in (tmp_path / "data" / "folder").iterdir() if path.name.endswith(".part")]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux) to mount a small disk")
def test_a_disk_that_fills_while_packing_is_an_oserror_and_leaves_nothing_behind(tmp_path):
    root = drawn_folder(tmp_path / "in", count=100)
    disk = tmp_path / "disk"
    disk.mkdir()
    code = (
        "import sys, pathlib; from datasets import build, folder\n"
        "try:\n"
        "    settings = folder.FolderSettings(root=sys.argv[1], image_size=64)\n"
        "    build.prepare(settings, data_root=pathlib.Path(sys.argv[2]))\n"
        "except OSError as error:\n"
        "    files = [p for p in pathlib.Path(sys.argv[2]).rglob('*') if p.is_file()]\n"
        "    left = [p.name for p in files if not p.name.endswith('.lock')]\n"
        "    print(error.errno, left); sys.exit()\n"
        "sys.exit('it fitted')\n"
    )
    mount = f'mount -t tmpfs -o size=1m tmpfs "{disk}" || exit 77; exec "{sys.executable}" -c "$0" "{root}" "{disk}"'
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", mount, code], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()[:80]}")
    assert done.stdout.strip() == f"{errno.ENOSPC} []", done.stderr


def test_two_processes_that_want_the_same_store_do_the_work_once(tmp_path):
    root = drawn_folder(tmp_path / "in", count=60)
    code = (
        "import sys, pathlib; from datasets import build, folder, store\n"
        "real = store._pack\n"
        "def counted(*a): open(sys.argv[3], 'a').write('packed\\n'); return real(*a)\n"
        "store._pack = counted\n"
        "build.prepare(folder.FolderSettings(root=sys.argv[1]), data_root=pathlib.Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "data"), str(tmp_path / "count")]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    deadline = time.monotonic() + 60
    assert [process.wait(deadline - time.monotonic()) for process in both] == [0, 0]
    assert (tmp_path / "count").read_text() == "packed\n"


def test_what_is_kept_beside_a_store_and_damaged_is_made_anew(tmp_path):
    root = drawn_folder(tmp_path / "in")
    first = prepare(root, tmp_path, image_size=16)
    for name in ("near-pairs-4.npy", "audit-2.json", "files.npy", "thumbs.npy", "files.csv", "quarantine.csv"):
        [path] = [path for path in (tmp_path / "data").rglob(name) if "split-" not in str(path) or "audit" in name]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        again = prepare(root, tmp_path, image_size=16)
        assert (again.digest, again.audit) == (first.digest, first.audit)
        np.testing.assert_array_equal(again.thumbs, first.thumbs)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system refuses such names")
def test_a_name_that_is_not_utf_8_is_no_obstacle(tmp_path):
    root = drawn_folder(tmp_path / "in")
    (root / "FAKE" / "0.png").rename(root / "FAKE" / os.fsdecode(b"caf\xe9.png"))
    data = prepare(root, tmp_path)
    assert "FAKE/caf\\xe9.png" in {row.path for row in data.rows}


def test_what_was_quarantined_stands_beside_the_manifest_also_when_the_split_is_an_old_one(tmp_path):
    root = drawn_folder(tmp_path / "in")
    prepare(root, tmp_path, max_bad=0.5)
    (root / "Real" / "torn.png").write_bytes(b"nothing")
    data = prepare(root, tmp_path, max_bad=0.5)
    assert data.quarantined == 1 and "torn.png" in data.manifest.with_name("quarantine.csv").read_text()


def test_patches_of_a_picture_stay_in_one_split_under_its_label_and_lead_back_to_its_file(tmp_path):
    root = drawn_folder(tmp_path / "in", count=20)
    draw(root / "Real" / "small.png", seed=1, size=(15, 60))
    with pytest.raises(DataError, match="1 of 41 files cannot be used"):  # of files, not of patches
        prepare(root, tmp_path, image_size=16, fit="patches", patches=3, max_bad=1 / 60)
    data = prepare(root, tmp_path, image_size=16, fit="patches", patches=3, max_bad=0.1)
    assert data.content == manifest.digest(row._replace(group="", split="") for row in data.rows)
    assert data.images.shape == (40 * 2, 16, 16, 3) and data.quarantined == 1  # 40x30 pixels hold two
    assert len(data.first) == len(data.thumbs) == len(data.locations) == 40
    for number, first in enumerate(data.first):
        mine = data.rows[first : first + 2]
        name, _, patch = mine[0].path.partition("#")
        assert patch == "0" and [row.path for row in mine] == [f"{name}#0", f"{name}#1"]
        assert len({(row.split, row.group, row.label) for row in mine}) == 1
        assert data.locations[number].read() == (root / name).read_bytes()
        whole = np.asarray(Image.open(root / name))
        np.testing.assert_array_equal(data.thumbs[number], fit(whole, (32, 32), "stretch"))
        windows = np.lib.stride_tricks.sliding_window_view(whole, (16, 16, 3))[:, :, 0]
        for patch in data.images[first : first + 2]:
            assert (windows == patch).all(axis=(2, 3, 4)).any()


ODD_IMAGES = ROOT.parent / "shared" / "data" / "odd-images.zip"


@pytest.mark.skipif(not ODD_IMAGES.exists(), reason="needs the collection of odd and broken public images")
def test_every_odd_image_of_the_wild_is_either_used_or_quarantined_with_a_reason(tmp_path):
    root = tmp_path / "in"
    with zipfile.ZipFile(ODD_IMAGES) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        for i, name in enumerate(names):
            path = root / ("real", "fake")[i % 2] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    data = prepare(root, tmp_path, max_bad=1.0, image_size=32)
    with (data.manifest.parent / "quarantine.csv").open(newline="") as file:
        quarantined = list(csv.reader(file))[1:]
    assert all(reason.strip() and "\n" not in reason for _, reason in quarantined)
    used = {row.path.partition("/")[2] for row in data.rows}
    assert len(used) > 500 and len(quarantined) > 200
    assert used | {path.partition("/")[2] for path, _ in quarantined} == set(names)
    assert len(data.rows) + len(quarantined) == len(names) == 1264
    assert any(f"quarantined: {len(quarantined)} of {len(names)}" in note for note in data.notes)
