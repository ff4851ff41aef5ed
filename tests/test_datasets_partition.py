import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from datasets.duplicates import count_pairs, group
from datasets.manifest import FAKE, REAL, DataError, Row
from datasets.partition import assign


def drawn_rows(count, *, split="", twins=0):
    """`count` rows of each class in two categories; the last `twins` FAKE rows repeat the content of the first."""
    rows = []
    for label in (REAL, FAKE):
        for i in range(count):
            content = i - (count - twins) if label == FAKE and i >= count - twins else i
            rows.append(
                Row(
                    f"{label}/{i}",
                    label,
                    split,
                    "drawn",
                    "ab"[content % 2],
                    sha256=f"{label}{content:05}".ljust(64, "0"),
                )
            )
    return group_exact(rows)


def group_exact(rows):
    return group(rows, np.empty((0, 2), np.int64))


def cut(rows, **changes):
    return assign(rows, **{"seed": 0, "val_share": 0.2, "test_share": 0.1, "drop_leaks": True} | changes)


def test_shares_hold_in_every_class_and_category():
    rows = cut(drawn_rows(1000)).rows
    counts = Counter((row.label, row.category, row.split) for row in rows)
    assert {counts[label, c, "test"] for label in (0, 1) for c in "ab"} == {50}
    assert {counts[label, c, "val"] for label in (0, 1) for c in "ab"} == {90}  # a fifth of what test leaves


def test_the_split_of_an_image_depends_on_its_content_and_the_seed_not_on_names_or_order():
    rows = drawn_rows(300)
    split_of = {row.sha256: row.split for row in cut(rows).rows}
    shuffled = random.Random(1).sample(rows, len(rows))
    renamed = [
        Row(f"x{i}", row.label, "", row.source, row.category, row.sha256, group=row.group)
        for i, row in enumerate(shuffled)
    ]
    assert {row.sha256: row.split for row in cut(renamed).rows} == split_of
    assert {row.sha256: row.split for row in cut(rows, seed=1).rows} != split_of


@pytest.mark.parametrize("drop", [True, False])
def test_equal_images_never_stand_on_both_sides_of_a_cut(drop):
    rows = cut(drawn_rows(400, twins=150), drop_leaks=drop).rows
    sides = defaultdict(set)
    for row in rows:
        sides[row.group].add(row.split)
    assert max(map(len, sides.values())) == 1


def test_official_splits_stay_and_training_images_that_also_stand_in_test_are_left_out_or_kept():
    train = drawn_rows(100, split="train", twins=10)
    copies = [
        Row(f"test/{i}", row.label, "test", "drawn", row.category, row.sha256) for i, row in enumerate(train[::20])
    ]
    rows = group_exact([*train, *copies])
    in_test = {row.group for row in rows if row.split == "test"}
    leaking = [row for row in train if row.group in in_test]
    dropped, kept = cut(rows), cut(rows, drop_leaks=False)
    assert dropped.leaks == kept.leaks == len(leaking) == 11  # ten copies, one of them with a twin
    assert {row.split for row in dropped.rows if row.path.startswith("test/")} == {"test"}
    assert {row.path for row in dropped.rows if row.split == "unused"} == {row.path for row in leaking}
    assert "unused" not in {row.split for row in kept.rows}
    assert not {row.group for row in kept.rows if row.split == "val"} & in_test


def test_pairs_are_counted_within_and_across_the_classes():
    rows = [
        Row(str(i), label, sha256=content * 64)
        for i, (label, content) in enumerate([(0, "a"), (0, "a"), (0, "a"), (1, "a"), (1, "b"), (1, "b")])
    ]
    assert count_pairs(rows) == {"REAL": 3, "FAKE": 1, "across": 3}


def test_too_few_images_for_a_split_are_refused():
    with pytest.raises(DataError, match="no REAL image is left for the split val"):
        cut(drawn_rows(3))


def test_a_source_without_a_test_split_gets_one_though_another_brings_its_own():
    official = drawn_rows(50, split="train") + [
        Row(f"test/{i}", i % 2, "test", "drawn", sha256=f"t{i:05}".ljust(64, "0")) for i in range(20)
    ]
    more = [Row(f"more/{i}", i % 2, "", "more", sha256=f"m{i:05}".ljust(64, "0")) for i in range(100)]
    rows = cut(group_exact([*official, *more])).rows
    counts = Counter((row.source, row.split) for row in rows)
    assert counts["drawn", "test"] == 20 and counts["more", "test"] == 10
    assert counts["drawn", "val"] == 20 and counts["more", "val"] == 18


