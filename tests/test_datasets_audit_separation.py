"""The AUC and its interval: against scikit-learn, and on drawn sets of which the truth is known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from datasets.audit.separation import FOLDS, RIDGE, auc, bins, fit, group_folds, separation


def drawn(count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Facts of half real and half fake rows that say nothing: four numbers, three names."""
    random = np.random.default_rng(seed)
    facts = {f"number {i}": random.normal(size=count) for i in range(4)}
    facts |= {f"name {i}": random.integers(0, 6, count).astype(float) for i in range(3)}
    return facts, np.repeat([0, 1], count // 2)


def alone(count: int, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    return group_folds([""] * count, labels, seed)


@pytest.mark.parametrize("levels", [3, 20, 10**6], ids=lambda levels: f"{levels} levels")
def test_the_auc_is_scikit_learns_ties_included(levels):
    random = np.random.default_rng(levels)
    labels = random.integers(0, 2, 500)
    scores = random.integers(0, levels, 500) + labels * levels / 10
    assert auc(scores, labels)[0] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_the_variance_of_the_auc_is_the_bootstraps():
    random = np.random.default_rng(0)
    real, fake = random.normal(size=150), random.normal(0.8, 1.5, size=90)
    labels = np.repeat([0, 1], [150, 90])
    _, influence = auc(np.concatenate([real, fake]), labels)
    again = [auc(np.concatenate([random.choice(real, 150), random.choice(fake, 90)]), labels)[0] for _ in range(2000)]
    assert np.sqrt((influence**2).sum()) == pytest.approx(np.std(again), rel=0.1)


def test_the_weights_are_scikit_learns():
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 200)
    codes = np.column_stack([random.integers(0, 4, 400), 4 + (random.integers(0, 3, 400) + labels) % 3])
    columns = np.zeros((400, 7))
    np.put_along_axis(columns, codes, 1, axis=1)
    theirs = LogisticRegression(C=1 / RIDGE, fit_intercept=False, tol=1e-8).fit(columns, labels)
    assert fit(codes, labels, num_weights=7) == pytest.approx(theirs.coef_[0], abs=1e-3)


def test_without_signal_the_interval_holds_one_half_in_95_of_100_sets():
    held = 0
    for seed in range(200):
        facts, labels = drawn(100, seed)
        found = separation(facts, labels, alone(100, labels, seed))
        held += found.low <= 0.5 <= found.high
        assert found.high - found.low < 0.45
    assert 182 <= held <= 198  # 190 are expected, with a spread of 3


def test_one_value_in_the_middle_of_many_is_found():
    facts, labels = drawn(200, 0)
    random = np.random.default_rng(2)
    facts["width"] = np.where(labels == 1, 1344.0, random.integers(900, 1800, 200))
    assert separation(facts, labels, alone(200, labels)).low > 0.9
    middling = np.where(labels == 1, random.normal(0, 0.3, 200), random.normal(0, 1, 200))
    assert separation({"middling": middling}, labels, alone(200, labels)).low > 0.6


def test_a_frequent_value_has_its_own_bin_wherever_it_lies():
    values = np.concatenate([np.full(100, 1344.0), np.random.default_rng(0).uniform(1340, 1348, 1000)])
    codes = bins(values)
    assert len(set(codes[:100])) == 1 and codes[0] not in codes[100:]
    assert (np.diff(codes[np.argsort(values, kind="stable")]) >= 0).all()


def test_copies_of_one_picture_do_not_teach_their_own_label():
    random = np.random.default_rng(3)
    facts = {f"number {i}": np.repeat(random.normal(size=100), 4) for i in range(4)}
    labels = np.repeat(random.permutation(np.repeat([0, 1], 50)), 4)
    groups = [f"group {i // 4}" for i in range(400)]
    torn = separation(facts, labels, alone(400, labels))
    whole = separation(facts, labels, group_folds(groups, labels, 0))
    assert torn.low > 0.6 and whole.low < 0.5 < whole.high
    assert whole.high - whole.low > 1.5 * (torn.high - torn.low)  # a hundred pictures, not four hundred


def test_folds_hold_whole_groups_and_as_much_of_each_class():
    labels = np.repeat([0, 1], [300, 150])
    groups = [f"group {i // 3}" for i in range(450)]
    fold = group_folds(groups, labels, 7) % FOLDS
    assert all(len(set(fold[start : start + 3])) == 1 for start in range(0, 450, 3))
    assert [np.bincount(fold[labels == label]).tolist() for label in (0, 1)] == [[60] * FOLDS, [30] * FOLDS]
    assert (fold != group_folds(groups, labels, 8) % FOLDS).any()


def test_a_class_in_one_fold_only_says_nothing_at_all():
    labels = np.repeat([0, 1], 30)
    groups = [f"{i}" if label == 0 else "one and the same" for i, label in enumerate(labels)]
    found = separation({"telling": labels.astype(float)}, labels, group_folds(groups, labels, 0))
    assert (found.auc, found.low, found.high) == (0.5, 0.0, 1.0)
