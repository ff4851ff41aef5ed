from itertools import combinations, pairwise, product
from math import inf, nan

import numpy as np
import pytest
from scipy import stats

from experiments.paired import (
    bca,
    clustered,
    detectable,
    detectable_images,
    holm,
    images_needed,
    max_t,
    mcnemar,
    power,
    sign_flip,
    t_cdf,
    t_quantile,
    tost,
    wilson,
)

ACCURACY = np.array([0.0031, -0.0012, 0.0045, 0.0008, 0.0027, 0.0102])


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def test_the_bca_interval_is_scipys(generator):
    for values in (ACCURACY, generator.standard_normal(8), generator.standard_exponential(20)):
        theirs = stats.bootstrap((values,), np.mean, n_resamples=100_000, batch=20_000, rng=generator)
        found = bca(values, resamples=100_000)
        assert found == pytest.approx(theirs.confidence_interval, abs=0.012 * values.std())


def test_the_bca_interval_of_four_values_is_that_of_all_256_resamples():
    values = np.array([0.0, 1.0, 4.0, 10.0])
    means = np.array([np.mean(drawn) for drawn in product(values, repeat=4)])
    bias = stats.norm.ppf(((means < 3.75).sum() + (means <= 3.75).sum()) / 2 / 256)
    left_out = np.array([(values.sum() - value) / 3 for value in values])
    away = left_out.mean() - left_out
    acceleration = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.05, 0.95])
    ends = stats.norm.cdf(bias + z / (1 - acceleration * z))
    exact = np.quantile(means, ends)
    assert bca(values, level=0.9, resamples=400_000) == pytest.approx(exact, abs=0.1)
    assert exact[0] + exact[1] > 2 * 3.75 + 0.5  # skewed as the values are: a symmetric interval would not pass


def test_values_without_spread_have_an_interval_without_width():
    assert bca(np.full(6, 0.1)) == (0.1, 0.1)
    assert bca([0.3, 0.1 + 0.2, 0.3]) == pytest.approx((0.3, 0.3))  # equal but for rounding
    assert bca(np.zeros(2)) == (0.0, 0.0)
    low, high = bca([0.0, 1.0])
    assert low == 0 and high == 1
    low, high = bca([0.0, 0.0, 0.0, 0.0, 0.0, 0.005])  # one seed alone moves
    assert 0 <= low < high <= 0.005


def test_sign_flips_are_scipys_permutations(generator):
    for values in (ACCURACY, generator.normal(0.8, 1, 9), np.round(generator.normal(0.5, 1, 10), 1)):
        theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert sign_flip(values) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_the_smallest_p_of_n_pairs_is_two_patterns_of_all():
    for n, smallest in ((1, 1), (2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125), (20, 2 / 2**20)):
        assert sign_flip(np.full(n, 0.0031)) == smallest
    assert sign_flip(np.zeros(6)) == 1
    assert sign_flip([0.1, 0.2, -0.3]) == 1  # the sum is 0 but for rounding
    assert sign_flip([0.1] * 5 + [0.0]) == 0.0625  # a difference of 0 reaches the sum with either sign


def test_mirrored_patterns_tie_in_spite_of_rounding():
    tied = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) / 3
    whole = np.arange(1, 7)
    for flipped in product((1, -1), repeat=6):
        assert sign_flip(tied * flipped) == sign_flip(whole * flipped)


def test_beyond_twenty_pairs_the_patterns_are_drawn_and_p_is_never_zero(generator):
    assert sign_flip(np.ones(30)) == pytest.approx(1 / 100_001)
    values = generator.normal(0.4, 1, 24)
    assert sign_flip(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.1)


def brute_force_max_t(differences):
    """Westfall & Young 1993, algorithm 4.1, with Student's t, arm by arm and flip by flip."""
    observed = [abs(stats.ttest_1samp(row, 0).statistic) for row in differences]
    order = sorted(range(len(observed)), key=lambda arm: -observed[arm])
    reached = np.zeros(len(observed))
    flips = list(product((1, -1), repeat=differences.shape[1]))
    for flip in flips:
        flipped = [abs(stats.ttest_1samp(row * flip, 0).statistic) for row in differences]
        for place, arm in enumerate(order):
            reached[arm] += max(flipped[other] for other in order[place:]) >= observed[arm] * (1 - 1e-9)
    p = reached / len(flips)
    for before, after in pairwise(order):
        p[after] = max(p[after], p[before])
    return p


