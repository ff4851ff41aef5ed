"""The rule of verdicts held against thousands of drawn experiments whose truth is known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from experiments.paired import bca, clustered, detectable, holm, max_t, power, sign_flip, t_quantile, tost
from experiments.verdicts import Evidence, judge

EXPERIMENTS = 2000
SEEDS = 6
MARGIN = 0.005
NOISE = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "skewed": lambda generator, shape: generator.standard_exponential(shape) - 1,  # one seed in ten fails badly
}
quantile = cache(t_quantile)


def evidence(differences, images=None, groups=None, margin=MARGIN, resamples=200):
    """What a comparison hands to the judge, of each arm: differences (arms, n), of images (arms, N) or without them."""
    n = differences.shape[1]
    alone = np.array([sign_flip(row) for row in differences])
    family, corrected = max_t(differences), holm(alone)
    same = holm(np.array([tost(row, margin) for row in differences]))
    half = quantile(0.95, n - 1) * differences.std(axis=1, ddof=1) / np.sqrt(n)
    found = []
    limits = np.full((len(differences), 2, 2), None)
    if images is not None:
        limits = clustered(images, groups, resamples=resamples)
    for arm, row in enumerate(differences):
        mean = float(row.mean())
        seeds = (n, mean, *bca(row, resamples=resamples), alone[arm], family[arm], corrected[arm])
        near = (mean - half[arm], mean + half[arm], same[arm])
        found.append(Evidence(*seeds, *near, *limits[arm].ravel()))
    return found


def without_images(one):
    return replace(one, images_low=None, images_high=None, images_equivalent_low=None, images_equivalent_high=None)


def claims(found):
    return [judge(one, margin=MARGIN).kind in ("win", "loss") for one in found]


def same_arms(generator, noise, arms):
    """An experiment whose arms are all the baseline: each run has a strength of its own, each group of one to three
    near-duplicates a difficulty, and what a run makes of a group is drawn anew."""
    groups = np.repeat(np.arange(100), generator.integers(1, 4, size=100))
    strength = 1.5 + 0.15 * NOISE[noise](generator, (arms + 1, SEEDS, 1))
    drawn = generator.standard_normal((arms + 1, SEEDS, 100), dtype=np.float32)
    right = (strength + generator.standard_normal(100) + drawn > 0)[..., groups]
    accuracy, of_images = right.mean(axis=2), right.mean(axis=1)
    return accuracy[1:] - accuracy[0], of_images[1:] - of_images[0], groups


def false_claims(noise, arms, experiments):
    """Experiments in which any arm is called a win or a loss: by the whole rule, by its seeds alone, and by sign flips
    that know of no other arm."""
    generator = np.random.default_rng(0)
    whole = seeds_alone = uncorrected = 0
    for _ in range(experiments):
        found = evidence(*same_arms(generator, noise, arms))
        whole += any(claims(found))
        seeds_alone += any(claims(map(without_images, found)))
        uncorrected += any(one.p <= 0.05 for one in found)
    return whole, seeds_alone, uncorrected


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("arms", [1, 5])
def test_of_2000_comparisons_of_an_arm_with_itself_at_most_one_in_twenty_is_called_a_win_or_a_loss(noise, arms):
    whole, seeds_alone, uncorrected = false_claims(noise, arms, EXPERIMENTS)
    for count in (whole, seeds_alone):  # 95 % sure that the rate is below .05, not only that it might be
        assert binomtest(count, EXPERIMENTS, 0.05, alternative="less").proportion_ci().high <= 0.05
    assert arms == 1 or uncorrected > 0.07 * EXPERIMENTS  # the family's correction is what holds the rate


@pytest.mark.parametrize(("n", "experiments"), [(6, 2000), (8, 2000), (12, 1000), (20, 200)])
@pytest.mark.parametrize("promised", [0.8])
def test_a_planted_effect_is_found_as_often_as_promised(n, experiments, promised):
    spread = 0.002
    effect = detectable(spread, n, power=promised)
    assert power(effect, spread, n) == pytest.approx(promised, abs=0.001)
    generator = np.random.default_rng(n)
    wins = 0
    for _ in range(experiments):
        differences = effect + spread * generator.standard_normal((1, n))
        wins += judge(evidence(differences)[0], margin=MARGIN).kind == "win"
    # the promise itself is counted over 10,000 draws, and the BCa interval may cost it half a hundredth
    error = 3 * np.sqrt(promised * (1 - promised) * (1 / experiments + 1 / 10_000))
    assert promised - error - 0.005 <= wins / experiments <= promised + error


@pytest.mark.parametrize("arms", [1, 5])
def test_a_difference_as_large_as_the_margin_is_called_equivalent_at_most_once_in_twenty(arms):
    generator = np.random.default_rng(1)
    any_equivalent = by_tests = 0
    for _ in range(EXPERIMENTS):
        found = evidence(MARGIN + 0.004 * generator.standard_normal((arms, SEEDS)), resamples=50)
        any_equivalent += any(judge(one, margin=MARGIN).kind == "equivalent" for one in found)
        by_tests += any(one.p_equivalent <= 0.05 for one in found)
    most = binom.ppf(0.999, EXPERIMENTS, 0.05)
    assert any_equivalent <= by_tests <= most
    assert by_tests > 0.03 * EXPERIMENTS  # the test is exact: far fewer would be a margin that is not looked at


def test_images_that_agree_by_luck_are_kept_from_a_claim_by_the_seeds_and_seeds_by_the_images():
    generator = np.random.default_rng(2)
    groups = np.arange(400)
    lucky = generator.standard_normal((1, 400)) / 20 + 0.02
    steady = np.full((1, 6), 0.02) + generator.standard_normal((1, 6)) / 1000
    noisy = np.array([[0.05, -0.03, 0.06, -0.02, 0.04, 0.02]])
    kinds = [
        judge(evidence(seeds, images, groups)[0], margin=MARGIN).kind
        for seeds, images in ((steady, lucky), (noisy, lucky), (steady, 20 * (lucky - 0.02)))
    ]
    assert kinds == ["win", "undecided", "undecided"]


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("arms", [1, 2, 5, 20])
def test_the_rate_of_false_claims_holds_over_10000_experiments(noise, arms):
    whole, seeds_alone, _ = false_claims(noise, arms, 10_000)
    assert max(whole, seeds_alone) <= binom.ppf(0.99, 10_000, 0.05)
