"""A sheet for people: each picture, what the network saw of it, and the verdict with its probability."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.classifier import Verdict
from experiments.figures import COLORS, INK, STYLE

ROW = (8.5, 2.3)  # inches
LONGEST = 26  # letters of a name


def sheet(
    names: Sequence[str],
    pictures: Sequence[np.ndarray],
    seen: np.ndarray,
    verdicts: Sequence[Verdict],
    threshold: float,
) -> Figure:
    """A row for each picture. pictures: uint8 (H, W, 3), of any sizes; seen: uint8 (N, H, W, 3), what the network was
    shown; threshold: see Classifier."""
    with matplotlib.rc_context({**STYLE, "font.size": 10}):
        figure = Figure(figsize=(ROW[0], ROW[1] * len(names)), dpi=100, layout="constrained")
        grid = figure.subplots(len(names), 3, width_ratios=(1, 1, 1.6), squeeze=False)
        for axes, name, picture, view, verdict in zip(grid, names, pictures, seen, verdicts, strict=True):
            short = name if len(name) <= LONGEST else f"...{name[-LONGEST:]}"
            for place, image, title in ((axes[0], picture, short), (axes[1], view, "as the network sees it")):
                place.imshow(image, interpolation="nearest" if max(image.shape) < 128 else None)
                place.set_title(title, fontsize=10, parse_math=False)
                place.set_axis_off()
            _meter(axes[2], verdict, threshold)
    return figure


def _meter(axes: Axes, verdict: Verdict, threshold: float) -> None:
    called = "fake" if verdict.fake else "real"
    axes.barh([0], [1], color="#EEEEEE", height=0.5)
    axes.barh([0], [verdict.probability], color=COLORS[called], height=0.5)
    axes.axvline(min(threshold, 1), color=INK, linewidth=1.5, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(-0.5, 0.5), yticks=[], xlabel=f"probability of fake; fake from {threshold:.2f} on")
    axes.set_title(f"{called.upper()}  {verdict.probability:.2f}", color=COLORS[called], fontsize=15, loc="left")
    axes.set_box_aspect(0.22)
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    if verdict.unlike:
        axes.text(0, -1.5, verdict.unlike, fontsize=9, va="top", transform=axes.transAxes)
