import hashlib
import io
import zipfile
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import duplicates, planted
from datasets.duplicates import count_near, count_pairs, difference_hash, group, near_pairs
from datasets.likeness import grey_of, has_detail, same_picture
from datasets.manifest import FAKE, REAL, Row
from datasets.synthetic import Drawing

CIFAKE = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifake" / "archive.zip"


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def real_thumbnails(folder, count):
    if not CIFAKE.is_file():
        pytest.skip(f"the real CIFAKE is not at {CIFAKE}")
    with zipfile.ZipFile(CIFAKE) as archive:
        names = [name for name in archive.namelist() if name.startswith(folder)][:count]
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
        originals = real_thumbnails(f"test/{pictures}/", 3000)
    random = np.random.default_rng(1)
    thumbs = [np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC)) for picture in originals]
    known = as_set(near_pairs(np.stack(thumbs)))  # CIFAKE's own
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
    assert as_set(np.sort(order[near_pairs(thumbs[order])], axis=1)) == as_set(pairs)
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
        grey = grey_of(inhabited, np.arange(900))
        assert not same_picture(grey, each)[has_detail(grey)[:-1]].any()


def test_many_frames_of_one_scene_are_one_group_and_not_compared_each_with_each(monkeypatch):
    compared = []

    def counting(grey, pairs):
        compared.append(len(pairs))
        return np.ones(len(pairs), bool)

    random = np.random.default_rng(0)
    scene = planted.thumbnails(1, seed=5)[0] * 0.9
    frames = np.clip(scene + random.normal(0, 1, (600, 32, 32, 3)), 0, 255).astype(np.uint8)
    pairs = near_pairs(frames)
    assert num_groups(pairs, len(frames)) == 1 and len(pairs) > 16 * len(frames)
    monkeypatch.setattr(duplicates, "same_picture", counting)
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 8)
    assert num_groups(near_pairs(frames), len(frames)) == 1
    assert sum(compared) <= 8 * len(frames)


def test_exact_copies_are_pairs_and_a_thousand_of_them_no_million():
    black = np.zeros((3, 32, 32, 3), np.uint8)
    assert near_pairs(black).tolist() == [[0, 1], [0, 2], [1, 2]]
    pairs = near_pairs(np.zeros((1000, 32, 32, 3), np.uint8))
    assert len(pairs) == 32 * 31 // 2 + 1000 - 32
    assert num_groups(pairs, 1000) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_have_no_pairs(count):
    pairs = near_pairs(planted.thumbnails(count))
    assert pairs.shape == (0, 2) and pairs.dtype == np.int64


def test_in_cifake_no_photograph_is_taken_for_a_generated_picture():
    parts = [real_thumbnails(f"test/{label}/", 3500) for label in ("REAL", "FAKE")]
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
    assert [replace(row, group="") for row in grouped] == rows
    assert 100 < len({row.group for row in grouped}) < 500


def test_a_group_has_the_same_name_whatever_the_order_and_the_names_of_the_files():
    random = np.random.default_rng(1)
    rows = drawn_rows(300, random)
    pairs = random.integers(0, 300, (30, 2))
    order = random.permutation(300)
    position = np.argsort(order)
    shuffled = group([replace(rows[k], path=f"other/{k}") for k in order], position[pairs][::-1])
    assert [row.group for row in shuffled] == [group(rows, pairs)[k].group for k in order]


def test_pairs_are_counted_by_class_and_across_the_splits():
    rows = [
        Row(str(k), label, split, sha256=sha256(content))
        for k, (label, split, content) in enumerate(
            [(0, "train", "a"), (0, "test", "a"), (0, "train", "b"), (1, "train", "a"), (1, "test", "c")]
        )
    ]
    pairs = np.array([[0, 1], [0, 2], [0, 3], [1, 3], [3, 4]])
    assert count_near(rows, pairs) == {"REAL": 2, "FAKE": 1, "across": 2, "splits": 3}
    everything_tied = group([replace(row, ties="page:1") for row in rows], pairs)
    assert len({row.group for row in everything_tied}) == 1
    assert count_pairs(everything_tied) == {"REAL": 1, "FAKE": 0, "across": 2}
