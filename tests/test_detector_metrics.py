"""Metrics held against scikit-learn on scores full of ties, and their answers where nothing can be measured."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from detector.metrics import METRICS, Confusion, best_threshold, confusion, evaluate, roc

BOTH_CLASSES = ("balanced_accuracy", "auc", "average_precision", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10")


def drawn(seed: int, *, levels: int = 50, num: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Scores of `levels` values that know something of the labels, three FAKE in ten."""
    random = np.random.default_rng(seed)
    labels = (random.random(num) < 0.3).astype(np.uint8)
    scores = 1 / (1 + np.exp(-random.normal(2.0 * labels - 1, 1.5)))
    return np.round(scores * levels) / levels, labels


def reference_tpr(scores: np.ndarray, labels: np.ndarray, fpr: float) -> float:
    false_alarms, found, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    return found[false_alarms <= fpr].max()


def reference_eer(scores: np.ndarray, labels: np.ndarray) -> float:
    """Walked along the curve by halving: where the line of false alarms meets the line of misses."""
    false_alarms, found, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    place, low, high = np.arange(len(found)), 0.0, len(found) - 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if np.interp(middle, place, false_alarms) < 1 - np.interp(middle, place, found):
            low = middle
        else:
            high = middle
    return np.interp(low, place, false_alarms)


