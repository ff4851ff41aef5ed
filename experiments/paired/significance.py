"""Tests and intervals in closed form: Student's t, equivalence, Holm, McNemar, Wilson."""

from math import atan, cos, exp, isnan, lgamma, log, pi, sin, sqrt
from statistics import NormalDist

import numpy as np

ROUNDING = 1e-12  # a spread below this share of the values is rounding


def holm(p: np.ndarray) -> np.ndarray:
    """p-values (m,) adjusted for their number, step-down (Holm 1979)."""
    p = np.asarray(p, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p={p}: expected a row of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def t_cdf(t: float, df: int) -> float:
    """P(T <= t) of Student's t with df whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    if df < 1 or df != int(df) or isnan(t):
        raise ValueError(f"t={t}, df={df}: expected a number, and a whole number from 1")
    angle = atan(t / sqrt(df))
    odd = df % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, df, 2):  # the series has df // 2 terms
        total += term
        term *= k / (k + 1) * cos(angle) ** 2
    inside = 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
    return min(max((1 + inside) / 2, 0.0), 1.0)


def t_quantile(p: float, df: int) -> float:
    """The t with P(T <= t) = p, by bisection of `t_cdf`; p between 0 and 1, neither included."""
    if not 0 < p < 1:
        raise ValueError(f"p={p}: expected a number between 0 and 1")
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return high


def mean_error(differences: np.ndarray, overlap: float = 0.0, *, times: float = 1.0) -> float:
    """Standard error of the mean of differences (n,), n >= 2: s * sqrt(1 / n + overlap), s their standard deviation.

    overlap: number of test images to number of training images where the differences come from several cuts of the same
    images, one of each cut, whose training images overlap (Nadeau and Bengio 2003); 0 where they are independent.
    Several seeds of one cut are no further cuts and are averaged first: entering one by one, two seeds of five folds
    claim a difference that is not there in 13 of 100 cases, six in 21, at alpha .05. (Bouckaert and Frank 2004 let
    repetitions enter one by one, but draw new cuts for each.) times: what it is multiplied by, a quantile for half an
    interval.
    """
    n = len(differences)
    return times * float(np.std(differences, ddof=1)) * sqrt(1 + n * overlap) / sqrt(n)


def corrected_t(differences: np.ndarray, overlap: float) -> float:
    """Two-sided p of the mean of differences (n,) over cuts of the same images, by Student's t with n - 1 degrees of
    freedom and `mean_error`. One pair: 1; all the same: 0, or 1 where they are 0."""
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or not np.isfinite(differences).all() or not overlap >= 0:
        raise ValueError(f"differences {differences.shape}, overlap {overlap}: expected a row of finite ones, from 0")
    if len(differences) < 2:
        return 1.0
    mean = float(differences.mean())
    if without_spread(differences):
        return 0.0 if mean else 1.0
    return min(1.0, 2 * t_cdf(-abs(mean) / mean_error(differences, overlap), len(differences) - 1))


def tost(differences: np.ndarray, margin: float, overlap: float = 0.0) -> float:
    """p that the mean of differences (n,) lies within +-margin: two one-sided paired t tests, the larger p.

    Schuirmann 1987; overlap: see `mean_error`. One pair, and differences that are all the same outside of the margin or
    on it: 1. All the same inside it: 0.
    """
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or not np.isfinite(differences).all() or not margin > 0:
        raise ValueError(f"differences {differences.shape}, margin {margin}: expected a row of finite ones, above 0")
    n = len(differences)
    if n < 2:
        return 1.0
    mean = float(differences.mean())
    if without_spread(differences):
        return 0.0 if abs(mean) < margin * (1 - ROUNDING) else 1.0
    # the side of the margin that is nearer has the larger p
    return t_cdf((abs(mean) - margin) / mean_error(differences, overlap), n - 1)


def without_spread(values: np.ndarray) -> bool:
    """Whether values (n,) are all equal, but for rounding."""
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p that neither of two classifiers is right more often (McNemar 1947; the binomial form).

    only_first, only_second: images that only the one or only the other got right. None at all: 1.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"{only_first}, {only_second}: expected counts from 0")
    fewer, n = min(only_first, only_second), only_first + only_second
    if 2 * fewer == n:
        return 1.0
    largest = exp(lgamma(n + 1) - lgamma(fewer + 1) - lgamma(n - fewer + 1) - n * log(2))
    down = np.arange(fewer, 0, -1)
    tail = largest * (1 + np.cumprod(down / (n - down + 1)).sum())  # P(X <= fewer), X of n fair coins
    return float(min(1.0, 2 * tail))


def wilson(successes: int, total: int, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927); (0, 1) where nothing was counted."""
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} of {total}: expected a count from 0 to the total")
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    # at the ends the limit is 0 or 1, which rounding misses
    return (0.0 if not successes else middle - half), (1.0 if successes == total else middle + half)
