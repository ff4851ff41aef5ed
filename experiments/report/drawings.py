"""The figures of a report, each with what it shows in words."""

from typing import TYPE_CHECKING

import numpy as np

from experiments import charts, dose, tables, wording
from experiments.figures import NAMES
from experiments.report.blocks import Block, Picture, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.comparison import Arm, Comparison


def size(arm: "Arm") -> str:
    """Difference, interval and number of pairs or folds in words."""
    if arm.evidence is None:
        return ""
    interval = tables.span(arm.evidence.low, arm.evidence.high)
    between = "" if interval == tables.NONE else f", 95 % interval {interval}"
    what, n = "fold" if arm.evidence.unit == "folds" else "pair", arm.evidence.pairs
    pairs = f"{n} {what}{'s' * (n != 1)}"
    return f"{tables.points(arm.evidence.difference, '+z.2f')} points{between}, {pairs}"


def _picture(name: str, figure: "Figure", alt: str, caption: str) -> Picture:
    return Picture(name, alt, caption, charts.png(figure), charts.svg(figure))


def forest(comparison: "Comparison", suffix: str) -> list[Block]:
    arms = "; ".join(
        f"{name} {size(arm)}, {arm.verdict.kind if arm.verdict else 'no verdict'}"
        for arm, name in charts.ends(
            list(zip(comparison.arms, tables.labels(comparison)[1:], strict=True)), charts.MOST_ROWS
        )
    )
    some = "" if len(comparison.arms) <= charts.MOST_ROWS else f" The {charts.MOST_ROWS} arms at both ends."
    unit = wording.unit_of(comparison)
    caption = f"Mean paired difference and its 95 % interval over {unit}; the band is the margin.{some}"
    return [_picture(f"forest{suffix}", charts.forest(comparison), f"Forest plot. {arms}.", caption)]


def strength(comparison: "Comparison", suffix: str) -> list[Block]:
    figure = dose.figure(comparison)
    if figure is None:
        return [Text("Fewer than three strengths were tried.")]
    scale, unit = charts.units(comparison.metric)
    words = [
        f"{dose.name(*line)}: " + ", ".join(f"x{factor:g} {scale * arm.mean:.4g}" for factor, arm in members)
        for line, members in sorted(dose.lines_of(comparison.arms).items())
    ]
    caption = (
        "The two lower panels are measured on test images as the network sees them: share of channel values at 0 or 1, "
        "and number of colours in a picture."
    )
    alt = f"{dose.sentence(comparison)}. Test {comparison.metric}{unit} against saturation factor. {'; '.join(words)}."
    return [_picture(f"dose{suffix}", figure, alt, caption)]


def learning(comparison: "Comparison", suffix: str) -> list[Block]:
    arms = charts.panel(comparison)
    if not any(charts.curves(arm, comparison.metric).size for arm, _ in arms):
        return [Text(f"The runs recorded no validation {comparison.metric} along their epochs.")]
    alt = f"Validation {comparison.metric} along the epochs of {', '.join(name for _, name in arms)}."
    caption = f"Mean over seeds; bands: 95 % t intervals of that mean.{_chosen(comparison)}"
    return [_picture(f"learning{suffix}", charts.learning(comparison, comparison.metric), alt, caption)]


def confusions(comparison: "Comparison", suffix: str) -> list[Block]:
    arms, classes = charts.panel(comparison), comparison.test.classes or NAMES
    if comparison.by_generator and any(run.scores is None for arm, _ in arms for run in arm.members):
        return [Text("None is drawn: these runs were read from a table, which keeps no scores.")]
    words = []
    for arm, name in arms:
        cells = np.mean([charts.counts_of(run) for run in arm.members], axis=0)
        shares = cells.diagonal() / np.maximum(1, cells.sum(axis=1))
        each = " and ".join(f"{share:.1%} of the {one}" for share, one in zip(shares, classes, strict=True))
        words.append(f"{name}: {each} images are right".replace("%", " %"))
    how = "what its largest score says" if comparison.by_generator else "fake from a score of 0.5 on"
    caption = f"Mean shares and counts over seeds; a picture is called {how}.{_chosen(comparison)}"
    alt = f"Confusion matrices. {'; '.join(words)}."
    return [_picture(f"confusions{suffix}", charts.confusions(comparison), alt, caption)]


def _chosen(comparison: "Comparison") -> str:
    total, shown = len(comparison.arms), len(charts.panel(comparison)) - 1
    return "" if total == shown else f" Shown are {shown} of {total} arms: the best, the worst and evenly between."
