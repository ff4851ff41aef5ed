"""The matrix as a heat map: how well what was trained on one data set tells fakes of another."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.figures import COLORS, INK, STYLE
from experiments.tables import NONE
from experiments.transfer.matrix import METRICS, Row

CHANCE = 0.5


def draw(rows: Sequence[Row], names: Sequence[str], metric: str) -> Figure:
    """A square for each condition and data set: the mean, and half of its 95 % interval over seeds and over images.

    Darker is better, white is chance or worse; framed: the test images are of the data that it was trained on.
    """
    values = np.array([[_mean(row, name, metric) for name in names] for row in rows])
    labels = [f"{row.trained_on}\n{row.model}, {row.name}" for row in rows]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    with matplotlib.rc_context({**STYLE, "font.size": 11}):
        size = (1.6 + 0.085 * longest + 1.7 * len(names), 1.7 + 0.8 * len(rows))
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        axes = figure.add_subplot()
        shown = axes.imshow(values, cmap="Blues", vmin=CHANCE, vmax=1, aspect="auto")
        for place in np.ndindex(values.shape):
            _cell(axes, place, rows[place[0]], names[place[1]], metric)
        axes.set_xticks(range(len(names)), [_broken(name) for name in names], parse_math=False)
        axes.set_yticks(range(len(rows)), labels, parse_math=False)
        axes.set_xlabel("tested on; framed: the data it was trained on")
        axes.set_ylabel("trained on, network and arm")
        axes.tick_params(length=0)
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.suptitle(f"{METRICS[metric]}, ± half of its 95 % interval", fontsize=12, wrap=True)
        figure.colorbar(shown, ax=axes, shrink=0.9, extend="min")
    return figure


def _cell(axes, place: tuple[int, ...], row: Row, name: str, metric: str) -> None:
    y, x = place
    if (cell := row.cells.get(name)) is None:
        axes.text(x, y, NONE, ha="center", va="center")
        return
    value = cell.values[metric]
    ink = "white" if value.mean > 0.8 else INK
    axes.text(x, y - 0.12, f"{value.mean:.3f}", ha="center", va="center", color=ink, fontsize=14)
    halves = {
        "seeds": (value.seeds_high - value.seeds_low) / 2,
        "images": (value.images_high - value.images_low) / 2,
    }
    said = "\n".join(f"{what} ±{half:.3f}" for what, half in halves.items() if np.isfinite(half))
    axes.text(x, y + 0.24, said, ha="center", va="center", color=ink, fontsize=8, linespacing=1.1)
    if cell.own:
        axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=COLORS["fake"], linewidth=3))


def _mean(row: Row, name: str, metric: str) -> float:
    return row.cells[name].values[metric].mean if name in row.cells else np.nan


def _broken(name: str, width: int = 16) -> str:
    return "\n".join(name[start : start + width] for start in range(0, len(name), width))
