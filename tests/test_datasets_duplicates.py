import hashlib
import io
import zipfile
from collections import Counter, defaultdict
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import duplicates, likeness, planted
from datasets.duplicates import count_near, count_pairs, difference_hash, group, near_pairs
from datasets.likeness import has_detail, same_picture
from datasets.manifest import FAKE, REAL, Row
from datasets.synthetic import Drawing

CIFAKE = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifake" / "archive.zip"


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@cache
def real_thumbnails(folder):
    """The first 3,500 thumbnails of a folder of CIFAKE."""
    if not CIFAKE.is_file():
        pytest.skip(f"the real CIFAKE is not at {CIFAKE}")
    with zipfile.ZipFile(CIFAKE) as archive:
        names = [name for name in archive.namelist() if name.startswith(folder)][:3500]
        return np.stack([opened(archive.read(name)) for name in names])


def sha256(content):
    return hashlib.sha256(str(content).encode()).hexdigest()


def num_groups(pairs, count):
    """How many groups `pairs` make of `count` images of different bytes."""
    return len({row.group for row in group([Row(str(k), REAL, sha256=sha256(k)) for k in range(count)], pairs)})


def as_set(pairs):
    return {(one, other) for one, other in pairs.tolist()}


def test_a_bit_says_that_the_next_cell_is_brighter_by_more_than_in_the_mean_of_the_rows():
    thumb = planted.thumbnails(1, seed=3)[0]
    grey = (thumb.astype(int) @ [77, 150, 29]) >> 4
    ninths = grey.repeat(9, axis=1)  # a cell is 32 ninths of a pixel wide and 4 pixels high
    means = [
        [Fraction(int(ninths[4 * y : 4 * y + 4, 32 * x : 32 * x + 32].sum()), 128) for x in range(9)] for y in range(8)
    ]
    bits = ""
    for y in range(8):
        for x in range(8):
            usual = sum(row[x + 1] - row[x] for row in means) / 8
            bits += "1" if means[y][x + 1] - means[y][x] > usual else "0"
    (hashed,) = difference_hash(thumb[None])
    assert hashed.dtype == np.uint64 and f"{hashed:064b}" == bits


@pytest.mark.parametrize("pictures", ["drawn", "large drawn", "REAL", "FAKE"])
def test_altered_copies_are_found_and_different_pictures_of_one_class_stay_apart(pictures):
    num_copied = 60
    if pictures == "drawn":
        originals = planted.thumbnails(3000)
        originals = originals[originals.std((1, 2, 3)) > 5]
    elif pictures == "large drawn":
        originals = [opened(Drawing("train", REAL, k, 96, 144, "none", 0, 0).read()) for k in range(num_copied)]
    else:
        originals = real_thumbnails(f"test/{pictures}/")[:3000]
    random = np.random.default_rng(1)
    thumbs = [np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC)) for picture in originals]
    sources = list(range(len(thumbs)))
    planted_pairs = defaultdict(list)
    for kind in planted.KINDS:
        for index in range(num_copied):
            planted_pairs[kind].append((index, len(thumbs)))
            sources.append(index)
            thumbs.append(planted.altered(originals[index], kind, random))
    found = as_set(near_pairs(np.stack(thumbs)))
    for kind, pairs in planted_pairs.items():
        assert len(found & set(pairs)) >= 0.97 * num_copied, kind
    joined = {tuple(sorted((sources[one], sources[other]))) for one, other in found}
    known = {pair for pair in found if max(pair) < len(originals)}  # CIFAKE's own
    assert {pair for pair in joined if pair[0] != pair[1]} <= known
    assert len(known) <= 0.01 * len(originals)


def test_the_pairs_are_the_same_in_any_order(monkeypatch):
    thumbs, copies = planted.with_copies(1500, 150)
    random = np.random.default_rng(1)
    for _ in range(2):  # a copy of a copy of a copy: some are found, some are not
        thumbs[-75:] = [planted.altered(thumb, "cropped by 5 % on every side", random) for thumb in thumbs[-75:]]
    frames = np.clip(thumbs[60] * 0.9 + random.normal(0, 2, (60, 32, 32, 3)), 0, 255).astype(np.uint8)
    thumbs = np.concatenate([thumbs, thumbs[:50], frames])
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 4)  # so that some are left out
    order = np.random.default_rng(0).permutation(len(thumbs))
    pairs = near_pairs(thumbs)
    pictures = np.append(np.arange(1500), np.append(np.arange(50), np.arange(1550, 1610)))  # one for identical ones
    again = order[near_pairs(thumbs[order])]
    assert as_set(np.sort(pictures[again], axis=1)) == as_set(np.sort(pictures[pairs], axis=1))
    assert as_set(pairs) >= {(k, 1500 + k) for k in range(50)}
    assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.tolist() == sorted(pairs.tolist())
    assert 70 < len(as_set(pairs) & set(copies)) < 150


