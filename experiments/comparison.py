"""Runs in, comparisons out: every arm of a family against its baseline, with evidence of both kinds and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from detector.metrics import METRICS
from experiments import paired, pairing, plans
from experiments.evidence import LearningSpeed, learning_speed, overlap_of, values_of, weigh
from experiments.outcomes import Outcome, order
from experiments.pairing import Pair, Paired
from experiments.predictions import TestSet
from experiments.verdicts import Evidence, Verdict, judge

FEW_GROUPS = 20  # of test images: of 95 % intervals of so many 91 % held the truth, of ten 90, of five 86 (simulated)
LOWER_IS_BETTER = ("nll", "brier", "ece", "eer")


class NotComparable(ValueError):
    """A baseline, metric or margin that these runs cannot be held against; the text is one line."""

    exit_status = 2


@dataclass(frozen=True)
class Arm:
    """The runs of one arm that have a partner, against the baseline's; all of them for the baseline itself.

    values, differences: (n,) of the metric, arm minus baseline, a number for each pair, or for each fold the mean over
    its pairs; sd: n - 1, nan for one; evidence, verdict, speed: None for the baseline; mcnemar: (pairs,) exact p of
    each pair; discordant: (pairs,) share of the test images that exactly one of both called rightly at .5; detectable,
    detectable_images: the smallest effects found with 80 % power, given the spread over seeds or folds and, by one
    pair, given the discordant images, near-duplicates counted as one; inf and nan where there is none; clipped, colors:
    share of channel values at 0 or 1 and number of colours of a picture as the arm sees it.
    """

    name: str
    digest: str
    view: dict[str, Any]
    members: list[Outcome]
    pairs: list[Pair]
    values: np.ndarray
    differences: np.ndarray
    mean: float
    sd: float
    evidence: Evidence | None
    verdict: Verdict | None
    mcnemar: np.ndarray
    discordant: np.ndarray
    detectable: float
    detectable_images: float
    speed: LearningSpeed | None
    images_per_second: float | None
    clipped: float
    colors: float


@dataclass(frozen=True)
class Comparison:
    """One family: arms sorted by their effect, best first; margin in units of the metric.

    test: every image that any of the runs was tested on; plan: as most runs recorded it; changes: where that, or the
    experiment's yaml, differs from what is asked now; notes: what was left out, and what differs between pairs.
    """

    data: str
    model: str
    recipe: str
    settings: dict[str, Any]
    metric: str
    lower_is_better: bool
    margin: float
    baseline: Arm
    arms: list[Arm]
    num_images: int
    num_groups: int
    test: TestSet
    plan: dict[str, Any]
    changes: list[str]
    notes: list[str]

    @property
    def title(self) -> str:
        """One line that no other family of the same runs has, but for settings that seldom differ."""
        content = self.baseline.members[0].facts["content_digest"][:8]
        task = ", which generator" if self.by_generator else ""
        epochs = f"{self.settings['train']['epochs']:g} epochs"
        return f"{self.data} ({content}), {self.model}, {self.recipe}, {epochs}{task}"

    @property
    def by_generator(self) -> bool:
        """Whether its runs tell which generator made an image, and not real from fake."""
        return "task" in self.settings


def compare(
    outcomes: Sequence[Outcome],
    *,
    baseline: str | None = None,
    metric: str | None = None,
    margin: float | None = None,
) -> tuple[list[Comparison], list[str]]:
    """Hold every arm against the baseline of its family; the comparisons, and a line for all that is refused.

    A family that has nothing but its baseline is a comparison without arms.

    baseline: an arm's name or digest; metric: of the test part, `auc`, or `flux/auc` of one source; margin: the
    difference that nobody would act upon, in units of the metric. What is not given is what the runs were made for.
    Raises NotComparable where no run is of the baseline or none has the metric. The order of outcomes does not matter.
    """
    if metric is not None and metric.rpartition("/")[2] not in (*METRICS, "accuracy_at_threshold"):
        raise NotComparable(f"metric={metric!r}: expected one of {', '.join(METRICS)}")
    if margin is not None and not 0 < margin < 1:
        raise NotComparable(
            f"margin={margin}: expected a number between 0 and 1, as the metric has (0.5 points: 0.005)"
        )
    families = pairing.families(sorted(outcomes, key=order))
    asked = [plans.asked(family, baseline=baseline, metric=metric, margin=margin) for family in families]
    complete = [
        family for family, plan in zip(families, asked, strict=True) if pairing.members_of(family, plan.baseline)
    ]
    if outcomes and not complete:
        arms = list(dict.fromkeys(outcome.aug for family in families for outcome in family))
        listed = pairing.listed(arms, most=50)
        raise NotComparable(f"baseline={asked[0].baseline!r}: no run of it; the arms there are: {listed}")
    if metric is not None and not any(f"test/{metric}" in outcome.metrics for outcome in outcomes):
        raise NotComparable(f"metric={metric!r}: no run has test/{metric}")
    comparisons, refused = [], []
    for family, plan in zip(families, asked, strict=True):
        if not (there := pairing.members_of(family, plan.baseline)):
            same = [other for other in complete if pairing.members_of(other, plan.baseline)]
            refused.append(pairing.without_baseline(family, plan.baseline, same))
        elif several := pairing.several_baselines(family, plan.baseline):
            refused.append(several)
        else:
            found = pairing.pair(family, plan.baseline, plan.metric)
            refused += found.refused
            if found.arms or (len(there) == len(family) and found.baseline):
                comparisons.append(_comparison(found, plan))
    return comparisons, refused


def is_lower_better(metric: str) -> bool:
    """Whether less of a metric is more; its name may begin with that of a source."""
    return metric.rpartition("/")[2] in LOWER_IS_BETTER


def _comparison(found: Paired, plan: plans.Asked) -> Comparison:
    lower = is_lower_better(plan.metric)
    tests = {outcome.test.digest: outcome.test for outcome in found.baseline}
    test = _together(list(tests.values()))
    clusters = {digest: len(np.unique(each.groups)) for digest, each in tests.items()}
    evidence = weigh(found.arms, plan.metric, margin=plan.margin, tests=tests)
    arms = []
    for key, pairs in found.arms.items():
        verdict = judge(evidence[key], margin=plan.margin, lower_is_better=lower)
        arms.append(_arm(pairs, plan.metric, clusters, evidence[key], verdict))
    sign = 1 if lower else -1
    num_groups = len(np.unique(test.groups))
    few = (
        [f"only {num_groups} groups of test images: intervals over them are too narrow"]
        if num_groups < FEW_GROUPS
        else []
    )
    first = found.baseline[0]
    return Comparison(
        data=first.data,
        model=first.model,
        recipe=first.recipe,
        settings=first.settings,
        metric=plan.metric,
        lower_is_better=lower,
        margin=plan.margin,
        baseline=_arm([(outcome, outcome) for outcome in found.baseline], plan.metric, clusters),
        arms=sorted(arms, key=lambda arm: (sign * float(arm.differences.mean()), arm.name, arm.digest)),
        num_images=len(test.rows),
        num_groups=num_groups,
        test=test,
        plan=plan.recorded,
        changes=plan.changes,
        notes=[*plan.notes, *found.notes, *few],
    )


def _together(tests: Sequence[TestSet]) -> TestSet:
    """The images of several folds as one test set."""
    if len(tests) == 1:
        return tests[0]
    columns = ("labels", "groups", "rows", "sources", "paths")
    joined = {name: np.concatenate([getattr(test, name) for test in tests]) for name in columns}
    return TestSet(digest="+".join(test.digest for test in tests), classes=tests[0].classes, **joined)


def _arm(
    pairs: Sequence[tuple[Outcome, Outcome]],
    metric: str,
    clusters: dict[str, int],
    evidence: Evidence | None = None,
    verdict: Verdict | None = None,
) -> Arm:
    members = [outcome for outcome, _ in pairs]
    values, differences = values_of(pairs, metric)
    only = [(outcome.correct & ~twin.correct, twin.correct & ~outcome.correct) for outcome, twin in pairs]
    discordant = np.array([(first | second).mean() for first, second in only])
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else np.nan
    speeds = [outcome.images_per_second for outcome in members if outcome.images_per_second is not None]
    seen = {key: [outcome.metrics.get(f"view/{key}", np.nan) for outcome in members] for key in ("clipped", "colors")}
    images = sum(clusters[digest] for digest in {outcome.test.digest for outcome in members})
    return Arm(
        name=members[0].aug,
        digest=members[0].digest,
        view=members[0].view,
        members=members,
        pairs=[(outcome.seed, outcome.fold) for outcome in members],
        values=values,
        differences=differences,
        mean=float(values.mean()),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else np.nan,
        evidence=evidence,
        verdict=verdict,
        mcnemar=np.array([paired.mcnemar(int(first.sum()), int(second.sum())) for first, second in only]),
        discordant=discordant,
        detectable=_detectable(spread, len(differences), overlap_of(members[0])) if evidence else np.nan,
        detectable_images=paired.detectable_images(images, float(discordant.mean())) if evidence else np.nan,
        speed=learning_speed(pairs, metric, lower_is_better=is_lower_better(metric)) if evidence else None,
        images_per_second=float(np.median(speeds)) if speeds else None,
        clipped=float(np.mean(seen["clipped"])),
        colors=float(np.mean(seen["colors"])),
    )


def _detectable(spread: float, pairs: int, overlap: float) -> float:
    at_one = _detectable_at_one(pairs, overlap)
    return spread * at_one if np.isfinite(at_one) else at_one


@cache
def _detectable_at_one(pairs: int, overlap: float) -> float:
    """The effect grows as the spread does, so one search serves all arms with so many pairs."""
    return paired.detectable(1.0, pairs, overlap=overlap)
