"""The rows of the benchmark: what is measured on each side, what must be reached, and what a reader should know."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from experiments.benchmark import notes
from experiments.benchmark.notes import MIB
from experiments.benchmark.rounds import Round
from experiments.shell import Unusable

PLAIN_MIB = 700  # that a run may hold besides three times its data


@dataclass(frozen=True)
class Row:
    """what: of ours; against: what it is held against; unit: images/s, where more is better, or a time or size, where
    less is.

    at_least: so many times as fast as the other; at_most: so much of the other; None: told, not asked for.
    ratio: where a round finds it better than as one number through the other. note: said beside the figures.
    """

    what: str
    against: str
    unit: str
    ours: Callable[[Round], float]
    other: Callable[[Round], float]
    at_least: float | None = None
    at_most: float | None = None
    ratio: Callable[[Round], float] | None = None
    note: Callable[[Round], str] = lambda _: ""

    def compare(self, ours: float, other: float, round: Round) -> float:
        """How many times as fast as the other or, where a most is asked for, how much of the other."""
        if self.ratio:
            return self.ratio(round)
        more_is_better = self.unit.endswith("/s")
        return ours / other if more_is_better or self.at_most is not None else other / ours


def _epoch(what: str, precision: str, at_least: float) -> Row:
    return Row(
        what,
        "PARENT",
        "images/s",
        lambda round: round.epochs(precision)["epoch"],
        lambda round: round.parent_run.answer["epoch"],
        at_least=at_least,
        note=notes.epoch(precision),
    )


def _large(what: str, precision: str) -> Row:
    return Row(
        what,
        "PARENT",
        "images/s",
        lambda round: round.large(precision)["epoch"],
        lambda round: round.parent_large.answer["epoch"],
        at_least=5.0,
        note=notes.large(precision),
    )


def _sweep6(what: str, precision: str, at_least: float) -> Row:
    return Row(
        what,
        "six PARENT runs",
        "s",
        lambda round: round.sweep(round.material.sweep, 2, 3, precision),
        lambda round: round.parent_sweep(round.material.sweep, 2, 3),
        at_least=at_least,
        note=notes.sweep("sweep", 6),
    )


def _peak(round: Round) -> float:
    return max(round.packed[0].peak_mib, round.whole_peak_mib)


def _share(round: Round) -> float:
    return median(a / b for a, b in zip(round.loop["with"], round.loop["without"], strict=True))


ROWS = {
    "epoch": _epoch("epoch of A32 on CIFAKE, batch 32, float32, one run", "fp32", 2.5),
    "epoch_bf16": _epoch("the same with bf16", "bf16", 3.5),
    "sweep6": _sweep6("sweep of 6 runs (2 views x 3 seeds, 1 epoch), wall time, float32", "fp32", 3.0),
    "sweep6_bf16": _sweep6("the same sweep in bf16", "bf16", 3.8),
    "sweep30": Row(
        "sweep of 30 short runs (6 views x 5 seeds, 1 epoch), wall time",
        "a PARENT process per run",
        "s",
        lambda round: round.sweep(round.material.short, 6, 5),
        lambda round: round.parent_sweep(round.material.short, 6, 5),
        at_least=6.0,
        note=notes.sweep("short", 30),
    ),
    "transform": Row(
        "training step with the transform (luma x8 after inversion)",
        "the step without it",
        "ms",
        lambda round: 1000 * median(round.loop["with"]),
        lambda round: 1000 * median(round.loop["without"]),
        at_most=1.03,
        ratio=_share,
        note=notes.transform,
    ),
    "packing": Row(
        "packing CIFAKE from the archive, everything included",
        "PARENT's loading of as many images (0 workers)",
        "images/s",
        lambda round: round.packed[0].answer["images"] / round.packed[0].answer["seconds"],
        lambda round: round.parent_loading["images"] / round.parent_loading["seconds"],
        at_least=2.0,
        note=notes.loading,
    ),
    "evaluation": Row(
        "evaluation of the test split",
        "PARENT, its better number of workers",
        "images/s",
        lambda round: median(round.loop["evaluations"]),
        lambda round: max(round.parent_run.answer["evaluations"].values()),
        at_least=4.0,
    ),
    "large": _large("large images (1344x768 JPEG, 256 px, A720, batch 16), second epoch, float32", "fp32"),
    "large_bf16": _large("the same with bf16", "bf16"),
    "memory": Row(
        "peak memory of a CIFAKE run, packing included",
        "three times its uint8 data plus 700 MiB",
        "MiB",
        _peak,
        lambda round: 3 * round.packed[0].answer["bytes"] / MIB + PLAIN_MIB,
        at_most=1.0,
        note=notes.memory,
    ),
    "start": Row(
        "start of the process to the end of the first step, packed before",
        "PARENT",
        "s",
        lambda round: round.first_step,
        lambda round: round.parent_run.answer["first_step"] - round.parent_run.started,
    ),
    "step": Row(
        "training step of A32 alone, batch 32, float32",
        "PARENT",
        "ms",
        lambda round: 1000 * median(round.loop["without"]),
        lambda round: 1000 * median(round.parent_steps["step"]),
        note=lambda _: "ours: gathering the batch from uint8 included; PARENT's: a batch that is there",
    ),
    "view": Row(
        "the transform alone, batch of 32",
        "PARENT",
        "ms",
        lambda round: 1000 * median(round.loop["transform"]),
        lambda round: 1000 * median(round.parent_steps["transform"]),
    ),
}

CUDA_ROWS = {
    "recipe": Row(
        "train=parent on CIFAKE (5 epochs, batch 32)",
        "15 s",
        "s",
        lambda round: round.recipe("parent")["seconds"],
        lambda _: 15.0,
        at_most=1.0,
        note=lambda round: (
            f"from the network to the done mark; {round.recipe('parent')['wall']:.1f} s the whole command; "
            f"test accuracy {round.recipe('parent')['accuracy']:.4f}"
        ),
    ),
    "sixty": Row(
        "sixty such runs (ten views x six seeds), wall time",
        "one of them, wall time",
        "s",
        lambda round: round.sixty,
        lambda round: round.recipe("parent")["wall"],
        at_most=8.0,
    ),
    "fast": Row(
        "train=fast on CIFAKE",
        "3 s",
        "s",
        lambda round: round.recipe("fast")["seconds"],
        lambda _: 3.0,
        at_most=1.0,
        note=lambda round: f"from the network to the done mark; {round.recipe('fast')['wall']:.1f} s the whole command",
    ),
    "fast_accuracy": Row(
        "test accuracy of train=fast, seed 0",
        "of train=parent, seed 0",
        "of 1",
        lambda round: round.recipe("fast")["accuracy"],
        lambda round: round.recipe("parent")["accuracy"],
        at_least=0.995,
        ratio=lambda round: round.recipe("fast")["accuracy"] / round.recipe("parent")["accuracy"],
    ),
}


def choose(names: list[str] | None, device: str) -> dict[str, Row]:
    """The rows of these names, None for all, in their order; those made for two cores are told on CUDA without being
    asked for. Unusable naming what there is."""
    rows = ROWS
    if device == "cuda":
        told = {name: replace(row, at_least=None, at_most=None) for name, row in ROWS.items() if row.at_most is None}
        rows = CUDA_ROWS | told
    if unknown := [name for name in names or () if name not in rows]:
        raise Unusable(f"--rows {unknown[0]}: no such row; expected some of {', '.join(rows)}")
    return {name: row for name, row in rows.items() if names is None or name in names}
