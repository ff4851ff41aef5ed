"""What a reader should know of a row beside its figures, in a few words."""

from collections.abc import Callable
from pathlib import Path

from experiments.benchmark.ours import LONGER, STEPS
from experiments.benchmark.rounds import Round

MIB = 2**20


def loading(round: Round) -> str:
    finished, _ = round.packed
    return f"{finished.answer['images']:,} images; ours: listed, decoded, searched for duplicates, split, audited"


def epoch(precision: str) -> Callable[[Round], str]:
    def note(round: Round) -> str:
        ours, parent = round.epochs(precision), round.parent_run.answer
        return (
            f"end to end, validation (ours: and test) included; training alone {ours['training']:,.0f} against "
            f"{parent['training']:,.0f}; {ours['threads']:.0f} threads against {parent['threads']}; "
            + workers(round, round.material.epoch)
        )

    return note


def large(precision: str) -> Callable[[Round], str]:
    def note(round: Round) -> str:
        ours, parent = round.large(precision), round.parent_large.answer
        return (
            f"drawn pictures, {parent['images']:,} for training; training alone {ours['training']:,.1f} against "
            f"{parent['training']:,.1f}; " + workers(round, round.material.large)
        )

    return note


def transform(round: Round) -> str:
    steps = STEPS * LONGER[round.device]
    return f"in turn, in one process; median of {round.sizes.pairs} ratios of {steps} steps each"


def workers(round: Round, origin: Path) -> str:
    return f"PARENT with {round.workers(origin)} workers, the better of 0 and 2"


def sweep(name: str, runs: int) -> Callable[[Round], str]:
    """name: of its files, in Material and Sizes."""

    def note(round: Round) -> str:
        measured = min(runs, round.sizes.processes or runs)
        scaled = "" if measured == runs else f"; PARENT's mean of {measured} processes, times {runs}"
        files, _ = getattr(round.sizes, name)
        return (
            f"{files - files // 5:,} training images each; packing and start-up included; "
            f"{workers(round, getattr(round.material, name))}{scaled}"
        )

    return note


def memory(round: Round) -> str:
    finished, _ = round.packed
    return (
        f"{finished.answer['bytes'] / MIB:,.0f} MiB of uint8; largest process of packing and of a run; PARENT's "
        f"{round.parent_run.peak_mib:,.0f} MiB, its workers apart"
    )