def test_what_thousands_of_pictures_share_is_no_likeness():
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    sea = np.where(y < 16, 200, 60) + random.integers(-20, 20, (300, 1, 1))  # a sharp horizon
    lamp = 4 * x + 3 * y + random.integers(0, 30, (300, 1, 1))  # light from one side
    sky = 100 + (x - 15.5) * (y - 15.5) * random.uniform(0.01, 0.04, (300, 1, 1))  # and from one corner
    empty = np.repeat(np.concatenate([sea, lamp, sky])[..., None], 3, axis=3)
    empty = np.clip(empty + random.normal(0, 0.5, empty.shape), 0, 255).astype(np.uint8)
    assert len(near_pairs(empty)) == 0
    again = np.concatenate([empty, empty[::30]])
    assert as_set(near_pairs(again)) == {(30 * k, 900 + k) for k in range(30)}

    own = planted.thumbnails(900).astype(float)
    own -= own.mean((1, 2), keepdims=True)
    for weight in (0.15, 0.3):
        inhabited = np.clip(empty + weight * own, 0, 255).astype(np.uint8)
        assert len(near_pairs(inhabited)) == 0
        each = np.stack([np.arange(0, 899), np.arange(1, 900)], axis=1)
        assert not same_picture(inhabited, each)[has_detail(inhabited, np.arange(899))].any()


def test_many_frames_of_one_scene_are_one_group_and_not_compared_each_with_each(monkeypatch):
    compared = []

    def counting(thumbs, pairs):
        compared.append(len(pairs))
        return np.ones(len(pairs), bool)

    random = np.random.default_rng(0)
    scene = planted.thumbnails(1, seed=5)[0] * 0.9
    frames = np.clip(scene + random.normal(0, 1, (300, 32, 32, 3)), 0, 255).astype(np.uint8)
    pairs = near_pairs(frames)
    assert num_groups(pairs, len(frames)) == 1 and len(pairs) > 16 * len(frames)
    monkeypatch.setattr(duplicates, "same_picture", counting)
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 8)
    assert num_groups(near_pairs(frames), len(frames)) == 1
    assert sum(compared) <= 8 * len(frames)


def test_where_a_hundred_share_a_band_each_meets_the_eight_next_in_brightness_to_either_side():
    keys, brightness, hashes = np.zeros(100, np.uint32), np.arange(100, dtype=np.uint32), np.zeros(100, np.uint64)
    one, other = duplicates._Table(keys, brightness, hashes).neighbours(keys, brightness, hashes)
    assert as_set(np.stack([one, other], axis=1)) == {
        (k, near) for k in range(100) for near in range(max(k - 8, 0), min(k + 8, 100))
    }


def test_exact_copies_form_a_chain_and_one_of_them_pairs_with_what_is_like_them():
    assert near_pairs(np.zeros((4, 32, 32, 3), np.uint8)).tolist() == [[0, 1], [1, 2], [2, 3]]
    scenes, random = planted.thumbnails(20, seed=5), np.random.default_rng(0)
    scenes = scenes[has_detail(scenes, np.arange(20))][:10]
    again = np.stack([planted.altered(scene, "quality 60 to 95", random) for scene in scenes])
    thumbs = np.concatenate([np.repeat(scenes, 40, axis=0), np.repeat(again, 40, axis=0)])
    chains = {(k, k + 1) for k in range(799) if k % 40 < 39}
    likes = {(40 * k, 400 + 40 * k) for k in range(10)}
    assert as_set(near_pairs(thumbs)) == chains | likes
    assert num_groups(near_pairs(thumbs), 800) == 10


def test_each_key_of_an_image_is_looked_for_once_through_the_last_view_that_has_it():
    probes = np.random.default_rng(0).integers(0, 40, (5, 8, 16)).astype(np.uint32)
    image, view, key = duplicates._different(probes)
    expected = {
        (place, int(wanted)): max(view for view in range(16) if wanted in probes[place, :, view])
        for place in range(5)
        for wanted in np.unique(probes[place])
    }
    looked = list(zip(image.tolist(), key.tolist(), strict=True))
    assert dict(zip(looked, view.tolist(), strict=True)) == expected and len(looked) == len(expected)


