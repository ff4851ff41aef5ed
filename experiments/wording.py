"""A comparison in sentences: what could be found, each verdict and its reason, what to know before believing it."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments import tables
from experiments.verdicts import least

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison

NOTHING = 1e-9  # a spread this small is rounding
SINGLY = 3  # arms with too few pairs up to which each has a line


def headings(comparisons: Sequence["Comparison"]) -> list[str]:
    """A line each: data, network, recipe, test images, metric, margin, baseline; where two are equal, what differs."""
    lines = [_heading(comparison) for comparison in comparisons]
    settings = [_flat(comparison) for comparison in comparisons]
    others: dict[str, list[dict]] = defaultdict(list)
    for line, own in zip(lines, settings, strict=True):
        others[line].append(own)
    for number, (line, own) in enumerate(zip(lines.copy(), settings, strict=True)):
        differing = [key for key in own if any(other.get(key) != own[key] for other in others[line])]
        lines[number] = " · ".join([line, *(f"{key} {own[key]}" for key in differing)])
    return lines


def _heading(comparison: "Comparison") -> str:
    metric = comparison.metric + (" (lower is better)" if comparison.lower_is_better else "")
    return (
        f"{comparison.title}, batch {comparison.settings['train']['batch_size']:g} · {comparison.num_images:,} test "
        f"images in {comparison.num_groups:,} groups · {metric}, margin {100 * comparison.margin:.6g} points · "
        f"baseline {comparison.baseline.name}"
    )


def _flat(comparison: "Comparison") -> dict[str, Any]:
    parts = comparison.settings.items()
    return {f"{part}.{key}": value for part, settings in parts for key, value in settings.items()}


def detectable(comparison: "Comparison") -> list[str]:
    """The smallest effect found 4 times in 5, by seeds or folds and by images: of the arm of median spread for each
    number of pairs, the larger of two."""
    unit = unit_of(comparison)
    by_pairs: dict[int, list[Arm]] = defaultdict(list)
    for arm in comparison.arms:
        by_pairs[len(arm.differences)].append(arm)
    lines = []
    for pairs, arms in sorted(by_pairs.items()):
        ordered = sorted(arms, key=tables.spread)
        arm = ordered[len(ordered) // 2]
        whose = f" ({len(arms)} arm{'s' * (len(arms) > 1)})" if len(by_pairs) > 1 else ""
        given = f"With {count(comparison, pairs)}{whose}"
        if not math.isfinite(arm.detectable):
            line = f"{given} no effect can be claimed, however large: it takes {least(unit)}"
        elif arm.detectable < NOTHING:
            line = f"{given} of equal differences no spread is known, nor what would be found"
        else:
            line = (
                f"{given} and a spread of {100 * tables.spread(arm):.2f} points"
                f"{' (the median)' * (len(arms) > 1)}, an effect of {100 * arm.detectable:.2f} points is found 4 times "
                f"in 5 by the {unit} of one arm alone"
            )
        if comparison.metric == "accuracy":  # no other metric has such a formula
            line += (
                f"; by {comparison.num_groups:,} groups of test images one pair of runs with "
                f"{100 * arm.discordant.mean():.1f} % discordance finds {100 * arm.detectable_images:.2f} points"
            )
        lines.append(line + ".")
    return lines


def reasons(comparison: "Comparison") -> list[str]:
    """Each arm's verdict in words, and how fast it learned; of many arms with too few pairs only that."""
    named = list(zip(tables.labels(comparison)[1:], comparison.arms, strict=True))
    few = [(name, arm) for name, arm in named if arm.verdict and arm.verdict.exploratory]
    few = few if len(few) > SINGLY else []
    lines = []
    for name, arm in (one for one in named if one not in few):
        verdict, speed = arm.verdict, arm.speed
        assert verdict  # an arm has one; the baseline is no arm
        line = f"{name}: {verdict.reason}" if verdict.exploratory else f"{name}: {verdict.kind}: {verdict.reason}"
        goal = f"{comparison.baseline.name}'s final validation score"
        if speed and speed.never == speed.pairs:
            line += f"; never reaches {goal}"
        elif speed:
            own = f"{comparison.baseline.name} itself after {speed.baseline_epochs:.1f}"
            line += f"; reaches {goal} after {speed.epochs:.1f} epochs, {own}"
            if math.isfinite(speed.low) and math.isfinite(speed.high):
                line += f" ({speed.difference:+z.1f}, 95 % interval {speed.low:+z.1f} to {speed.high:+z.1f})"
            line += f", never in {speed.never} of {speed.pairs} pairs, which are in no mean" if speed.never else ""
        lines.append(line)
    if few:
        listed = ", ".join(f"{name} ({tables.points(float(arm.differences.mean()), '+z.2f')})" for name, arm in few)
        needed = count(comparison, least(unit_of(comparison)))
        lines.append(f"exploratory, as a claim needs {needed}, with their points: {listed}")
    return lines


