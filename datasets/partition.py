"""Which image is for training, validation and test: by seed and by group, never by file order."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets.manifest import DataError, Row

REPAIRS = ("quarantine", "inpaint", "replace")


@dataclass(frozen=True)
class Partition:
    """rows: with their final split, in the order given; leaks: how many training or validation images belong to a
    group that also stands in a later split."""

    rows: list[Row]
    leaks: int


class TooFewGroups(DataError):
    """A split is left without images of a class; whatever needs no split can still be done."""


def check_settings(settings: Any) -> None:
    """ValueError where a source's settings, as far as it has them, are not what they may be: which share of the images
    goes where, which may be lost, which fold of how many."""
    for key in ("val_share", "test_share"):
        if not 0 < getattr(settings, key, 0.1) < 0.5:
            raise ValueError(f"data.{key}={getattr(settings, key)}: expected a share above 0 and below 0.5")
    if getattr(settings, "leaks", "drop") not in ("drop", "keep"):
        raise ValueError(f"data.leaks={settings.leaks!r}: expected drop or keep")
    if not 0 <= getattr(settings, "max_bad", 0) <= 1:
        raise ValueError(f"data.max_bad={settings.max_bad!r}: expected a share from 0 to 1")
    if getattr(settings, "repair", REPAIRS[0]) not in REPAIRS:
        raise ValueError(f"data.repair={settings.repair}: expected {', '.join(REPAIRS[:-1])} or {REPAIRS[-1]}")
    if getattr(settings, "repair_test", False) and settings.repair != "inpaint":
        raise ValueError("data.repair_test=true: expected false, unless data.repair is inpaint")
    if settings.data_seed < 0:
        raise ValueError(f"data.data_seed={settings.data_seed!r}: expected 0 or a larger whole number")
    if not 2 <= settings.folds <= 100:
        raise ValueError(f"data.folds={settings.folds}: expected a whole number from 2 to 100")
    if settings.fold is not None and not 0 <= settings.fold < settings.folds:
        raise ValueError(f"data.fold={settings.fold}: expected null, or 0 to {settings.folds - 1} of data.folds")


def assign(
    rows: Sequence[Row],
    *,
    seed: int,
    val_share: float,
    test_share: float,
    drop_leaks: bool,
    fold: int | None = None,
    folds: int = 5,
    only_train: Collection[int] = (),
) -> Partition:
    """Give every row its split.

    Splits that a source brings stay. From the training rows of every source without a test split, which are all of them
    where it brings none, one is cut, then a validation split likewise: `share` of every stratum (source, class,
    category), whole groups at a time, in the order of a hash of (seed, group), which is the same whatever the names and
    the order of the files. Then a training image whose group stands in validation or test, or a validation image whose
    group stands in test, is a leak; `drop_leaks` makes it `unused`. What the source calls unused stays so.

    fold: 0 to folds - 1; then splits that the source brings are forgotten, all groups are dealt into `folds` parts of
    equal size in every stratum, and this part is the test split: every image is tested in exactly one fold.
    only_train: places of rows that become `unused` where they are not for training.
    """
    assert all(row.group for row in rows), "rows are grouped before they are split"
    splits = ["train" if fold is not None and row.split != "unused" else row.split or "train" for row in rows]
    if fold is not None:
        _deal(rows, splits, fold, folds, seed)
    else:
        _cut(rows, splits, "test", test_share, seed)
    _cut(rows, splits, "val", val_share, seed, keep_with="test")
    for index in only_train:
        if splits[index] != "train":
            splits[index] = "unused"
    later: dict[str, set[str]] = {"train": set(), "val": set()}
    for row, split in zip(rows, splits, strict=True):
        if split == "test":
            later["val"].add(row.group)
        if split in ("val", "test"):
            later["train"].add(row.group)
    leaking = [row.group in later.get(split, ()) for row, split in zip(rows, splits, strict=True)]
    if drop_leaks:
        splits = ["unused" if leak else split for split, leak in zip(splits, leaking, strict=True)]
    _check(rows, splits)
    assigned = [
        row if row.split == split else row._replace(split=split) for row, split in zip(rows, splits, strict=True)
    ]
    return Partition(assigned, sum(leaking))


def _strata(rows: Sequence[Row], indices: Iterable[int], seed: int, into: str) -> list[dict[str, list[int]]]:
    """The groups of some rows with their members, by stratum, each in the order of a hash of (seed, into, group)."""
    members: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        members[rows[index].group].append(index)
    strata: dict[tuple, list[str]] = defaultdict(list)
    for group, inside in members.items():
        strata[min((rows[i].source, rows[i].label, rows[i].category) for i in inside)].append(group)
    for groups in strata.values():
        groups.sort(key=lambda group: hashlib.sha256(f"{seed}/{into}/{group}".encode()).digest())
    return [{group: members[group] for group in strata[key]} for key in sorted(strata)]


def _cut(rows: Sequence[Row], splits: list[str], into: str, share: float, seed: int, keep_with: str = "") -> None:
    """Move `share` of the training rows of sources without the split `into` there, in place; groups that stand in
    `keep_with` stay behind.

    A group so large that the split would be further from its share with it than without it stays behind, too; where all
    groups are that large, the smallest goes.
    """
    complete = {row.source for row, split in zip(rows, splits, strict=True) if split == into}
    staying = {row.group for row, split in zip(rows, splits, strict=True) if split == keep_with}
    free = [
        index
        for index, (row, split) in enumerate(zip(rows, splits, strict=True))
        if split == "train" and row.source not in complete and row.group not in staying
    ]
    for groups in _strata(rows, free, seed, into):
        wanted = round(share * sum(map(len, groups.values())))
        fitting = []
        left = wanted
        for inside in groups.values():
            if len(inside) < 2 * left:
                left -= len(inside)
                fitting.append(inside)
        if wanted and not fitting and len(groups) > 1:
            fitting.append(min(groups.values(), key=len))
        for index in (index for inside in fitting for index in inside):
            splits[index] = into


def _deal(rows: Sequence[Row], splits: list[str], fold: int, folds: int, seed: int) -> None:
    """Mark one of `folds` parts as test, in place: large groups first, each to the part that has least."""
    total = [0] * folds
    used = [index for index, split in enumerate(splits) if split != "unused"]
    for groups in _strata(rows, used, seed, "fold"):
        have = [0] * folds
        for inside in sorted(groups.values(), key=len, reverse=True):
            part = min(range(folds), key=lambda number: (have[number], total[number], number))
            have[part] += len(inside)
            total[part] += len(inside)
            if part == fold:
                for index in inside:
                    splits[index] = "test"


def _check(rows: Sequence[Row], splits: Sequence[str]) -> None:
    counts = Counter((split, row.label) for row, split in zip(rows, splits, strict=True))
    for split in ("train", "val", "test"):
        for label, name in enumerate(("REAL", "FAKE")):
            if not counts[split, label]:
                sizes = Counter(row.group for row in rows if row.label == label)
                largest = max(sizes.values(), default=0)
                groups = "1 group that stays" if len(sizes) == 1 else f"{len(sizes)} groups that stay"
                raise TooFewGroups(
                    f"no {name} image is left for the split {split}; more images or larger shares are needed "
                    f"({sum(sizes.values())} {name} images in {groups} together, the largest of {largest}; what looks "
                    "alike or shares a prompt, a page or an author is one group)"
                )
