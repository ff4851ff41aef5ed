"""Which of the runs that were found are held against one another."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from experiments import pairing, plans
from experiments.outcomes import Outcome
from experiments.shell import Unusable


def usable(outcomes: Sequence[Outcome], root: Path) -> tuple[list[Outcome], list[str]]:
    """The runs that can score other pictures of both classes, and a line for each other one."""
    kept, refused = [], []
    for run in outcomes:
        if not Path(run.where).is_dir():
            raise Unusable(f"{root}: tables of runs; expected the runs' folders, for their weights")
        if run.by_generator:
            refused.append(f"{run.where}: a run of task=generator; expected one that tells real from fake")
        elif run.settings["data"].get("fit") == "patches":
            refused.append(f"{run.where}: a run of data.fit=patches; expected one of whole pictures")
        elif len(set(run.test.labels.tolist())) < 2:
            refused.append(f"{run.where}: tested on one class; expected real and fake pictures")
        else:
            kept.append(run)
    return kept, refused


def asked_for(
    outcomes: Sequence[Outcome], arms: Collection[str] | None, seeds: Collection[int] | None, baseline: str | None
) -> list[Outcome]:
    """The runs of these arms (names or digests), of the baseline and of these seeds, None: all; Unusable where there
    are none, or none of an arm."""
    if unknown := set(arms or ()) - {name for run in outcomes for name in (run.aug, run.digest)}:
        there = pairing.listed(list(dict.fromkeys(run.aug for run in outcomes)), most=50) or "none"
        raise Unusable(f"--arms {min(unknown)}: no finished run of it; the arms there are: {there}")

    def inside(run: Outcome) -> bool:
        against = baseline or run.plan.get("baseline", plans.DEFAULTS["baseline"])
        wanted = not arms or bool({run.aug, run.digest} & {*arms, against})
        return wanted and (not seeds or run.seed in seeds)

    chosen = [run for run in outcomes if inside(run)]
    if not chosen:
        of_seeds = f" of seed {', '.join(map(str, seeds))}" if seeds else ""
        raise Unusable(f"no finished run{of_seeds} that can be used")
    return chosen


def family(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], str, list[str]]:
    """The runs of the family that has most arms, then runs; its title; and a line for each other family."""

    def title(family: Sequence[Outcome]) -> str:
        first = family[0]
        content, epochs = first.facts["content_digest"][:8], first.settings["train"]["epochs"]
        size = "x".join(f"{side:g}" for side in first.settings["data"]["image_size"])
        return f"{first.data} ({content}, {size}), {first.model}, {first.recipe}, {epochs:g} epochs" + (
            "" if first.fold is None else ", in folds"
        )

    def size(family: Sequence[Outcome]) -> tuple[int, int]:
        return len({(run.aug, run.digest) for run in family}), len(family)

    found = sorted(pairing.families(outcomes), key=title)
    first, *others = sorted(found, key=size, reverse=True)
    said = [
        f"{title(other)}, {runs(len(other))}: other data, network or training; a deeper ROOT or --experiment takes them"
        for other in others
    ]
    return first, title(first), said


def runs(count: int) -> str:
    """So many of them, in words."""
    return f"{count} run{'' if count == 1 else 's'}"


def baseline(family: Sequence[Outcome], given: str | None) -> str:
    """Name or digest of the arm that the others are held against; of a single arm its own."""
    name = plans.asked(family, baseline=given).baseline
    arms = Counter((run.aug, run.digest) for run in family)
    if not pairing.members_of(family, name):
        if given is None and len(arms) == 1:
            return family[0].digest
        names = pairing.listed([arm for arm, _ in arms], most=50)
        raise Unusable(f"--baseline {name}: no run of it with the same settings; the arms are: {names}")
    if several := pairing.several_baselines(family, name):
        raise Unusable(several)
    return name
