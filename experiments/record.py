"""The plain files of a run folder, each whole or not there: provenance, metrics, predictions, done; and its lock."""

import csv
import fcntl
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from datasets.manifest import Row, whole_file

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "kornia", "hydra-core", "tensorboard", "numpy", "pillow")
CODE = ("datasets", "detector", "experiments", "scripts", "setup.cfg")
# the code that makes a result of a data set
DECISIVE = (
    "detector",
    "datasets/images.py",
    "datasets/fitting.py",
    "datasets/jpeg.py",
    "experiments/material.py",
    "experiments/worker.py",
)
PREDICTED = ("row", "split", "path", "label", "source", "group")  # columns of predictions.csv before the scores
RESULT_FILES = ("config.yaml", "metrics.jsonl", "predictions.csv")


class Busy(RuntimeError):
    """Another process holds the run folder."""

    exit_status = 3


class Altered(ValueError):
    """A finished run whose files were changed afterwards."""

    exit_status = 2


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run folder alone; raises Busy where another process does. The lock dies with its process."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{folder}: another process is at this run; wait for it, or give another seed") from None
        yield


def write_config(folder: Path, settings: Mapping[str, Any]) -> str:
    """config.yaml, all values resolved; returns its text."""
    text = yaml.safe_dump(dict(settings), sort_keys=False)
    with whole_file(folder / "config.yaml") as file:
        file.write(text)
    return text


def write_provenance(folder: Path, facts: Mapping[str, Any], process: Mapping[str, Any], *, number: int) -> None:
    """provenance.json: where a result comes from; `process`, what one process did of it, becomes entry `number` of
    those that worked at the run. No environment variable is written."""
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    entry = {**process, "command": sys.argv[1:], "code": code_version(), "versions": versions}
    write_json(folder / "provenance.json", {**facts, "processes": [*processes(folder)[:number], entry]})


def processes(folder: Path) -> list[dict[str, Any]]:
    """What earlier processes left in provenance.json."""
    path = folder / "provenance.json"
    return json.loads(path.read_text())["processes"] if path.exists() else []


def write_metrics(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """metrics.jsonl: one JSON object a line; not a number becomes null. Nothing in it depends on the clock."""
    with whole_file(folder / "metrics.jsonl") as file:
        for line in history:
            plain = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in line.items()}
            file.write(json.dumps(plain, allow_nan=False) + "\n")


def marks(folder: Path) -> dict[int, dict[str, int]]:
    """board.yaml: the place of TensorBoard's page at the end of an epoch, by epoch."""
    path = folder / "board.yaml"
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def write_marks(folder: Path, epoch: int, newest: Mapping[str, int]) -> None:
    """Keep the place at this checkpoint and at the one before: a kill may come between the two files."""
    kept = {known: mark for known, mark in marks(folder).items() if known == epoch - 1} | {epoch: dict(newest)}
    with whole_file(folder / "board.yaml") as file:
        yaml.safe_dump(kept, file)


def write_audit(folder: Path, report: Mapping[str, Any]) -> None:
    """audit.json: what separates the classes of this run's data besides what they show."""
    write_json(folder / "audit.json", report)


def write_predictions(
    folder: Path,
    rows: Sequence[Row],
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> None:
    """predictions.csv: row of the manifest, split, path, label, source, group, score, for each split's (row indices,
    scores). labels: of every row, where they are not those of the manifest; classes: where scores are (n, classes),
    each has a column `score:<class>`."""
    with whole_file(folder / "predictions.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*PREDICTED, *([f"score:{name}" for name in classes] or ["score"])])
        for split, (indices, values) in scores.items():
            for index, one in zip(indices.tolist(), values.reshape(len(indices), -1).tolist(), strict=True):
                row = rows[index]
                label = row.label if labels is None else labels[index]
                writer.writerow([index, split, row.path, label, row.source, row.group, *map(repr, one)])


def mark_done(folder: Path) -> None:
    """done: sha256 of the files that hold the result, so that a later change of them is noticed."""
    (folder / "error.txt").unlink(missing_ok=True)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in RESULT_FILES}
    write_json(folder / "done", digests)


def is_done(folder: Path) -> bool:
    """Whether the run is finished; raises Altered where its result is no longer what it was then."""
    try:
        digests = json.loads((folder / "done").read_text())
    except FileNotFoundError:
        return False
    for name, digest in digests.items():
        path = folder / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise Altered(f"{path}: changed since the run was done; delete {folder} to run it again")
    return True


@cache
def code_version() -> dict[str, Any]:
    """git's commit of this code and whether files differ from it, None without git; digest of the decisive files.

    As they were when first asked.
    """
    digest = hashlib.sha256()
    for place in DECISIVE:
        path = REPOSITORY / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(REPOSITORY)}\n".encode() + file.read_bytes())
    version = {"digest": digest.hexdigest()[:16]}
    try:
        commit = _git("rev-parse", "HEAD")
        return version | {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--", *CODE))}
    except (OSError, subprocess.CalledProcessError):
        return version | {"commit": None, "dirty": None}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    ).stdout.strip()


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """One object, whole or not there."""
    with whole_file(path) as file:
        json.dump(facts, file, indent=1)
        file.write("\n")
