"""The whole result as plain values, robustness.json, and what is told of it in words and tables."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from datasets.degrade import KINDS
from datasets.manifest import FAKE, REAL
from experiments import tables
from experiments.plans import Asked
from experiments.predictions import TestSet
from experiments.robustness.figures import MARKS, Document
from experiments.robustness.grid import CLEAN, Cell, label, lines
from experiments.robustness.survival import Row

NAME = "robustness.json"
FORM = 2  # of the document; raise it when what stands there means something else
THRESHOLDS = (
    "accuracy, and what is called fake: probability of FAKE of at least .5, not calibrated, as in test/accuracy; "
    "accuracy_at_threshold: from the threshold on that each run chose on its clean validation images"
)


def document(
    title: str,
    runs: Mapping[str, str],
    cells: Sequence[Cell],
    rows: Sequence[Row],
    tests: Sequence[TestSet],
    asked: Asked,
    notes: Sequence[str],
) -> Document:
    """Everything there is to say; runs: the mark of each, by its folder below the root; arms: the baseline, then the
    others from best to worst over the degraded cells."""
    baseline, *others = dict.fromkeys(row["arm"] for row in rows)
    overall = {arm: np.mean([row[asked.metric] for row in _degraded(rows, arm)]) for arm in others}
    labels = np.concatenate([test.labels for test in tests])
    groups = np.concatenate([test.groups for test in tests])
    return {
        "form": FORM,
        "title": f"{title}, {len(labels):,} test images",
        "runs": dict(runs),
        "metric": asked.metric,
        "margin": asked.margin,
        "thresholds": THRESHOLDS,
        "arms": [baseline, *sorted(others, key=lambda arm: -overall[arm])],
        "images": {"real": int(np.sum(labels == REAL)), "fake": int(np.sum(labels == FAKE))},
        "groups": len(np.unique(groups)),
        "cells": list(map(label, cells)),
        "lines": {
            kind: {"cells": list(map(label, line)), "what": KINDS[kind].what} for kind, line in lines(cells).items()
        },
        "notes": list(notes),
        "rows": list(rows),
    }


def text(found: Document) -> str:
    """As strict JSON; null stands for what is not a finite number."""
    return tables.json_text(found)


def read(folder: Path) -> Document | None:
    """That of a folder of results; None where there is none, or none of this form."""
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return found if found.get("form") == FORM else None
    return None


def csv_text(found: Document) -> str:
    """One row for each arm, cell and side, in full and in metric units, nothing where there is none."""
    rows = [{key: value for key, value in row.items() if key != "values"} for row in json.loads(text(found))["rows"]]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def table(found: Document) -> tuple[list[str], list[list[str]]]:
    """Head and rows for people: of each cell the metric of each arm, and of all but the baseline the difference in
    points with the verdict's mark; both classes degraded."""
    rows = {(row["arm"], row["cell"]): row for row in found["rows"] if row["degraded"] == "both"}
    head = ["degradation", *found["arms"]]
    return head, [
        [cell, *(_shown(rows[arm, cell], found["metric"]) for arm in found["arms"])] for cell in found["cells"]
    ]


def page(found: Document) -> str:
    """The same as Markdown, with what one must know to read it."""
    head, rows = table(found)
    body = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    words = [
        found["title"],
        *summary(found),
        f"Difference to {head[1]} in points; {marks()}.",
        found["thresholds"],
        *found["notes"],
    ]
    return "\n\n".join([*words, "\n".join(f"| {' | '.join(cells)} |" for cells in body)])


def marks() -> str:
    """What stands behind a difference, in words."""
    return ", ".join(f"{mark} {word}" for word, mark in MARKS.items()) + "; corrected over all arms and cells"


def summary(found: Document) -> list[str]:
    """A line for each arm, and two on what degrading one class alone does."""
    metric, said = found["metric"], []
    sides = {(row["arm"], row["cell"], row["degraded"]): row for row in found["rows"]}
    for arm in found["arms"]:
        rows = _degraded(found["rows"], arm)
        worst = min(rows, key=lambda row: row[metric])
        clean, mean = sides[arm, CLEAN, "both"][metric], np.mean([row[metric] for row in rows])
        kinds = Counter(row["verdict"] for row in rows if "verdict" in row)
        verdicts = "".join(f", {kinds[kind]} {kind}" for kind in MARKS if kinds[kind])
        said.append(
            f"{arm}: test {metric} {clean:.4f} clean, {mean:.4f} over {len(rows)} degraded cells, worst "
            f"{worst[metric]:.4f} ({worst['cell']}); {worst['runs']} run{'s' * (worst['runs'] > 1)}{verdicts}"
        )
    for side, called, way in (("reals", "reals_called_fake", max), ("fakes", "fakes_called_fake", min)):
        row = way((row for row in found["rows"] if row["degraded"] == side), key=lambda row: row[called])
        clean = sides[row["arm"], CLEAN, side][called]
        said.append(
            f"only {side} degraded: at {'most' if way is max else 'least'} {row[called]:.1%} of them are called fake "
            f"({row['arm']}, {row['cell']}; {clean:.1%} clean)".replace("%", " %")
        )
    return said


def _degraded(rows: Sequence[Row], arm: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["arm"] == arm and row["degraded"] == "both" and row["cell"] != CLEAN]


def _shown(row: Row, metric: str) -> str:
    value = f"{row[metric]:.4f}"
    return f"{value} ({100 * row['difference']:+z.2f} {MARKS[row['verdict']]})" if "verdict" in row else value
