"""Pairs over folds share training images: the corrected resampled t-test, and that compare uses it there alone."""

from math import nan

import numpy as np
import pytest
from scipy import stats
from trees import make_tree

from experiments.comparison import compare
from experiments.outcomes import find
from experiments.paired import corrected_t, mean_error, tost

DIFFERENCES = np.array([0.004, 0.009, -0.001, 0.006, 0.007])


def test_the_corrected_t_is_students_with_the_wider_error():
    assert corrected_t(DIFFERENCES, 0) == pytest.approx(stats.ttest_1samp(DIFFERENCES, 0).pvalue, abs=1e-12)
    wider = np.sqrt(1 / 5 + 0.25) / np.sqrt(1 / 5)
    t = stats.ttest_1samp(DIFFERENCES, 0).statistic / wider
    assert corrected_t(DIFFERENCES, 0.25) == pytest.approx(2 * stats.t.sf(t, 4), abs=1e-12)
    assert corrected_t(-DIFFERENCES, 0.25) == corrected_t(DIFFERENCES, 0.25) > corrected_t(DIFFERENCES, 0)
    assert mean_error(DIFFERENCES, 0.25) == pytest.approx(stats.sem(DIFFERENCES) * wider)
    assert tost(DIFFERENCES, 0.02, 0.25) > tost(DIFFERENCES, 0.02)


def test_without_spread_or_with_one_pair_it_says_what_there_is():
    assert corrected_t(np.zeros(5), 0.25) == 1 and corrected_t(np.full(5, 0.1), 0.25) == 0
    assert corrected_t(np.array([0.1]), 0.25) == 1
    for wrong in (lambda: corrected_t(np.array([0.1, nan]), 0.25), lambda: corrected_t(DIFFERENCES, -1)):
        with pytest.raises(ValueError, match="expected a row of finite ones"):
            wrong()


def test_it_claims_one_time_in_twenty_where_nothing_differs_and_folds_share_four_fifths():
    """Nadeau and Bengio's model: what two folds find correlates by the share of test images, a fifth."""
    generator = np.random.default_rng(0)
    shared, own = generator.normal(size=(4000, 1)), generator.normal(size=(4000, 5))
    found = np.sqrt(0.2) * shared + np.sqrt(0.8) * own
    corrected, plain = (np.mean([corrected_t(row, overlap) < 0.05 for row in found]) for overlap in (0.25, 0.0))
    assert 0.04 < corrected < 0.06 and plain > 0.1


@pytest.mark.parametrize("folds", [range(5), (None,)])
def test_compare_takes_it_where_there_are_folds(tmp_path, folds):
    arms = {"none": 0.93, "saturate_x8": 0.92, "saturate_x2": 0.925}
    make_tree(tmp_path, arms=arms, folds=folds, seeds=range(2) if len(folds) > 1 else range(6))
    [comparison], _ = compare(find(tmp_path).outcomes)
    for arm in comparison.arms:
        pairs = arm_pairs(tmp_path, arm.name)
        differences = np.array([a.metrics["test/accuracy"] - b.metrics["test/accuracy"] for a, b in pairs])
        overlap = 0.2 / (0.8 * 0.8)  # of five folds, and a fifth of the rest for validation
        same = arm.evidence.p == pytest.approx(corrected_t(differences, overlap))
        assert same == (len(folds) > 1)
        if len(folds) > 1:
            half = stats.t.ppf(0.975, 9) * mean_error(differences, overlap)
            assert (arm.evidence.low, arm.evidence.high) == pytest.approx(differences.mean() + np.array([-half, half]))
    said = " ".join(comparison.notes)
    assert ("corrected resampled t-test" in said) == (len(folds) > 1)


def arm_pairs(root, aug):
    runs = {(o.aug, o.seed, o.fold): o for o in find(root).outcomes}
    return [(run, runs["none", seed, fold]) for (name, seed, fold), run in sorted(runs.items(), key=str) if name == aug]