def test_each_image_is_tested_in_exactly_one_fold_and_no_group_is_torn():
    rows = group_exact(drawn_rows(200, split="train", twins=40) + drawn_rows(60, split="test"))
    tested, sizes = Counter(), []
    for fold in range(5):
        split = cut(rows, fold=fold, folds=5).rows
        mine = [row for row in split if row.split == "test"]
        tested.update(row.path for row in mine)
        sizes.append(Counter(row.label for row in mine))
        assert not {row.group for row in mine} & {row.group for row in split if row.split in ("train", "val")}
        assert {"train", "val", "test"} == {row.split for row in split}
    assert tested == Counter(row.path for row in rows)
    assert all(abs(size[label] - 52) <= 2 for size in sizes for label in (REAL, FAKE))


def test_folds_are_of_one_size_though_groups_are_not():
    ties = [f"author:{name}" for name, number in (("a", 24), ("b", 20), ("c", 15), ("d", 4)) for _ in range(number)]
    rows = group_exact(
        [
            Row(f"{label}/{i}", label, sha256=f"{label}{i:05}".ljust(64, "0"), ties=f"{tie}{label}" if tie else "")
            for label in (REAL, FAKE)
            for i, tie in enumerate([*ties, *[""] * 57])
        ]
    )
    for fold in range(5):
        tested = Counter(row.label for row in cut(rows, fold=fold, folds=5).rows if row.split == "test")
        assert tested == {REAL: 24, FAKE: 24}


def test_one_huge_group_does_not_swallow_a_split_and_a_class_of_one_group_is_refused_saying_so():
    def by_author(count, most):
        return [
            Row(f"x/{i}", REAL, "", "x", sha256=f"x{i:05}".ljust(64, "0"), ties="author:z" * (i < most))
            for i in range(count)
        ]

    rows = cut(group_exact(by_author(200, 120) + drawn_rows(200))).rows
    mine = Counter(row.split for row in rows if row.source == "x")
    assert mine["test"] == 20 and mine["val"] == 36
    everything = by_author(50, 50) + [row for row in drawn_rows(50) if row.label == FAKE]
    with pytest.raises(
        DataError, match=r"no REAL image is left .*50 REAL images in 1 group that stays together, the largest of 50;"
    ):
        cut(group_exact(everything))


def test_what_was_left_out_on_purpose_stays_out_of_every_fold():
    rows = drawn_rows(50)
    marked = [row._replace(split="unused") if i % 10 == 0 else row for i, row in enumerate(rows)]
    for fold in (None, 0, 1, 2):
        split = {row.path: row.split for row in cut(marked, fold=fold, folds=3).rows}
        assert {path for path, name in split.items() if name == "unused"} == {row.path for row in rows[::10]}


def test_a_validation_image_that_also_stands_in_test_is_a_leak():
    def drawn(split, first, count):
        return [
            Row(f"{split}/{label}/{i}", label, split, "x", sha256=f"{label}{i:05}".ljust(64, "0"))
            for label in (REAL, FAKE)
            for i in range(first, first + count)
        ]

    rows = group_exact([*drawn("train", 0, 20), *drawn("val", 20, 8), *drawn("test", 25, 9)])  # 25 to 27 in both
    parts = cut(rows)
    unused = {row.path for row in parts.rows if row.split == "unused"}
    assert parts.leaks == 6 and unused == {f"val/{label}/{i}" for label in (REAL, FAKE) for i in (25, 26, 27)}


def test_of_a_few_large_groups_the_smallest_is_cut():
    rows = [
        Row(f"{label}/{i}", label, source="x", sha256=f"{label}{i:05}".ljust(64, "0"), ties=f"prompt:{label}{i // 10}")
        for label in (REAL, FAKE)
        for i in range(35)
    ]
    counts = Counter((row.label, row.split) for row in cut(group_exact(rows)).rows)
    assert counts == {
        (label, split): n for label in (REAL, FAKE) for split, n in (("test", 5), ("val", 10), ("train", 20))
    }
