"""The matrix as text for a terminal, as CSV and as JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from experiments import tables
from experiments.tables import NONE, number, probability, span
from experiments.transfer.matrix import COMPARED, METRICS, Cell, Row, Value

OWN = "*"
HEADS = ("trained on", "network", "arm", "runs")
FACTS = ("own", "runs", "real", "fake", "exact", "near")
DIFFERENCE = ("pairs", "low", "high", "images_low", "images_high", "p", "p_family", "verdict")


def text(rows: Sequence[Row], names: Sequence[str], width: int) -> list[str]:
    """The matrix of each compared metric and what the arms gain or lose, for a terminal of `width` columns."""
    lines = []
    both = f"± half of its 95 % interval over seeds, over test images; {OWN} the run's own data"
    against = "points of difference to the baseline (pairs), 95 % interval over them, max-t p"
    for metric in COMPARED:
        lines.append(f"{METRICS[metric]}: mean over runs {both}")
        lines += _blocks([[*_head(row), *(_shown(row, name, metric) for name in names)] for row in rows], names, width)
        differing = [row for row in rows if any(metric in cell.differences for cell in row.cells.values())]
        if differing:
            lines += ["", f"{METRICS[metric]}: {against}"]
            cells = [[*_head(row), *(_difference(row, name, metric) for name in names)] for row in differing]
            lines += _blocks(cells, names, width)
        lines.append("")
    return lines


def overlaps(rows: Sequence[Row]) -> list[str]:
    """A line for each training and test data with images in common."""
    lines = []
    for row in rows:
        for name, cell in row.cells.items():
            if out := cell.exact + cell.near:
                total = out + cell.real + cell.fake
                lines.append(
                    f"overlap: of {total:,} test images of {name} {out:,} are left out for what was trained on "
                    f"{row.trained_on}: {cell.exact:,} the same file as one for training or validation, {cell.near:,} "
                    "alike or tied to one"
                )
    return list(dict.fromkeys(lines))


def csv_text(rows: Sequence[Row]) -> str:
    """A line for each cell, in units of the metric; empty where there is no number."""
    values = [field.name for field in fields(Value)]
    header = ["trained_on", "model", "aug", "recipe", "digest", "data", *FACTS]
    header += [f"{metric}_{name}" if name != "mean" else metric for metric in METRICS for name in values]
    header += [f"{metric}_difference{name}" for metric in COMPARED for name in ("", *(f"_{key}" for key in DIFFERENCE))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        for name, cell in row.cells.items():
            line: list[Any] = [row.trained_on, row.model, row.aug, row.recipe, row.digest, name]
            line += [int(cell.own), *(getattr(cell, fact) for fact in FACTS[1:])]
            line += [getattr(cell.values[metric], key) for metric in METRICS for key in values]
            for metric in COMPARED:
                line += _evidence(cell, metric)
            writer.writerow(["" if value is None or value != value else value for value in line])
    return out.getvalue()


def _evidence(cell: Cell, metric: str) -> list[Any]:
    arm = cell.differences.get(metric)
    if arm is None or arm.evidence is None:
        return [None] * (1 + len(DIFFERENCE))
    return [*(getattr(arm.evidence, key) for key in ("difference", *DIFFERENCE[:-1])), tables.word(arm)]


def _head(row: Row) -> list[str]:
    runs = max((cell.runs for cell in row.cells.values()), default=0)
    return [row.trained_on, row.model, row.name, str(runs)]


def _shown(row: Row, name: str, metric: str) -> str:
    if (cell := row.cells.get(name)) is None:
        return NONE
    value = cell.values[metric]
    halves = ((value.seeds_high - value.seeds_low) / 2, (value.images_high - value.images_low) / 2)
    spread = ", ".join(number(half, ".3f").removeprefix("0") for half in halves)
    return f"{number(value.mean, '.4f')}{OWN if cell.own else ' '} ± {spread}"


def _difference(row: Row, name: str, metric: str) -> str:
    cell = row.cells.get(name)
    if cell is None or (arm := cell.differences.get(metric)) is None or arm.evidence is None:
        return NONE
    found = arm.evidence
    interval = f" {span(found.low, found.high)}, p {probability(found.p_family)}" if found.pairs > 1 else ""
    return f"{tables.points(found.difference, '+z.2f')} ({found.pairs}){interval}, {tables.word(arm)}"


def _blocks(lines: Sequence[Sequence[str]], names: Sequence[str], width: int) -> list[str]:
    """Rows with their heads and as many data sets beside each other as fit; the others below, with the heads again."""
    table = [[*HEADS, *names], *lines]
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    heads, out = list(range(len(HEADS))), []
    rest = list(range(len(HEADS), len(widths)))
    while rest:
        shown = [*heads, rest.pop(0)]
        while rest and sum(widths[place] + 2 for place in [*shown, rest[0]]) - 2 <= width:
            shown.append(rest.pop(0))
        out += ["  ".join(line[place].ljust(widths[place]) for place in shown).rstrip() for line in table]
    return out
