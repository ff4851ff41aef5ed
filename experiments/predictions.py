"""The test part of predictions.csv: which images a run was tested on, and what it said of them."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.record import PREDICTED
from experiments.runs import Untrusted

COLUMNS = [*PREDICTED, "score"]
OF_CLASS = "score:"  # how the columns begin that hold the scores of several classes
ROUNDING = 1e-6  # by which the scores of an image may miss 1


@dataclass(frozen=True)
class TestSet:
    """The images that a run was tested on, N of them, in the order of its predictions.csv.

    digest: of everything here; labels: int64, REAL = 0, FAKE = 1, or the number of one of several classes; groups:
    int64, equal for near-duplicates and the same numbers in every test set; rows: int64, of the manifest; sources,
    paths: str, paths empty where they were not exported; classes: the names of several, in the order of their numbers,
    empty otherwise and where they were not exported.
    """

    digest: str
    labels: np.ndarray
    groups: np.ndarray
    rows: np.ndarray
    sources: np.ndarray
    paths: np.ndarray
    classes: tuple[str, ...] = ()


def table(predictions: bytes) -> tuple[list[list[str]], np.ndarray]:
    """What stands before the score in each line of val and test, and the scores, float64 (N,); Untrusted where a line
    has several scores or none."""
    lines = list(csv.reader(io.StringIO(predictions.decode(), newline="")))
    if not lines or lines[0] != COLUMNS:
        raise Untrusted(f"predictions.csv: expected the columns {','.join(COLUMNS)}")
    return [line[:-1] for line in lines[1:]], np.array([float(line[-1]) for line in lines[1:]])


def parse(predictions: bytes, known: dict[bytes, TestSet]) -> tuple[TestSet, np.ndarray]:
    """The test set of a predictions.csv and its scores, float64 (N,), of several classes (N, classes); val rows are
    passed over.

    known: what earlier calls found; a file that differs from one of them only in its scores shares its test set, and
    its rows are not read again: 4 ms instead of 60 for CIFAKE's.
    """
    header = predictions.partition(b"\n")[0]
    columns = max(1, header.count(b"," + OF_CLASS.encode()))
    heads, texts = _cut(predictions, columns)
    key = hashlib.sha256(b"\n".join([header, *heads])).digest()
    if key in known:
        return known[key], _scores(texts, columns)
    test, listed = _parse_slowly(predictions)
    columns = max(1, len(test.classes))
    scores = _scores(listed, columns)
    test = known.setdefault(test.digest.encode(), test)
    if texts == listed:  # no path with a line break deceived the quick way
        known[key] = test
    return test, scores


def _cut(predictions: bytes, columns: int) -> tuple[list[bytes], list[str]]:
    """The lines of the test part, which comes last, before and after the comma that their scores follow."""
    start, place = len(predictions), -1
    while (place := predictions.find(b",test,", place + 1)) >= 0:
        begin = predictions.rfind(b"\n", 0, place) + 1
        if predictions[begin:place].isdigit():
            start = begin
            break
    lines = predictions[start:].removesuffix(b"\n").split(b"\n")
    cut = [line.rsplit(b",", columns) for line in lines]
    return [parts[0] for parts in cut], [b",".join(parts[1:]).decode(errors="replace") for parts in cut]


def _parse_slowly(predictions: bytes) -> tuple[TestSet, list[str]]:
    try:
        return _read(csv.reader(io.StringIO(predictions.decode(), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Untrusted(f"predictions.csv: not a table of comma-separated values: {error}") from error


def _read(reader: Any) -> tuple[TestSet, list[str]]:
    facts = len(PREDICTED)
    header: list[str] = next(reader, [])
    several = len(header) > facts + 1 and all(name.startswith(OF_CLASS) for name in header[facts:])
    if header != COLUMNS and not (several and tuple(header[:facts]) == PREDICTED):
        raise Untrusted(f"predictions.csv: expected the columns {','.join(COLUMNS)}, or a score of each class")
    classes = tuple(name.removeprefix(OF_CLASS) for name in header[facts:]) if several else ()
    labels_known = {str(number) for number in range(len(classes) or 2)}
    kept: list[list[str]] = []
    seen = set()
    for line in reader:
        if len(line) != len(header) or not line[0].isdecimal() or line[3] not in labels_known:
            raise Untrusted(f"predictions.csv, line {reader.line_num}: not a whole row")
        if line[1] != "test":
            continue
        if line[0] in seen:
            raise Untrusted(f"predictions.csv, line {reader.line_num}: row {line[0]} stands there twice")
        seen.add(line[0])
        kept.append(line)
    if not kept:
        raise Untrusted("predictions.csv: no image of the test part")
    rows, _, paths, labels, sources, groups = zip(*(line[:facts] for line in kept), strict=True)
    told = (rows, paths, labels, sources, groups, *([classes] if several else []))
    test = TestSet(
        digest=hashlib.sha256(repr(told).encode()).hexdigest()[:12],
        labels=np.array(labels, dtype=np.int64),
        groups=np.array([_group_number(group or f"path:{path}") for group, path in zip(groups, paths, strict=True)]),
        rows=np.array(rows, dtype=np.int64),
        sources=np.array(sources),
        paths=np.array(paths),
        classes=classes,
    )
    return test, [",".join(line[facts:]) for line in kept]


def _group_number(group: str) -> int:
    """The same in every test set, so that a cluster over several folds stays one."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") >> 1


def _scores(texts: Sequence[str], columns: int) -> np.ndarray:
    """float64 (N,), or (N, columns) where there are several of them."""
    try:
        scores = np.array(list(map(float, ",".join(texts).split(","))))
        scores = scores if columns == 1 else scores.reshape(-1, columns)
    except ValueError as error:
        raise Untrusted(f"predictions.csv: {error}") from error
    if not ((scores >= 0) & (scores <= 1)).all():  # nan compares false
        raise Untrusted("predictions.csv: a score that is no probability from 0 to 1")
    if columns > 1 and not (np.abs(scores.sum(axis=1) - 1) <= ROUNDING).all():
        raise Untrusted("predictions.csv: the scores of an image do not sum to 1")
    return scores


def difference(test: TestSet, right: TestSet) -> str:
    """What a test set has otherwise than other runs on the same data, in words."""
    for ours, theirs, words in ((right, test, "lacks"), (test, right, "has")):
        if len(rows := np.setdiff1d(ours.rows, theirs.rows)):
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            return f"{words} row {rows[0]}{more}, unlike other runs on the same data"
    return "has another label, source, group or path in a row than other runs on the same data"
