"""Figures of a comparison: forest plot, learning curves, confusion matrices; as SVG and PNG bytes.

Okabe and Ito's colours, and never by colour alone; white below the ink in dark pages too. No pyplot, no dates inside:
drawn twice, a figure has the same bytes.
"""

import io
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from detector import multiclass
from experiments import paired, tables
from experiments.figures import INK, NAMES, STYLE

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison
    from experiments.outcomes import Outcome

MOST_LINES = 8  # arms in one panel of curves, the baseline among them: there are no more colours
MOST_ROWS = 60  # arms in a forest plot
POINTS = 100
NO_SHARE = ("nll", "brier", "ece")  # metrics that percent would not make clearer
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D00")
MARKERS = "os^Dv<>"
LOOKS = {
    "win": ("#009E73", "^"),
    "loss": ("#D55E00", "v"),
    "equivalent": ("#0072B2", "s"),
    "undecided": ("#6B6B6B", "o"),
}


def forest(comparison: "Comparison") -> Figure:
    """Differences to the baseline with their 95 % intervals in points, best arm on top; the margin is shaded.

    Of more than MOST_ROWS arms the best and the worst. Where they span far more than the margin, the axis is linear
    near zero only, and says so.
    """
    shown = ends(list(zip(comparison.arms, tables.labels(comparison)[1:], strict=True)), MOST_ROWS)
    arms = [arm for arm, _ in shown]
    margin = comparison.margin * POINTS
    centers = np.array([arm.evidence.difference for arm in arms if arm.evidence]) * POINTS
    lows = np.array([arm.evidence.low for arm in arms if arm.evidence]) * POINTS
    highs = np.array([arm.evidence.high for arm in arms if arm.evidence]) * POINTS
    with matplotlib.rc_context({**STYLE, "font.size": 12}):
        figure = Figure(figsize=(9.2, 1.5 + 0.36 * max(len(arms), 1)), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        band = f"margin of ±{margin:g} points: nobody would act upon it"
        axes.axvspan(-margin, margin, color="#BBBBBB", alpha=0.4, linewidth=0, label=band)
        axes.axvline(0, color=INK, linewidth=1.2)
        for place, arm in enumerate(arms):
            color, marker = LOOKS[arm.verdict.kind] if arm.verdict else LOOKS["undecided"]
            axes.plot([lows[place], highs[place]], [place, place], color=color, linewidth=2.2, solid_capstyle="butt")
            axes.plot(centers[place], place, marker, color=color, markersize=7, markeredgecolor="white")
            words = f"{tables.word(arm)}, n = {len(arm.differences)}"
            axes.text(1.02, place, words, transform=axes.get_yaxis_transform(), va="center", color=color)
        axes.set_yticks(range(len(arms)), [name for _, name in shown])
        axes.set_ylim(max(len(arms), 1) - 0.4, -0.6)
        axes.grid(False, axis="y")
        direction = "; lower is better" if comparison.lower_is_better else ""
        words = (
            f"test {comparison.metric}: difference to {comparison.baseline.name} in points{direction}\n"
            "mean of the pairs and its 95 % interval"
        )
        reach = np.nanmax(np.abs([*centers, *lows, *highs, 2 * margin]))
        axes.set_xlabel(words + _spread_out(axes, reach, 2 * margin))
        figure.legend(loc="outside lower center", frameon=False)
    return figure


def _spread_out(axes: Axes, reach: float, linear: float) -> str:
    """Make the axis linear within +-`linear` and logarithmic beyond, where `reach` is far beyond; says what it did."""
    if reach <= 10 * linear:
        return ""
    axes.set_xscale("symlog", linthresh=linear, linscale=1.0)
    steps = [step * 10.0**power for power in range(-2, 3) for step in (1, 2, 5)]
    ticks = [step for step in steps if linear <= step <= 1.05 * reach]
    low, high = (end * 1.25 if abs(end) > linear else end for end in axes.get_xlim())  # room for the outermost marks
    axes.set_xlim(low, high)
    both = [-tick for tick in reversed(ticks)] + [0.0, *ticks]
    axes.set_xticks([tick for tick in both if low <= tick <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
    axes.xaxis.set_minor_locator(NullLocator())
    return f"; axis logarithmic beyond ±{linear:g}"


def learning(comparison: "Comparison", metric: str) -> Figure:
    """Validation `metric` along the epochs: mean over the runs, band = 95 % t interval of that mean."""
    scale, unit = units(metric)
    with matplotlib.rc_context({**STYLE, "font.size": 12}):
        figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel=f"validation {metric}{unit}")
        baseline, reached = comparison.baseline, []
        for place, (arm, name) in enumerate(panel(comparison)):
            columns = curves(arm, metric).T
            if not len(columns):
                continue
            means, halves = np.array([spread(column) for column in columns]).T * scale
            epochs = np.arange(1, len(means) + 1)
            reached += [means.min(), means.max()]
            color = INK if arm is baseline else HUES[place - 1]
            look: dict[str, Any] = {"linestyle": "--"} if arm is baseline else {"marker": MARKERS[place - 1]}
            look |= {"zorder": 4} if arm is baseline else {}  # or an arm that is level with it hides it
            axes.plot(epochs, means, color=color, label=name, linewidth=2, markersize=5, **look)
            axes.fill_between(epochs, means - halves, means + halves, color=color, alpha=0.15, linewidth=0)
        room = 0.15 * (max(reached) - min(reached)) + 0.01 * scale  # the band of two runs may be wider than the figure
        axes.set_ylim(min(reached) - room, max(reached) + room)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", frameon=False, ncols=2)
    return figure


def curves(arm: "Arm", metric: str) -> np.ndarray:
    """Validation `metric` (runs, epochs) of the runs that recorded it; empty where none did."""
    found = [run.history[f"val/{metric}"] for run in arm.members if run.history.get(f"val/{metric}")]
    return np.array(found) if found else np.empty((0, 0))


def confusions(comparison: "Comparison") -> Figure:
    """Confusion matrices at score 0.5, of generators by the largest score, of the baseline and of each arm: mean counts
    and shares over the runs."""
    arms, names = panel(comparison), comparison.test.classes or NAMES
    wide = max(2.7, 0.7 + 0.8 * len(names))
    abreast = min(4, len(arms))
    rows = -(-len(arms) // abreast)
    with matplotlib.rc_context({**STYLE, "font.size": 11}):
        figure = Figure(figsize=(wide * abreast, (wide + 0.3) * rows), dpi=100, layout="constrained")
        for place, (arm, name) in enumerate(arms, start=1):
            axes = figure.add_subplot(rows, abreast, place)
            axes.set_title("\n".join(_broken(name.replace("_", " "))), fontsize=11)
            axes.set_xlabel("called by the network" if place > len(arms) - abreast else "")
            axes.set_ylabel("what it is" if place % abreast == 1 or abreast == 1 else "")
            counts = np.mean([counts_of(run) for run in arm.members], axis=0)
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for (row, column), count in np.ndenumerate(counts):
                ink = "white" if shares[row, column] > 0.65 else INK
                words = f"{100 * shares[row, column]:.1f} %\n{count:,.0f}"
                axes.text(column, row, words, ha="center", va="center", color=ink)
            axes.set_xticks(range(len(names)), names)
            axes.set_yticks(range(len(names)), names, rotation=90, va="center")
            axes.grid(False)
    return figure


def counts_of(run: "Outcome") -> np.ndarray:
    """int64 (K, K): row = what an image is, column = what it was called; those of generators need the run's scores."""
    if run.by_generator:
        assert run.scores is not None
        return multiclass.confusion(run.scores, run.test.labels)
    return confusion(run.test.labels, run.correct)


def confusion(labels: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """int64 (2, 2): row = what an image is, column = what it was called; real first."""
    called = np.where(correct, labels, 1 - labels)
    return np.array([[np.sum((labels == row) & (called == column)) for column in (0, 1)] for row in (0, 1)])


def spread(values: np.ndarray) -> tuple[float, float]:
    """Mean of (n,) and half the width of its 95 % t interval; 0 for one value, which has none."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return float(values.mean()), 0.0
    half = paired.t_quantile(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def units(metric: str) -> tuple[float, str]:
    """What a metric is multiplied by on an axis, and the words behind its name."""
    return (1.0, "") if metric.rpartition("/")[2] in NO_SHARE else (100.0, " (%)")


def panel(comparison: "Comparison") -> list[tuple["Arm", str]]:
    """The baseline and at most MOST_LINES - 1 arms, the best, the worst and evenly between, with their names.

    Controls are left out where there is anything else.
    """
    baseline, *arms = zip([comparison.baseline, *comparison.arms], tables.labels(comparison), strict=True)
    arms = [(arm, name) for arm, name in arms if not is_control(arm)] or arms
    places = np.linspace(0, len(arms) - 1, min(len(arms), MOST_LINES - 1)).round().astype(int)
    return [baseline, *(arms[place] for place in places)]


def is_control(arm: "Arm") -> bool:
    """Whether an arm only checks the instrument: plain pictures, trained from other seeds or on shuffled labels."""
    return bool(arm.view.get("seed_offset") or arm.view.get("shuffle_labels"))


def ends(found: list, most: int) -> list:
    """At most `most` of a list, from both ends."""
    return found if len(found) <= most else [*found[: most // 2], *found[-(most - most // 2) :]]


def _broken(title: str, width: int = 26) -> list[str]:
    lines = [""]
    for word in title.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def svg(figure: Figure) -> bytes:
    """The figure as SVG: text stays text, in whatever sans-serif font the reader has."""
    return _saved(figure, "svg", {"Date": None, "Creator": None})


def png(figure: Figure) -> bytes:
    """The figure as PNG, dense enough for print."""
    return _saved(figure, "png", {"Software": None})


def _saved(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    out = io.BytesIO()
    # without salt the names inside are drawn by lot
    fixed: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "hueprint"}
    with matplotlib.rc_context(fixed):
        figure.savefig(out, format=kind, dpi=160, facecolor="white", metadata=metadata)
    return out.getvalue()
