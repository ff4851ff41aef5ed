"""The training loop: one small network, one optimiser, one record every few steps and one an epoch."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detector import arithmetic
from detector.augment import build_augment
from detector.batches import Batch, Pictures
from detector.color import View
from detector.dropout import drawing
from detector.loss import cross_entropies
from detector.optimizers import build_optimizer, build_schedule
from detector.phases import Judge, freeze, set_training
from detector.predict import probabilities
from detector.randomness import derive, numbers, permutation
from detector.recipe import TrainSettings
from detector.recorded import Recorded, can_record

USES = ("augmentation", "dropout", "geometry")  # of the keys of a step, in their order; augmentation is the view's
NOTHING = View()


class NotFinite(ArithmeticError):
    """The loss became infinite or not a number."""

    exit_status = 5


@dataclass(frozen=True)
class Steps:
    """Steps just done: their numbers (from 1, over the whole run), losses, learning rates; images so far this epoch."""

    steps: list[int]
    losses: list[float]
    learning_rates: list[float]
    images: int


@dataclass(frozen=True)
class Epoch:
    """An epoch just done: its number from 1; scores (n,), of several classes (n, classes), and rows (n,) as seen in
    training, dropout and view included; seconds of training alone, of all that are trained together."""

    epoch: int
    scores: np.ndarray
    rows: np.ndarray
    seconds: float


@dataclass
class Training:
    """A network on its way: everything that changes from step to step.

    phase: the number of the one it is in; judge: what validation came to; averaged: the network with averaged weights,
    where they are asked for.
    """

    model: nn.Module
    settings: TrainSettings
    steps_an_epoch: int
    optimizer: torch.optim.Optimizer = field(init=False)
    scheduler: Any = field(init=False)
    averaged: AveragedModel | None = field(init=False)
    judge: Judge = field(init=False)
    epoch: int = 0
    step: int = 0
    phase: int = 0

    @classmethod
    def begin(cls, model: nn.Module, settings: TrainSettings, *, num_images: int, device: torch.device) -> "Training":
        """The network on the device, with its optimiser and schedule, before the first step."""
        return cls.of(model.to(device).to(memory_format=torch.channels_last), settings, num_images=num_images)

    @classmethod
    def of(cls, model: nn.Module, settings: TrainSettings, *, num_images: int) -> "Training":
        """The same for a network that lies where and how it should; ValueError where a phase names no part of it."""
        training = cls(model, settings, len(batch_sizes(num_images, settings.batch_size)))
        training.judge = Judge(settings.patience, keeps=bool(settings.phases))
        for phase in reversed(range(max(1, len(settings.phases)))):
            training._enter(phase)
        return training

    def _enter(self, number: int) -> None:
        """Begin a phase: what it trains, with an optimiser and a schedule of its own."""
        self.phase, rate = number, self.settings.learning_rate
        if self.settings.phases:
            phase = self.settings.phases[number]
            freeze(self.model, phase["train"], where=f"train.phases[{number}].train")
            rate = phase["learning_rate"]
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = build_optimizer(trained, self.settings, rate)
        self.scheduler = build_schedule(self.optimizer, self.settings, steps_an_epoch=self.steps_an_epoch)
        average = get_ema_multi_avg_fn(self.settings.ema) if self.settings.ema else None
        self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True) if average else None

    @property
    def tested(self) -> nn.Module:
        """The network whose scores count: that of averaged weights, where there is one."""
        return self.averaged.module if self.averaged else self.model

    @property
    def ended(self) -> bool:
        """Whether no epoch follows the one that has ended."""
        return self.epoch >= self.settings.epochs or self.judge.has_seen_enough

    def judged(self, accuracy: float) -> None:
        """Say what validation came to after the epoch that has just ended, before it is saved and another begins."""
        self.judge.take(accuracy, self.tested)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(accuracy)
        if self._phase_at(self.epoch) > self.phase:
            assert self.judge.weights is not None
            self.model.load_state_dict(self.judge.weights)
            self._enter(self.phase + 1)

    def _phase_at(self, epoch: int) -> int:
        """The number of the phase that the epoch after `epoch` belongs to; the last one at the end."""
        ends = itertools.accumulate(phase["epochs"] for phase in self.settings.phases[:-1])
        return sum(end <= epoch for end in ends)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on as if nothing had happened, at the end of an epoch."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "judge": self.judge.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state; everything random is drawn anew from (seed, epoch), so no generator is stored."""
        self._enter(self._phase_at(state["epoch"]))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for name, moment in moments.items():
                if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                    # a fused optimiser pairs numbers by their place in memory: the layout must be the parameter's own
                    moments[name] = torch.empty_like(parameter).copy_(moment)
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"])
        if "judge" in state:  # not in checkpoints of earlier versions
            self.judge.load_state_dict(state["judge"])
        self.epoch, self.step = state["epoch"], state["step"]

    def advance(self) -> float:
        """One step of optimiser and schedule by the gradients that lie in the parameters; the learning rate it had."""
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        if self.scheduler and not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        if self.averaged:
            self.averaged.update_parameters(self.model)
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
    keys, augment = new_keys(len(seeds), device), build_augment(settings.augment)
    sizes = batch_sizes(len(rows), settings.batch_size)
    together = [size * len(seeds) for size in sizes]
    recorded, phase = None, -1
    alive = list(range(len(seeds)))
    while not training.ended:
        if training.phase != phase and can_record(device) and pictures.resident:
            recorded = Recorded(
                lambda rows: gradients(training, pictures.at(rows), view, keys, augment), training.model
            )
        phase = training.phase
        started = time.perf_counter()
        epoch = training.epoch + 1
        orders = torch.stack([rows[permutation(seed, epoch, len(rows))] for seed in seeds])
        order = torch.cat([part.flatten() for part in orders.split(sizes, dim=1)])
        keys.copy_(torch.tensor([[derive(seed, use, epoch) for seed in seeds] for use in USES]))
        set_training(training.model)
        if recorded:
            results = (recorded(rows) for rows in order.to(device).split(together))
        else:
            results = (gradients(training, batch, view, keys, augment) for batch in pictures.batches(order, together))
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


