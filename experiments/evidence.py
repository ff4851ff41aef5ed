"""The evidence on each arm of a family: over pairs, over test images, and how fast it learns."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from experiments import paired
from experiments.outcomes import Outcome
from experiments.pairing import Key, Pair
from experiments.predictions import TestSet
from experiments.verdicts import Evidence, least

Pairs = Sequence[tuple[Outcome, Outcome]]  # (the arm's run, the baseline's)
IMAGE_METRIC = "accuracy"  # the one that is a mean over images
OVER_IMAGES = ("images_low", "images_high", "images_equivalent_low", "images_equivalent_high")


@dataclass(frozen=True)
class LearningSpeed:
    """Whole epochs until val/<metric> first reaches the final value of the baseline's run of the same seed.

    epochs, baseline_epochs: means over the pairs in which the arm reaches it; difference, low, high: of the two, with a
    95 % BCa interval, nan where fewer than two pairs do; never: pairs in which it does not, which no mean holds: they
    would have made it slower.
    """

    epochs: float
    baseline_epochs: float
    difference: float
    low: float
    high: float
    never: int
    pairs: int


def values_of(pairs: Pairs, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The arm's values of a test metric and their differences from the baseline's, (n,) each.

    n: the pairs; over folds the folds, in their order, each with the mean over its seeds: they share its cut, and are
    no independent pairs (see paired.mean_error).
    """
    ours, theirs = (np.array([run.metrics[f"test/{metric}"] for run in runs]) for runs in zip(*pairs, strict=True))
    return _by_fold(pairs, ours), _by_fold(pairs, ours - theirs)


def weigh(
    arms: Mapping[Key, Pairs], metric: str, *, margin: float, tests: Mapping[str, TestSet]
) -> dict[Key, Evidence]:
    """What there is to say of every arm of one family.

    margin: in units of the metric; tests: the test sets by digest, one for each fold.
    Over folds, whose training images overlap, p and intervals are those of the corrected resampled t-test (Nadeau and
    Bengio 2003) of the folds' means, and Holm takes the place of max-t. All folds are of one partition of the images:
    data.data_seed, which would draw another, is a setting of the family. Corrections for many arms run over those that
    can claim something, with the least number of pairs or folds; the others, which are exploratory, are corrected among
    themselves: their few pairs would hide what the many show.
    """
    differences = {key: values_of(pairs, metric)[1] for key, pairs in arms.items()}
    overlap = max((overlap_of(pairs[0][0]) for pairs in arms.values()), default=0.0)  # one for all of a family
    unit = "folds" if overlap else "seeds"
    of_images = _over_images(arms, tests) if metric == IMAGE_METRIC else {}
    found = {}
    for claiming in (True, False):
        chosen = [key for key in arms if (len(differences[key]) >= least(unit)) is claiming]
        if not chosen:
            continue
        if overlap:
            p = np.array([paired.corrected_t(differences[key], overlap) for key in chosen])
            p_family = paired.holm(p)
        else:
            p = np.array([paired.sign_flip(differences[key]) for key in chosen])
            p_family = paired.max_t(_aligned({key: arms[key] for key in chosen}, differences))
            p_family = np.maximum(p_family, p)  # where signs are drawn, it could come out below what it corrects
        p_equivalent = paired.holm(np.array([paired.tost(differences[key], margin, overlap) for key in chosen]))
        values = zip(chosen, p, p_family, paired.holm(p), p_equivalent, strict=True)
        for key, alone, family, holm, equivalent in values:
            found[key] = Evidence(
                **_over_pairs(differences[key], overlap),
                p=float(alone),
                p_family=float(family),
                p_holm=float(holm),
                p_equivalent=float(equivalent),
                **of_images.get(key, dict.fromkeys(OVER_IMAGES)),
                unit=unit,
            )
    return found


def learning_speed(pairs: Pairs, metric: str, *, lower_is_better: bool = False) -> LearningSpeed | None:
    """How many epochs each arm needs for the baseline's final validation score; None where that was not recorded."""
    reached, those, never = [], [], 0
    sign = -1 if lower_is_better else 1
    for outcome, twin in pairs:
        ours, theirs = (sign * np.array(run.history.get(f"val/{metric}", [])) for run in (outcome, twin))
        if not len(ours) or not len(theirs) or np.isnan(theirs[-1]):
            return None
        there = np.flatnonzero(ours >= theirs[-1])  # nan compares false
        if len(there):
            reached.append((there[0] + 1, np.flatnonzero(theirs >= theirs[-1])[0] + 1))
            those.append((outcome, twin))
        else:
            never += 1
    epochs, baseline_epochs = (_by_fold(those, each) for each in np.array(reached, dtype=float).reshape(-1, 2).T)
    few = len(epochs) < 2
    low, high = (np.nan, np.nan) if few else _interval(epochs - baseline_epochs, overlap_of(pairs[0][0]))
    mean, of_baseline = (float(np.mean(values)) if reached else np.nan for values in (epochs, baseline_epochs))
    return LearningSpeed(mean, of_baseline, mean - of_baseline, low, high, never=never, pairs=len(pairs))


