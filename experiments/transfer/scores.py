"""Every run on every data set: its scores there, kept, so that none is made twice, without what it has seen before."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from datasets import build
from datasets.manifest import DataError, whole_file
from detector import checkpoint
from detector.batches import Pictures
from detector.metrics import accuracy, auc
from experiments import classifier, runs, shell
from experiments.config import ConfigError
from experiments.outcomes import Outcome
from experiments.predictions import TestSet
from experiments.transfer.overlap import CLEAN, EXACT, NEAR, overlap
from experiments.transfer.targets import MATCHED, Prepared, Target, prepare, same_pictures


@dataclass(frozen=True)
class Subject:
    """A finished run. data: its data settings; data_root: where these lie; key: sha256 of its predictions.csv."""

    outcome: Outcome
    data: Any
    data_root: Path
    key: str


@dataclass(frozen=True)
class Tested:
    """A run on one data set.

    outcome: as if it had been tested there: scores; correct: called rightly at the threshold that its validation chose;
    metrics: test/auc, test/accuracy_at_threshold, and test/accuracy at .5. own: whether the data are its own; exact,
    near: test images that were left out, see overlap.
    """

    outcome: Outcome
    own: bool
    exact: int
    near: int


class Unseen(ValueError):
    """A run that cannot be tested on a data set; its text is one line."""


@dataclass
class Bench:
    """Where runs are tested. data_root: of the targets; kept: the folder of what is kept; device: of the networks."""

    data_root: Path
    kept: Path
    device: torch.device

    def __post_init__(self) -> None:
        self._tests: dict[str, TestSet] = {}

    def all(
        self, subjects: Sequence[Subject], targets: Sequence[Target]
    ) -> tuple[dict[tuple[str, str], Tested], list[str]]:
        """Each run on each target, by (outcome.where, target.name), and a line for each that could not be tested.

        Runs of equal resolution follow each other: the data sets lie in memory for them once. DataError where a target
        is not what it should be.
        """
        for target in targets:  # what is wrong with one is said before any run is scored
            for subject in subjects:
                if not same_pictures(subject.data, target.settings):
                    prepare(target, subject.data, self.data_root)
                    break
        alike: dict[str, list[Subject]] = defaultdict(list)
        for subject in subjects:
            alike[repr([getattr(subject.data, key, None) for key in MATCHED])].append(subject)
        found, refused = {}, []
        with tqdm(total=len(subjects) * len(targets), desc="testing", unit=" runs", disable=None, leave=False) as bar:
            for members in alike.values():
                for target in targets:
                    for key, tested in self._column(members, target, bar.update):
                        if isinstance(tested, Tested):
                            found[key, target.name] = tested
                        else:
                            refused.append(f"{key} on {target.name}: {tested}")
        return found, refused

    def _column(
        self, members: Sequence[Subject], target: Target, done: Callable[[], Any]
    ) -> Iterator[tuple[str, Tested | str]]:
        """Runs of one resolution on one target, or in words why one is not."""
        prepared: Prepared | None = None
        for subject in members:
            own = same_pictures(subject.data, target.settings)
            try:
                if own and getattr(subject.data, "leaks", "drop") == "drop":
                    tested = self._tested(subject, subject.outcome.test, subject.outcome.scores)
                elif own:
                    tested = self._own(subject)
                else:
                    if prepared is None:
                        prepared = prepare(target, subject.data, self.data_root)
                        pictures = Pictures(prepared.data.images, prepared.data.labels, self.device)
                        test = _test_set(prepared)
                    tested = self._other(subject, prepared, pictures, test)
                yield subject.outcome.where, replace(tested, own=own)
            except Unseen as error:
                yield subject.outcome.where, str(error)
            done()

    def _own(self, subject: Subject) -> Tested:
        """On its own test split, where what leaks into it was trained on."""
        data = _training(subject)
        seen = self._overlap(subject, Prepared(data, subject.outcome.test.rows))
        return self._tested(subject, subject.outcome.test, subject.outcome.scores, seen)

    def _other(self, subject: Subject, prepared: Prepared, pictures: Pictures, test: TestSet) -> Tested:
        seen = self._overlap(subject, prepared)
        path = self.kept / "scores" / f"{subject.key[:20]}-{prepared.data.digest[:20]}.npy"
        scores = _kept(path, prepared.rows, lambda: self._scores(subject, prepared, pictures))
        return self._tested(subject, test, scores, seen)

    def _scores(self, subject: Subject, prepared: Prepared, pictures: Pictures) -> np.ndarray:
        """float64 (n,): as in the run's own test."""
        try:
            judge = classifier.load(Path(subject.outcome.where), self.device)
            return judge.scores(pictures, torch.from_numpy(prepared.rows))[0]
        except (runs.NoRun, checkpoint.CheckpointError, ConfigError, FileNotFoundError) as error:
            raise Unseen(f"cannot score pictures any more: {shell.one_line(error)}") from error

    def _overlap(self, subject: Subject, prepared: Prepared) -> np.ndarray:
        name = f"{subject.outcome.facts['data_digest'][:20]}-{prepared.data.digest[:20]}.npy"
        return _kept(self.kept / "overlap" / name, prepared.rows, lambda: overlap(_training(subject), prepared))

    def _tested(self, subject: Subject, test: TestSet, scores: Any, seen: np.ndarray | None = None) -> Tested:
        """The run's outcome on the rows that it has not seen."""
        seen = np.full(len(scores), CLEAN, np.int8) if seen is None else seen
        clean = seen == CLEAN
        digest = hashlib.sha256(f"{test.digest} {np.packbits(clean).tobytes().hex()}".encode()).hexdigest()[:12]
        if digest not in self._tests:
            columns = ("labels", "groups", "rows", "sources", "paths")
            left = {column: getattr(test, column)[clean] for column in columns}
            self._tests[digest] = replace(test, digest=digest, **left)
        test, scores = self._tests[digest], scores[clean]
        if len(np.unique(test.labels)) < 2:
            raise Unseen("nothing of one of the classes is left that it has not been trained on")
        threshold = subject.outcome.metrics["val/threshold"]
        metrics = {
            "test/auc": auc(scores, test.labels),
            "test/accuracy": accuracy(scores, test.labels),
            "test/accuracy_at_threshold": accuracy(scores, test.labels, threshold=threshold),
        }
        correct = (scores >= threshold) == (test.labels == 1)
        outcome = replace(subject.outcome, test=test, scores=scores, correct=correct, metrics=metrics)
        return Tested(outcome, own=False, exact=int((seen == EXACT).sum()), near=int((seen == NEAR).sum()))