def test_max_t_is_westfall_and_youngs_step_down(generator):
    shared = generator.standard_normal(6)
    for shifts in ([0, 0, 0, 0], [3, 1, 0.5, 0], [5, 4, -4, 0.2]):
        differences = generator.standard_normal((4, 6)) - shared + np.array(shifts)[:, None]
        assert max_t(differences) == pytest.approx(brute_force_max_t(differences), abs=1e-12)


def test_max_t_of_one_arm_is_its_sign_flip_and_further_arms_never_lower_it(generator):
    for n in (1, 2, 6, 17, 25):
        arms = generator.normal(0.5, 1, (5, n))
        alone = np.array([sign_flip(row) for row in arms])
        assert max_t(arms[:1]) == alone[0]
        assert (max_t(arms) >= alone - 1e-12).all()
    assert max_t(np.array([[0.1] * 6, [0.2] * 6, [0.0] * 6])).tolist() == [0.03125, 0.03125, 1]


def test_an_arm_that_lacks_pairs_is_judged_by_its_own_and_does_not_drown_the_others(generator):
    strong, few = np.array([3.1, 2.9, 3.0, 3.2, 2.8, 3.0]), np.array([nan, nan, 1, 1, nan, 1])
    found = max_t(np.array([strong, few]))
    assert found.tolist() == [0.03125, 0.25]  # t of the three equal differences is infinite in every fourth pattern
    padded = np.array([np.append(strong, nan), np.append(few, nan)])
    assert max_t(padded).tolist() == found.tolist()
    assert max_t(np.array([strong, np.full(6, nan)])).tolist() == [0.03125, 1]


def test_holm_is_the_closed_test_of_bonferroni(generator):
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])  # 4 x .01, 3 x .02, 2 x .03, .04
    assert holm([0.03125] * 2) == pytest.approx([0.0625] * 2)
    assert holm([]).tolist() == [] and holm([0.7, 0.9]).tolist() == [1, 1]
    p = generator.uniform(0, 0.2, 5)
    for i, found in enumerate(holm(p)):
        containing = [s for size in range(1, 6) for s in combinations(range(5), size) if i in s]
        assert found == pytest.approx(max(min(1, len(s) * min(p[list(s)])) for s in containing))


def test_students_t_is_scipys():
    for df in (1, 2, 3, 4, 5, 11, 30, 999):
        for t in (-40, -2.5, -0.3, 0, 0.001, 1.7, 12):
            assert t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-13)
        for p in (0.001, 0.05, 0.5, 0.6, 0.975, 0.99999):
            assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-9, abs=1e-12)
        assert t_cdf(-inf, df) == 0 and t_cdf(inf, df) == 1 and t_cdf(-1e15, df) >= 0
    assert t_quantile(0.975, 5) == pytest.approx(2.571, abs=5e-4)  # Abramowitz & Stegun, table 26.10


def test_equivalence_is_two_one_sided_t_tests(generator):
    for mean, n in product((-0.004, 0, 0.003, 0.007), (2, 3, 6, 11)):
        values = generator.normal(mean, 0.002, n)
        above = stats.ttest_1samp(values, -0.005, alternative="greater").pvalue
        below = stats.ttest_1samp(values, 0.005, alternative="less").pvalue
        assert tost(values, 0.005) == pytest.approx(max(above, below), abs=1e-12)


def test_equivalence_without_spread_is_a_matter_of_the_margin_alone():
    assert tost(np.zeros(6), 0.005) == 0 and tost(np.full(6, -0.004), 0.005) == 0
    assert tost(np.full(6, 0.005), 0.005) == 1 and tost(np.full(6, 0.1 + 0.2), 0.3) == 1
    assert tost([0.0], 0.005) == 1 and tost([], 0.005) == 1


def test_images_that_stand_alone_give_the_bootstrap_of_the_mean(generator):
    images = generator.choice([-1, 0, 0, 0, 0.5, 1], size=(2, 3000)).astype(float)
    found = clustered(images, np.arange(3000), levels=(0.95, 0.9, 0.5))
    for row, intervals in zip(images, found, strict=True):
        error = row.std() / np.sqrt(3000)
        for level, interval in zip((0.95, 0.9, 0.5), intervals, strict=True):
            normal = row.mean() + error * stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
            assert interval == pytest.approx(normal, abs=0.12 * error)
        theirs = stats.bootstrap((row,), np.mean, method="percentile", n_resamples=2000, batch=200, rng=generator)
        assert intervals[0] == pytest.approx(theirs.confidence_interval, abs=0.2 * error)


