"""How a network is trained, as settings: checked here, acted upon in detector.train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detector.augment import build_augment
from detector.operation import is_number, is_sequence
from detector.optimizers import OPTIMIZERS, SCHEDULES

PRECISIONS = ("fp32", "bf16")
KEEPS = ("last", "best")


@dataclass
class TrainSettings:
    """epochs; batch_size in images; learning_rate (its peak under one_cycle).

    optimizer: a key of OPTIMIZERS; weight_decay; momentum and nesterov of sgd.
    schedule: a key of SCHEDULES. step: times `decay` every decay_every epochs; plateau: times `decay` when validation
    accuracy has not risen for more than decay_patience epochs; cosine: to 0 over the whole run; one_cycle: torch's, of
    the whole run.
    label_smoothing: from 0 to below 1, labels become that much of .5; of several classes, of their even
    share. ema: decay a step of averaged weights, which are those that are tested; 0: none.
    precision: fp32 (CUDA multiplies in TF32), or bf16 (autocast); the colour view stays float32.
    keep: last or best, the epoch whose weights are tested; best is by validation accuracy, the first of equals.
    patience: epochs without a better validation accuracy after which it ends, with keep=best; null: none.
    augment: operations of detector.augment, drawn for each image and epoch, alike in all arms.
    phases: [] for one, or {train, learning_rate, epochs} of each, their sum being epochs: what is trained is all, the
    last N layers that have weights ("last 30"), or a part by its name, such as head; the rest is frozen with its
    statistics. A phase begins with the best weights so far and a new optimiser.
    log_every: steps between two looks at the loss.
    together: runs of a sweep that one process trains at once where they differ only in seed and view: auto (on CUDA
    all that may and fit, on the CPU 1) or the most of them. What a run comes to does not hang on it.
    """

    name: str = "parent"
    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: str = "constant"
    precision: str = "fp32"
    keep: str = "last"
    log_every: int = 50
    together: Any = "auto"
    optimizer: str = "adam"
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    decay: float = 0.1
    decay_every: int = 1
    decay_patience: int = 2
    label_smoothing: float = 0.0
    ema: float = 0.0
    patience: int | None = None
    augment: list[Any] = field(default_factory=list)
    phases: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "log_every", "decay_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"train.{key}={getattr(self, key)}: expected a whole number of at least 1")
        if self.together != "auto" and (type(self.together) is not int or self.together < 1):
            raise ValueError(f"train.together={self.together}: expected auto or a whole number of at least 1")
        _check_rate("train.learning_rate", self.learning_rate)
        for key, accepted in (
            ("schedule", SCHEDULES),
            ("optimizer", OPTIMIZERS),
            ("precision", PRECISIONS),
            ("keep", KEEPS),
        ):
            if getattr(self, key) not in accepted:
                raise ValueError(f"train.{key}={getattr(self, key)!r}: expected {' or '.join(accepted)}")
        for key in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"train.{key}={getattr(self, key)}: expected a number from 0 to below 1")
        if not 0 < self.decay < 1:
            raise ValueError(f"train.decay={self.decay}: expected a number between 0 and 1")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"train.weight_decay={self.weight_decay}: expected a number of at least 0")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            raise ValueError("train.nesterov=True: expected train.optimizer=sgd and train.momentum above 0 with it")
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"train.momentum={self.momentum}: expected train.optimizer=sgd with it, or 0")
        self._check_waiting()
        build_augment(self.augment)
        _check_phases(self.phases)
        if self.phases:
            self._check_beside_phases()

    def _check_beside_phases(self) -> None:
        total, rate = sum(phase["epochs"] for phase in self.phases), self.phases[0]["learning_rate"]
        if self.epochs != total:
            raise ValueError(f"train.epochs={self.epochs}: expected {total}, the sum of the epochs of train.phases")
        if self.learning_rate != rate:
            raise ValueError(f"train.learning_rate={self.learning_rate}: expected {rate}, that of train.phases[0]")
        if self.patience is not None:
            raise ValueError(f"train.patience={self.patience}: expected null with train.phases, which have epochs")
        if self.schedule not in ("constant", "plateau"):
            raise ValueError(f"train.schedule={self.schedule!r}: expected constant or plateau with train.phases")

    def _check_waiting(self) -> None:
        if self.decay_patience < 0:
            raise ValueError(f"train.decay_patience={self.decay_patience}: expected a whole number of at least 0")
        if self.patience is None:
            return
        if self.patience < 1:
            raise ValueError(f"train.patience={self.patience}: expected a whole number of at least 1, or null")
        if self.keep != "best":
            raise ValueError(f"train.patience={self.patience}: expected train.keep=best with it")

    @property
    def goes_alone(self) -> bool:
        """Whether the next epoch hangs on what validation came to, or weights are averaged: such a training is not
        stacked with others."""
        return self.schedule == "plateau" or self.patience is not None or bool(self.phases) or self.ema > 0


def _check_rate(key: str, value: Any) -> None:
    if not is_number(value) or not 0 < value < float("inf"):
        raise ValueError(f"{key}={value}: expected a number above 0")


def _check_phases(phases: Sequence[Mapping[str, Any]]) -> None:
    if not is_sequence(phases):
        raise ValueError(f"train.phases={phases!r}: expected a list of phases, [] for none")
    for number, phase in enumerate(phases):
        where = f"train.phases[{number}]"
        if not isinstance(phase, Mapping) or {*phase} != {"train", "learning_rate", "epochs"}:
            raise ValueError(f"{where}={phase!r}: expected a mapping of train, learning_rate and epochs")
        _check_rate(f"{where}.learning_rate", phase["learning_rate"])
        if type(phase["epochs"]) is not int or phase["epochs"] < 1:
            raise ValueError(f"{where}.epochs={phase['epochs']}: expected a whole number of at least 1")
        if not isinstance(phase["train"], str) or not phase["train"]:
            raise ValueError(f"{where}.train={phase['train']!r}: expected all, last N, or the name of a part")
