"""From scores on clean and on degraded pictures to numbers: each arm in each cell, one-sided too, and its verdict."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.manifest import FAKE
from detector.metrics import accuracy, auc
from experiments import pairing
from experiments.charts import spread
from experiments.evidence import weigh
from experiments.outcomes import Outcome
from experiments.pairing import Key
from experiments.robustness.grid import CLEAN, Cell, label
from experiments.verdicts import Verdict, judge

SIDES = ("both", "fakes", "reals")  # which class is degraded, the other one clean
METRICS = {"accuracy": accuracy, "auc": auc}  # that a verdict can rest on

Row = dict[str, Any]
Scores = Mapping[str, np.ndarray]  # by a run's folder: (cells, N), the first of them clean


def rows(found: pairing.Paired, cells: Sequence[Cell], scores: Scores, *, metric: str, margin: float) -> list[Row]:
    """What came out, a row for each arm (the baseline first), cell and side.

    Of each measure the mean over the arm's runs, and of `metric` half its 95 % t interval; `values`: that metric of
    each run; to_clean: its mean paired difference to the clean pictures, and half the interval. Where both classes are
    degraded, of an arm also the paired difference to the baseline with evidence and verdict; p_family and p_equivalent
    are corrected over all arms and cells at once.
    """
    weighed = _weighed(found, cells, scores, metric, margin)
    first = found.baseline[0]
    arms = {(first.aug, first.digest): found.baseline}
    arms |= {key: [run for run, _ in pairs] for key, pairs in found.arms.items()}
    times = Counter(name for name, _ in arms)
    told = []
    for (name, digest), members in arms.items():
        called = name if times[name] == 1 else f"{name} {digest}"
        every = [[_measured(run, scores[run.where], place) for run in members] for place in range(len(cells))]
        for cell, each in zip(cells, every, strict=True):
            for side in SIDES:
                values, before = (np.array([run[side][metric] for run in runs]) for runs in (each, every[0]))
                row: Row = {"arm": called, "cell": label(cell), "degraded": side, "runs": len(members)}
                row |= dict(zip(("degradation", "strength"), cell or (CLEAN, None), strict=True))
                row |= {measure: float(np.mean([run[side][measure] for run in each])) for measure in each[0][side]}
                row |= {"half": spread(values)[1], "values": values.tolist()}
                row |= dict(zip(("to_clean", "to_clean_half"), spread(values - before), strict=True))
                told.append(row | (weighed.get((name, digest, cell), {}) if side == "both" else {}))
    return told


def measured(
    scores: np.ndarray, clean: np.ndarray, labels: np.ndarray, threshold: float
) -> dict[str, dict[str, float]]:
    """Of one run in one cell, for each of SIDES. scores, clean: probability of FAKE, not calibrated, of the degraded
    and of the clean pictures, (N,); threshold: of accuracy_at_threshold, chosen on clean validation.

    accuracy, and what is called fake, is at .5; flipped: share of all pictures that are called otherwise than clean.
    """
    fake = labels == FAKE
    sides = {"both": scores, "fakes": np.where(fake, scores, clean), "reals": np.where(fake, clean, scores)}
    return {
        side: {
            "accuracy": accuracy(values, labels),
            "accuracy_at_threshold": accuracy(values, labels, threshold=threshold),
            "auc": auc(values, labels),
            "reals_called_fake": float((values[~fake] >= 0.5).mean()),
            "fakes_called_fake": float((values[fake] >= 0.5).mean()),
            "flipped": float(((values >= 0.5) != (clean >= 0.5)).mean()),
        }
        for side, values in sides.items()
    }


def word(verdict: Verdict) -> str:
    """win, loss, equivalent, undecided or exploratory."""
    return "exploratory" if verdict.exploratory else verdict.kind


def _measured(run: Outcome, scores: np.ndarray, place: int) -> dict[str, dict[str, float]]:
    return measured(scores[place], scores[0], run.test.labels, run.metrics["val/threshold"])


def _weighed(
    found: pairing.Paired, cells: Sequence[Cell], scores: Scores, metric: str, margin: float
) -> dict[tuple[str, str, Cell], Row]:
    """Evidence and verdict of every arm in every cell, as one family of comparisons."""
    pairs, place = {}, {}
    for number, cell in enumerate(cells):
        for (arm, digest), members in found.arms.items():
            key: Key = (f"{arm}, {label(cell)}", digest)
            place[key] = (arm, digest, cell)
            pairs[key] = [
                (_at(run, scores, number, metric), _at(twin, scores, number, metric)) for run, twin in members
            ]
    tests = {run.test.digest: run.test for run in found.baseline}
    told = {}
    for key, evidence in weigh(pairs, metric, margin=margin, tests=tests).items():
        verdict = judge(evidence, margin=margin)
        names = ("difference", "low", "high", "p", "p_family", "p_equivalent", "images_low", "images_high")
        row = {name: getattr(evidence, name) for name in names}
        told[place[key]] = row | {"pairs": evidence.pairs, "verdict": word(verdict), "reason": verdict.reason}
    return told


def _at(run: Outcome, scores: Scores, place: int, metric: str) -> Outcome:
    """The run as if the pictures of a cell had been its test."""
    values = scores[run.where][place]
    value = METRICS[metric](values, run.test.labels)
    correct = (values >= 0.5) == (run.test.labels == FAKE)
    return replace(run, metrics=run.metrics | {f"test/{metric}": value}, correct=correct, scores=values)
