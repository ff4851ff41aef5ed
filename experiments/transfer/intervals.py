"""Intervals of one cell over its test images, near-duplicates drawn together, from the project's own bootstrap."""

from collections.abc import Sequence

import numpy as np

from experiments import paired
from experiments.outcomes import Outcome

LEVEL = 0.95


def influence(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each image brings to the AUC, float64 (n,): their mean is the AUC, and the variance of that mean DeLong's.

    The share of the other class on whose right side an image stands, ties counted half (the structural components of
    DeLong, DeLong and Clarke-Pearson 1988), less their mean, times n over the number of its own class, and the AUC
    added.
    """
    fake = labels == 1
    placed = np.empty(len(scores))
    for own, sign in ((fake, 1), (~fake, -1)):
        others = np.sort(sign * scores[~own])
        ours = sign * scores[own]
        below, upto = (np.searchsorted(others, ours, side=side) for side in ("left", "right"))
        placed[own] = (below + upto) / (2 * len(others))
    area = placed[fake].mean()
    times = np.where(fake, len(scores) / fake.sum(), len(scores) / (~fake).sum())
    return area + times * (placed - area)


def over_images(members: Sequence[Outcome], metric: str) -> tuple[float, float]:
    """95 % of the mean over runs of `auc`, or of `accuracy_at_threshold` or `accuracy`, over the test images.

    An image counts by its mean over the runs that tested it. Where no image is wrong, or none right, a bootstrap sees
    no spread: then Wilson's interval of as many groups, for the AUC of those of the smaller class.
    """
    tests = {outcome.test.digest: outcome.test for outcome in members}
    each = {digest: [_of_image(run, metric) for run in members if run.test.digest == digest] for digest in tests}
    values = np.concatenate([np.mean(rows, axis=0) for rows in each.values()])
    labels, groups = (np.concatenate([getattr(test, key) for test in tests.values()]) for key in ("labels", "groups"))
    if np.ptp(values) == 0 and values[0] in (0, 1):
        counts = [len(np.unique(groups[labels == label])) for label in (0, 1)]
        known = min(counts) if metric == "auc" else sum(counts)
        return paired.wilson(int(values[0]) * known, known, level=LEVEL)
    low, high = np.clip(paired.clustered(values[None], groups, levels=(LEVEL,))[0, 0], 0, 1).tolist()
    return low, high


def _of_image(run: Outcome, metric: str) -> np.ndarray:
    assert run.scores is not None
    if metric == "auc":
        return influence(run.scores, run.test.labels)
    return run.correct if metric == "accuracy_at_threshold" else (run.scores >= 0.5) == (run.test.labels == 1)


def over_seeds(values: np.ndarray, overlap: float) -> tuple[float, float]:
    """95 % t interval of the mean of values (n,), nan for one; overlap: see paired.mean_error."""
    if len(values) < 2:
        return np.nan, np.nan
    half = paired.mean_error(values, overlap, times=paired.t_quantile((1 + LEVEL) / 2, len(values) - 1))
    return float(values.mean()) - half, float(values.mean()) + half
