"""What one pair of runs says by itself: the test images that only one of both networks calls rightly."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments import paired, tables
from experiments.report.blocks import Block, Table, Text

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison

ALPHA = 0.05


def blocks(comparison: "Comparison") -> list[Block]:
    """How far one run is known by its test images, and McNemar's test of every pair; no verdict rests on either."""
    run = comparison.baseline.members[0]
    right, images = int(run.correct.sum()), len(run.correct)
    low, high = paired.wilson(right, images)
    how = "by its largest score" if comparison.by_generator else "at a score of 0.5"
    words = (
        f"One run, {comparison.baseline.name} with seed {run.seed}, calls {right:,} of {images:,} test images rightly "
        f"{how}: accuracy {right / images:.4f}, 95 % Wilson interval {low:.4f} to {high:.4f} by these "
        "images alone. Another seed moves it as well, which that interval does not know."
    )
    rows = [
        _row(arm, name, comparison.baseline)
        for arm, name in zip(comparison.arms, tables.labels(comparison)[1:], strict=True)
    ]
    head = ["arm", "pairs", "only the baseline right", "only the arm right", "McNemar p", "pairs with p at most .05"]
    caption = "Test images on which the two networks of a pair differ: median, and least to most over the pairs"
    return [
        Text(words),
        Table(caption, head, rows),
        Text(
            "McNemar's exact test tells two trained networks apart, not two views: two seeds of one view may differ by "
            "it as well. It is what a study with one run a view could have reported."
        ),
    ]


def _row(arm: "Arm", name: str, baseline: "Arm") -> list[str]:
    twins = dict(zip(baseline.pairs, baseline.members, strict=True))
    both = [(twins[pair].correct, member.correct) for pair, member in zip(arm.pairs, arm.members, strict=True)]
    only_baseline = [int(np.sum(twin & ~correct)) for twin, correct in both]
    only_arm = [int(np.sum(correct & ~twin)) for twin, correct in both]
    p = arm.mcnemar
    span = " to ".join(dict.fromkeys(tables.probability(value) for value in (p.min(), p.max())))
    return [name, str(len(p)), _range(only_baseline), _range(only_arm), span, f"{np.sum(p <= ALPHA)} of {len(p)}"]


def _range(counts: Sequence[int]) -> str:
    middle = f"{np.median(counts):,.0f}"
    return middle if len(counts) == 1 else f"{middle} ({min(counts):,} to {max(counts):,})"
