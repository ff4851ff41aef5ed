"""One picture of an audit: how sizes, codec, colours and detail are spread in each class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from datasets.manifest import whole_file
from experiments.figures import COLORS, STYLE

# Panels in their order, with the units of their axis.
PANELS = {
    "width": "width (pixels)",
    "height": "height (pixels)",
    "aspect": "aspect (width / height)",
    "scale": "scaled down to (share of the original's size)",
    "quality": "JPEG quality (1 to 100; 0: no JPEG)",
    "bytes per pixel": "size of the file (bytes per pixel)",
    "brightness": "brightness (mean luma, 0 to 1)",
    "saturation": "saturation (mean of HSV, 0 to 1)",
    "red": "red (mean, 0 to 1)",
    "green": "green (mean, 0 to 1)",
    "blue": "blue (mean, 0 to 1)",
    "sharpness": "sharpness (ln variance of 2nd difference)",
    "noise": "noise (standard deviation, grey levels)",
}
ABREAST = 4


def save(report: Mapping[str, Any], path: Path) -> None:
    """Draw the report of datasets.audit as a PNG, whole or not at all."""
    with whole_file(path, "wb") as handle:
        draw(report).savefig(handle, format="png")


def areas(report: Mapping[str, Any]) -> dict[str, float]:
    """AUC of each fact that was judged, for itself, over all rows."""
    judged = [line["alone"] for line in report["lines"] if line["part"] != "swap test"]
    return {fact: area for alone in reversed(judged) for fact, area in alone.items()}  # all rows come before a source


def draw(report: Mapping[str, Any]) -> Figure:
    """A panel for each of PANELS that the report has, real filled and fake outlined, over the same axis.

    Heights are shares of the class, so classes of different number compare. Above a panel stands the AUC of its fact
    alone.
    """
    found = {fact: words for fact, words in PANELS.items() if fact in report["distributions"]}
    alone = areas(report)
    rows = -(-len(found) // ABREAST)
    with matplotlib.rc_context({**STYLE, "font.size": 11}):
        figure = Figure(figsize=(4 * ABREAST, 3.1 * rows + 0.8), dpi=100, layout="constrained")
        images = ", ".join(f"{number:,} {name.lower()}" for name, number in report["counts"]["images"].items())
        figure.suptitle(f"{images}: {report['verdict']}", fontsize=15)
        for place, (fact, words) in enumerate(found.items(), start=1):
            axes = figure.add_subplot(rows, ABREAST, place, xlabel=words)
            title = f"AUC alone {alone[fact]:.3f}" if fact in alone else ""
            axes.set_title(title, fontsize=11)
            _panel(axes, report["distributions"][fact])
            if place % ABREAST == 1:
                axes.set_ylabel("share of the class (%)")
            if place == 1:
                axes.legend(frameon=False)
    return figure


def _panel(axes: Axes, spread: Mapping[str, list]) -> None:
    edges = np.array(spread["edges"])
    looks: dict[str, dict[str, Any]] = {"real": {"fill": True, "alpha": 0.45}, "fake": {"linewidth": 2.0}}
    for name, look in looks.items():
        counts = np.array(spread[name.upper()], float)
        shares = 100 * counts / max(1.0, counts.sum())
        axes.stairs(shares, edges, color=COLORS[name], label=name, **look)
    axes.set_axisbelow(True)
    axes.set_ylim(bottom=0)
    if len(edges) == 2:  # one value for all: a bar of its own width, not a full panel
        axes.set(xlim=(edges[0] - 2, edges[1] + 2), xticks=[edges.mean()])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
