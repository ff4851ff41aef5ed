"""(scores, labels) -> one number, over a whole split at once.

scores: probability of FAKE, float (N,) in [0, 1]; labels: 1 for FAKE, the positive class, 0 for REAL, (N,).
Whatever else comes is a ValueError. A metric that has no meaning for the labels at hand is nan: precision, recall and
F1 without FAKE; balanced accuracy, AUC, average precision, EER and TPR at FPR without both classes.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

ECE_BINS = 15
# where log is cut off, as scikit-learn does: one certain and wrong score costs 36 nats, not infinitely many
LOG_CLIP = float(np.finfo(np.float64).eps)


class Confusion(NamedTuple):
    """How many were called what; positive is FAKE."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


class Roc(NamedTuple):
    """How many score at least a threshold, thresholds falling; the first point calls nothing FAKE, the last everything.

    Equal scores are one point, so no curve depends on the order of its images.
    """

    thresholds: np.ndarray
    false_positives: np.ndarray
    true_positives: np.ndarray

    @property
    def has_both_classes(self) -> bool:
        return self.false_positives[-1] > 0 and self.true_positives[-1] > 0


def confusion(scores: ArrayLike, labels: ArrayLike, *, threshold: float = 0.5) -> Confusion:
    """Counts where a score of at least `threshold` is called FAKE."""
    probabilities, fake = _checked(scores, labels)
    called = probabilities >= threshold
    true_positives, positives, calls = int((called & fake).sum()), int(fake.sum()), int(called.sum())
    false_positives, false_negatives = calls - true_positives, positives - true_positives
    return Confusion(true_positives, false_positives, len(fake) - calls - false_negatives, false_negatives)


def roc(scores: ArrayLike, labels: ArrayLike) -> Roc:
    """The counts behind every curve and ranking metric; the first threshold is infinite."""
    probabilities, fake = _checked(scores, labels)
    order = np.argsort(-probabilities)
    ordered, fake = probabilities[order], fake[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # of each run of equal scores
    true_positives = np.cumsum(fake)[last]
    return Roc(np.append(np.inf, ordered[last]), np.append(0, last + 1 - true_positives), np.append(0, true_positives))


def accuracy(scores: ArrayLike, labels: ArrayLike, *, threshold: float = 0.5) -> float:
    """Share called rightly."""
    counts = confusion(scores, labels, threshold=threshold)
    return (counts.true_positives + counts.true_negatives) / sum(counts)


def balanced_accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean of the shares called rightly among FAKE and among REAL, at .5."""
    tp, fp, tn, fn = confusion(scores, labels)
    return (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2


def precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Share of FAKE among those called FAKE, at .5; 0 where nothing is called FAKE."""
    tp, fp, _, fn = confusion(scores, labels)
    return tp / max(tp + fp, 1) if tp + fn else np.nan


def recall(scores: ArrayLike, labels: ArrayLike) -> float:
    """Share called FAKE among FAKE, at .5."""
    tp, _, _, fn = confusion(scores, labels)
    return _ratio(tp, tp + fn)


def f1(scores: ArrayLike, labels: ArrayLike) -> float:
    """Harmonic mean of precision and recall, at .5."""
    tp, fp, _, fn = confusion(scores, labels)
    return 2 * tp / (2 * tp + fp + fn) if tp + fn else np.nan


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that a random FAKE scores above a random REAL, ties counted half (Mann-Whitney)."""
    curve = roc(scores, labels)
    if not curve.has_both_classes:
        return np.nan
    # trapezia in whole numbers: exact
    twice = np.sum(np.diff(curve.false_positives) * (curve.true_positives[1:] + curve.true_positives[:-1]))
    return float(twice / (2 * curve.false_positives[-1] * curve.true_positives[-1]))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Precision averaged over recall in steps, without interpolation."""
    curve = roc(scores, labels)
    if not curve.has_both_classes:
        return np.nan
    tp, fp = curve.true_positives[1:], curve.false_positives[1:]
    return float(np.sum(np.diff(curve.true_positives) * (tp / (tp + fp))) / tp[-1])


def eer(scores: ArrayLike, labels: ArrayLike) -> float:
    """Equal error rate: where the ROC curve, its points joined by lines, has as many false alarms as misses."""
    curve = roc(scores, labels)
    if not curve.has_both_classes:
        return np.nan
    false_alarms = curve.false_positives / curve.false_positives[-1]
    misses = 1 - curve.true_positives / curve.true_positives[-1]
    # their difference rises strictly along the curve from -1 to 1
    return float(np.interp(0.0, false_alarms - misses, false_alarms))


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, *, fpr: float) -> float:
    """Share of FAKE found at the best threshold that calls at most `fpr` of REAL fake; no interpolation."""
    curve = roc(scores, labels)
    if not curve.has_both_classes:
        return np.nan
    allowed = curve.false_positives / curve.false_positives[-1] <= fpr
    return float(curve.true_positives[allowed][-1] / curve.true_positives[-1])