def test_the_search_reads_thumbnails_in_parts(monkeypatch):
    thumbs, _ = planted.with_copies(600, 60)
    pairs = near_pairs(thumbs)
    sizes = []

    class Mapped(np.ndarray):
        def __getitem__(self, key):
            read = np.asarray(super().__getitem__(key))
            sizes.append(read.size // (32 * 32 * 3))
            return read

    monkeypatch.setattr(likeness, "PART", 48)
    assert np.array_equal(near_pairs(thumbs.view(Mapped)), pairs)
    assert max(sizes) == 48 and sum(sizes) < 5 * 600


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_have_no_pairs(count):
    pairs = near_pairs(planted.thumbnails(count))
    assert pairs.shape == (0, 2) and pairs.dtype == np.int64


def test_in_cifake_no_photograph_is_taken_for_a_generated_picture():
    parts = [real_thumbnails(f"test/{label}/") for label in ("REAL", "FAKE")]
    labels = np.repeat([REAL, FAKE], [len(part) for part in parts])
    kinds = Counter(map(tuple, labels[near_pairs(np.concatenate(parts))].tolist()))
    assert kinds[REAL, FAKE] == 0
    assert 3 <= kinds[REAL, REAL] <= 40 and 1 <= kinds[FAKE, FAKE] <= 20


def drawn_rows(count, random):
    """Rows of which some share bytes, some a prompt, some a page and an author."""
    rows = []
    for index in range(count):
        ties = f"page:{random.integers(count)} author:{random.integers(4 * count)}" if index % 3 else ""
        rows.append(Row(str(index), int(index % 2), sha256=sha256(random.integers(2 * count)), ties=ties))
    return rows


def test_groups_are_the_connected_parts_of_bytes_pairs_and_ties():
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    random = np.random.default_rng(0)
    rows = drawn_rows(600, random)
    pairs = random.integers(0, 600, (60, 2))
    keys = sorted({key for row in rows for key in (row.sha256, *row.ties.split())})
    place = {key: 600 + k for k, key in enumerate(keys)}
    edges = [(k, place[key]) for k, row in enumerate(rows) for key in (row.sha256, *row.ties.split())]
    one, other = np.array([*edges, *pairs.tolist()]).T
    size = 600 + len(keys)
    parts = connected_components(coo_matrix((np.ones(len(one)), (one, other)), shape=(size, size)))[1][:600]
    smallest = {part: min(row.sha256 for row, its in zip(rows, parts, strict=True) if its == part) for part in parts}
    grouped = group(rows, pairs)
    assert [row.group for row in grouped] == [smallest[part][:20] for part in parts]
    assert [row._replace(group="") for row in grouped] == rows
    assert 100 < len({row.group for row in grouped}) < 500


def test_a_group_has_the_same_name_whatever_the_order_and_the_names_of_the_files():
    random = np.random.default_rng(1)
    rows = drawn_rows(300, random)
    pairs = random.integers(0, 300, (30, 2))
    order = random.permutation(300)
    position = np.argsort(order)
    shuffled = group([rows[k]._replace(path=f"other/{k}") for k in order], position[pairs][::-1])
    grouped = group(rows, pairs)
    assert [row.group for row in shuffled] == [grouped[k].group for k in order]


def test_pairs_are_counted_by_class_between_train_and_test_and_of_different_bytes():
    contents = [
        (REAL, "train", "a"),
        (REAL, "test", "a"),
        (REAL, "train", "b"),
        (FAKE, "train", "a"),
        (FAKE, "test", "c"),
        (FAKE, "val", "c"),
        (FAKE, "", "c"),
    ]
    rows = [Row(str(k), label, split, sha256=sha256(content)) for k, (label, split, content) in enumerate(contents)]
    pairs = np.array([[0, 1], [0, 2], [0, 3], [1, 3], [3, 4], [3, 5], [4, 5], [3, 6]])
    assert count_near(rows, pairs) == {"REAL": 2, "FAKE": 4, "across": 2, "splits": 3, "alike": 4}
    everything_tied = group([row._replace(ties="page:1") for row in rows], pairs)
    assert len({row.group for row in everything_tied}) == 1
    assert count_pairs(everything_tied) == {"REAL": 1, "FAKE": 3, "across": 2}
