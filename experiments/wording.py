"""A comparison in sentences: what could be found, each verdict and its reason, what to know before believing it."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments import tables

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison


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
    """The smallest effect found 4 times in 5, by seeds and by images: of the arm of median spread for each number of
    pairs."""
    by_pairs: dict[int, list[Arm]] = defaultdict(list)
    for arm in comparison.arms:
        by_pairs[len(arm.differences)].append(arm)
    lines = []
    for pairs, arms in sorted(by_pairs.items()):
        ordered = sorted(arms, key=tables.spread)
        arm = ordered[(len(ordered) - 1) // 2]
        whose = f" ({len(arms)} arm{'s' * (len(arms) > 1)})" if len(by_pairs) > 1 else ""
        if math.isfinite(arm.detectable):
            line = (
                f"With {pairs} pairs{whose} and a spread of {100 * tables.spread(arm):.2f} points, an effect of "
                f"{100 * arm.detectable:.2f} points is found 4 times in 5"
            )
        else:
            line = f"With {pairs} pair{'s' * (pairs != 1)}{whose} no effect can be claimed, however large: it takes 6"
        if comparison.metric == "accuracy":  # no other metric has such a formula
            line += (
                f"; the {comparison.num_images:,} test images at {100 * arm.discordant.mean():.1f} % discordance: "
                f"{100 * arm.detectable_images:.2f} points"
            )
        lines.append(line + ".")
    return lines


def reasons(comparison: "Comparison") -> list[str]:
    """Each arm's verdict in words, and how fast it learned."""
    lines = []
    for name, arm in zip(tables.labels(comparison)[1:], comparison.arms, strict=True):
        verdict, speed = arm.verdict, arm.speed
        assert verdict  # an arm has one; the baseline is no arm
        line = f"{name}: {verdict.reason}" if verdict.exploratory else f"{name}: {verdict.kind}: {verdict.reason}"
        goal = f"{comparison.baseline.name}'s final validation score"
        if speed and speed.never == speed.pairs:
            line += f"; never reaches {goal}"
        elif speed:
            line += f"; reaches {goal} after {speed.epochs:.1f} epochs, that one after {speed.baseline_epochs:.1f}"
            if math.isfinite(speed.low) and math.isfinite(speed.high):
                line += f" ({speed.difference:+z.1f}, 95 % interval {speed.low:+z.1f} to {speed.high:+z.1f})"
            line += f", never in {speed.never} of {speed.pairs} pairs" if speed.never else ""
        lines.append(line)
    return lines


def closing(comparison: "Comparison") -> list[str]:
    """What was changed since the runs were planned, what to know about the runs, what the tests are corrected for."""
    arms, baseline = len(comparison.arms), comparison.baseline.name
    them = f"all {arms} arms" if arms > 1 else "the one arm"
    return [
        *(f"changed: {line}" for line in comparison.changes),
        *(f"note: {line}" for line in comparison.notes),
        f"points: {comparison.metric} minus that of {baseline}, of equal seeds, in hundredths. p: sign-flip test of "
        f"the pairs, two-sided. max-t: the same corrected for {them} held against {baseline} here (Westfall and Young, "
        "step-down). Equivalence: Holm over the same. Not corrected for: other tables, other metrics, a second look.",
    ]


def asked(comparison: "Comparison") -> list[str]:
    """The question as it was written down before the first run; nothing where none was."""
    question = comparison.plan.get("question")
    return [f"asked beforehand: {question}"] if question else []


def page(comparisons: Sequence["Comparison"]) -> str:
    """All of it in Markdown, with every column of the tables."""
    parts = []
    for title, one in zip(headings(comparisons), comparisons, strict=True):
        parts.append(f"## {title}\n\n" + "\n\n".join([*asked(one), *detectable(one), tables.markdown(one)]))
        parts.append("".join(f"- {line}\n" for line in (*reasons(one), *closing(one))))
    return "\n".join(parts)
