"""How much it would take to know: power, detectable effects, numbers of seeds and images."""

from bisect import bisect_left
from functools import lru_cache
from math import ceil, inf, sqrt
from statistics import NormalDist

import numpy as np

from experiments.paired.significance import t_quantile

LEAST_PAIRS = 6  # fewer can never claim: with five the smallest p of sign flips is .063
LEAST_FOLDS = 5  # fewer would claim what is huge alone: see `power`
MOST_FLIPPED = 12  # pairs up to which the power is that of the sign flips themselves, beyond that of the t test
DRAWS = 10_000  # experiments that the power of sign flips is counted over: an error of .005 at most
GRID = 400


def power(effect: float, spread: float, n: int, *, alpha: float = 0.05, overlap: float = 0.0) -> float:
    """Probability that n pairs claim an effect, in its own direction, by the rule of one arm's seeds.

    effect, spread: mean and standard deviation of the differences, which are taken as normal, in one unit. The rule is
    sign-flip p <= alpha; that the BCa interval excludes 0 as well took less than .005
    of it in simulation (n = 6 nothing, 8, 12 and 20). Up to 12 pairs counted over fixed
    draws, beyond the noncentral t distribution, with which sign flips agree there (both are for one arm, and for seeds
    alone: further arms and the test images can only take power away). Rises with the effect. Fewer than 6 pairs: 0.

    overlap above 0 (see `mean_error`): n folds, the rule is corrected_t p <= alpha; the noncentral t distribution.
    Fewer than 5 folds: 0. That test has no floor of its own: simulated with overlapping folds of no effect, 2 to 10 of
    them claim at the same level, .05 of normal differences and .08 to .11 of exponential ones (sign flips of eight
    pairs: .10). What few folds lack is sight: two find an effect of 22 spreads 4 times in 5, three of 5.5, four of 3.5,
    five of 2.7 (as many as data.folds makes unless told otherwise), ten of 1.5.
    """
    ratio = _ratio(effect, spread)
    return _power(ratio, n, alpha, overlap)


def detectable(spread: float, n: int, *, power: float = 0.8, alpha: float = 0.05, overlap: float = 0.0) -> float:
    """The effect that n pairs claim with that power, in the unit of the spread; inf where n pairs never claim.
    overlap: see `power`."""
    _ratio(0, spread)
    needed = _needed_ratio(n, power, alpha, overlap)
    return needed * spread if needed < inf else inf


def seeds_needed(
    effect: float, spread: float, *, power: float = 0.8, alpha: float = 0.05, most: int = 1000
) -> int | None:
    """The fewest pairs that claim the effect with that power; None where `most` are not enough."""
    ratio = _ratio(effect, spread)
    for n in range(LEAST_PAIRS, min(MOST_FLIPPED, most) + 1):
        if _power(ratio, n, alpha) >= power:
            return n
    beyond = range(MOST_FLIPPED + 1, most + 1)
    place = bisect_left(beyond, power, key=lambda n: _power(ratio, n, alpha))
    return beyond[place] if place < len(beyond) else None


def images_needed(effect: float, discordant: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Test images on which McNemar's test finds a difference of accuracy: (z_a + z_b)^2 * discordant / effect^2.

    effect: difference of two accuracies, 0..1; discordant: share of images that only one of both gets right. At the
    defaults 7.85 * discordant / effect^2 (Miettinen 1968, the leading term). Near-duplicates count as one image.
    """
    if not effect or not 0 <= discordant <= 1:
        raise ValueError(f"effect {effect}, discordant {discordant}: expected other than 0, and a share from 0 to 1")
    return max(1, ceil(_both_z(power, alpha) ** 2 * discordant / effect**2))


def detectable_images(num_images: int, discordant: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The difference of accuracy, 0..1, that McNemar's test finds on so many images; inverse of `images_needed`."""
    if num_images < 1 or not 0 <= discordant <= 1:
        raise ValueError(f"{num_images} images, discordant {discordant}: expected at least 1, a share from 0 to 1")
    return _both_z(power, alpha) * sqrt(discordant / num_images)


def _both_z(power: float, alpha: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)


def _ratio(effect: float, spread: float) -> float:
    if not spread >= 0 or not abs(effect) < inf or spread == inf:
        raise ValueError(f"effect {effect}, spread {spread}: expected finite numbers, the spread from 0")
    if not spread:
        return inf if effect else -inf  # differences that are all 0 are never claimed
    return abs(effect) / spread


def _power(ratio: float, n: int, alpha: float, overlap: float = 0.0) -> float:
    if n < (LEAST_FOLDS if overlap else LEAST_PAIRS):
        return 0.0
    if n <= MOST_FLIPPED and not overlap:
        return float((_critical_ratios(n, alpha) < ratio).mean())
    # noncentral t: over the distribution of the estimated spread, the chance that the mean passes t times it
    df = n - 1
    estimated = np.linspace(0, 1 + 10 / sqrt(2 * df), GRID + 1)[1:]
    density = (df - 1) * np.log(estimated) - df * estimated**2 / 2
    weights = np.exp(density - density.max())
    threshold, normal = t_quantile(1 - alpha / 2, df), NormalDist()
    shift = ratio * sqrt(n / (1 + n * overlap))
    passes = [normal.cdf(shift - threshold * each) for each in estimated]
    return float(weights @ passes / weights.sum())


@lru_cache(maxsize=64)
def _critical_ratios(n: int, alpha: float) -> np.ndarray:
    """For each of DRAWS draws of n standard normal values the shift above which sign flips claim it, (DRAWS,).

    Flipping a set of pairs reaches the observed sum where the set's own sum is not above 0: where the shift is not
    above minus the set's mean. So p <= alpha holds as soon as the shift passes all but `allowed` - 1 of these numbers.
    """
    allowed = int(alpha * 2**n / 2 + 1e-9)  # patterns that may reach it, its own among them, mirrored ones left out
    if not allowed:
        return np.full(1, inf)
    member = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1
    means = (member / member.sum(axis=1, keepdims=True)).T
    generator = np.random.default_rng(0)
    critical = []
    for _ in range(0, DRAWS, 500):
        of_sets = generator.standard_normal((500, n)) @ means
        of_sets.partition(allowed - 1, axis=1)
        critical.append(-of_sets[:, allowed - 1])
    return np.concatenate(critical)


@lru_cache(maxsize=64)
def _needed_ratio(n: int, wanted: float, alpha: float, overlap: float) -> float:
    """The effect in units of the spread that has the wanted power."""
    if not 0 < wanted < 1:
        raise ValueError(f"power={wanted}: expected a number between 0 and 1")
    if n < (LEAST_FOLDS if overlap else LEAST_PAIRS):
        return inf
    if n <= MOST_FLIPPED and not overlap:
        return float(np.quantile(_critical_ratios(n, alpha), wanted, method="higher"))
    low, high = 0.0, 10.0 * sqrt(1 + n * overlap)
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, n, alpha, overlap) < wanted else (low, middle)
    return high
