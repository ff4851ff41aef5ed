"""The figures of an evaluation that experiments/figures.py does not have: calibration, scores, parts, learning."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from experiments.evaluate.measuring import CHOSEN, FIXED
from experiments.figures import COLORS, INK, STYLE

SMALL = {**STYLE, "font.size": 12}


def reliability(calibration: Mapping[str, Any]) -> Figure:
    """Share of fake against mean score before and after the temperature, with 95 % Wilson intervals; how many images
    each bin holds, below."""
    with matplotlib.rc_context(SMALL):
        figure = Figure(figsize=(9.2, 5.2), dpi=100, layout="constrained")
        upper, lower = figure.subplots(2, 2, height_ratios=(3.4, 1), sharex=True, sharey="row")
        titles = {"before": "scores as they are", "after": f"at temperature {calibration['temperature']:.3f}"}
        for axes, below, (key, title) in zip(upper, lower, titles.items(), strict=True):
            found = calibration[key]
            means, shares, low, high = (
                np.array([value(one) for one in found["bins"]])
                for value in (
                    lambda one: one["mean"],
                    lambda one: one["fake"]["value"],
                    lambda one: one["fake"]["low"],
                    lambda one: one["fake"]["high"],
                )
            )
            axes.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=1.5)
            axes.errorbar(means, shares, (shares - low, high - shares), fmt="o-", color=COLORS["fake"], linewidth=2)
            axes.set_title(f"{title}: ECE {found['ece']:.4f}", fontsize=12)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            edges = [(one["low"], one["high"] - one["low"], one["images"]) for one in found["bins"]]
            starts, widths, counts = zip(*edges, strict=True)
            below.bar(starts, counts, widths, align="edge", color="#BBBBBB", edgecolor="white")
            below.set(xlabel="score of fake", yscale="log")
            below.set_ylim(bottom=0.5)
            below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            below.yaxis.set_minor_formatter(NullFormatter())
        upper[0].set_ylabel("share of fake")
        lower[0].set_ylabel("images")
    return figure


def scores(found: Mapping[str, Any], thresholds: Mapping[str, float]) -> Figure:
    """How the scores of each class are spread, in shares of the class, with both thresholds. Logarithmic: of a good
    detector nearly all lie at the ends, and what goes wrong lies between."""
    edges = np.array(found["edges"])
    with matplotlib.rc_context(SMALL):
        figure = Figure(figsize=(9.2, 4.2), dpi=100, layout="constrained")
        axes = figure.add_subplot(xlabel="score of fake", ylabel="share of the class (%)")
        looks: dict[str, dict[str, Any]] = {"real": {"fill": True, "alpha": 0.45}, "fake": {"linewidth": 2.0}}
        for name, look in looks.items():
            counts = np.array(found[name.upper()], float)
            least = 50 / max(counts.sum(), 1)  # half an image: a bin of one stands out, an empty one is at the foot
            shares = np.maximum(100 * counts / max(counts.sum(), 1), least)
            axes.stairs(shares, edges, baseline=least, color=COLORS[name], label=name, **look)
        axes.axvline(thresholds[FIXED], color=INK, linestyle="--", linewidth=1.5, label="0.5")
        words = f"{thresholds[CHOSEN]:.3f}, chosen on validation"
        axes.axvline(min(thresholds[CHOSEN], 1), color=INK, linestyle=":", linewidth=2, label=words)
        axes.set(yscale="log", xlim=(-0.01, 1.01))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", frameon=False, ncols=4)
    return figure


def parts(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Of each part of the test images the share of real and of fake ones that are called what they are, at 0.5, with
    95 % Wilson intervals; the worst on top."""
    names = sorted(found, key=lambda name: found[name][FIXED]["accuracy"]["value"])
    with matplotlib.rc_context(SMALL):
        figure = Figure(figsize=(9.2, 1.5 + 0.42 * len(names)), dpi=100, layout="constrained")
        axes = figure.add_subplot(xlabel="called what they are (%), and the 95 % interval of these images")
        for offset, marker, label in ((-0.12, "s", "real"), (0.12, "o", "fake")):
            shares = [found[name][FIXED][label.upper()] for name in names]
            places = [place for place, one in enumerate(shares) if one["of"]]
            value, low, high = (np.array([100 * shares[i][key] for i in places]) for key in ("value", "low", "high"))
            axes.errorbar(
                value,
                np.array(places) + offset,
                xerr=(value - low, high - value),
                fmt=marker,
                color=COLORS[label],
                label=label,
                linewidth=2,
            )
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(False, axis="y")
        figure.legend(loc="outside lower center", frameon=False, ncols=2)
    return figure


def learning(epochs: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss (negative log-likelihood, nats) and accuracy of training and validation images along the epochs; training
    is measured while the weights still change. epochs: lines of metrics.jsonl."""
    with matplotlib.rc_context(SMALL):
        figure = Figure(figsize=(9.2, 4), dpi=100, layout="constrained")
        panels = {"nll": (1, "loss (nats)"), "accuracy": (100, "accuracy (%)")}
        looks: dict[str, dict[str, Any]] = {
            "train": {"label": "training", "color": "#777777", "linestyle": "--", "marker": "s"},
            "val": {"label": "validation", "color": "#009E73", "marker": "o"},
        }
        numbers = [line["epoch"] for line in epochs]
        for place, (metric, (scale, words)) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(1, 2, place, xlabel="epoch", ylabel=words)
            for split, look in looks.items():
                values = np.array([line.get(f"{split}/{metric}") for line in epochs], float)  # None becomes nan
                axes.plot(numbers, scale * values, linewidth=2, markersize=5, **look)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", frameon=False, ncols=2)
    return figure
