"""runs.csv and images.csv: all that comparisons need of many runs in two tables that fit into a repository."""

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.manifest import whole_file
from experiments.outcomes import Found, NothingThere, Outcome
from experiments.predictions import TestSet

RUNS = "runs.csv"
IMAGES = "images.csv"
NAMES = ["data", "model", "aug", "recipe", "digest", "seed", "fold", "test"]
OBJECTS: dict[str, set[str]] = {  # as JSON, and what must stand in each
    "settings": {"data", "model", "train"},
    "view": set(),
    "plan": set(),
    "facts": {"content_digest", "data_digest", "code", "commit", "dirty", "torch", "device", "threads"},
}
SPEED = "images_per_second"
HISTORY = "history:"
IMAGE_COLUMNS = ["test", "row", "label", "group", "source", "correct"]


class TableError(ValueError):
    """An exported table that cannot be read; the text is one line with file and line number."""

    exit_status = 2


def write(outcomes: Sequence[Outcome], folder: Path) -> None:
    """runs.csv: a line for each run, numbers in full, histories with spaces between.

    images.csv: a line for each image of each test set; `correct` holds one 0 or 1 for each run with that test set, in
    the order of runs.csv; near-duplicates share the number in `group`.
    """
    metrics = list(dict.fromkeys(key for outcome in outcomes for key in outcome.metrics))
    curves = list(dict.fromkeys(key for outcome in outcomes for key in outcome.history))
    with whole_file(folder / RUNS) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*NAMES, *OBJECTS, SPEED, *metrics, *(HISTORY + key for key in curves)])
        for outcome in outcomes:
            names = [getattr(outcome, name) for name in NAMES[:-1]]
            objects = [json.dumps(getattr(outcome, name)) for name in OBJECTS]
            values = [_text(value) for value in (outcome.images_per_second, *map(outcome.metrics.get, metrics))]
            histories = [" ".join(map(repr, outcome.history.get(key, []))) for key in curves]
            writer.writerow([*names, outcome.test.digest, *objects, *values, *histories])
    members: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        members[outcome.test.digest].append(outcome)
    tests = {name: same[0].test for name, same in members.items()}
    known = np.unique(np.concatenate([test.groups for test in tests.values()])) if tests else np.empty(0)
    with whole_file(folder / IMAGES) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(IMAGE_COLUMNS)
        for name, test in tests.items():
            digits = np.stack([outcome.correct for outcome in members[name]], axis=1).astype(np.uint8) + ord("0")
            # small numbers, in the order of the large ones: groups are resampled in their order
            groups = np.searchsorted(known, test.groups)
            columns = (test.rows.tolist(), test.labels.tolist(), groups.tolist(), test.sources.tolist(), digits)
            for row, label, group, source, correct in zip(*columns, strict=True):
                writer.writerow([name, row, label, group, source, correct.tobytes().decode()])


def read(folder: Path) -> Found:
    """What `write` left in a folder; raises TableError naming file and line where it is not that."""
    table = _table(folder / RUNS, [*NAMES, *OBJECTS, SPEED])
    if not table:
        raise NothingThere(f"{folder / RUNS}: no run in it")
    numbers: dict[str, int] = defaultdict(int)
    places = []
    for _, fields in table:
        places.append(numbers[fields["test"]])
        numbers[fields["test"]] += 1
    several = {fields["test"] for _, fields in table if '"task":' in fields["settings"]}
    tests = _tests(folder / IMAGES, numbers, several)
    outcomes = []
    for (line, fields), place in zip(table, places, strict=True):
        where = f"{RUNS} line {line}"
        if fields["test"] not in tests:
            raise TableError(f"{folder / IMAGES}: no image of test set {fields['test']}, which {where} names")
        test, correct = tests[fields["test"]]
        try:
            outcomes.append(_outcome(where, fields, test, correct[:, place]))
        except ValueError as error:
            raise TableError(f"{folder / RUNS}, line {line}: {error}") from error
    return Found(outcomes, [], [])


def _outcome(where: str, fields: dict[str, str], test: TestSet, correct: np.ndarray) -> Outcome:
    named = {*NAMES, *OBJECTS, SPEED}
    values = {key: text for key, text in fields.items() if key not in named and text}
    objects: dict[str, Any] = {name: json.loads(fields[name]) for name in OBJECTS}
    for name, needed in OBJECTS.items():
        if not isinstance(objects[name], dict) or not needed <= set(objects[name]):
            raise ValueError(f"{name}: expected an object with {', '.join(sorted(needed)) or 'names and values'}")
    return Outcome(
        where=where,
        data=fields["data"],
        model=fields["model"],
        aug=fields["aug"],
        recipe=fields["recipe"],
        digest=fields["digest"],
        seed=int(fields["seed"]),
        fold=int(fields["fold"]) if fields["fold"] else None,
        **objects,
        metrics={key: float(text) for key, text in values.items() if not key.startswith(HISTORY)},
        history={
            key.removeprefix(HISTORY): list(map(float, text.split()))
            for key, text in values.items()
            if key.startswith(HISTORY)
        },
        images_per_second=float(fields[SPEED]) if fields[SPEED] else None,
        test=test,
        correct=np.ascontiguousarray(correct),
        scores=None,
    )


def _tests(path: Path, numbers: dict[str, int], several: set[str]) -> dict[str, tuple[TestSet, np.ndarray]]:
    """Each test set with what its runs called rightly, bool (N, runs); several: those of more classes than two."""
    columns: dict[str, list[dict[str, str]]] = defaultdict(list)
    for line, fields in _table(path, IMAGE_COLUMNS):
        wanted, digits = numbers.get(fields["test"], 0), fields["correct"]
        if len(digits) != wanted or digits.strip("01"):
            raise TableError(
                f"{path}, line {line}: correct is {digits[:20]!r}, {len(digits)} characters; expected {wanted} of 0 "
                f"and 1, one for each run of {RUNS} with test set {fields['test']!r}"
            )
        known = fields["label"] in ("0", "1") or (fields["label"].isdecimal() and fields["test"] in several)
        if not (fields["row"].isdecimal() and fields["group"].isdecimal() and known):
            raise TableError(f"{path}, line {line}: row and group are expected to be whole numbers, label 0 or 1")
        columns[fields["test"]].append(fields)
    tests = {}
    for name, images in columns.items():
        rows, labels, groups = (np.array([int(image[key]) for image in images]) for key in ("row", "label", "group"))
        sources = np.array([image["source"] for image in images])
        test = TestSet(name, labels, groups, rows, sources, np.array([], dtype=str))
        correct = np.frombuffer("".join(image["correct"] for image in images).encode(), dtype=np.uint8) == ord("1")
        tests[name] = (test, correct.reshape(len(images), -1))
    return tests


def _table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Each line with its number; the columns must begin with those."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header[: len(columns)] != list(columns):
                raise TableError(f"{path}: its columns begin {','.join(header)[:80]}; expected {','.join(columns)}")
            lines = [(reader.line_num, line) for line in reader]
    except FileNotFoundError:
        raise TableError(f"{path}: not there; {RUNS} and {IMAGES} are read together") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not a table of comma-separated values: {error}") from error
    for number, line in lines:
        if len(line) != len(header):
            raise TableError(f"{path}, line {number}: {len(line)} values; expected {len(header)}")
    return [(number, dict(zip(header, line, strict=True))) for number, line in lines]


def _text(value: float | None) -> str:
    return "" if value is None else repr(float(value))
