"""How many seeds and test images a question of a given size takes, by what the runs so far show."""

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments import paired, tables
from experiments.evidence import overlap_of
from experiments.wording import over_folds

if TYPE_CHECKING:
    from experiments.comparison import Comparison

MOST_SEEDS = 1000
DECIDED = "next: nothing; every arm has its verdict"


def spread_range(n: int, level: float = 0.95) -> tuple[float, float]:
    """Between which multiples of a measured spread of `n` normal values the true one lies: sqrt((n - 1) / chi2)."""
    tail = (1 - level) / 2
    low, high = (math.sqrt((n - 1) / chi2_quantile(p, n - 1)) for p in (1 - tail, tail))
    return low, high


def chi2_quantile(p: float, df: int) -> float:
    """By bisection of the closed form for whole `df` (Abramowitz & Stegun 26.4.4 and 26.4.5)."""

    def cdf(x: float) -> float:
        upper = math.erfc(math.sqrt(x / 2)) if df % 2 else math.exp(-x / 2)
        half = (k / 2 for k in range(1 if df % 2 else 2, df, 2))
        return 1 - upper - sum(math.exp(k * math.log(x / 2) - x / 2 - math.lgamma(k + 1)) for k in half)

    low, high = 0.0, 10.0 * df + 100
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle) < p else (low, middle)
    return high


def plan(comparison: "Comparison", points: float) -> list[dict[str, Any]]:
    """What an effect of `points` would take, for each arm with at least two pairs; numbers in metric units.

    pairs_needed: at the measured spread and at both ends of its 95 % range, None above 1,000 and over folds, as seeds
    make no more folds; seconds: of the runs of this arm that are missing, where the runs say how long they took.
    """
    effect, plans = points / 100, []
    overlap = overlap_of(comparison.baseline.members[0])
    for arm in comparison.arms:
        pairs = len(arm.differences)
        if pairs < 2:
            continue
        spread = tables.spread(arm)
        spreads = [spread, *(factor * spread for factor in spread_range(pairs))]
        needed = [None if overlap else paired.seeds_needed(effect, s, most=MOST_SEEDS) for s in spreads]
        # no other metric has such a formula
        discordant = float(arm.discordant.mean()) if comparison.metric == "accuracy" else None
        took = [run.facts["seconds"] for run in arm.members if run.facts.get("seconds")]
        missing = None if needed[0] is None else max(0, needed[0] - pairs)
        plans.append(
            {
                "aug": arm.name,
                "digest": arm.digest,
                "effect": effect,
                "verdict": arm.verdict.kind if arm.verdict else None,
                "pairs": pairs,
                "spread": spread,
                "spread_range": spreads[1:],
                "power": paired.power(effect, spread, pairs, overlap=overlap),
                "pairs_needed": needed[0],
                "pairs_needed_range": needed[1:],
                "discordant": discordant,
                "images_needed": None if discordant is None else paired.images_needed(effect, discordant),
                "seconds": statistics.median(took) * missing if took and missing is not None else None,
            }
        )
    return plans


def lines(comparison: "Comparison", plans: Sequence[dict[str, Any]], points: float) -> list[str]:
    """The plans in words, then what to run next."""

    def count(number: int | None) -> str:
        return f"more than {MOST_SEEDS:,}" if number is None else f"{number:,}"

    if over_folds(comparison):
        return _lines_over_folds(comparison, plans, points)
    more = f"; corrected for {len(comparison.arms)} arms it takes more" if len(comparison.arms) > 1 else ""
    said = [f"To find an effect of {points:g} points 4 times in 5, by the seeds of one arm alone{more}:"]
    for one in plans:
        low, high = one["pairs_needed_range"]
        ends = " to ".join(f"{100 * spread:.2f}" for spread in one["spread_range"])
        line = (
            f"{one['aug']}: {count(one['pairs_needed'])} pairs ({count(low)} to {count(high)} over the range of the "
            f"spread), {one['pairs']} are there and find it {100 * one['power']:.0f} times in 100; spread "
            f"{100 * one['spread']:.2f} points (95 % range {ends})"
        )
        if one["images_needed"] is not None:
            line += (
                f"; one pair of runs with {100 * one['discordant']:.1f} % discordance takes "
                f"{one['images_needed']:,} groups of test images, {comparison.num_groups:,} are there"
            )
        said.append(line + (f"; {one['seconds'] / 60:,.0f} minutes more for this arm" if one["seconds"] else ""))
    if not plans:
        return [*said, "no arm has two pairs, so no spread is known; six seeds are a start"]
    fewest = min(one["pairs"] for one in plans)
    low, high = spread_range(fewest)
    said.append(
        f"The spread of few pairs is uncertain itself: with {fewest} the true one is {low:.2f} to {high:.2f} times the "
        "measured one (95 %), and pairs go by its square. The upper number is the safe one."
    )
    return said + _next_runs(comparison, plans)


def _lines_over_folds(comparison: "Comparison", plans: Sequence[dict[str, Any]], points: float) -> list[str]:
    """How often the folds that are there find the effect; more seeds are never advised."""
    said = [
        "Over folds no number of seeds is planned: more of them make the mean of each fold more certain, but no more "
        "folds, and where folds differ by their images no number of seeds is enough. By the folds of one arm alone an "
        f"effect of {points:g} points is found:"
    ]
    for one in plans:
        ends = " to ".join(f"{100 * spread:.2f}" for spread in one["spread_range"])
        said.append(
            f"{one['aug']}: {100 * one['power']:.0f} times in 100 with {one['pairs']} folds; spread "
            f"{100 * one['spread']:.2f} points (95 % range {ends})"
        )
    there, folds = min(len(arm.differences) for arm in comparison.arms), round(comparison.settings["data"]["folds"])
    if all(arm.verdict and arm.verdict.kind != "undecided" for arm in comparison.arms):
        return [*said, DECIDED]
    if there < folds:
        missing = f"the command of these runs with data.fold='range({folds})'"
        return [*said, f"next: {there} of {folds} folds are there; {missing}"]
    return [*said, "next: no more seeds for this question"]


def _next_runs(comparison: "Comparison", plans: Sequence[dict[str, Any]]) -> list[str]:
    pending = [one for one in plans if one["verdict"] == "undecided"]
    if not pending:
        return [DECIDED]
    needed = [one["pairs_needed"] or MOST_SEEDS + 1 for one in pending]
    few = [one["aug"] for one in pending if (one["images_needed"] or 0) > comparison.num_groups]
    said = [f"note: fewer groups of test images than one pair of runs needs for it: {', '.join(few)}"] if few else []
    if all(one["pairs"] >= number for one, number in zip(pending, needed, strict=True)):
        return [*said, "next: no more seeds for this question; the arms that are still undecided have enough of them"]
    if max(needed) > MOST_SEEDS:
        return [*said, f"next: a larger question; this one takes more than {MOST_SEEDS:,} pairs"]
    words = f"seed='range({max(needed)})'"
    experiment = comparison.plan.get("experiment")
    command = f"python -m experiments.run -m experiment={experiment} {words}" if experiment else ""
    return [*said, f"next: {command or f'the command of these runs with {words}'}"]