def reference_ece(scores: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for k in range(15):
        inside = (scores >= k / 15) & ((scores < (k + 1) / 15) | (k == 14))
        if inside.any():
            total += inside.mean() * abs(scores[inside].mean() - labels[inside].mean())
    return total


REFERENCE = {
    "accuracy": lambda s, y: reference.accuracy_score(y, s >= 0.5),
    "balanced_accuracy": lambda s, y: reference.balanced_accuracy_score(y, s >= 0.5),
    "precision": lambda s, y: reference.precision_score(y, s >= 0.5, zero_division=0),
    "recall": lambda s, y: reference.recall_score(y, s >= 0.5),
    "f1": lambda s, y: reference.f1_score(y, s >= 0.5),
    "auc": lambda s, y: reference.roc_auc_score(y, s),
    "average_precision": lambda s, y: reference.average_precision_score(y, s),
    "eer": reference_eer,
    "tpr_at_fpr_1": lambda s, y: reference_tpr(s, y, 0.01),
    "tpr_at_fpr_5": lambda s, y: reference_tpr(s, y, 0.05),
    "tpr_at_fpr_10": lambda s, y: reference_tpr(s, y, 0.1),
    "nll": lambda s, y: reference.log_loss(y, s),
    "brier": lambda s, y: reference.brier_score_loss(y, s),
    "ece": reference_ece,
}


@pytest.mark.parametrize("levels", [1, 3, 50, 10**9])
@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_scikit_learns(name, levels):
    for seed in range(5):
        scores, labels = drawn(seed, levels=levels)
        assert METRICS[name](scores, labels) == pytest.approx(REFERENCE[name](scores, labels), abs=1e-12)


def test_fake_is_the_positive_class_and_a_half_is_called_fake():
    scores, labels = [0.9, 0.5, 0.4, 0.6, 0.1], [1, 1, 1, 0, 0]
    assert confusion(scores, labels) == Confusion(2, 1, 1, 1)
    assert METRICS["recall"](scores, labels) == 2 / 3


def test_ranking_metrics_do_not_change_under_a_rising_map_nor_under_another_order():
    scores, labels = drawn(1)
    shuffled = np.random.default_rng(0).permutation(len(scores))
    for name in ("auc", "average_precision", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10"):
        value = METRICS[name](scores, labels)
        assert METRICS[name](scores**3, labels) == value
        assert METRICS[name](0.2 + scores / 2, labels) == value
        assert METRICS[name](scores[shuffled], labels[shuffled]) == value


def test_auc_and_eer_of_turned_scores_are_the_complement():
    scores, labels = drawn(2)
    for name in ("auc", "eer"):
        assert METRICS[name](1 - scores, labels) == pytest.approx(1 - METRICS[name](scores, labels))
        assert METRICS[name](1 - scores, 1 - labels) == pytest.approx(METRICS[name](scores, labels))


def test_perfect_scores_are_perfect():
    values = evaluate([0.0, 0.0, 1.0], [0, 0, 1], threshold=0.5)
    errors = {"eer", "nll", "brier", "ece"}
    assert values == {name: pytest.approx(0 if name in errors else 1) for name in (*METRICS, "accuracy_at_threshold")}


def test_constant_scores_know_nothing():
    values = evaluate([0.7] * 10, [0, 1] * 5, threshold=None)
    assert values["auc"] == values["eer"] == values["balanced_accuracy"] == 0.5
    assert values["average_precision"] == 0.5
    assert values["tpr_at_fpr_1"] == values["tpr_at_fpr_10"] == 0
    assert values["ece"] == pytest.approx(0.2)


def test_calling_nothing_fake_has_precision_and_f1_zero():
    values = evaluate([0.1, 0.2, 0.3], [1, 0, 1], threshold=None)
    assert values["precision"] == values["recall"] == values["f1"] == 0


@pytest.mark.parametrize(
    ("label", "undefined"), [(1, {*BOTH_CLASSES}), (0, {*BOTH_CLASSES, "precision", "recall", "f1"})]
)
def test_one_class_alone_gives_nan_where_a_metric_has_no_meaning_and_there_only(label, undefined):
    values = evaluate([0.2, 0.6, 0.9], [label] * 3, threshold=0.5)
    assert {name for name, value in values.items() if math.isnan(value)} == undefined


def test_a_certain_and_wrong_score_costs_a_finite_likelihood():
    assert METRICS["nll"]([1.0], [0]) == pytest.approx(52 * math.log(2))


def test_the_false_positive_rate_allowed_may_be_reached():
    scores, labels = [0.9, 0.8, 0.7, *[0.1] * 19], [0, 1, 1, *[0] * 19]
    assert METRICS["tpr_at_fpr_1"](scores, labels) == 0
    assert METRICS["tpr_at_fpr_5"](scores, labels) == 1


def test_the_last_calibration_bin_holds_its_neighbours_and_one():
    assert METRICS["ece"]([1.0, 0.95], [0, 1]) == pytest.approx(0.95 / 2)


def test_the_best_threshold_is_the_best_of_all():
    for seed in range(20):
        scores, labels = drawn(seed, levels=20, num=60)
        found = evaluate(scores, labels, threshold=best_threshold(scores, labels))
        everywhere = [np.mean((scores >= threshold) == labels) for threshold in np.linspace(-0.01, 1.01, 2000)]
        assert found["accuracy_at_threshold"] == max(everywhere) >= found["accuracy"]


def test_the_best_threshold_lies_midway_between_scores_and_of_equals_closest_to_a_half():
    assert best_threshold([0.1, 0.2, 0.3, 0.9], [0, 0, 1, 1]) == 0.25
    assert best_threshold([0.1, 0.2, 0.6, 0.8], [0, 1, 0, 1]) == 0.7  # .15 is as right and farther off
    assert best_threshold([0.375, 0.625, 0.5], [0, 1, 1]) == 0.4375
    assert best_threshold([0.3, 0.4, 0.6, 0.7], [1, 0, 1, 0]) == 0.5
    assert best_threshold([0.25, 0.5, 0.75], [1, 0, 1]) == 0.625  # calling all fake is as right and farther off
    assert best_threshold([0.2, 0.4, 0.6, 0.8], [0, 1, 0, 1]) == pytest.approx(0.3)  # .7 is as far: the lower


@pytest.mark.parametrize(
    ("scores", "labels"), [([0.0, 1.0], [1, 1]), ([0.0, 1.0], [0, 0]), ([1.0, 1.0, 1.0], [0, 0, 1])]
)
def test_the_best_threshold_can_call_everything_or_nothing_fake(scores, labels):
    at_best = evaluate(scores, labels, threshold=best_threshold(scores, labels))["accuracy_at_threshold"]
    assert at_best == pytest.approx(max(np.mean(labels), 1 - np.mean(labels)))


def test_the_best_threshold_parts_scores_that_are_neighbouring_floats():
    below, above = 0.3, np.nextafter(0.3, 1)
    for low in (below, above):
        scores = [low, np.nextafter(low, 1)]
        assert evaluate(scores, [0, 1], threshold=best_threshold(scores, [0, 1]))["accuracy_at_threshold"] == 1


def test_the_curve_starts_with_nothing_and_merges_equal_scores():
    curve = roc([0.5, 0.5, 0.9, 0.1], [1, 0, 1, 0])
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.5, 0.1]
    assert curve.true_positives.tolist() == [0, 1, 2, 2]
    assert curve.false_positives.tolist() == [0, 0, 1, 2]


def test_evaluate_gives_plain_floats_and_the_accuracy_at_a_threshold_if_one_is_given():
    scores, labels = drawn(3)
    values = evaluate(scores.astype(np.float32), labels.astype(bool), threshold=0.3)
    assert {type(value) for value in values.values()} == {float}
    assert values["accuracy_at_threshold"] == pytest.approx(np.mean((scores >= 0.3) == labels), abs=0.05)
    assert list(evaluate(scores, labels, threshold=None)) == list(METRICS)


REFUSED = [
    ([], [], r"scores are \(0,\) and labels \(0,\): expected \(N,\) each, with at least one image"),
    ([0.5], [0, 1], r"scores are \(1,\) and labels \(2,\): expected .*"),
    ([[0.5, 0.1]], [[0, 1]], r"scores are \(1, 2\) and labels \(1, 2\): expected .*"),
    ([0.5, np.nan], [0, 1], "score 1 is nan: expected a probability from 0 to 1"),
    ([0.5, 3.0], [0, 1], "score 1 is 3.0: expected a probability from 0 to 1"),
    ([-0.1, 0.5], [0, 1], "score 0 is -0.1: expected a probability from 0 to 1"),
    ([0.5, 0.5], [0, 2], "label 1 is 2: expected 1 for FAKE or 0 for REAL"),
    ([0.5, 0.5], [-1, 1], "label 0 is -1: expected 1 for FAKE or 0 for REAL"),
    ([0.5, 0.5], [1.0, np.nan], "label 1 is nan: expected 1 for FAKE or 0 for REAL"),
    ([0.5, 0.5], ["REAL", "FAKE"], "label 0 is REAL: expected 1 for FAKE or 0 for REAL"),
]


@pytest.mark.parametrize(("scores", "labels", "message"), REFUSED)
def test_what_is_no_score_or_label_is_refused_by_every_metric_in_one_line(scores, labels, message):
    for metric in (*METRICS.values(), best_threshold):
        with pytest.raises(ValueError, match=f"^{message}$"):
            metric(scores, labels)
