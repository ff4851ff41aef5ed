"""Which images are the same: groups that a split must not tear apart."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from datasets.manifest import Row


def group_exact(rows: Sequence[Row]) -> list[Row]:
    """The rows with `group` named after the content: files of equal bytes share one, whatever they are called."""
    return [replace(row, group=row.sha256[:20]) for row in rows]


def count_pairs(rows: Sequence[Row]) -> dict[str, int]:
    """Pairs of images of one group: within REAL, within FAKE, and across the classes."""
    members: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        members[row.group][row.label] += 1
    counts = {"REAL": 0, "FAKE": 0, "across": 0}
    for real, fake in members.values():
        counts["REAL"] += real * (real - 1) // 2
        counts["FAKE"] += fake * (fake - 1) // 2
        counts["across"] += real * fake
    return counts
