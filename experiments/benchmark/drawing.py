"""The picture of scaling: panels on logarithmic axes, each with the point where one limit gives way to another."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datasets.manifest import whole_file
from experiments.benchmark.scaling import TITLES, TURNS, Points, limits, line_of
from experiments.figures import COLORS, INK, STYLE

COSTS = {
    "images": "seconds of a run of one epoch",
    "models": "seconds of a step of all of them",
    "side": "seconds of a step of 16 images",
}
SAMPLES = 60


def save(measured: Mapping[str, Points], title: str, path: Path) -> None:
    """Draw the curves as a PNG, whole or not at all."""
    with whole_file(path, "wb") as handle:
        draw(measured, title).savefig(handle, format="png")


def draw(measured: Mapping[str, Points], title: str) -> Figure:
    """measured: the points of each curve, a panel each."""
    with matplotlib.rc_context({**STYLE, "font.size": 11}):
        figure = Figure(figsize=(5.2 * len(measured), 5.0), dpi=100, layout="constrained")
        figure.suptitle(title, color=INK)
        for place, (name, points) in enumerate(measured.items(), start=1):
            axes = figure.add_subplot(1, len(measured), place, xscale="log", yscale="log")
            axes.set(xlabel=TITLES[name], ylabel=COSTS[name])
            _panel(axes, name, points)
    return figure


def _panel(axes: Axes, name: str, points: Points) -> None:
    xs, seconds = [x for x, _ in points], [cost for _, cost in points]
    line, power = line_of(name, points), TURNS[name]["power"]
    between = [xs[0] * (xs[-1] / xs[0]) ** (step / SAMPLES) for step in range(SAMPLES + 1)]
    axes.plot(between, [line.at(x**power) for x in between], color="#888888", label="fixed part + growing part")
    axes.plot(xs, seconds, "o", color=COLORS["real"], markersize=7, label="measured")
    turn, words = limits(name, points)
    if xs[0] <= turn <= xs[-1]:
        axes.axvline(turn, color=COLORS["fake"], linestyle="--", linewidth=1.5)
        axes.plot(turn, line.at(turn**power), "D", color=COLORS["fake"], markersize=9, label="turns here")
    axes.set_title(words.replace("; ", "\n"), fontsize=11)
    axes.legend(frameon=False, loc="upper left")