def batch_sizes(num_images: int, batch_size: int) -> list[int]:
    """Of the batches of an epoch. One picture that is left over joins the batch before it: batch normalisation of a map
    of one pixel, as ResNet-18 has it for pictures of 32x32, cannot be trained on one."""
    whole, left = divmod(num_images, batch_size)
    if left == 1 and whole and batch_size > 1:
        return [batch_size] * (whole - 1) + [batch_size + 1]
    return [batch_size] * whole + [left] * (left > 0)


def new_keys(members: int, device: torch.device) -> Tensor:
    """Room for the keys of a step, int64 (USES, members), on the device."""
    return torch.zeros((len(USES), members), dtype=torch.int64, device=device)


def gradients(
    training: Training,
    batch: Batch,
    view: Callable[[Tensor, Tensor, Tensor], Tensor],
    keys: Tensor,
    augment: View = NOTHING,
) -> tuple[Tensor, Tensor]:
    """Those of one step, left in the parameters; returns logits (N, B, outputs) and each one's mean loss (N,).

    keys: int64 (USES, N) on the device. The batch holds N * B pictures. No generator is drawn from and nothing is asked
    of the device, so that a CUDA graph can hold all of it.
    """
    model, settings = training.model, training.settings
    view_keys, dropout_keys, geometry_keys = keys.repeat_interleave(len(batch.rows) // keys.shape[1], dim=1)
    images = augment(batch.images, geometry_keys, batch.rows) if augment.steps else batch.images
    images = view(images, view_keys, batch.rows).to(next(model.parameters()).dtype)
    with arithmetic.of_network(images.device, settings.precision), drawing(numbers(dropout_keys, batch.rows)):
        logits = model(images).unflatten(0, (keys.shape[1], -1))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = cross_entropies(logits, batch.labels, settings.label_smoothing).mean(1)
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
