"""The training loop: one small network, one optimiser, one record every few steps and one an epoch."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from detector.batches import Pictures
from detector.color import View
from detector.predict import probabilities
from detector.randomness import derive, permutation


@dataclass
class TrainSettings:
    """epochs; batch_size in images; learning_rate of Adam (its peak under a schedule).

    schedule: constant, or one_cycle (torch's OneCycleLR over the whole run).
    precision: fp32, or bf16 (autocast; the colour view stays float32).
    keep: last or best, the epoch whose weights are tested; best is by validation accuracy, the first of equals.
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

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "log_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"train.{key}={getattr(self, key)}: expected a whole number of at least 1")
        if self.together != "auto" and (type(self.together) is not int or self.together < 1):
            raise ValueError(f"train.together={self.together}: expected auto or a whole number of at least 1")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"train.learning_rate={self.learning_rate}: expected a number above 0")
        for key, accepted in (
            ("schedule", ("constant", "one_cycle")),
            ("precision", ("fp32", "bf16")),
            ("keep", ("last", "best")),
        ):
            if getattr(self, key) not in accepted:
                raise ValueError(f"train.{key}={getattr(self, key)!r}: expected {' or '.join(accepted)}")


class NotFinite(ArithmeticError):
    """The loss became infinite or not a number."""

    exit_status = 5


@dataclass(frozen=True)
class Steps:
    """Some steps just done: their numbers (from 1, over the whole run), losses and learning rates; images so far in
    this epoch."""

    steps: list[int]
    losses: list[float]
    learning_rates: list[float]
    images: int


@dataclass(frozen=True)
class Epoch:
    """An epoch just done: its number from 1; scores (n,) and rows (n,) as seen in training, dropout and view included;
    seconds of training alone."""

    epoch: int
    scores: np.ndarray
    rows: np.ndarray
    seconds: float


@dataclass
class Training:
    """A network on its way: everything that changes from step to step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    epoch: int = 0
    step: int = 0
    settings: TrainSettings = field(default_factory=TrainSettings)

    @classmethod
    def begin(cls, model: nn.Module, settings: TrainSettings, *, num_images: int, device: torch.device) -> "Training":
        """The network on the device, with its optimiser and schedule, before the first step."""
        model = model.to(device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        scheduler = None
        if settings.schedule == "one_cycle":
            total = settings.epochs * -(-num_images // settings.batch_size)
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=total)
        return cls(model, optimizer, scheduler, settings=settings)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on as if nothing had happened, at the end of an epoch."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "epoch": self.epoch,
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state; everything random is drawn anew from (seed, epoch), so no generator is stored."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        self.epoch, self.step = state["epoch"], state["step"]


def fit(training: Training, pictures: Pictures, rows: Tensor, view: View, *, seed: int) -> Iterator[Steps | Epoch]:
    """Train on `rows` (int64, CPU) from where `training` stands to its last epoch.

    Yields Steps every `log_every` steps and Epoch after each epoch, when `training` may be saved. Order, view and
    dropout are drawn from (seed, epoch) each by itself: another view sees the same images in the same order.
    Raises NotFinite naming the step.
    """
    settings, model = training.settings, training.model
    while training.epoch < settings.epochs:
        started = time.perf_counter()
        epoch = training.epoch + 1
        order = rows[permutation(seed, epoch, len(rows))]
        key = derive(seed, "augmentation", epoch)
        torch.manual_seed(derive(seed, "dropout", epoch))
        model.train()
        logits_seen: list[Tensor] = []
        losses: list[Tensor] = []
        rates: list[float] = []
        images = 0
        for batch in pictures.batches(order, settings.batch_size):
            with torch.autocast(pictures.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                logits = model(view(batch.images, key, batch.rows)).squeeze(1).float()
            loss = binary_cross_entropy_with_logits(logits, batch.labels)
            training.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            rates.append(training.optimizer.param_groups[0]["lr"])
            training.optimizer.step()
            if training.scheduler:
                training.scheduler.step()
            training.step += 1
            images += len(batch.rows)
            logits_seen.append(logits.detach())
            losses.append(loss.detach())
            if len(losses) == settings.log_every or images == len(order):
                paused = time.perf_counter()
                yield _steps(training, losses, rates, images)
                started += time.perf_counter() - paused  # what the consumer does with it is not training
                losses, rates = [], []
        training.epoch = epoch
        scores = probabilities(torch.cat(logits_seen))
        yield Epoch(epoch, scores, order.numpy(), time.perf_counter() - started)


def _steps(training: Training, losses: list[Tensor], rates: list[float], images: int) -> Steps:
    values = torch.stack(losses).tolist()
    first = training.step - len(values) + 1
    for step, (value, rate) in enumerate(zip(values, rates, strict=True), first):
        if not np.isfinite(value):
            raise NotFinite(
                f"the loss became {value} at step {step} (epoch {training.epoch + 1}, learning rate {rate:g}, "
                f"batch size {training.settings.batch_size}); try a smaller train.learning_rate"
            )
    return Steps(list(range(first, training.step + 1)), values, rates, images)
