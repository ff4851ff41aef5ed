"""(scores, labels) -> numbers where there are several classes, over a whole split at once.

scores: probability of each class, float (N, K), rows sum to 1; labels: whole numbers from 0 to K - 1, (N,). A picture
is called the class of its largest score, the first of equals. Whatever else comes is a ValueError.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from detector.metrics import LOG_CLIP

ROUNDING = 1e-6  # by which the sum of a row may miss 1


def confusion(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """How many were called what, int64 (K, K): row = what a picture is, column = what it was called."""
    probabilities, classes = _checked(scores, labels)
    count = probabilities.shape[1]
    return np.bincount(classes * count + probabilities.argmax(1), minlength=count**2).reshape(count, count)


def evaluate(scores: ArrayLike, labels: ArrayLike, names: Sequence[str]) -> dict[str, float]:
    """accuracy: share called rightly; balanced_accuracy: mean of the recalls of the classes that are there; nll: mean
    negative log-likelihood in nats, clipped as in detector.metrics; and `<class>/recall` for each of the K names: the
    share of its pictures called rightly, nan where it has none."""
    probabilities, classes = _checked(scores, labels)
    counts = confusion(scores, labels)
    right, there = counts.diagonal(), counts.sum(axis=1)
    recalls = np.where(there > 0, right / np.maximum(there, 1), np.nan)
    of_label = np.clip(probabilities[np.arange(len(classes)), classes], LOG_CLIP, 1 - LOG_CLIP)
    return {
        "accuracy": float(right.sum() / there.sum()),
        "balanced_accuracy": float(np.nanmean(recalls)),
        "nll": float(-np.mean(np.log(of_label))),
        **{f"{name}/recall": float(recall) for name, recall in zip(names, recalls, strict=True)},
    }


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    probabilities, given = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or given.shape != probabilities.shape[:1] or not len(given):
        raise ValueError(
            f"scores are {probabilities.shape} and labels {given.shape}: expected (N, K) and (N,), with at least one "
            "image"
        )
    wrong = ~((probabilities >= 0).all(1) & (np.abs(probabilities.sum(1) - 1) <= ROUNDING))  # nan compares false
    if wrong.any():
        raise ValueError(
            f"scores {np.argmax(wrong)} are {probabilities[wrong][0].tolist()}: expected probabilities that sum to 1"
        )
    wrong = ~np.isin(given, np.arange(probabilities.shape[1]))
    if wrong.any():
        raise ValueError(
            f"label {np.argmax(wrong)} is {given[wrong][0]}: expected 0 to {probabilities.shape[1] - 1}, the number of "
            "a class"
        )
    return probabilities, given.astype(np.int64)
