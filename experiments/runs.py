"""The only reader of run folders."""

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from experiments import condition
from experiments.record import RESULT_FILES

NAME = re.compile(r"([0-9a-f]{10})(?:-fold(\d+))?-seed(\d+)")  # of a run folder: digest, fold, seed
PARTS = ("config.yaml", "metrics.jsonl", "provenance.json")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eight times as fast


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, resolved settings, provenance, and metrics line by line, the test metrics last."""

    folder: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    metrics: list[dict[str, Any]]

    @property
    def condition(self) -> tuple[str, str, str, str]:
        """(data, model, aug, digest): what runs that differ only in their seed or fold share."""
        return (*self.folder.parts[-4:-1], self.folder.name.split("-")[0])  # type: ignore[return-value]

    @property
    def task(self) -> str:
        """detection, also of runs from before there was another, or generator."""
        return self.config.get("task", condition.DETECTION)


class NoRun(ValueError):
    """No finished run where one is needed; the text is one line."""

    exit_status = 2


class Untrusted(ValueError):
    """A run whose files cannot be believed; the text names the file and says why."""


def folders(root: Path) -> Iterator[Path]:
    """Every run folder at or below `root`, finished or not, in the order of their paths; none in hidden folders.

    Folders of aggregates beside the runs have neither such a name nor a config.yaml, and are passed over. Links are
    followed: a tree may lie on several disks. What two ways lead to is found once.
    """
    seen = set()
    for place, inside, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            inside.clear()
            continue
        seen.add(real)
        folder = Path(place)
        if "config.yaml" in files or NAME.fullmatch(folder.name):
            inside.clear()
            yield folder
        inside[:] = sorted(name for name in inside if not name.startswith("."))


def newest(root: Path) -> Path:
    """The folder of the run at or below `root` that was finished last, of those that tell real from fake and are no
    controls; NoRun where there is none, or it is not whole."""
    done = [folder for folder in folders(root) if (folder / "done").exists()]
    for folder in sorted(done, key=lambda folder: -(folder / "done").stat().st_mtime_ns):
        run, _ = finished(folder)
        if run.task == condition.DETECTION and not run.config["aug"].get("shuffle_labels"):
            return folder
    raise NoRun(f"{root}: no finished run there that tells real from fake; python -m experiments.run makes one")


def read(folder: Path) -> Run:
    """Read a finished run, without a check that its files are those of its `done` mark."""
    return _run(folder, {name: (folder / name).read_bytes() for name in PARTS})


def read_finished(folder: Path) -> tuple[Run, bytes] | None:
    """A finished run with the bytes of its predictions.csv, all as its `done` mark knows them; None without that mark.

    Raises Untrusted where a file is missing, is not whole or was changed since.
    """
    try:
        mark = (folder / "done").read_bytes()
    except FileNotFoundError:
        return None
    digests = _parsed(json.loads, mark, "done")
    contents = {}
    for name in dict.fromkeys((*RESULT_FILES, *PARTS)):
        try:
            contents[name] = (folder / name).read_bytes()
        except FileNotFoundError:
            raise Untrusted(f"{name}: not there, though the run is done") from None
        if name in RESULT_FILES and hashlib.sha256(contents[name]).hexdigest() != digests.get(name):
            raise Untrusted(f"{name}: changed since the run was done")
    return _run(folder, contents), contents["predictions.csv"]


def finished(folder: Path) -> tuple[Run, bytes]:
    """What `read_finished` gives; NoRun, with the reason, where the run is not finished or not whole."""
    try:
        found = read_finished(folder)
    except Untrusted as error:
        raise NoRun(f"{folder}: {error}") from error
    if found is None:
        raise NoRun(f"{folder}: {unfinished(folder)}; expected a finished run")
    return found


def mark(folder: Path) -> str:
    """Of a finished run, another once it was trained anew; empty where there is none."""
    try:
        return hashlib.sha256((folder / "done").read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        return ""


def unfinished(folder: Path) -> str:
    """How far a run without a `done` mark has come: with the last line of error.txt where it failed."""
    with_error = folder / "error.txt"
    lines = with_error.read_text(errors="replace").split("\n") if with_error.exists() else []
    said = [line.strip() for line in lines if line.strip()]
    return f"failed: {said[-1]}" if said else "not finished"


def condition_of(config: Mapping[str, Any], digest: str = "") -> tuple[dict[str, Any], str]:
    """The settings that make a result and their digest, from a config.yaml; Untrusted where it is of another version.

    digest: what it should be; where it is, the settings are right as they stand there. Else what a run did not know of
    has its default here, as experiments.config promises for its folder's name.
    """
    from datasets.build import SOURCES, image_settings

    try:
        data = SOURCES[config["data"]["source"]].settings(**config["data"])
        size = image_settings(data).size
        task = config.get("task", condition.DETECTION)
        settings = condition.condition_of({part: config[part] for part in condition.PARTS}, size, task)
        if condition.digest_of(settings) == digest:
            return settings, digest
        from detector.models import settings_of  # these bring torch, half a gigabyte
        from detector.train import TrainSettings
        from experiments.config import AugSettings

        known = {"model": settings_of(config["model"]["name"]), "aug": AugSettings, "train": TrainSettings}
        parts = {part: asdict(make(**config[part])) for part, make in known.items()}
        settings = condition.condition_of({"data": asdict(data), **parts}, size, task)
        return settings, condition.digest_of(settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Untrusted(f"config.yaml: not settings of this version: {' '.join(str(error).split())}") from error


def summary(runs: Sequence[Run], metric: str = "test/accuracy") -> list[str]:
    """One line a condition: mean, standard deviation over seeds and folds (n - 1) and n; empty without runs."""
    members: dict[tuple, list[float]] = defaultdict(list)
    for run in runs:
        members[(*run.condition, run.provenance["content_digest"][:8])].append(run.metrics[-1][metric])
    if not members:
        return []
    names = {key: "/".join(key[:-1]) for key in members}
    if len(set(names.values())) < len(names):  # one condition on data that were built anew in between: two rows
        names = {key: f"{name} (data {key[-1]})" for key, name in names.items()}
    width = max(map(len, names.values()))
    lines = [f"\n{'condition':<{width}}  {metric}: mean, sd, n"]
    for key, values in members.items():
        spread = f"{np.std(values, ddof=1):.4f}" if len(values) > 1 else "-"
        lines.append(f"{names[key]:<{width}}  {np.mean(values):.4f}  {spread}  {len(values)}")
    return lines


def _run(folder: Path, contents: Mapping[str, bytes]) -> Run:
    lines = contents["metrics.jsonl"].splitlines()
    return Run(
        folder=folder,
        config=_parsed(lambda text: yaml.load(text, LOADER), contents["config.yaml"], "config.yaml"),
        provenance=_parsed(json.loads, contents["provenance.json"], "provenance.json"),
        metrics=[_parsed(json.loads, line, f"metrics.jsonl, line {n}") for n, line in enumerate(lines, start=1)],
    )


def _parsed(parse: Any, content: bytes, name: str) -> Any:
    try:
        found = parse(content)
    except (ValueError, yaml.YAMLError) as error:
        raise Untrusted(f"{name}: not whole, or not what was written: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise Untrusted(f"{name}: {str(found)[:40]!r}; expected names with values")
    return found
