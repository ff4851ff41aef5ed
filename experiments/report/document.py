"""The report's content, section by section, from comparisons; every number of a table comes from experiments.tables."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import charts, tables, wording
from experiments.report import drawings, instrument, method, origin, single
from experiments.report.blocks import Block, Bullets, Code, Picture, Report, Section, Table, Text

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison

Comparisons = Sequence["Comparison"]
VERBS = {"win": "wins", "loss": "loses", "equivalent": "is equivalent", "undecided": "stays undecided"}
SENTENCE = 3  # arms up to which the answer names each
MOST_COMMANDS = 20


def report(
    comparisons: Comparisons,
    *,
    facts: dict[str, Any],
    left_out: Sequence[str],
    examples: Callable[["Comparison", str], Sequence[Block]],
    again: Sequence[str],
    further: Sequence[Section] = (),
) -> Report:
    """The whole report.

    facts: of origin.gather; left_out: lines on runs that are in no comparison; examples: (comparison, suffix of the
    pictures' names) -> its example pictures; again: the commands that read the result again; further:
    sections that are no part of a comparison.
    """

    titles = wording.headings(comparisons)

    def each(part: Callable[["Comparison"], Sequence[Block]]) -> list[Block]:
        return [
            block
            for title, comparison in zip(titles, comparisons, strict=True)
            for block in (*([Text(title, heading=True)] if len(titles) > 1 else []), *part(comparison))
        ]

    def drawn(part: Callable[["Comparison", str], Sequence[Block]]) -> list[Block]:
        numbered = {id(comparison): number for number, comparison in enumerate(comparisons, start=1)}
        return each(lambda comparison: part(comparison, _suffix(numbered[id(comparison)])))

    names = sorted({str(comparison.plan.get("experiment") or comparison.data) for comparison in comparisons})
    doses = drawn(drawings.strength)
    return Report(
        title=f"Hueprint: {', '.join(names)}",
        sections=[
            Section("The answer", each(lambda comparison: [Text(answer(comparison))])),
            Section("What was asked beforehand", each(_asked)),
            Section("Seeds and images", [*each(_sizes), *_left_out(left_out)]),
            Section("What could have been found", each(_detectable)),
            Section("Verdicts", each(_verdicts)),
            Section("Differences", drawn(drawings.forest)),
            *([Section("Strength of the transform", doses)] if any(isinstance(b, Picture) for b in doses) else []),
            Section("What each arm sees", each(_views)),
            Section("Learning", drawn(drawings.learning)),
            Section("Confusion matrices", drawn(drawings.confusions)),
            Section("What one pair says", each(single.blocks)),
            *further,
            Section("Example pictures", drawn(examples)),
            Section("Checks of the instrument", each(instrument.checks)),
            Section("Which test, and what cannot be concluded", each(method.blocks)),
            Section("The data", origin.data_card(facts, comparisons)),
            Section("Provenance", origin.provenance(facts)),
            Section("Commands", _commands(facts, again)),
        ],
    )


def _suffix(number: int) -> str:
    return "" if number == 1 else f"-{number}"


def answer(comparison: "Comparison") -> str:
    """One sentence that the numbers carry; controls of the instrument are no part of it."""
    baseline, metric = comparison.baseline, comparison.metric
    names = dict(zip(map(id, comparison.arms), tables.labels(comparison)[1:], strict=True))
    arms = [arm for arm in comparison.arms if not charts.is_control(arm)]
    where = f"{comparison.model} on {comparison.data}, test {metric}"
    held = (
        f"Held against {baseline.name} ({where} {tables.number(baseline.mean, '.4f')} over {len(baseline.pairs)} runs)"
    )
    if not arms:
        return f"{held}, nothing but controls was tried."
    changed = "; what is asked was changed afterwards, see below" if comparison.changes else ""
    kinds = Counter(map(tables.word, arms))
    if len(arms) <= SENTENCE:
        words = [f"{names[id(arm)]} {_ends(arm, comparison)}" for arm in arms]
        return f"{held}, {_listed(words)}{changed}."
    words = [
        f"{kinds[kind]} of {len(arms)} arms {one if kinds[kind] == 1 else more}{rest}"
        for kind, one, more, rest in _counted(comparison)
        if kinds[kind]
    ]
    best, worst = (f"{names[id(arm)]} {drawings.size(arm)}" for arm in (arms[0], arms[-1]))
    return f"{held}, {_listed(words)}; the best mean is {best}, the worst {worst}{changed}."


def _ends(arm: "Arm", comparison: "Comparison") -> str:
    if arm.verdict is None:
        return "has no verdict"
    if arm.verdict.exploratory:
        return f"was explored only, which claims nothing ({drawings.size(arm)})"
    within = f" within ±{100 * comparison.margin:g} points" if arm.verdict.kind == "equivalent" else ""
    return f"{VERBS[arm.verdict.kind]}{within} ({drawings.size(arm)})"


def _counted(comparison: "Comparison") -> list[tuple[str, str, str, str]]:
    """Verdict, its verb for one arm and for more, what follows the verb."""
    return [
        ("win", "wins", "win", ""),
        ("loss", "loses", "lose", ""),
        ("equivalent", "is", "are", f" equivalent within ±{100 * comparison.margin:g} points"),
        ("undecided", "stays", "stay", " undecided"),
        ("exploratory", "was", "were", " explored only, which claims nothing"),
    ]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _asked(comparison: "Comparison") -> list[Block]:
    plan = comparison.plan
    lines = [
        f"Question: {plan.get('question') or 'none was written down'}",
        f"Experiment: {plan.get('experiment') or 'none; single runs'}",
        f"Baseline: {plan.get('baseline', 'none was written down')}",
        f"Primary metric: {plan.get('metric', 'none was written down')}, of the test images",
        f"Margin: {plan['margin']} points, the difference that nobody would act upon"
        if "margin" in plan
        else f"Margin: none was written down; {100 * comparison.margin:g} points here",
    ]
    changes = comparison.changes or [
        "Nothing: question, metric, margin and baseline are those of the runs." if plan else "The runs have no plan."
    ]
    return [
        Text("Every run's folder keeps the plan as it stood before the run."),
        Bullets(lines),
        Text("Changed afterwards:"),
        Bullets(changes),
    ]


def _views(comparison: "Comparison") -> list[Block]:
    rows = [
        [name, _view(arm.view, "train"), _view(arm.view, "eval", like="train")]
        for arm, name in zip([comparison.baseline, *comparison.arms], tables.labels(comparison), strict=True)
    ]
    return [Table("What the network is shown", ["arm", "in training", "in testing"], rows)]


def _view(view: dict[str, Any], kind: str, like: str = "") -> str:
    if like and view.get(kind) and view[kind] == view.get(like):
        return "the same"
    words = ", then ".join(map(_step, view.get(kind) or [])) or "plain pictures"
    if kind == "train" and view.get("shuffle_labels"):
        words += "; labels dealt out at random"
    if kind == "train" and view.get("seed_offset"):
        words += f"; seeds {view['seed_offset']} higher"
    return words


def _step(step: Mapping[str, Any]) -> str:
    """An operation and its settings in words; of one that holds others, those too."""

    def said(value: Any) -> str:
        if isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            return ", then ".join(map(_step, value))
        return f"{value:g}" if isinstance(value, float) else str(value)

    given = ", ".join(f"{key} {said(value)}" for key, value in step.items() if key != "op")
    return f"{step.get('op')} ({given})" if given else str(step.get("op"))


def _sizes(comparison: "Comparison") -> list[Block]:
    pairs = [len(arm.pairs) for arm in comparison.arms]
    span = f"{min(pairs)}" if len(set(pairs)) == 1 else f"{min(pairs)} to {max(pairs)}"
    seeds = sorted({seed for arm in (comparison.baseline, *comparison.arms) for seed, _ in arm.pairs})
    labels, sizes = comparison.test.labels, np.unique(comparison.test.groups, return_counts=True)[1]
    alike = int(sizes[sizes > 1].sum())
    folds = wording.over_folds(comparison)
    counted = f", in {max(len(arm.differences) for arm in comparison.arms)} folds" if folds else ""
    lines = [
        f"{len(comparison.arms)} arms against {comparison.baseline.name}, {span} pairs each{counted}; seeds "
        f"{', '.join(map(str, seeds))}",
        f"{comparison.num_images:,} test images ({np.sum(labels == 0):,} real, {np.sum(labels > 0):,} fake), "
        + ("each tested by the runs of its fold" if folds else "the same ones for every run"),
        f"{comparison.num_groups:,} groups: the {alike:,} images that have a near-duplicate in the test set stand in "
        "one group with it, and groups are drawn whole where images are resampled",
        *comparison.notes,
    ]
    return [Bullets(lines)]


def _left_out(lines: Sequence[str]) -> list[Block]:
    if not lines:
        return [Text("No run was left out.")]
    return [Text(f"{len(lines)} runs or arms are in no comparison:"), Bullets(lines)]


def _detectable(comparison: "Comparison") -> list[Block]:
    def by_images(arm: "Arm") -> float | None:
        return arm.detectable_images if comparison.metric == "accuracy" else None  # others have no such formula

    rows = [
        [name, str(len(arm.differences)), tables.points(arm.detectable), tables.points(by_images(arm))]
        for arm, name in zip(comparison.arms, tables.labels(comparison)[1:], strict=True)
    ]
    unit = wording.unit_of(comparison)
    head = ["arm", "folds" if unit == "folds" else "pairs", f"by {unit}, points", "by test images, points"]
    caption = "Smallest true difference found four times in five, at alpha .05"
    return [*(Text(line) for line in wording.detectable(comparison)), Table(caption, head, rows)]


def _verdicts(comparison: "Comparison") -> list[Block]:
    rows = [list(row.values()) for row in tables.rows(comparison)]
    test = "corrected t test over folds" if wording.over_folds(comparison) else "sign-flip"
    caption = (
        f"Test {comparison.metric}, {comparison.title}. p: {test}; max-t: the same, corrected for all arms; "
        "epochs: more (+) or fewer (-) than the baseline needs to its own final validation score"
    )
    return [
        Table(caption, list(tables.HEADINGS.values()), rows),
        Text("Reasons:"),
        Bullets(wording.reasons(comparison)),
    ]


def _commands(facts: dict[str, Any], again: Sequence[str]) -> list[Block]:
    made = facts.get("commands", [])
    more = [f"# and {len(made) - MOST_COMMANDS} more, in provenance.json"] if len(made) > MOST_COMMANDS else []
    return [
        Text("Made by:"),
        Code("\n".join([*made[:MOST_COMMANDS], *more]) or "# not known here: no provenance.json beside the runs"),
        Text("Read again by:"),
        Code("\n".join(again)),
    ]
