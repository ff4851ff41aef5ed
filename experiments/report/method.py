"""How a verdict is reached, what it was corrected for, and what the numbers cannot say."""

from typing import TYPE_CHECKING

import numpy as np

from experiments import wording
from experiments.report.blocks import Block, Bullets, Text
from experiments.verdicts import LEAST_FOLDS, LEAST_PAIRS, least

if TYPE_CHECKING:
    from experiments.comparison import Comparison


def blocks(comparison: "Comparison") -> list[Block]:
    """The section of one comparison."""
    return [
        Text("Which test:"),
        Bullets(_tests(comparison)),
        Text("What cannot be concluded:"),
        Bullets(limits(comparison)),
    ]


def _tests(comparison: "Comparison") -> list[str]:
    margin, unit = 100 * comparison.margin, wording.unit_of(comparison)
    by_images = any(arm.evidence is not None and arm.evidence.images_low is not None for arm in comparison.arms)
    images = (
        "Test images: differences of each image, averaged over seeds; groups of near-duplicates are resampled whole; "
        "95 % percentile interval, each arm's own, not corrected for their number. A claim needs this interval, too, "
        "on the same side of zero."
    )
    if not by_images:
        images = f"Test images: {comparison.metric} is no mean over images, so only the {unit} carry a verdict here."
    return [
        "A pair: the same seed and fold in an arm and in the baseline, so the same first weights and the same order of "
        "images. Only runs of the same data, code, network, training and PyTorch are compared.",
        _over_pairs(comparison),
        images,
        f"Corrected for {wording.family(comparison)} against one baseline: {_correction(comparison)}, which decides. "
        "Not corrected for: other tables, metrics, a second look, or seeds added because the first ones looked well.",
        f"Win or loss: the interval over {unit} leaves zero, the corrected p is at most .05, and the images agree.",
        f"Equivalent: two one-sided paired t tests (Schuirmann 1987) against ±{margin:g} points, Holm-corrected, and "
        "the 90 % interval over images inside the margin. Everything else is undecided; undecided is not equivalent.",
        "Epochs to the baseline's final validation score, McNemar's test per seed and curves describe; no verdict "
        "rests on them. Pairs that never reach that score are counted and stand in no mean of epochs, which without "
        "them looks faster than the arm is.",
    ]


def _over_pairs(comparison: "Comparison") -> str:
    if wording.over_folds(comparison):
        return (
            "Folds: mean paired difference, of each fold the mean over its seeds, which share its cut; its 95 % "
            "interval and two-sided p by Student's t, the variance widened by the share of test to training images, as "
            f"folds share training images (Nadeau and Bengio 2003). Fewer than {LEAST_FOLDS} folds claim nothing here: "
            "they would find what is huge alone."
        )
    return (
        "Seeds: mean paired difference; 95 % BCa bootstrap interval (Efron 1987), which is too narrow for few pairs: "
        "with six it holds the true mean of normal differences in 86 of 100 cases, so no claim rests on it alone; "
        "two-sided sign-flip permutation test of the mean, all patterns up to 20 pairs. Fewer than "
        f"{LEAST_PAIRS} pairs cannot come below .05 (five: 2 / 2^5 = .062). Sign flips take a difference to be as "
        "likely above its mean as below."
    )


def _correction(comparison: "Comparison") -> str:
    if wording.over_folds(comparison):
        return "Holm's, step-down (1979)"
    return "step-down max-t over joint sign flips (Westfall and Young 1993)"


def limits(comparison: "Comparison") -> list[str]:
    """What a reader must not take from these numbers."""
    unit = wording.unit_of(comparison)
    few = [arm.name for arm in comparison.arms if len(arm.differences) < least(unit)]
    found = []
    if few:
        what = "all arms" if len(few) == len(comparison.arms) else ", ".join(few)
        found.append(
            f"Fewer than {wording.count(comparison, least(unit))}: {what}. These are explored; they claim nothing, in "
            "either direction, and the others are not corrected for them."
        )
    folds = unit == "folds"
    shared = "Folds share most of their training images" if folds else "All seeds share one test set and one split"
    found.append(
        f"{shared}: the intervals over {unit} speak of training anew, those over images of other images of this kind; "
        "neither speaks of other data."
    )
    found.append(
        f"One data set ({comparison.data}): nothing is known here about other pictures, sizes or codecs, nor about "
        "images of generators that it does not hold."
    )
    sources = sorted(set(np.asarray(comparison.test.sources).tolist()))
    if len(sources) == 1:
        found.append(
            f"One source of images ({sources[0]}), so one way of generating: another generator leaves other traces."
        )
    found.append(
        f"One network ({comparison.model}) and one recipe ({comparison.recipe}), the same for every arm and tuned for "
        "none of them: an arm that needs other settings to do its best looks worse than it is."
    )
    if comparison.changes:
        found.append(
            "Chosen afterwards (see what was asked beforehand): a metric, margin or baseline taken after the results "
            "were seen makes every verdict exploratory."
        )
    found.append(
        "A difference says that a view helps or harms this network here; it does not say what the network looks at."
    )
    return found
