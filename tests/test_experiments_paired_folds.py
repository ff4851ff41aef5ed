"""Pairs over folds share training images: the corrected resampled t-test, and that compare uses it there alone."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from scipy import stats
from trees import make_tree

from experiments import planning, wording
from experiments.comparison import compare
from experiments.evidence import weigh
from experiments.outcomes import find
from experiments.paired import corrected_t, detectable, mean_error, power, sign_flip, tost

OVERLAP = 0.2 / (0.8 * 0.8)  # of five folds, and a fifth of the rest for validation
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


def test_seeds_of_one_fold_are_no_further_folds(tmp_path):
    """Arms that differ by their folds alone, three seeds each: one in twenty has p < .05 by the means of the folds,
    which is what weigh gives them; were all fifteen pairs of an arm to enter, it would be one in six."""
    generator = np.random.default_rng(1)
    related = OVERLAP / (1 + OVERLAP)  # what Nadeau and Bengio take two folds to have in common
    shared, own = generator.normal(size=(20_000, 1, 1)), generator.normal(size=(20_000, 5, 1))
    found = np.sqrt(related) * shared + np.sqrt(1 - related) * own + 0.1 * generator.normal(size=(20_000, 5, 3))
    by_fold, one_by_one = p_of(found.mean(axis=2)), p_of(found.reshape(-1, 15))
    assert 0.045 < (by_fold < 0.05).mean() < 0.055 and (one_by_one < 0.05).mean() > 0.14

    make_tree(tmp_path, arms={"none": 0.9}, folds=[0], seeds=[0], images=40)
    [run] = find(tmp_path).outcomes
    pairs = [(seed, fold) for seed in range(3) for fold in range(5)]
    twins = {pair: replace(run, seed=pair[0], fold=pair[1], metrics={"test/auc": 0.0}) for pair in pairs}
    arms = {
        (str(number), ""): [
            (replace(twin, metrics={"test/auc": values[fold, seed]}), twin) for (seed, fold), twin in twins.items()
        ]
        for number, values in enumerate(found[:100])
    }
    weighed = weigh(arms, "auc", margin=0.1, tests={}).values()
    np.testing.assert_allclose([evidence.p for evidence in weighed], by_fold[:100], rtol=1e-9)


def p_of(rows):
    """The corrected t test of each row, by scipy."""
    n = rows.shape[1]
    t = rows.mean(axis=1) / stats.sem(rows, axis=1) / np.sqrt(1 + n * OVERLAP)
    return 2 * stats.t.sf(np.abs(t), n - 1)


def test_power_over_folds_is_that_of_the_noncentral_t_with_the_wider_error():
    for n, overlap in ((5, OVERLAP), (10, 0.139), (20, 0.07)):
        for effect in (0.5, 2.0, 4.0):
            shift = effect / np.sqrt(1 / n + overlap)
            theirs = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, shift)
            assert power(effect, 1, n, overlap=overlap) == pytest.approx(theirs, abs=1e-4)
        assert power(detectable(0.3, n, overlap=overlap), 0.3, n, overlap=overlap) == pytest.approx(0.8, abs=1e-4)
    assert detectable(1, 4, overlap=OVERLAP) == inf and power(99, 1, 4, overlap=OVERLAP) == 0
    assert detectable(1, 5, overlap=OVERLAP) == pytest.approx(2.69, abs=0.01)


@pytest.mark.parametrize("folds", [range(5), (None,)])
def test_compare_takes_it_where_there_are_folds(tmp_path, folds):
    arms = {"none": 0.93, "saturate_x8": 0.88, "saturate_x2": 0.925}
    make_tree(tmp_path, arms=arms, folds=folds, seeds=range(2) if len(folds) > 1 else range(6))
    [comparison], _ = compare(find(tmp_path).outcomes)
    for arm in comparison.arms:
        differences = np.array(
            [a.metrics["test/accuracy"] - b.metrics["test/accuracy"] for a, b in arm_pairs(tmp_path, arm.name)]
        )
        if len(folds) == 1:
            assert arm.evidence.p == sign_flip(differences) and arm.evidence.unit == "seeds"
            continue
        means = differences.reshape(2, 5).mean(axis=0)
        np.testing.assert_allclose(arm.differences, means, atol=1e-15)
        assert arm.evidence.p == pytest.approx(corrected_t(means, OVERLAP))
        half = stats.t.ppf(0.975, 4) * mean_error(means, OVERLAP)
        assert (arm.evidence.low, arm.evidence.high) == pytest.approx(means.mean() + np.array([-half, half]))
        assert arm.detectable == pytest.approx(detectable(means.std(ddof=1), 5, overlap=OVERLAP))
    assert comparison.arms[-1].verdict.kind == "loss" or len(folds) == 1
    said = " ".join([*comparison.notes, *wording.reasons(comparison), *wording.closing(comparison)])
    for words in ("corrected resampled t-test", "n: folds, each the mean over 2 seeds", "saturate_x8: loss: 5 folds, "):
        assert (words in said) == (len(folds) > 1)


def arm_pairs(root, aug):
    runs = {(o.aug, o.seed, o.fold): o for o in find(root).outcomes}
    return [(run, runs["none", seed, fold]) for (name, seed, fold), run in sorted(runs.items(), key=str) if name == aug]


def test_a_plan_over_folds_advises_folds_that_lack_and_never_a_seed(tmp_path):
    arms = {"none": 0.93, "saturate_x8": 0.92}
    make_tree(tmp_path, arms=arms, folds=range(4), seeds=range(2), images=100)
    for lacking in (True, False):
        if not lacking:
            make_tree(tmp_path, arms=arms, folds=[4], seeds=range(2), images=100)
        [comparison], _ = compare(find(tmp_path).outcomes)
        assert comparison.arms[0].verdict.exploratory == lacking
        [one] = planning.plan(comparison, 0.5)
        spread = comparison.arms[0].differences.std(ddof=1)
        assert one["power"] == power(0.005, spread, 5 - lacking, overlap=OVERLAP) and one["pairs_needed"] is None
        *_, last = said = planning.lines(comparison, [one], 0.5)
        assert f"times in 100 with {5 - lacking} folds" in said[1] and "seed='range" not in " ".join(said)
        assert ("data.fold='range(5)'" in last) == lacking and ("no more seeds" in last) != lacking


def test_folds_of_two_partitions_never_stand_in_one_comparison(tmp_path):
    for data_seed in range(2):
        make_tree(tmp_path, folds=range(2), seeds=[0], images=40, **{"data.data_seed": data_seed})
    assert [len(one.arms[0].pairs) for one in compare(find(tmp_path).outcomes)[0]] == [2, 2]
