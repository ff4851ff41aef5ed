"""The test part of predictions.csv: which images a run was tested on, and what it said of them."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.runs import Untrusted

COLUMNS = ["row", "split", "path", "label", "source", "group", "score"]


@dataclass(frozen=True)
class TestSet:
    """The images that a run was tested on, N of them, in the order of its predictions.csv.

    digest: of everything here; labels: uint8, REAL = 0, FAKE = 1; groups: int64, equal for near-duplicates and the
    same numbers in every test set; rows: int64, of the manifest; sources, paths: str, paths empty where they were not
    exported.
    """

    digest: str
    labels: np.ndarray
    groups: np.ndarray
    rows: np.ndarray
    sources: np.ndarray
    paths: np.ndarray


def parse(predictions: bytes, known: dict[bytes, TestSet]) -> tuple[TestSet, np.ndarray]:
    """The test set of a predictions.csv and its scores, float64 (N,); val rows are passed over.

    known: what earlier calls found; a file that differs from one of them only in its scores shares its test set, and
    its rows are not read again: 4 ms instead of 60 for CIFAKE's.
    """
    heads, texts = _cut(predictions)
    key = hashlib.sha256(b"\n".join(heads)).digest()
    if key in known:
        return known[key], _scores(texts)
    test, listed = _parse_slowly(predictions)
    scores = _scores(listed)
    test = known.setdefault(test.digest.encode(), test)
    if [text.decode() for text in texts] == listed:  # no path with a line break deceived the quick way
        known[key] = test
    return test, scores


def _cut(predictions: bytes) -> tuple[list[bytes], list[bytes]]:
    """The lines of the test part, which comes last, before and after their last comma."""
    start, place = len(predictions), -1
    while (place := predictions.find(b",test,", place + 1)) >= 0:
        begin = predictions.rfind(b"\n", 0, place) + 1
        if predictions[begin:place].isdigit():
            start = begin
            break
    lines = predictions[start:].removesuffix(b"\n").split(b"\n")
    cut = [line.rpartition(b",") for line in lines]
    return [head for head, _, _ in cut], [text for _, _, text in cut]


def _parse_slowly(predictions: bytes) -> tuple[TestSet, list[str]]:
    try:
        return _read(csv.reader(io.StringIO(predictions.decode(), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Untrusted(f"predictions.csv: not a table of comma-separated values: {error}") from error


def _read(reader: Any) -> tuple[TestSet, list[str]]:
    if next(reader, None) != COLUMNS:
        raise Untrusted(f"predictions.csv: expected the columns {','.join(COLUMNS)}")
    kept: list[list[str]] = []
    seen = set()
    for line in reader:
        if len(line) != len(COLUMNS) or not line[0].isdecimal() or line[3] not in ("0", "1"):
            raise Untrusted(f"predictions.csv, line {reader.line_num}: not a whole row")
        if line[1] != "test":
            continue
        if line[0] in seen:
            raise Untrusted(f"predictions.csv, line {reader.line_num}: row {line[0]} stands there twice")
        seen.add(line[0])
        kept.append(line)
    if not kept:
        raise Untrusted("predictions.csv: no image of the test part")
    rows, _, paths, labels, sources, groups, scores = zip(*kept, strict=True)
    test = TestSet(
        digest=hashlib.sha256(repr((rows, paths, labels, sources, groups)).encode()).hexdigest()[:12],
        labels=np.array(labels, dtype=np.uint8),
        groups=np.array([_group_number(group or f"path:{path}") for group, path in zip(groups, paths, strict=True)]),
        rows=np.array(rows, dtype=np.int64),
        sources=np.array(sources),
        paths=np.array(paths),
    )
    return test, list(scores)


def _group_number(group: str) -> int:
    """The same in every test set, so that a cluster over several folds stays one."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") >> 1


def _scores(texts: Sequence[str] | Sequence[bytes]) -> np.ndarray:
    try:
        scores = np.array(list(map(float, texts)))
    except ValueError as error:
        raise Untrusted(f"predictions.csv: {error}") from error
    if not ((scores >= 0) & (scores <= 1)).all():  # nan compares false
        raise Untrusted("predictions.csv: a score that is no probability from 0 to 1")
    return scores


def difference(test: TestSet, right: TestSet) -> str:
    """What a test set has otherwise than other runs on the same data, in words."""
    for ours, theirs, words in ((right, test, "lacks"), (test, right, "has")):
        if len(rows := np.setdiff1d(ours.rows, theirs.rows)):
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            return f"{words} row {rows[0]}{more}, unlike other runs on the same data"
    return "has another label, source, group or path in a row than other runs on the same data"
