"""From facts of pictures to lines of a report: a sample by lot, an AUC for all and for each source, a verdict on it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from datasets.audit.separation import Separation, group_folds, separation
from datasets.manifest import FAKE, REAL, Row

VERDICTS = ("not judged", "clean", "too few to say", "suspicious", "confounded")  # from good to bad
NOT_JUDGED, CLEAN, TOO_FEW, SUSPICIOUS, CONFOUNDED = VERDICTS
LEAST_IMAGES = 20  # of a class
LARGE, SMALL, CHANCE, UNSURE = 0.60, 0.55, 0.5, 0.65
INNOCENT = "may be what generation does, or another choice of pictures"
Facts = Mapping[str, np.ndarray]


def verdict_of(found: Separation) -> str:
    """The rule at the head of datasets/audit/__init__.py."""
    if found.low >= LARGE:
        return CONFOUNDED
    if found.high < SMALL:
        return CLEAN
    if found.low <= CHANCE:
        return CLEAN if found.high < UNSURE else TOO_FEW
    return SUSPICIOUS


def labels_of(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row.label for row in rows], np.int64)


def only(facts: Facts, names: Iterable[str]) -> Facts:
    return {name: facts[name] for name in names}


def strata_of(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Name -> indices: each source that has both classes, and the others together."""
    real, fake = ({row.source for row in rows if row.label == label} for label in (REAL, FAKE))
    if len(real | fake) == 1:
        return {min(real | fake): np.arange(len(rows))}
    others = " + ".join(sorted(real ^ fake))
    names = np.array([row.source if row.source in real & fake else others for row in rows])
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


def sample(rows: Sequence[Row], most: int, seed: int) -> tuple[list[Row], np.ndarray]:
    """About `most` rows of each class with their indices, in order: by lot, evenly from the strata."""
    labels = np.array([row.label if row.split != "unused" else -1 for row in rows])
    random = np.random.default_rng(seed)
    strata = strata_of(rows)
    chosen = [np.empty(0, np.int64)]
    for inside in strata.values():
        for label in (REAL, FAKE):
            chosen.append(random.permutation(inside[labels[inside] == label])[: -(-most // len(strata))])
    places = np.sort(np.concatenate(chosen))
    return [rows[place] for place in places], places


def judge(
    part: str,
    facts: Facts,
    rows: Sequence[Row],
    seed: int,
    *,
    names: Mapping[str, str] | None = None,
    because: str = "",
    of: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """A line for all rows and, where there are several strata, one for each that has both classes.

    names: fact -> what it is called, by default itself. because: why what tells `of` these rows, bool (N,), by default
    all, apart may be innocent; a stratum of such rows only is suspicious at most. So is the line for all where such a
    stratum is suspicious and none is confounded: it may find no more than that one.
    """
    labels, innocent = labels_of(rows), np.ones(len(rows), bool) if of is None else of
    strata = strata_of(rows)
    alone: list[dict[str, Any]] = []
    excused = False
    for name, inside in strata.items() if len(strata) > 1 else ():
        if len(set(labels[inside])) < 2:
            continue
        excuse = because if innocent[inside].all() else ""
        there = {fact: values[inside] for fact, values in facts.items()}
        alone.append(line_of(f"{part} ({name})", there, [rows[i] for i in inside], seed, names=names, because=excuse))
        excused |= bool(excuse) and alone[-1]["verdict"] == SUSPICIOUS
    excused &= all(line["verdict"] != CONFOUNDED for line in alone)
    because = because if excused or innocent.all() else ""
    return [line_of(part, facts, rows, seed, names=names, because=because), *alone]


def line_of(
    part: str,
    facts: Facts,
    rows: Sequence[Row],
    seed: int,
    *,
    names: Mapping[str, str] | None = None,
    because: str = "",
) -> dict[str, Any]:
    """names: fact -> what it is called, by default itself. because: why it may be innocent; then suspicious at most."""
    labels = labels_of(rows)
    count = np.bincount(labels, minlength=2)
    if count.min() < LEAST_IMAGES:
        there = f"{count[REAL]:,} REAL and {count[FAKE]:,} FAKE; at least {LEAST_IMAGES} of each are needed"
        return counted(part, TOO_FEW, there)
    folds = group_folds([row.group for row in rows], labels, seed)
    found = separation(facts, labels, folds)
    alone = {fact: separation({fact: values}, labels, folds) for fact, values in facts.items()}
    why, verdict = _why(alone, names or {}), verdict_of(found)
    if because and verdict in (SUSPICIOUS, CONFOUNDED):
        why, verdict = f"{why}: {because}", SUSPICIOUS
    numbers = {key: round(value, 4) for key, value in found._asdict().items()}
    best = {fact: round(single.auc, 4) for fact, single in alone.items()}
    return {"part": part, **numbers, "verdict": verdict, "because": why, "alone": best}


def _why(alone: Mapping[str, Separation], names: Mapping[str, str]) -> str:
    """The facts that tell most, at most three of different names."""
    telling = sorted(alone, key=lambda fact: -alone[fact].auc)
    said: dict[str, str] = {}
    for fact in telling:
        if alone[fact].auc >= SMALL and alone[fact].low > CHANCE:
            name = names.get(fact, fact)
            words = f"AUC {alone[fact].auc:.3f}"
            said.setdefault(name, f"{name} ({fact} alone: {words})" if name != fact else f"{name} (alone: {words})")
    first = telling[0]
    return ", ".join(list(said.values())[:3]) or f"nothing stands out; {first} alone: AUC {alone[first].auc:.3f}"


def counted(part: str, verdict: str, because: str) -> dict[str, Any]:
    return {"part": part, "auc": None, "low": None, "high": None, "verdict": verdict, "because": because, "alone": {}}