def test_an_image_that_lies_there_twice_is_one_image(generator):
    single = generator.standard_normal((1, 1000))
    groups = generator.permutation(1000) * 7 - 50
    low, high = clustered(single, groups)[0, 0]
    assert clustered(np.repeat(single, 2, axis=1), np.repeat(groups, 2))[0, 0] == pytest.approx((low, high), abs=1e-11)
    blind = clustered(np.repeat(single, 2, axis=1), np.arange(2000))[0, 0]
    assert np.ptp(blind) == pytest.approx((high - low) / np.sqrt(2), rel=0.08)


def test_groups_of_unequal_size_are_a_ratio_of_sums():
    images, groups = np.array([[1.0, 1, 1, 0, -1, 0]]), np.array([4, 4, 4, -2, 9, 9])
    sums, counts = np.array([3.0, 0, -1]), np.array([3, 1, 2])
    means = [sums[list(d)].sum() / counts[list(d)].sum() for d in product(range(3), repeat=3)]
    found = clustered(images, groups, levels=(0.5, 0.9999), resamples=50_000)[0]
    assert found[1] == pytest.approx([min(means), max(means)])
    assert found[0] == pytest.approx(np.quantile(means, [0.25, 0.75], method="inverted_cdf"))


def test_all_arms_see_the_same_resamples_whatever_fits_into_memory_at_once(generator, monkeypatch):
    row, groups = generator.standard_normal(300), generator.integers(200, size=300)
    found = clustered(np.stack([row, -2 * row, np.zeros(300)]), groups, resamples=500)
    assert found[1] == pytest.approx(-2 * found[0, :, ::-1]) and (found[2] == 0).all()
    monkeypatch.setattr("experiments.paired.resampling.CHUNK", 200 * 7)
    assert clustered(row[None], groups, resamples=500)[0] == pytest.approx(found[0])
    assert clustered(row[None], np.zeros(300, int)).tolist() == [[[-inf, inf], [-inf, inf]]]


def test_mcnemar_is_the_binomial_test():
    for first, second in ((0, 0), (0, 1), (3, 12), (12, 3), (7, 7), (7, 8), (40, 61), (900, 1000), (9000, 9400)):
        n = first + second
        theirs = stats.binomtest(first, n).pvalue if n else 1
        assert mcnemar(first, second) == pytest.approx(theirs, rel=1e-8)
    assert mcnemar(0, 20_000) == 0


def test_wilsons_interval_is_scipys():
    for successes, total in ((0, 1), (0, 20), (20, 20), (151, 188), (18_500, 20_000)):
        for level in (0.9, 0.95):
            theirs = stats.binomtest(successes, total).proportion_ci(level, method="wilson")
            assert wilson(successes, total, level=level) == pytest.approx(tuple(theirs), abs=1e-12)
    assert wilson(0, 0) == (0, 1) and wilson(0, 9)[0] == 0 and wilson(9, 9)[1] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: bca([0.1]),
        lambda: bca([0.1, nan]),
        lambda: bca([[0.1, 0.2]]),
        lambda: sign_flip([0.1, nan]),
        lambda: sign_flip([0.1, inf]),
        lambda: sign_flip([]),
        lambda: max_t([[0.1, inf]]),
        lambda: max_t([[nan, nan]]),
        lambda: holm([0.1, nan]),
        lambda: holm([1.1]),
        lambda: t_cdf(nan, 3),
        lambda: t_cdf(1, 0),
        lambda: t_quantile(1, 3),
        lambda: tost([0.1, nan], 0.005),
        lambda: tost([0.1, 0.2], 0),
        lambda: clustered([[0.1, nan]], [1, 2]),
        lambda: clustered([[0.1, 0.2]], [1, 2, 3]),
        lambda: clustered([0.1, 0.2], [1, 2]),
        lambda: clustered(np.zeros((1, 0)), []),
        lambda: mcnemar(-1, 3),
        lambda: wilson(4, 3),
        lambda: power(nan, 1, 6),
        lambda: power(0.1, -1, 6),
        lambda: detectable(nan, 6),
        lambda: detectable(1, 6, power=1),
        lambda: images_needed(0, 0.1),
        lambda: detectable_images(0, 0.1),
    ],
)
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected|finite"):
        wrong()