def closing(comparison: "Comparison") -> list[str]:
    """What was changed since the runs were planned, what to know about the runs, what the tests are corrected for."""
    baseline = comparison.baseline.name
    return [
        *changed(comparison),
        *(f"note: {line}" for line in comparison.notes),
        f"points: {comparison.metric} minus that of {baseline}, of equal seeds, in hundredths. {_tests(comparison)} "
        "Equivalence: Holm over the same. Not corrected: intervals, each an arm's own; other tables, other metrics, a "
        f"second look. {_intervals(comparison)}",
    ]


def _tests(comparison: "Comparison") -> str:
    """What p is."""
    corrected = f"corrected for {family(comparison)} held against {comparison.baseline.name} here"
    if over_folds(comparison):
        return (
            f"n: folds{_seeds_of(comparison)}. "
            "p: Student's t with the variance of folds that share training images (Nadeau and Bengio), two-sided. "
            f"max-t: the same {corrected} (by Holm, as signs cannot be flipped fold by fold)."
        )
    return f"p: sign-flip test of the pairs, two-sided. max-t: the same {corrected} (Westfall and Young, step-down)."


def _intervals(comparison: "Comparison") -> str:
    """What the intervals over pairs are worth."""
    if over_folds(comparison):
        return "Intervals over folds are of the same t."
    return (
        "Intervals over seeds (BCa) are too narrow for few pairs: with six they hold the true mean in 86 of 100 cases; "
        "no claim rests on them alone."
    )


def over_folds(comparison: "Comparison") -> bool:
    """Whether the pairs are of several folds of the same images."""
    return any(fold is not None for _, fold in comparison.baseline.pairs)


def unit_of(comparison: "Comparison") -> str:
    """What is counted: seeds, or folds, of each of which the mean over its seeds counts once."""
    return "folds" if over_folds(comparison) else "seeds"


def count(comparison: "Comparison", pairs: int) -> str:
    """So many pairs, or folds, in words."""
    return f"{pairs} {'fold' if over_folds(comparison) else 'pair'}{'s' * (pairs != 1)}"


def _seeds_of(comparison: "Comparison") -> str:
    """How many seeds the mean of a fold is of; nothing where each is of one."""
    seeds = sorted({n for arm in comparison.arms for n in Counter(fold for _, fold in arm.pairs).values()})
    if max(seeds, default=1) == 1:
        return ""
    return f", each the mean over {' to '.join(map(str, seeds[:: len(seeds) - 1 or 1]))} seeds, which share its cut"


def family(comparison: "Comparison") -> str:
    """The arms that the tests are corrected for, in words."""
    needed = least(unit_of(comparison))
    many = sum(len(arm.differences) >= needed for arm in comparison.arms)
    few = len(comparison.arms) - many
    if not (many and few):
        return f"all {many + few} arms" if many + few > 1 else "the one arm"
    return f"the {many} with {count(comparison, needed)} or more of {many + few} arms (the others among themselves)"


def changed(comparison: "Comparison") -> list[str]:
    """How what is asked now differs from what the runs were made for."""
    return [f"changed: {line}" for line in comparison.changes]


def asked(comparison: "Comparison") -> list[str]:
    """The question as it was written down before the first run; nothing where none was."""
    question = comparison.plan.get("question")
    return [f"asked beforehand: {question}"] if question else []


def page(comparisons: Sequence["Comparison"], columns: Sequence[str] = tuple(tables.HEADINGS)) -> str:
    """All of it in Markdown, with every column of the tables or with some."""
    parts = []
    for title, one in zip(headings(comparisons), comparisons, strict=True):
        parts.append(f"## {title}\n\n" + "\n\n".join([*asked(one), *detectable(one), tables.markdown(one, columns)]))
        parts.append("".join(f"- {line}\n" for line in (*reasons(one), *closing(one))))
    return "\n".join(parts)
