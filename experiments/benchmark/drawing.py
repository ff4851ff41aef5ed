"""The picture of scaling: panels on logarithmic axes, each with the point where one limit gives way to another."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from datasets.manifest import whole_file
from experiments.benchmark.scaling import TITLES, TURNS, Points, limits, line_of
from experiments.figures import COLORS, INK, STYLE

# Panels by the curve that turns in them, with what it costs in words; a second curve is there to be compared.
PANELS = {
    "images": {"images": "a run of one epoch, start-up included", "search": "search for near-duplicates, once"},
    "models": {"models": "a step of all of them, 32 images each"},
    "side": {"side": "a step of 16 images"},
}
LOOKS = ((COLORS["real"], "o"), ("#888888", "s"))
SAMPLES = 60


def save(measured: Mapping[str, Points], title: str, path: Path) -> None:
    """Draw the curves as a PNG, whole or not at all."""
    with whole_file(path, "wb") as handle:
        draw(measured, title).savefig(handle, format="png")


def draw(measured: Mapping[str, Points], title: str) -> Figure:
    """measured: the points of each curve; those that are there become panels."""
    panels = {name: curves for name, curves in PANELS.items() if name in measured}
    with matplotlib.rc_context({**STYLE, "font.size": 11}):
        figure = Figure(figsize=(5.2 * len(panels), 5.0), dpi=100, layout="constrained")
        figure.suptitle(title, color=INK)
        for place, (name, curves) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(1, len(panels), place, xscale="log", yscale="log")
            axes.set(xlabel=TITLES[name], ylabel="seconds")
            for (curve, words), look in zip(curves.items(), LOOKS, strict=False):
                if curve in measured:
                    _points(axes, curve, measured[curve], words, look)
            _turn(axes, name, measured[name])
            _ticks(axes, [x for x, _ in measured[name]])
            axes.legend(frameon=False, loc="upper left")
    return figure


def _points(axes: Axes, name: str, points: Points, words: str, look: tuple[str, str]) -> None:
    """What was measured, and the fixed and the growing part together as a line."""
    first, last = points[0][0], points[-1][0]
    between = [first * (last / first) ** (step / SAMPLES) for step in range(SAMPLES + 1)]
    line, power = line_of(name, points), TURNS[name]["power"]
    axes.plot(between, [line.at(x**power) for x in between], color=look[0], linewidth=1)
    axes.plot(*zip(*points, strict=True), look[1], color=look[0], markersize=7, label=words)


def _turn(axes: Axes, name: str, points: Points) -> None:
    turn, words = limits(name, points)
    axes.set_title(words.replace("; ", "\n"), fontsize=11)
    if points[0][0] <= turn <= points[-1][0]:
        axes.axvline(turn, color=COLORS["fake"], linestyle="--", linewidth=1.5)
        height = line_of(name, points).at(turn ** TURNS[name]["power"])
        axes.plot(turn, height, "D", color=COLORS["fake"], markersize=9, label="turns here")


def _ticks(axes: Axes, xs: list[float]) -> None:
    """Plain numbers: along x where something was measured, along y at 1, 2 and 5."""
    axes.set_xticks(xs, [f"{x:,.0f}" for x in xs])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
