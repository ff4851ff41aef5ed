"""Which image is for training, validation and test: by seed and by group, never by file order."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasets.manifest import DataError, Row


@dataclass(frozen=True)
class Partition:
    """rows: with their final split, in the order given; leaks: how many training or validation images belong to a
    group that also stands in a later split."""

    rows: list[Row]
    leaks: int


def assign(rows: Sequence[Row], *, seed: int, val_share: float, test_share: float, drop_leaks: bool) -> Partition:
    """Give every row its split.

    Splits that the source brings stay. A missing test split is cut from all rows, a missing validation split from the
    training rows, `share` of every stratum (source, class, category), whole groups at a time, in the order of a hash of
    (seed, group): the same whatever the names and the order of the files. Then a training image whose group stands in
    validation or test, or a validation image whose group stands in test, is a leak; `drop_leaks` makes it `unused`.
    """
    assert all(row.group for row in rows), "rows are grouped before they are split"
    splits = [row.split or "train" for row in rows]
    if "test" not in splits:
        _cut(rows, splits, "test", test_share, seed)
    if "val" not in splits:
        _cut(rows, splits, "val", val_share, seed, keep_with="test")
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
        row if row.split == split else replace(row, split=split) for row, split in zip(rows, splits, strict=True)
    ]
    return Partition(assigned, sum(leaking))


def _cut(rows: Sequence[Row], splits: list[str], into: str, share: float, seed: int, keep_with: str = "") -> None:
    """Move `share` of the training rows into another split, in place; groups that stand in `keep_with` stay behind."""
    staying = {row.group for row, split in zip(rows, splits, strict=True) if split == keep_with}
    members: dict[str, list[int]] = defaultdict(list)
    for index, (row, split) in enumerate(zip(rows, splits, strict=True)):
        if split == "train" and row.group not in staying:
            members[row.group].append(index)
    strata: dict[tuple, list[str]] = defaultdict(list)
    for group, indices in members.items():
        first = min((rows[i].source, rows[i].label, rows[i].category) for i in indices)
        strata[first].append(group)
    for groups in strata.values():
        groups.sort(key=lambda group: hashlib.sha256(f"{seed}/{into}/{group}".encode()).digest())
        wanted = round(share * sum(len(members[group]) for group in groups))
        for group in groups:
            if wanted <= 0:
                break
            wanted -= len(members[group])
            for index in members[group]:
                splits[index] = into


def _check(rows: Sequence[Row], splits: Sequence[str]) -> None:
    counts = Counter((split, row.label) for row, split in zip(rows, splits, strict=True))
    for split in ("train", "val", "test"):
        for label, name in enumerate(("REAL", "FAKE")):
            if not counts[split, label]:
                raise DataError(
                    f"no {name} image is left for the split {split}; more images or larger shares are needed"
                )
