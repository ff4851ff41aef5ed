"""Rounds of measurements, row by row: medians, spread and a verdict."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from experiments.benchmark.machines import ticks
from experiments.benchmark.material import Material
from experiments.benchmark.rounds import Round
from experiments.benchmark.rows import Row
from experiments.shell import one_line

REACHED, NOT_REACHED, TOLD, FAILED = "reached", "not reached", "-", "not measured"


@dataclass
class Result:
    """What came of a row, a number a round. ratios: how many times as fast as the other or, where at_most is set, how
    much of the other; stolen: the share of the processor's time that other machines took, in [0, 1]; failure: why a row
    has no more numbers."""

    what: str
    against: str
    unit: str
    at_least: float | None
    at_most: float | None
    ours: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    stolen: list[float] = field(default_factory=list)
    note: str = ""
    failure: str = ""

    @classmethod
    def of(cls, row: Row) -> "Result":
        return cls(row.what, row.against, row.unit, row.at_least, row.at_most)

    @property
    def verdict(self) -> str:
        """By the median of the rounds' ratios."""
        if self.failure or not self.ratios:
            return FAILED
        if self.at_least is None and self.at_most is None:
            return TOLD
        ratio = median(self.ratios)
        reached = ratio >= self.at_least if self.at_least is not None else ratio <= (self.at_most or 0)
        return REACHED if reached else NOT_REACHED

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


def measure(
    rows: Mapping[str, Row],
    material: Material,
    *,
    device: str,
    rounds: int,
    say: Callable[[str], None],
    keep: Callable[[dict[str, Result]], None],
) -> dict[str, Result]:
    """Every row in turn, `rounds` times; in every other round the other side goes first.

    say: told what was just measured; keep: given the results after each round. A row whose program fails is not
    measured again, and the others go on.
    """
    results = {name: Result.of(row) for name, row in rows.items()}
    chosen: dict[Path, dict[int, float]] = {}
    for number in range(rounds):
        round = Round(material, device, chosen)
        try:
            for name, row in rows.items():
                if not results[name].failure:
                    _measure(row, results[name], round, ours_first=number % 2 == 0)
                    say(f"round {number + 1} of {rounds}: {name}: {_newest(results[name])}")
        finally:
            round.clear()
        keep(results)
    return results


def _measure(row: Row, result: Result, round: Round, *, ours_first: bool) -> None:
    before = ticks()
    try:
        if ours_first:
            ours, other = row.ours(round), row.other(round)
        else:
            other, ours = row.other(round), row.ours(round)
        result.ratios.append(row.compare(ours, other, round))
        result.ours.append(ours)
        result.other.append(other)
        passed, stolen = (now - then for now, then in zip(ticks(), before, strict=True))
        result.stolen.append(stolen / max(1, passed))
        result.note = row.note(round)
    except Exception as error:  # noqa: BLE001 - whatever it is, the row says so and the others are measured
        result.failure = one_line(error)


def _newest(result: Result) -> str:
    if result.failure:
        return f"{FAILED}: {result.failure}"
    return f"{result.ours[-1]:,.4g} against {result.other[-1]:,.4g} {result.unit}, ratio {result.ratios[-1]:.3g}"
