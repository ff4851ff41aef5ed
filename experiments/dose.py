"""The dose-response figure: a metric against the strength of saturation, and what the view does to the pictures.

It opens the README, so it must be read without a caption: a sentence on top, its units, what the bars are.
"""

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from experiments.charts import HUES, spread, units
from experiments.figures import INK, STYLE

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison

LOOKS = {"luma": (HUES[0], "o"), "hsv": (HUES[1], "s")}  # color and mark; hollow and dashed: inverted
WIDTH = 9  # inches
TITLE, FOOT = 70, 128  # letters in a line of that width

Lines = dict[tuple[str, bool], list[tuple[float, "Arm"]]]


def figure(comparison: "Comparison") -> Figure | None:
    """Test metric against saturation factor, one line per space and inversion; below it what the view clips and how
    many colours it leaves. None without at least three factors."""
    lines, baseline = lines_of(comparison.arms), comparison.baseline
    factors = sorted({factor for members in lines.values() for factor, _ in members})
    if len(factors) < 3:
        return None
    with matplotlib.rc_context({**STYLE, "font.size": 12, "axes.grid.axis": "y"}):
        drawn = Figure(figsize=(WIDTH, 7.6), dpi=100, layout="constrained")
        panels = drawn.subplots(3, sharex=True, height_ratios=(6, 2, 2))
        scale, unit = units(comparison.metric)
        middle, half = spread(baseline.values)
        panels[0].axhspan(*(scale * (middle + side * half) for side in (-1, 1)), color="#BBBBBB", alpha=0.4, lw=0)
        for axes, value in zip(panels, _of_view(baseline, scale * middle), strict=True):
            axes.axhline(value, color=INK, linestyle=":", linewidth=1.5, label=_plainly(baseline))
        _draw(panels, lines, scale)
        panels[0].set_ylabel(f"test {comparison.metric}{unit}", fontsize=13)
        panels[0].yaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
        panels[0].legend(frameon=False)
        panels[1].set_title("channel values clipped to 0 or 1 (%)", loc="left", fontsize=12)
        panels[1].set(ylim=(-6, 106), yticks=(0, 50, 100))
        panels[2].set_title("different colours in a picture (log scale)", loc="left", fontsize=12)
        panels[2].set(yscale="log", xlabel="saturation factor (log scale; 1 leaves saturation as it is)", xscale="log")
        panels[2].set_xticks(factors, [f"{factor:g}" for factor in factors])
        panels[2].xaxis.set_minor_locator(NullLocator())
        panels[2].yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        panels[2].yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panels[2].yaxis.set_minor_locator(NullLocator())
        title = sentence(comparison).replace(" %", "\N{NO-BREAK SPACE}%")  # a number stays with its unit
        drawn.suptitle(textwrap.fill(title, TITLE), x=0.01, ha="left", fontsize=14, fontweight="bold")
        drawn.supxlabel(textwrap.fill(_footing(comparison, lines), FOOT), x=0.01, ha="left", fontsize=10)
    return drawn


def _draw(panels: Sequence[Axes], lines: Lines, scale: float) -> None:
    """Every line into the three panels, highest end first: so the legend stands in the order of the right edge."""
    highest = sorted(lines.items(), key=lambda line: -line[1][-1][1].mean)
    for place, ((space, inverted), members) in enumerate(highest):
        color, marker = LOOKS.get(space, (HUES[2], "D"))
        look: dict[str, Any] = {"color": color, "linestyle": "--" if inverted else "-", "linewidth": 1.8}
        look |= {"marker": marker, "markerfacecolor": "white" if inverted else color}
        beside = 1.05 ** (place - (len(lines) - 1) / 2)  # or the intervals hide each other
        x = np.array([factor for factor, _ in members]) * beside
        means, halves = np.array([spread(arm.values) for _, arm in members]).T
        rows = np.array([_of_view(arm, scale * mean) for (_, arm), mean in zip(members, means, strict=True)]).T
        panels[0].errorbar(x, rows[0], scale * halves, capsize=3, label=name(space, inverted), markersize=7, **look)
        for axes, values in zip(panels[1:], rows[1:], strict=True):
            axes.plot(x, values, markersize=5, **look)


def sentence(comparison: "Comparison") -> str:
    """What is seen at the strongest saturation; "harms" and "helps" only where that is the verdict of every arm."""
    lines, scale = lines_of(comparison.arms), units(comparison.metric)[0]
    most = max(members[-1][0] for members in lines.values())
    last = {line: members[-1][1] for line, members in lines.items() if members[-1][0] == most}
    shown = {line: arm for line, arm in last.items() if not line[1]} or last
    kinds = {arm.verdict.kind for arm in last.values() if arm.verdict}
    did = {"loss": " harms", "win": " helps"}.get(kinds.pop(), "") if len(kinds) == 1 else ""

    def said(arm: "Arm") -> str:
        return f"{100 * arm.mean:.1f} %" if scale > 1 else f"{arm.mean:.3f}"

    ends = " and ".join(f"{said(arm)} in {name(*line)}" for line, arm in sorted(shown.items(), reverse=True))
    plain = f"{said(comparison.baseline)} on {_plainly(comparison.baseline)}"
    return f"Saturation x{most:g}{did}: test {comparison.metric} {ends}, {plain}"


def _footing(comparison: "Comparison", lines: Lines) -> str:
    counts = [len(arm.values) for members in lines.values() for _, arm in members]
    runs = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{max(counts)}"
    what = (
        f"{comparison.model} on {comparison.data}, {comparison.num_images:,} test images. Points: mean of {runs} runs"
    )
    if max(counts) == 1:
        return what.replace("mean of 1 runs", "one run") + "."
    return f"{what}; bars: its 95 % t interval; grey: that of {_plainly(comparison.baseline)}."


def name(space: str, inverted: bool) -> str:
    """A line of the figure in words."""
    return f"{'HSV' if space == 'hsv' else space}{', inverted first' if inverted else ''}"


def _plainly(arm: "Arm") -> str:
    return arm.name if arm.view.get("train") else "plain pictures"


def lines_of(arms: Sequence["Arm"]) -> Lines:
    """(space, inverted) -> (factor, arm) by factor, of the arms that see in training and in testing one fixed
    saturation, alone or after an inversion."""
    lines: Lines = defaultdict(list)
    for arm in arms:
        steps = [dict(step) for step in arm.view.get("train") or []]
        names = [step.get("op") for step in steps]
        if names not in (["saturate"], ["invert", "saturate"]) or arm.view.get("eval") != arm.view.get("train"):
            continue
        factor = steps[-1].get("factor")
        if isinstance(factor, int | float) and factor > 0 and all(step.get("p", 1) == 1 for step in steps):
            lines[(str(steps[-1].get("space", "luma")), len(steps) == 2)].append((float(factor), arm))
    return {line: sorted(members, key=lambda member: member[0]) for line, members in lines.items()}


def _of_view(arm: "Arm", mean: float) -> tuple[float, float, float]:
    return mean, 100 * arm.clipped, arm.colors
