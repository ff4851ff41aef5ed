"""Temperature scaling, held against scipy and against probabilities whose truth is known."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from detector.calibration import calibrated, temperature
from detector.metrics import ece, nll


def drawn(sureness, count=20_000):
    """Scores whose logits are `sureness` times those of the truth."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, count)
    return expit(sureness * logits), (random.random(count) < expit(logits)).astype(int)


@pytest.mark.parametrize("sureness", [0.5, 1.0, 3.0])
def test_scores_that_are_too_sure_or_not_sure_enough_are_mended(sureness):
    scores, labels = drawn(sureness)
    found = temperature(scores, labels)
    assert found == pytest.approx(sureness, rel=0.03)
    assert ece(calibrated(scores, found), labels) < 0.01
    best = minimize_scalar(lambda t: nll(expit(logit(scores) / t), labels), bounds=(0.1, 10), method="bounded")
    assert found == pytest.approx(best.x, rel=1e-3)
    assert nll(calibrated(scores, found), labels) <= nll(scores, labels)


def test_order_and_the_middle_stay_and_certainty_is_no_overflow():
    scores = np.array([0.0, 1e-300, 0.2, 0.5, 0.8, 1.0])
    after = calibrated(scores, 0.05)
    assert (np.diff(after) >= 0).all() and after[3] == 0.5 and ((after >= 0) & (after <= 1)).all()
    assert temperature([0.9, 0.1], [1, 0]) < 0.1  # told apart: as sure as can be
    assert temperature([0.9, 0.1], [0, 1]) == pytest.approx(100)  # the wrong way round
