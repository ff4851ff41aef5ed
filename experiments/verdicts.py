"""From the evidence on one arm to a verdict, with the reason in words.

Max-t and not Holm decides over the arms of a family: the smallest sign-flip p of six pairs is .031, so Holm over two
arms could never claim anything.
"""

from dataclasses import dataclass, fields
from math import isnan

from experiments.paired import LEAST_FOLDS, LEAST_PAIRS

ALPHA = 0.05
NOTHING = 1e-12  # a limit this near 0 is 0 but for rounding


@dataclass(frozen=True)
class Evidence:
    """Of one arm against the baseline: differences arm minus baseline in metric units, whichever direction is better.

    difference, low, high: mean over pairs and its 95 % BCa interval; p: sign-flip; p_family: max-t over the family's
    arms; p_holm: Holm over the same, to be shown. equivalent_low, equivalent_high: 90 % paired t interval, the one that
    two one-sided tests look at; p_equivalent: theirs, Holm-corrected over the family's arms. images_low .. high: 95 %
    and 90 % interval over groups of test images, None where the metric has none. unit: what a pair is, seeds or folds;
    over folds a pair is the mean over the seeds of one, p and intervals over pairs are those of the corrected t test
    and p_family is p_holm.
    """

    pairs: int
    difference: float
    low: float
    high: float
    p: float
    p_family: float
    p_holm: float
    equivalent_low: float
    equivalent_high: float
    p_equivalent: float
    images_low: float | None
    images_high: float | None
    images_equivalent_low: float | None
    images_equivalent_high: float | None
    unit: str = "seeds"


@dataclass(frozen=True)
class Verdict:
    """kind: win, loss, equivalent or undecided; exploratory: too few pairs to claim; reason: one line of words."""

    kind: str
    exploratory: bool
    reason: str


def least(unit: str) -> int:
    """The fewest seeds or folds that can claim anything; paired.power says why."""
    return LEAST_FOLDS if unit == "folds" else LEAST_PAIRS


def judge(evidence: Evidence, *, margin: float, lower_is_better: bool = False) -> Verdict:
    """The verdict on an arm; margin in metric units, above 0.

    win, loss: the 95 % interval over pairs excludes 0, p_family <= .05, and the 95 % interval over test images, where
    there is one, excludes 0 on the same side. equivalent: no claim, p_equivalent <= .05, and the 90 % interval over
    test images, where there is one, lies inside +-margin. Else undecided; the reason says which piece is missing.

    Of 10,000 simulated comparisons of an arm with itself (six seeds, 200 images in 100 groups) 2.2 % were called a win
    or a loss, and any arm in 2.5 % of families of five and 2.6 % of twenty; by seeds alone 2.7, 3.0 and 3.0 %. Runs of
    skewed quality did not raise that. Sign flips take a difference to be as likely above its mean as below: where that
    is far from true (exponential differences of mean 0) 6 % of six, 10 % of eight and 9 % of ten were called by seeds.
    """
    if not margin > 0:
        raise ValueError(f"margin={margin}: expected a number above 0")
    if evidence.pairs < least(evidence.unit):
        return Verdict("undecided", True, _too_few(evidence))
    for field in fields(evidence):
        if isinstance(value := getattr(evidence, field.name), float) and isnan(value):
            raise ValueError(f"{field.name}={value}: expected a number, with {evidence.pairs} {evidence.unit}")
    side = _claim(evidence)
    if side:
        kind = "win" if (side > 0) != lower_is_better else "loss"
        small = _inside(evidence.low, evidence.high, margin) and not _not_equivalent(evidence, margin)
        ending = f", smaller than the margin of {_margin(margin)}" if small else ""
        return Verdict(
            kind, False, f"{evidence.pairs} {evidence.unit}, {_seeds(evidence)}, {_agreement(evidence)}{ending}"
        )
    lacking = _not_equivalent(evidence, margin)
    if not lacking:
        reason = (
            f"{evidence.pairs} {evidence.unit}, {_points(evidence.difference)} points, 90 % interval "
            f"{_range(evidence.equivalent_low, evidence.equivalent_high)} inside the margin of {_margin(margin)}, "
            f"equivalence p {_p(evidence.p_equivalent)}, {_agreement(evidence)}"
        )
        return Verdict("equivalent", False, reason)
    alone = f"; {_agreement(evidence)}" if evidence.images_low is None else ""
    return Verdict("undecided", False, f"{_no_claim(evidence)}; not equivalent either: {lacking}{alone}")


