"""`task: generator`: which generator made a picture, the source of a fake in the manifest, or `real`."""

from collections.abc import Sequence

import numpy as np

from datasets.manifest import FAKE, REAL, DataError, Row

TASKS = ("detection", "generator")
PHOTOGRAPHS = "real"  # the first class, whatever sources photographs come from
SPLITS = ("train", "val", "test")


def classes_of(rows: Sequence[Row], name: str) -> tuple[str, ...]:
    """`real`, then every source of fakes in the order of its name; `name`: of the data set.

    Raises DataError where fewer than two generators made the training images, or a class has no image in a split.
    """
    if any(row.source == PHOTOGRAPHS and row.label == FAKE for row in rows):
        raise DataError(
            f"task=generator: a generator of the data set {name} is called {PHOTOGRAPHS}, as the photographs are; "
            "expected another name (NAME=PATH names a source of scripts/build_dataset.py)"
        )
    there = {split: {_class(row) for row in rows if row.split == split} for split in SPLITS}
    made = sorted(there["train"] - {PHOTOGRAPHS})
    if len(made) < 2:
        raise DataError(
            f"task=generator: the training images of the data set {name} are of {_said(made)}; expected two or more, "
            "such as a set that scripts/build_dataset.py makes of several --fake sources, or data=synthetic "
            "data.evidence=both"
        )
    classes = (PHOTOGRAPHS, *sorted(set.union(*there.values()) - {PHOTOGRAPHS}))
    for split, found in there.items():
        if lacking := [one for one in classes if one not in found]:
            raise DataError(
                f"task=generator: the data set {name} has no {split} image of {', '.join(lacking)}; expected images of "
                f"every class ({', '.join(classes)}) in train, val and test"
            )
    return classes


def labels_of(rows: Sequence[Row], classes: Sequence[str]) -> np.ndarray:
    """The number of each row's class, int64 (N,); 0 in a row of no split whose generator is no class."""
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers.get(_class(row), REAL) for row in rows])


def _class(row: Row) -> str:
    return row.source if row.label == FAKE else PHOTOGRAPHS


def _said(made: Sequence[str]) -> str:
    return f"one generator ({made[0]})" if made else "no generator"
