"""Probabilities that mean what they say: one temperature, chosen on validation (Guo et al. 2017, ICML)."""

import numpy as np
from numpy.typing import ArrayLike

from detector.metrics import LOG_CLIP

HOTTEST = 100.0  # temperatures from 1/100 to 100: what lies outside tells the classes apart perfectly, or not at all
HALVINGS = 60


def temperature(scores: ArrayLike, labels: ArrayLike) -> float:
    """The temperature at which sigmoid(logit / temperature) has the smallest negative log-likelihood.

    scores: probability of FAKE, float (N,); labels: 1 for FAKE, 0 for REAL, (N,). Above 1: the scores were too sure.
    The likelihood is convex in 1 / temperature, so its slope is halved to its only zero.
    """
    logits, fake = _logits(scores), np.asarray(labels, dtype=np.float64)
    low, high = -np.log(HOTTEST), np.log(HOTTEST)  # of 1 / temperature, in nats
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = np.mean((_sigmoid(logits * np.exp(middle)) - fake) * logits)
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def calibrated(scores: ArrayLike, temperature: float) -> np.ndarray:
    """Probabilities of FAKE, float64 (N,), at a temperature; their order stays, and .5 stays .5."""
    return _sigmoid(_logits(scores) / temperature)


def _logits(scores: ArrayLike) -> np.ndarray:
    probabilities = np.clip(np.asarray(scores, dtype=np.float64), LOG_CLIP, 1 - LOG_CLIP)
    return np.log(probabilities) - np.log1p(-probabilities)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits))  # without overflow