def nll(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log-likelihood in nats; probabilities clipped LOG_CLIP away from 0 and 1."""
    probabilities, fake = _checked(scores, labels)
    of_label = np.where(fake, probabilities, 1 - probabilities)
    return float(-np.mean(np.log(np.clip(of_label, LOG_CLIP, 1 - LOG_CLIP))))


def brier(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared difference of probability and label."""
    probabilities, fake = _checked(scores, labels)
    return float(np.mean((probabilities - fake) ** 2))


def ece(scores: ArrayLike, labels: ArrayLike) -> float:
    """Expected calibration error of the probability of FAKE: over 15 bins of equal width, [0, 1/15) to [14/15, 1], the
    mean distance of the mean score from the share of FAKE, bins weighted by their images.

    Not the calibration of the winning class's confidence (Guo et al. 2017), which folds both classes together.
    """
    probabilities, fake = _checked(scores, labels)
    bins = np.minimum((probabilities * ECE_BINS).astype(int), ECE_BINS - 1)
    excess = np.bincount(bins, weights=probabilities - fake)
    return float(np.abs(excess).sum() / len(fake))


def best_threshold(scores: ArrayLike, labels: ArrayLike) -> float:
    """The threshold of highest accuracy, midway between two scores; of equals the one closest to .5, then the lower.

    0 where it is best to call everything FAKE, the next number above 1 where nothing.
    """
    curve = roc(scores, labels)
    wrong = curve.false_positives + curve.true_positives[-1] - curve.true_positives
    above, below = curve.thresholds[1:-1], curve.thresholds[2:]
    midway = (above + below) / 2
    # between two neighbouring floats there is no middle: the upper one still parts them
    midway = np.where(midway > below, midway, above)
    candidates = np.concatenate([[np.nextafter(1.0, 2.0)], midway, [0.0]])[wrong == wrong.min()]
    return float(min(candidates, key=lambda threshold: (abs(threshold - 0.5), threshold)))


def evaluate(scores: ArrayLike, labels: ArrayLike, *, threshold: float | None) -> dict[str, float]:
    """All METRICS; with a threshold, chosen on other images, also accuracy_at_threshold."""
    values = {name: metric(scores, labels) for name, metric in METRICS.items()}
    if threshold is not None:
        values["accuracy_at_threshold"] = accuracy(scores, labels, threshold=threshold)
    return values


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores as float64 and labels as bool, True for FAKE; raises ValueError where they are neither."""
    probabilities, given = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if probabilities.ndim != 1 or probabilities.shape != given.shape or not len(given):
        raise ValueError(
            f"scores are {probabilities.shape} and labels {given.shape}: expected (N,) each, with at least one image"
        )
    wrong = ~((probabilities >= 0) & (probabilities <= 1))  # nan compares false
    if wrong.any():
        raise ValueError(f"score {np.argmax(wrong)} is {probabilities[wrong][0]}: expected a probability from 0 to 1")
    fake = given == 1
    wrong = ~(fake | (given == 0))
    if wrong.any():
        raise ValueError(f"label {np.argmax(wrong)} is {given[wrong][0]}: expected 1 for FAKE or 0 for REAL")
    return probabilities, fake


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


METRICS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "auc": auc,
    "average_precision": average_precision,
    "eer": eer,
    "tpr_at_fpr_1": partial(tpr_at_fpr, fpr=0.01),
    "tpr_at_fpr_5": partial(tpr_at_fpr, fpr=0.05),
    "tpr_at_fpr_10": partial(tpr_at_fpr, fpr=0.1),
    "nll": nll,
    "brier": brier,
    "ece": ece,
}
