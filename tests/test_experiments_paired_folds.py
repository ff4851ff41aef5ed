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


def test_of_two_halves_of_the_same_noise_it_claims_rarely_where_the_plain_test_claims_often():
    """Two rules are judged by five folds of 100 cases that are noise: what differs between folds is little, as the
    rules are trained on nearly the same cases."""
    generator = np.random.default_rng(0)
    plain = corrected = 0
    for _ in range(600):
        cases = generator.normal(size=100)  # the difference of two rules on each case, were they trained on all
        trained = np.array([generator.choice(100, 80, replace=False) for _ in range(5)])
        differences = cases[trained].mean(1) + generator.normal(0, 0.02, 5)
        plain += corrected_t(differences, 0) < 0.05
        corrected += corrected_t(differences, 0.25) < 0.05
    assert plain > 2 * corrected > 0


@pytest.mark.parametrize("folds", [range(5), (None,)])
def test_compare_takes_it_where_there_are_folds(tmp_path, folds):
    arms = {"none": 0.93, "saturate_x8": 0.92, "saturate_x2": 0.925}
    make_tree(tmp_path, arms=arms, folds=folds, seeds=range(2) if len(folds) > 1 else range(6))
    [comparison], _ = compare(find(tmp_path).outcomes)
    for arm in comparison.arms:
        pairs = arm_pairs(tmp_path, arm.aug)
        differences = np.array([a.metrics["test/accuracy"] - b.metrics["test/accuracy"] for a, b in pairs])
        overlap = 0.2 / (0.8 * 0.8)  # of five folds, and a fifth of the rest for validation
        same = arm.evidence.p == pytest.approx(corrected_t(differences, overlap))
        assert same == (len(folds) > 1)
        middle = (arm.evidence.low + arm.evidence.high) / 2
        assert (middle == pytest.approx(differences.mean(), abs=1e-12)) == (len(folds) > 1)
    said = " ".join(comparison.notes)
    assert ("corrected resampled t-test" in said) == (len(folds) > 1)


def arm_pairs(root, aug):
    runs = {(o.aug, o.seed, o.fold): o for o in find(root).outcomes}
    return [(run, runs["none", seed, fold]) for (name, seed, fold), run in sorted(runs.items(), key=str) if name == aug]