def overlap_of(outcome: Outcome) -> float:
    """Number of test images to number of training images of a run of a fold, see paired.mean_error; 0 without folds."""
    if outcome.fold is None:
        return 0.0
    data = outcome.settings["data"]
    tested = 1 / data["folds"]
    return tested / ((1 - tested) * (1 - data.get("val_share", 0.1)))


def _over_pairs(differences: np.ndarray, overlap: float) -> dict[str, Any]:
    """Mean, 95 % interval (BCa; over folds the corrected t) and 90 % t interval; nan for those of a single pair."""
    pairs, mean = len(differences), float(differences.mean())
    low = high = half = np.nan
    if pairs > 1:
        half = paired.mean_error(differences, overlap, times=_t_quantile(0.95, pairs - 1))
        low, high = _interval(differences, overlap)
    interval = {"low": float(low), "high": float(high)}
    equivalent = {"equivalent_low": float(mean - half), "equivalent_high": float(mean + half)}
    return {"pairs": pairs, "difference": mean, **interval, **equivalent}


def _interval(differences: np.ndarray, overlap: float) -> tuple[float, float]:
    """95 %, of the mean of at least two: BCa; over folds the corrected t."""
    if not overlap:
        return paired.bca(differences)
    half = paired.mean_error(differences, overlap, times=_t_quantile(0.975, len(differences) - 1))
    return float(differences.mean()) - half, float(differences.mean()) + half


def _by_fold(pairs: Pairs, values: np.ndarray) -> np.ndarray:
    """The values (pairs,) averaged over the seeds of each fold, (folds,); as they are where there are no folds."""
    members: dict[int, list[float]] = defaultdict(list)
    for (outcome, _), value in zip(pairs, values, strict=True):
        if outcome.fold is None:
            return values
        members[outcome.fold].append(value)
    return np.array([np.mean(members[fold]) for fold in sorted(members)])


@cache
def _t_quantile(p: float, df: int) -> float:
    return paired.t_quantile(p, df)


def _aligned(arms: Mapping[Key, Pairs], differences: Mapping[Key, np.ndarray]) -> np.ndarray:
    """(arms, n): a column for each pair that any arm has, nan where an arm lacks it."""
    places: dict[Pair, int] = {}
    for pairs in arms.values():
        for outcome, _ in pairs:
            places.setdefault((outcome.seed, outcome.fold), len(places))
    aligned = np.full((len(arms), len(places)), np.nan)
    for row, (key, pairs) in zip(aligned, arms.items(), strict=True):
        row[[places[outcome.seed, outcome.fold] for outcome, _ in pairs]] = differences[key]
    return aligned


def _over_images(arms: Mapping[Key, Pairs], tests: Mapping[str, TestSet]) -> dict[Key, dict[str, Any]]:
    """95 and 90 % intervals of the mean over images; an image counts by its mean over the pairs that tested it."""
    alike: dict[tuple[str, ...], list[Key]] = defaultdict(list)  # arms that were tested on the same images
    for key, pairs in arms.items():
        seen = {outcome.test.digest for outcome, _ in pairs}
        alike[tuple(digest for digest in tests if digest in seen)].append(key)
    found = {}
    for digests, keys in alike.items():
        groups = np.concatenate([tests[digest].groups for digest in digests])
        rows = np.stack([np.concatenate([_per_image(arms[key], digest) for digest in digests]) for key in keys])
        intervals = paired.clustered(rows, groups, levels=(0.95, 0.90)).reshape(len(keys), len(OVER_IMAGES))
        for key, values in zip(keys, intervals.tolist(), strict=True):
            found[key] = dict(zip(OVER_IMAGES, values, strict=True))
    return found


def _per_image(pairs: Pairs, test: str) -> np.ndarray:
    """(N,) of one test set: mean over its pairs of rightly by the arm minus rightly by the baseline."""
    inside = [(outcome, twin) for outcome, twin in pairs if outcome.test.digest == test]
    return np.mean([outcome.correct.astype(np.int8) - twin.correct for outcome, twin in inside], axis=0)