def _test_set(prepared: Prepared) -> TestSet:
    rows = [prepared.data.rows[row] for row in prepared.rows.tolist()]
    return TestSet(
        digest=prepared.data.digest,
        labels=np.array([row.label for row in rows], dtype=np.int64),
        groups=np.unique([row.group for row in rows], return_inverse=True)[1],
        rows=prepared.rows,
        sources=np.array([row.source for row in rows]),
        paths=np.array([row.path for row in rows]),
    )


def _training(subject: Subject) -> build.Dataset:
    """The data that a run was trained on; Unseen where they are not here as they were.

    Where another version of the program split the same files otherwise, all but the run's own test images count as
    trained on.
    """
    facts, test = subject.outcome.facts, set(subject.outcome.test.paths.tolist())
    lost = "and what overlaps cannot be left out"
    try:
        data = build.prepare(subject.data, data_root=subject.data_root)
    except (DataError, FileNotFoundError) as error:
        raise Unseen(f"its training data are not here, {lost}: {shell.one_line(error)}") from error
    if data.content != facts["content_digest"]:
        differing = f"content {facts['content_digest'][:12]}, now {data.content[:12]}"
        raise Unseen(f"its training data are not what they were ({differing}), {lost}")
    if data.digest != facts["data_digest"]:
        rows = [row._replace(split="test" if row.path in test else "train") for row in data.rows]
        data = replace(data, rows=rows)
    return data


def _kept(path: Path, rows: np.ndarray, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A number for each row, from a file; where it is not there or not whole, it is made, and written whole."""
    with suppress(FileNotFoundError, ValueError, EOFError):
        found = np.load(path, allow_pickle=False)
        if found.shape == rows.shape and np.isfinite(found).all():
            return found
    made = make()
    with whole_file(path, "wb") as file:
        np.save(file, made)
    return made
