"""Statistics of paired comparisons as functions of arrays, numpy only.

A difference is arm minus baseline of the same seed and fold, or on the same test image. Everything drawn is drawn from
a fixed seed: the same numbers give the same answer. A value that is not finite is a ValueError, never left out.
"""

from experiments.paired.planning import (
    LEAST_FOLDS,
    LEAST_PAIRS,
    detectable,
    detectable_images,
    images_needed,
    power,
    seeds_needed,
)
from experiments.paired.resampling import bca, clustered, max_t, resampled, sign_flip
from experiments.paired.significance import corrected_t, holm, mcnemar, mean_error, t_cdf, t_quantile, tost, wilson

__all__ = [
    "LEAST_FOLDS",
    "LEAST_PAIRS",
    "bca",
    "clustered",
    "corrected_t",
    "detectable",
    "detectable_images",
    "holm",
    "images_needed",
    "max_t",
    "mcnemar",
    "mean_error",
    "power",
    "resampled",
    "seeds_needed",
    "sign_flip",
    "t_cdf",
    "t_quantile",
    "tost",
    "wilson",
]
