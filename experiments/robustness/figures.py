"""Figures of a robustness document: curves along each degradation, one-sided too, and a heat map of all cells."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.charts import HUES, MARKERS, units
from experiments.figures import INK, STYLE

ABREAST = 4  # panels
MOST_COLUMNS = 16  # arms in a heat map
MARKS = {"win": "▲", "loss": "▼", "equivalent": "=", "undecided": "?", "exploratory": "·"}

Document = dict[str, Any]


def curves(document: Document) -> Figure:
    """The metric along each degradation, both classes degraded: mean over an arm's runs, band = 95 % t interval."""
    figure = _panels(document, {"both": ("-", "full")})
    _say(figure, document, "pictures of both classes degraded")
    return figure


def one_sided(document: Document) -> Figure:
    """The same where one class alone is degraded and the other is clean: does a codec by itself flip verdicts?"""
    figure = _panels(document, {"fakes": ("-", "full"), "reals": ("--", "none")})
    _say(figure, document, "solid, filled: only fakes degraded; dashed, hollow: only reals")
    return figure


def heat(document: Document) -> Figure:
    """Cells down, arms across: the change of the metric from clean pictures and, with the verdict's mark, the paired
    difference to the baseline, in points."""
    baseline, *arms = _some(document["arms"], MOST_COLUMNS)
    cells = document["cells"]
    rows = {(row["arm"], row["cell"]): row for row in document["rows"] if row["degraded"] == "both"}
    fall = np.array([[100 * rows[arm, cell]["to_clean"] for arm in (baseline, *arms)] for cell in cells])
    gain = np.array([[100 * rows[arm, cell]["difference"] for arm in arms] for cell in cells])
    marks = [[MARKS[rows[arm, cell]["verdict"]] for arm in arms] for cell in cells]
    name = max(len(arm) for arm in document["arms"])
    size = (3.2 + 0.95 * (1 + 2 * len(arms)), 1.9 + 0.09 * name + 0.27 * len(cells))
    with matplotlib.rc_context({**STYLE, "font.size": 10, "axes.grid": False}):
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        wide = [1 + len(arms), *([len(arms)] if arms else [])]
        left, *right = figure.subplots(1, len(wide), width_ratios=wide, squeeze=False)[0]
        _squares(left, fall, "change from clean,\npoints", (baseline, *arms), [[""] * len(row) for row in fall])
        left.set_yticks(range(len(cells)), cells)
        if arms:
            _squares(right[0], gain, f"against {baseline},\npoints", arms, marks)
            right[0].set_yticks([])
            legend = "  ".join(f"{mark} {word}" for word, mark in MARKS.items())
            figure.supxlabel(f"{legend}\ncorrected over all arms and cells", fontsize=10)
        for axes in (left, *right):  # between kinds
            for place in range(1, len(cells)):
                if cells[place].split()[0] != cells[place - 1].split()[0]:
                    axes.axhline(place - 0.5, color="white", linewidth=2.5)
        figure.suptitle(f"test {document['metric']}, both classes degraded", fontsize=11)
    return figure


def _squares(axes: Axes, values: np.ndarray, title: str, arms: Sequence[str], marks: Sequence[Sequence[str]]) -> None:
    most = max(1.0, float(np.abs(values).max()))
    axes.imshow(values, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if abs(value) > 0.65 * most else INK
        text = f"{value:+z.1f} {marks[row][column]}".strip()
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.set_xticks(range(len(arms)), [arm.replace("_", " ") for arm in arms], rotation=40, ha="right")
    axes.tick_params(length=0)


def _panels(document: Document, looks: dict[str, tuple[str, str]]) -> Figure:
    """looks: of each side its line and how its markers are filled."""
    scale, unit = units(document["metric"])
    rows = {(row["arm"], row["cell"], row["degraded"]): row for row in document["rows"]}
    arms, lines = _some(document["arms"], 1 + len(HUES)), document["lines"]
    down = -(-len(lines) // ABREAST)
    with matplotlib.rc_context({**STYLE, "font.size": 11}):
        figure = Figure(figsize=(3.4 * min(ABREAST, len(lines)), 1.3 + 2.7 * down), dpi=100, layout="constrained")
        first: Axes | None = None
        for number, (kind, line) in enumerate(lines.items(), start=1):
            axes = figure.add_subplot(down, min(ABREAST, len(lines)), number, sharey=first)
            first = first or axes
            for place, arm in enumerate(arms):
                color, marker = (INK, ".") if place == 0 else (HUES[place - 1], MARKERS[place - 1])
                for side, (style, fill) in looks.items():
                    found = [rows[arm, cell, side] for cell in line["cells"]]
                    values, halves = (
                        scale * np.array([row[key] for row in found]) for key in (document["metric"], "half")
                    )
                    look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 5, "linestyle": style}
                    label = arm if side == next(iter(looks)) and number == 1 else None
                    axes.plot(values, **look, fillstyle=fill, label=label)
                    axes.fill_between(
                        range(len(values)), values - halves, values + halves, color=color, alpha=0.12, lw=0
                    )
            ticks = [cell.removeprefix(f"{kind} ") for cell in line["cells"]]
            axes.set_xticks(range(len(ticks)), ticks, fontsize=9, rotation=45 if len(ticks) > 5 else 0)
            axes.set_title(kind, fontsize=11)
            axes.set_xlabel(line["what"], fontsize=9)
            if number % ABREAST == 1:
                axes.set_ylabel(f"test {document['metric']}{unit}")
            else:
                axes.tick_params(labelleft=False)
        figure.legend(loc="outside lower center", frameon=False, ncols=min(4, len(arms)))
    return figure


def _say(figure: Figure, document: Document, what: str) -> None:
    figure.suptitle(f"{document['title']}\n{what}", fontsize=11, wrap=True)


def _some(arms: Sequence[str], most: int) -> list[str]:
    """The baseline and at most `most` - 1 arms, the best, the worst and evenly between; arms: the best first."""
    baseline, *others = arms
    places = np.linspace(0, len(others) - 1, min(len(others), most - 1)).round().astype(int)
    return [baseline, *(others[place] for place in places)]
