"""A row for each condition, a column for each data set, and in each column the arms against the baseline."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from experiments import comparison
from experiments.comparison import Arm
from experiments.evidence import overlap_of, values_of
from experiments.outcomes import Outcome, order
from experiments.transfer.intervals import over_images, over_seeds
from experiments.transfer.scores import Tested

METRICS = {  # in words
    "auc": "AUC",
    "accuracy_at_threshold": "accuracy at the run's own threshold",
    "accuracy": "accuracy at .5",
}
COMPARED = ("auc", "accuracy_at_threshold")
Key = tuple[str, ...]  # of a condition


@dataclass(frozen=True)
class Value:
    """mean over runs (over folds: of the folds' means); sd: n - 1, over the same; intervals: 95 %, nan for one run."""

    mean: float
    sd: float
    seeds_low: float
    seeds_high: float
    images_low: float
    images_high: float


@dataclass(frozen=True)
class Cell:
    """own: whether the test images are the test split of the data that it was trained on. runs; real, fake: images
    that they were tested on, exact, near: that were left out (of several folds all together); values: by METRICS;
    differences: to the baseline, by COMPARED, empty for the baseline itself and where there is none."""

    own: bool
    runs: int
    real: int
    fake: int
    exact: int
    near: int
    values: dict[str, Value]
    differences: dict[str, Arm] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Runs that differ in seed and fold alone; name: of the arm, with what tells it from another of that name; cells:
    by data set, without those in which no run was tested."""

    trained_on: str
    model: str
    aug: str
    recipe: str
    digest: str
    name: str
    seeds: list[int]
    cells: dict[str, Cell]


def matrix(
    tested: Mapping[tuple[str, str], Tested], names: Sequence[str], baseline: str | None
) -> tuple[list[Row], list[str]]:
    """The rows, in the order of their names, and notes about the differences.

    tested: runs by (where, data set); names: of the data sets, as columns; baseline: an arm, None is what the runs
    recorded.
    """
    members: dict[Key, dict[str, list[Tested]]] = defaultdict(dict)
    for (_, name), one in sorted(tested.items(), key=lambda pair: order(pair[1].outcome)):
        members[_key(one.outcome)].setdefault(name, []).append(one)
    against: dict[tuple[Key, str], dict[str, Arm]] = defaultdict(dict)
    notes: dict[str, list[str]] = defaultdict(list)  # the data sets that each is about
    for name in names:
        outcomes = [one.outcome for (_, column), one in tested.items() if column == name]
        for metric in COMPARED if outcomes else ():
            found, said = _differences(outcomes, metric, baseline)
            for key, arm in found.items():
                against[key, name][metric] = arm
            for line in said:
                notes[line].append(name)
    shown = _names(list(members))
    rows = []
    for key, columns in members.items():
        cells = {name: _cell(columns[name], against[key, name]) for name in names if name in columns}
        data, model, recipe, aug, digest, _ = key
        seeds = sorted({one.outcome.seed for each in columns.values() for one in each})
        rows.append(Row(data, model, aug, recipe, digest, shown[key], seeds, cells))
    return rows, [f"{', '.join(dict.fromkeys(about))}: {line}" for line, about in notes.items()]


def _cell(members: Sequence[Tested], differences: dict[str, Arm]) -> Cell:
    outcomes = [one.outcome for one in members]
    values = {}
    for metric in METRICS:
        each, _ = values_of([(outcome, outcome) for outcome in outcomes], metric)
        spread = float(each.std(ddof=1)) if len(each) > 1 else np.nan
        seeds = over_seeds(each, overlap_of(outcomes[0]))
        values[metric] = Value(float(each.mean()), spread, *seeds, *over_images(outcomes, metric))
    tests = {one.outcome.test.digest: one for one in members}.values()
    real, fake = (sum(int((one.outcome.test.labels == label).sum()) for one in tests) for label in (0, 1))
    exact, near = (sum(getattr(one, what) for one in tests) for what in ("exact", "near"))
    return Cell(members[0].own, len(members), real, fake, exact, near, values, differences)


def _differences(outcomes: Sequence[Outcome], metric: str, baseline: str | None) -> tuple[dict[Key, Arm], list[str]]:
    """Each arm against its baseline by `metric` on one data set, and lines about what cannot be compared."""
    if metric == "accuracy_at_threshold":  # the one of which experiments.compare has an interval over images
        outcomes = [
            replace(outcome, metrics=outcome.metrics | {"test/accuracy": outcome.metrics[f"test/{metric}"]})
            for outcome in outcomes
        ]
        metric = "accuracy"
    try:
        compared, refused = comparison.compare(outcomes, baseline=baseline, metric=metric)
    except comparison.NotComparable as error:
        return {}, [f"no differences: {error}"]
    return {_key(arm.members[0]): arm for one in compared for arm in one.arms}, refused


def _key(outcome: Outcome) -> Key:
    return order(outcome)[:6]


def _names(keys: Sequence[Key]) -> dict[Key, str]:
    """The arm of each condition, with recipe and digest where two of one data set and network share it."""
    names = {key: key[3] for key in keys}
    for place in (2, 4, 5):
        shared = defaultdict(list)
        for key in keys:
            shared[key[0], key[1], names[key]].append(key)
        for several in shared.values():
            if len({key[place] for key in several}) > 1:
                names |= {key: f"{names[key]} {key[place][:10]}" for key in several}
    return names
