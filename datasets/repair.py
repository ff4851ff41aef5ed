"""What becomes of damaged pictures besides being left out: in-painted or replaced by another, and listed."""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from datasets.manifest import NAME_OF_LABEL, Row, whole_file
from datasets.partition import TooFewGroups

FILE = "repaired.csv"
REPLACED = "replaced"


class Repair(NamedTuple):
    """path: of the damaged picture; reason: why it is; repair: what was done; by: with what, for REPLACED the path of
    the picture that stands in its place."""

    path: str
    reason: str
    repair: str
    by: str


def encoded(repairs: Sequence[Repair]) -> bytes:
    """As CSV: path, reason, repair, by; nothing where there are none."""
    text = io.StringIO()
    if repairs:
        csv.writer(text, lineterminator="\n").writerows([Repair._fields, *repairs])
    return text.getvalue().encode()


def decoded(data: bytes) -> list[Repair]:
    """What `encoded` gave."""
    return [Repair._make(values) for values in csv.reader(io.StringIO(data.decode(), newline=""))][1:]


def write(path: Path, repairs: Sequence[Repair]) -> None:
    """Whole or not at all; no file where there are none."""
    if repairs:
        with whole_file(path, "wb") as handle:
            handle.write(encoded(repairs))


def read(path: Path) -> bytes:
    """What `write` wrote there."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def left_out(
    quarantine: Sequence[tuple[str, str]], inpainted: Sequence[Repair], repairs: Sequence[Repair]
) -> list[tuple[str, str]]:
    """(path, reason) of the damaged pictures of a store of which no use is made."""
    done = {each.path for each in repairs}
    unused = [(each.path, f"{each.reason}; not repaired, as it is not for training") for each in inpainted]
    return [(path, reason) for path, reason in [*quarantine, *unused] if path not in done]


def replace(damaged: Sequence[tuple[Row, str]], whole: Sequence[Row], seed: int) -> list[Repair]:
    """For each training picture among the damaged ones, given with the reason, a whole one of the same class, split and
    source, in the order of a hash of (seed, sha256): none twice before each came once.

    whole: one row a file, with its final split. TooFewGroups where there is nothing to replace with.
    """
    strata: dict[tuple[int, str], list[tuple[Row, str]]] = defaultdict(list)
    for row, reason in damaged:
        if row.split == "train":
            strata[row.label, row.source].append((row, reason))
    found = []
    for (label, source), lost in strata.items():
        alike = [row for row in whole if row.split == "train" and (row.label, row.source) == (label, source)]
        if not alike:
            raise TooFewGroups(
                f"data.repair=replace: no whole {NAME_OF_LABEL[label]} image of {source} is left for training, to "
                f"replace {lost[0][0].path}"
            )
        alike.sort(key=lambda row: (hashlib.sha256(f"{seed}/replace/{row.sha256}".encode()).digest(), row.path))
        found += [Repair(row.path, why, REPLACED, other.path) for (row, why), other in zip(lost, cycle(alike))]
    return sorted(found)
