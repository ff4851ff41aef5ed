"""Checks of the instrument: arms of which we know beforehand what must come out, and whether it did."""

import math
from typing import TYPE_CHECKING

import numpy as np

from experiments import charts, tables
from experiments.report.blocks import Block, Table, Text

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison

PASSED, FAILED, OPEN = "passed", "FAILED", "open: too little to say"
CHANCE = 0.05  # a network that learned shuffled labels still leans one way, by chance


def checks(comparison: "Comparison") -> list[Block]:
    """What was expected of each control and what came out; a sentence where there is no control."""
    rows = []
    for arm, name in zip(comparison.arms, tables.labels(comparison)[1:], strict=True):
        for expected, found, result in _checks_of(arm, comparison):
            rows.append([name, expected, found, result])
    if not rows:
        return [Text("No arm of this comparison is a control, so nothing here checks the instrument.")]
    rule = (
        f"Within the margin: the 90 % interval over seeds lies inside ±{100 * comparison.margin:g} points, each "
        "control judged for itself. It fails where a win or a loss reaches beyond the margin, and is open otherwise."
    )
    return [Table("Arms whose result is known beforehand", ["arm", "expected", "found", "check"], rows), Text(rule)]


def _checks_of(arm: "Arm", comparison: "Comparison") -> list[tuple[str, str, str]]:
    if arm.view.get("shuffle_labels"):
        return [_chance(arm, len(np.unique(comparison.test.labels)))]
    if arm.view.get("seed_offset"):
        expected = "the same pictures, other seeds (A/A): no win and no loss"
        if arm.verdict is None or arm.verdict.exploratory:  # which could claim nothing, whatever the numbers
            return [(expected, _found(arm), OPEN)]
        return [(expected, _found(arm), FAILED if arm.verdict.kind in ("win", "loss") else PASSED)]
    steps = [dict(step) for step in arm.view.get("train") or []]
    if [step.get("op") for step in steps] == ["invert"]:
        return [_null(arm, comparison, "every pixel turned round and nothing lost: within the margin")]
    last = steps[-1] if steps else {}
    factor = last.get("factor")
    if last.get("op") == "saturate" and isinstance(factor, int | float) and factor == 1:
        what = (
            "saturation by factor 1 changes nothing" if len(steps) == 1 else "inversion alone, as factor 1 is nothing"
        )
        return [_null(arm, comparison, f"{what}: within the margin")]
    return []


def _null(arm: "Arm", comparison: "Comparison", expected: str) -> tuple[str, str, str]:
    """Passed where the 90 % interval over seeds (that of the equivalence test) lies inside the margin, failed where
    the 95 % interval leaves zero and reaches beyond the margin."""
    evidence, margin = arm.evidence, comparison.margin
    if evidence is None:
        return expected, _found(arm), OPEN
    if -margin < evidence.equivalent_low and evidence.equivalent_high < margin:
        return expected, _found(arm), PASSED
    apart = arm.verdict is not None and arm.verdict.kind in ("win", "loss")
    return expected, _found(arm), FAILED if apart else OPEN


def _chance(arm: "Arm", classes: int) -> tuple[str, str, str]:
    values = np.array([run.metrics.get("test/balanced_accuracy", math.nan) for run in arm.members])
    middle, half = charts.spread(values)
    expected = f"trained on shuffled labels: balanced accuracy {100 / classes:.3g} % ± {100 * CHANCE:g} %"
    found = f"{100 * middle:.2f} % (± {100 * half:.2f}, n = {len(values)})"
    if math.isnan(middle):
        return expected, found, OPEN
    return expected, found, PASSED if abs(middle - 1 / classes) <= CHANCE else FAILED


def _found(arm: "Arm") -> str:
    if arm.evidence is None:
        return tables.NONE
    interval = tables.span(arm.evidence.low, arm.evidence.high)
    verdict = f"; {arm.verdict.kind}" if arm.verdict else ""
    return f"{tables.points(arm.evidence.difference, '+z.2f')} points ({interval}, n = {arm.evidence.pairs}){verdict}"
