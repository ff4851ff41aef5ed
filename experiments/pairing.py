"""Which run is held against which: families of equal settings, pairs of equal seed and fold, and what is refused."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.outcomes import Outcome

Pair = tuple[int, int | None]  # seed, fold
Key = tuple[str, str]  # of an arm: name, digest
TWINS = {"code": "code", "torch": "torch", "data_digest": "manifest of the data"}  # equal within a pair, else refused
NOTED = ("torch", "device", "threads", "code", "commit")  # may differ between pairs, and are told


@dataclass(frozen=True)
class Paired:
    """A family's runs side by side.

    baseline: its runs, in the order of seed and fold; arms: for each the pairs (its run, the baseline's run) in the
    same order; refused, notes: lines about what was left out and what differs.
    """

    baseline: list[Outcome]
    arms: dict[Key, list[tuple[Outcome, Outcome]]]
    refused: list[str]
    notes: list[str]


def families(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    """Runs with the same data content and the same settings but aug."""
    members: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        members[json.dumps([outcome.facts["content_digest"], outcome.settings], sort_keys=True)].append(outcome)
    return list(members.values())


def members_of(family: Sequence[Outcome], baseline: str) -> list[Outcome]:
    """The runs of an arm that is named by its name or its digest."""
    return [outcome for outcome in family if baseline in (outcome.aug, outcome.digest)]


def pair(family: Sequence[Outcome], baseline: str, metric: str) -> Paired:
    """Put the runs of a family side by side; `metric` without its `test/`.

    Trials of a search are left out where their arm has other runs: the best was chosen for its luck too. Refused are a
    second run of the same arm, seed and fold together with the first, a run without a number for the
    metric, a run whose code, torch, manifest or test images are not those of the baseline's run, an arm without a pair.
    """
    refused, notes = _Lines(), _Lines()
    single = _single(_without_trials(family, notes), refused)
    measured = []
    for outcome in single:
        if not np.isfinite(outcome.metrics.get(f"test/{metric}", np.nan)):
            reason = "is not a number" if f"test/{metric}" in outcome.metrics else "was not measured"
            refused.add(_arm(outcome), f"test/{metric} {reason}", outcome)
        else:
            measured.append(outcome)
    key = _key(members_of(family, baseline)[0])
    against = {_pair(outcome): outcome for outcome in measured if _key(outcome) == key}
    others: dict[Key, list[Outcome]] = {_key(outcome): [] for outcome in family if _key(outcome) != key}
    for outcome in measured:
        if _key(outcome) != key:
            others[_key(outcome)].append(outcome)
    arms: dict[Key, list[tuple[Outcome, Outcome]]] = {}
    for name, members in others.items():
        pairs, seeds = [], {_pair(outcome) for outcome in members}
        for outcome in sorted(members, key=_place):
            twin = against.get(_pair(outcome))
            if twin is None:
                notes.add("/".join(name), f"left out, as {baseline} has no run of the same seed and fold", outcome)
            elif differing := _differing(outcome, twin):
                refused.add("/".join(name), differing, outcome)
            else:
                pairs.append((outcome, twin))
        if pairs:
            arms[name] = pairs
            lacking = [outcome for place, outcome in against.items() if place not in seeds]
            notes.extend("not there, the baseline has them", lacking, "/".join(name))
        else:
            have = spoken(sorted(seeds, key=_sortable)) or "no run that is left"
            refused.add("/".join(name), f"no pair with {baseline} ({spoken(map(_pair, against.values()))}): {have}")
    paired = [pair for pairs in arms.values() for pair in pairs]
    used = [*against.values(), *(outcome for outcome, _ in paired)]
    return Paired(
        baseline=sorted(against.values(), key=_place),
        arms=arms,
        refused=refused.lines(),
        notes=[*notes.lines(), *_same_settings([key, *arms]), *_differences(used, paired)],
    )


def without_baseline(family: Sequence[Outcome], baseline: str, others: Sequence[Sequence[Outcome]]) -> str:
    """The line that refuses a family in which the baseline has no run; `others`: families that have one."""
    ours = _flat(family[0])
    differing = [_keys_differing(ours, _flat(members_of(other, baseline)[0])) for other in others]
    nearest = min(differing, key=len, default=[])
    said = "; ".join(f"{key} {_short(ours.get(key))}, the baseline has {_short(there)}" for key, there in nearest)
    return f"{_named(family)}: no run of the baseline {baseline!r} with the same settings: {said}"


def several_baselines(family: Sequence[Outcome], baseline: str) -> str:
    """The line that refuses a family in which the baseline's name means more than one thing; else empty."""
    digests = sorted({outcome.digest for outcome in members_of(family, baseline)})
    if len(digests) < 2:
        return ""
    return f"{_named(family)}: the baseline {baseline!r} is {' and '.join(digests)}; name one of these instead"


def spoken(pairs: Iterable[Pair]) -> str:
    """Seeds and folds in words: `seeds 0-5, 8`; `seed 0 fold 1, seed 0 fold 2`."""
    places = list(pairs)
    if any(fold is not None for _, fold in places):
        return ", ".join(f"seed {seed}" + ("" if fold is None else f" fold {fold}") for seed, fold in places)
    runs: list[list[int]] = []
    for seed in sorted({seed for seed, _ in places}):
        if runs and runs[-1][-1] == seed - 1:
            runs[-1][1:] = [seed]
        else:
            runs.append([seed])
    text = ", ".join("-".join(map(str, run)) for run in runs)
    return f"{'seed' if len(places) == 1 else 'seeds'} {text}" if text else ""


class _Lines:
    """Lines of one reason each, told once for all the runs and arms that share it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[Pair]] = {}

    def add(self, arm: str, reason: str, outcome: Outcome | None = None) -> None:
        places = self._found.setdefault((arm, reason), [])
        if outcome is not None:
            places.append(_pair(outcome))

    def extend(self, reason: str, outcomes: Iterable[Outcome], arm: str) -> None:
        for outcome in outcomes:
            self.add(arm, reason, outcome)

    def lines(self) -> list[str]:
        arms: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (arm, reason), places in self._found.items():
            arms[spoken(places), reason].append(arm)
        return [
            f"{listed(names)}{f', {places}' if places else ''}: {reason}" for (places, reason), names in arms.items()
        ]


def _without_trials(family: Sequence[Outcome], notes: _Lines) -> list[Outcome]:
    """The runs that no search made, and of arms that have none of these, all."""
    others = {_key(outcome) for outcome in family if not outcome.plan.get("study")}
    kept = []
    for outcome in family:
        if (study := outcome.plan.get("study")) and _key(outcome) in others:
            reason = f"left out, a trial of the search {study}: its arm has runs that were not chosen"
            notes.add(_arm(outcome), reason, outcome)
        else:
            kept.append(outcome)
    return kept


def _single(family: Sequence[Outcome], refused: _Lines) -> list[Outcome]:
    """The runs of which there is one for their arm, seed and fold."""
    same: dict[tuple, list[Outcome]] = defaultdict(list)
    for outcome in family:
        same[_key(outcome), _pair(outcome)].append(outcome)
    for runs in same.values():
        if len(runs) > 1:
            both = " and ".join(outcome.where for outcome in runs)
            refused.add(_arm(runs[0]), f"the same run {len(runs)} times, {both}; keep one", runs[0])
    return [runs[0] for runs in same.values() if len(runs) == 1]


def _differing(outcome: Outcome, twin: Outcome) -> str:
    """What keeps two runs from being a pair; empty where nothing does."""
    for key, words in TWINS.items():
        if outcome.facts[key] != twin.facts[key]:
            return f"{words} {_short(outcome.facts[key])}, the baseline's run has {_short(twin.facts[key])}"
    return "" if outcome.test.digest == twin.test.digest else "tested on other images than the baseline's run"


def _same_settings(arms: Sequence[Key]) -> list[str]:
    """Which arms are one and the same under two names."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, digest in arms:
        names[digest].append(name)
    return [
        f"{' and '.join(same)} have equal settings ({digest}): one arm under several names, counted as several"
        for digest, same in names.items()
        if len(same) > 1
    ]


def _differences(outcomes: Sequence[Outcome], pairs: Sequence[tuple[Outcome, Outcome]]) -> list[str]:
    """What differs among runs that are compared, or is no proof of what made them."""
    notes = []
    for key in NOTED:
        times = Counter(str(outcome.facts[key]) for outcome in outcomes)
        if len(times) > 1:
            said = ", ".join(f"{_short(value)} in {count} runs" for value, count in times.most_common())
            apart = sum(outcome.facts[key] != twin.facts[key] for outcome, twin in pairs)
            where = f"differs within {apart} of {len(pairs)} pairs" if apart else "equal within every pair"
            notes.append(f"{key}: {said}; {where}")
    if any(outcome.fold is not None for outcome in outcomes):
        notes.append(
            "folds: their training images overlap, so that p and intervals over folds are those of the corrected "
            "resampled t-test (Nadeau and Bengio 2003); several seeds of a fold share its cut, so that their mean "
            "counts once: n is the number of folds"
        )
    if unknown := sum("None" in str(outcome.facts["commit"]) for outcome in outcomes):
        notes.append(f"code: no commit is known of {unknown} of {len(outcomes)} runs")
    if dirty := sum(bool(outcome.facts["dirty"]) for outcome in outcomes):
        notes.append(f"code: {dirty} of {len(outcomes)} runs were made with files that differ from their commit")
    return notes


def _flat(outcome: Outcome) -> dict[str, Any]:
    settings = {f"{part}.{key}": value for part, inner in outcome.settings.items() for key, value in inner.items()}
    return settings | {"data content": outcome.facts["content_digest"]}


def _keys_differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, theirs.get(key)) for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]


def _named(family: Sequence[Outcome]) -> str:
    first, names = family[0], list(dict.fromkeys(outcome.aug for outcome in family))
    runs = f"{len(family)} run{'s' if len(family) > 1 else ''}"
    return f"{first.data}/{first.model}/{listed(names)} ({first.recipe}, {runs})"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names with commas between; how many more there are than `most`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 20 else f"{text[:12]}..."


def _key(outcome: Outcome) -> Key:
    return outcome.aug, outcome.digest


def _arm(outcome: Outcome) -> str:
    return "/".join(_key(outcome))


def _pair(outcome: Outcome) -> Pair:
    return outcome.seed, outcome.fold


def _sortable(pair: Pair) -> tuple[int, int]:
    return pair[0], -1 if pair[1] is None else pair[1]


def _place(outcome: Outcome) -> tuple[int, int]:
    return _sortable(_pair(outcome))