def _claim(evidence: Evidence) -> int:
    """The side of 0 on which every piece of the evidence lies, 0 where one is missing."""
    side = _side(evidence.low, evidence.high)
    if evidence.p_family > ALPHA or _images_side(evidence) not in (None, side):
        return 0
    return side


def _too_few(evidence: Evidence) -> str:
    what = "fold" if evidence.unit == "folds" else "pair"
    pairs = f"{evidence.pairs} {what}{'' if evidence.pairs == 1 else 's'}"
    mean = "" if isnan(evidence.difference) else f", {_points(evidence.difference)} points"
    return f"exploratory: only {pairs}{mean}; a claim needs {least(evidence.unit)}"


def _no_claim(evidence: Evidence) -> str:
    """Which piece of a claim is missing."""
    side, of_images = _side(evidence.low, evidence.high), _images_side(evidence)
    if side and evidence.p_family <= ALPHA:
        which = "includes 0" if not of_images else "lies on the other side of 0"
        images = _range(evidence.images_low, evidence.images_high)
        return f"the {evidence.unit} agree ({_seeds(evidence)}), but the interval over test images {images} {which}"
    where = " excludes 0, but" if side else " includes 0,"
    return f"{evidence.pairs} {evidence.unit} cannot tell: {_seeds(evidence, where)}"


def _not_equivalent(evidence: Evidence, margin: float) -> str:
    """Which piece of an equivalence is missing; empty where none is."""
    interval = _range(evidence.equivalent_low, evidence.equivalent_high)
    if not _inside(evidence.equivalent_low, evidence.equivalent_high, margin):
        return f"the 90 % interval {interval} leaves the margin of {_margin(margin)}"
    if evidence.p_equivalent > ALPHA:
        p = f"equivalence p {_p(evidence.p_equivalent)} over all arms"
        return f"the 90 % interval {interval} is inside the margin of {_margin(margin)}, but {p}"
    low, high = evidence.images_equivalent_low, evidence.images_equivalent_high
    if low is not None and high is not None and not _inside(low, high, margin):
        return f"the 90 % interval over test images {_range(low, high)} leaves the margin of {_margin(margin)}"
    return ""


def _agreement(evidence: Evidence) -> str:
    if evidence.images_low is None:
        return f"{evidence.unit} alone: no interval over test images for this metric"
    return "both kinds of error agree"


def _seeds(evidence: Evidence, where: str = ",") -> str:
    """Mean, interval and p in words; `where` stands between interval and p."""
    alone, family = _p(evidence.p), _p(evidence.p_family)
    over_arms = "" if alone == family else f", {family} over all arms"
    interval = _range(evidence.low, evidence.high)
    test = "corrected t test's p" if evidence.unit == "folds" else "sign-flip p"
    return f"{_points(evidence.difference)} points, 95 % interval {interval}{where} {test} {alone}{over_arms}"


def _side(low: float, high: float) -> int:
    return int(low > NOTHING) - int(high < -NOTHING)


def _images_side(evidence: Evidence) -> int | None:
    if evidence.images_low is None or evidence.images_high is None:
        return None
    return _side(evidence.images_low, evidence.images_high)


def _inside(low: float, high: float, margin: float) -> bool:
    return -margin < low and high < margin


def _points(value: float) -> str:
    return f"{round(100 * value, 2) + 0.0:+.2f}"  # + 0.0: no "-0.00"


def _range(low: float | None, high: float | None) -> str:
    return "none" if low is None or high is None else f"{_points(low)} to {_points(high)}"


def _margin(margin: float) -> str:
    return f"{100 * margin:.6g} point{'' if round(100 * margin, 6) == 1 else 's'}"


def _p(p: float) -> str:
    """Three digits, without the zero before the point: .031."""
    return "< .001" if p < 0.0005 else f"{p:.3f}".removeprefix("0")
