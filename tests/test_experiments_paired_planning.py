"""How many seeds and images a question needs: the power of what is decided by."""

from math import inf

import numpy as np
import pytest
from scipy import stats

from experiments.paired import detectable, detectable_images, images_needed, power, seeds_needed, sign_flip


def test_the_power_of_six_pairs_is_that_of_six_equal_signs():
    for ratio in (0, 0.5, 1, 1.8, 3):
        assert power(-ratio * 0.002, 0.002, 6) == pytest.approx(stats.norm.cdf(ratio) ** 6, abs=0.015)
    assert [power(9, 1, n) for n in range(7)] == [0, 0, 0, 0, 0, 0, 1]
    assert power(9, 1, 5, alpha=0.1) == 0  # the rule wants six whatever alpha
    assert power(9, 1, 6, alpha=0.03) == 0  # six pairs have no p below .031
    assert power(0.1, 0, 6) == 1 and power(0, 0, 6) == 0


def test_the_power_of_sign_flips_passes_into_that_of_the_t_test():
    for ratio in (0.3, 0.6, 0.9, 1.2):
        for n, error in ((12, 0.02), (13, 1e-6), (20, 1e-6), (150, 1e-6)):
            theirs = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, ratio * np.sqrt(n))
            assert power(ratio, 1, n) == pytest.approx(theirs, abs=error)
    shifted = 0.7 + np.random.default_rng(5).standard_normal((1500, 9))
    counted = np.mean([sign_flip(row) <= 0.05 for row in shifted])
    assert power(0.7, 1, 9) == pytest.approx(counted, abs=0.04)


def test_power_rises_with_the_effect_and_what_is_detectable_has_the_power_asked_for():
    for n in (6, 9, 12, 13, 40):
        rising = [power(effect, 0.002, n) for effect in np.linspace(0, 0.006, 30)]
        assert rising == sorted(rising) and rising[0] < 0.03
        for wanted in (0.5, 0.8, 0.95):
            assert power(detectable(0.002, n, power=wanted), 0.002, n) == pytest.approx(wanted, abs=1e-3)
    assert detectable(0.002, 5) == detectable(0, 5) == detectable(1, 6, alpha=0.01) == inf
    assert detectable(0, 6) == 0


def test_the_seeds_needed_are_the_fewest_with_that_power():
    for effect in (0.3, 0.6, 0.8, 1.0, 5.0):
        n = seeds_needed(effect, 1)
        assert power(effect, 1, n) >= 0.8 and (n == 6 or power(effect, 1, n - 1) < 0.8)
    assert seeds_needed(5, 1) == seeds_needed(0.1, 0) == 6
    assert seeds_needed(0.01, 1) is seeds_needed(0, 1) is seeds_needed(0, 0) is seeds_needed(0.6, 1, most=20) is None
    assert seeds_needed(9, 1, most=5) is None
    # R, power.t.test(delta = 0.5, sd = 1, power = 0.8, type = "paired"): n = 33.37
    assert seeds_needed(0.5, 1) == 34


def test_images_needed_are_785_hundredths_of_discordant_over_the_square_of_the_effect():
    assert images_needed(0.01, 0.1) == pytest.approx(7.849 * 0.1 / 0.01**2, abs=1)
    assert images_needed(-0.01, 0.1) == images_needed(0.01, 0.1)
    for effect in (0.001, 0.02):
        assert detectable_images(images_needed(effect, 0.08), 0.08) == pytest.approx(effect, rel=0.01)
    assert images_needed(0.5, 0) == 1 and detectable_images(188, 0) == 0
