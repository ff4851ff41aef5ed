"""The only reader of run folders."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml


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


def read(folder: Path) -> Run:
    """Read a finished run."""
    return Run(
        folder=folder,
        config=yaml.safe_load((folder / "config.yaml").read_text()),
        provenance=json.loads((folder / "provenance.json").read_text()),
        metrics=[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()],
    )


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
