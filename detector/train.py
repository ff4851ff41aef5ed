"""The training loop: one small network, one optimiser, one record every few steps and one an epoch."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from detector import arithmetic
from detector.adam import Adam
from detector.batches import Batch, Pictures
from detector.color import View
from detector.dropout import drawing
from detector.predict import probabilities
from detector.randomness import derive, numbers, permutation
from detector.recorded import Recorded, can_record


@dataclass
class TrainSettings:
    """epochs; batch_size in images; learning_rate of Adam (its peak under a schedule).

    schedule: constant, or one_cycle (torch's OneCycleLR over the whole run).
    precision: fp32 (CUDA multiplies in TF32), or bf16 (autocast); the colour view stays float32.
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
    seconds of training alone, of all that are trained together."""

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
        return cls.of(model.to(device).to(memory_format=torch.channels_last), settings, num_images=num_images)

    @classmethod
    def of(cls, model: nn.Module, settings: TrainSettings, *, num_images: int) -> "Training":
        """The same for a network that lies where and how it should."""
        optimizer = Adam(model.parameters(), lr=settings.learning_rate, fused=True)
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
        for parameter, moments in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                # fused Adam pairs numbers by their place in memory, so the layout must be the parameter's own
                moments[name] = torch.empty_like(parameter).copy_(moments[name])
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        self.epoch, self.step = state["epoch"], state["step"]

    def advance(self) -> float:
        """One step of optimiser and schedule by the gradients that lie in the parameters; the learning rate it had."""
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()
        self.step += 1
        return rate


def fit(training: Training, pictures: Pictures, rows: Tensor, view: View, *, seed: int) -> Iterator[Steps | Epoch]:
    """Train on `rows` (int64, CPU) from where `training` stands to its last epoch.

    Yields Steps every `log_every` steps and Epoch after each epoch, when `training` may be saved. Order, view and
    dropout are drawn from (seed, epoch) each by itself: another view sees the same images in the same order.
    Raises NotFinite naming the step.
    """
    for _, event in fit_all(training, pictures, rows, view, [seed]):
        if isinstance(event, NotFinite):
            raise event
        yield event


def fit_all(
    training: Training,
    pictures: Pictures,
    rows: Tensor,
    view: Callable[[Tensor, Tensor, Tensor], Tensor],
    seeds: Sequence[int],
) -> Iterator[tuple[int, Steps | Epoch | NotFinite]]:
    """`fit` for one network, or for several that are stacked into one, with a seed each; events begin with its place.

    A batch holds batch_size pictures for each of them, those of one after those of another; so do what `view` and
    `training.model` are given and what they return. NotFinite ends one of them: nothing more is said of it.
    """
    settings, device = training.settings, pictures.device
    keys = torch.zeros((2, len(seeds)), dtype=torch.int64, device=device)  # of the view, of dropout
    together = settings.batch_size * len(seeds)
    recorded = None
    if can_record(device) and pictures.resident:
        recorded = Recorded(lambda rows: gradients(training, pictures.at(rows), view, keys), training.model)
    alive = list(range(len(seeds)))
    while training.epoch < settings.epochs:
        started = time.perf_counter()
        epoch = training.epoch + 1
        orders = torch.stack([rows[permutation(seed, epoch, len(rows))] for seed in seeds])
        order = torch.cat([part.flatten() for part in orders.split(settings.batch_size, dim=1)])
        keys.copy_(torch.tensor([[derive(seed, use, epoch) for seed in seeds] for use in ("augmentation", "dropout")]))
        training.model.train()
        if recorded:
            results = (recorded(rows) for rows in order.to(device).split(together))
        else:
            results = (gradients(training, batch, view, keys) for batch in pictures.batches(order, together))
        logits_seen: list[Tensor] = []
        losses: list[Tensor] = []
        rates: list[float] = []
        images = 0
        for logits, loss in results:
            rates.append(training.advance())
            images += logits.shape[1]
            logits_seen.append(logits)
            losses.append(loss)
            if images == len(rows) or (len(losses) == settings.log_every and not waits_long(device)):
                every = torch.stack(losses, dim=1).tolist()  # waits for the device
                paused = time.perf_counter()
                for begin in range(0, len(rates), settings.log_every):
                    part, left = slice(begin, begin + settings.log_every), len(rates) - begin - settings.log_every
                    seen = images if left <= 0 else images - len(logits[0]) - (left - 1) * settings.batch_size
                    first = training.step - len(rates) + 1 + begin
                    events = [(k, _steps(training, first, every[k][part], rates[part], seen)) for k in alive]
                    alive = [place for place, event in events if isinstance(event, Steps)]
                    yield from events
                    if not alive:
                        return
                started += time.perf_counter() - paused  # what the consumer does with it is not training
                losses, rates = [], []
        training.epoch = epoch
        scores = probabilities(torch.cat(logits_seen, dim=1))
        seconds = time.perf_counter() - started
        for place in alive:
            yield place, Epoch(epoch, scores[place], orders[place].numpy(), seconds)


def gradients(
    training: Training, batch: Batch, view: Callable[[Tensor, Tensor, Tensor], Tensor], keys: Tensor
) -> tuple[Tensor, Tensor]:
    """Those of one step, left in the parameters; returns logits (N, B) and each one's mean loss (N,).

    keys: int64 (2, N) on the device, of the view and of dropout. The batch holds N * B pictures. No generator is
    drawn from and nothing is asked of the device, so that a CUDA graph can hold all of it.
    """
    model = training.model
    view_keys, dropout_keys = keys.repeat_interleave(len(batch.rows) // keys.shape[1], dim=1)
    images = view(batch.images, view_keys, batch.rows).to(next(model.parameters()).dtype)
    with arithmetic.of_network(images.device, training.settings.precision), drawing(numbers(dropout_keys, batch.rows)):
        logits = model(images).unflatten(0, (keys.shape[1], -1)).squeeze(2)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labels = batch.labels.to(logits.dtype).view_as(logits)
    losses = binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
    training.optimizer.zero_grad(set_to_none=True)
    losses.sum().backward()
    return logits.detach(), losses.detach()


def waits_long(device: torch.device) -> bool:
    """Whether a look at the losses would have the device wait for this process: it is taken once an epoch then."""
    return device.type == "cuda"


def _steps(training: Training, first: int, losses: list[float], rates: list[float], images: int) -> Steps | NotFinite:
    for step, (loss, rate) in enumerate(zip(losses, rates, strict=True), first):
        if not np.isfinite(loss):
            return NotFinite(
                f"the loss became {loss} at step {step} (epoch {training.epoch + 1}, learning rate {rate:g}, "
                f"batch size {training.settings.batch_size}); try a smaller train.learning_rate"
            )
    return Steps(list(range(first, first + len(losses))), losses, rates, images)
