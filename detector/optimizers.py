"""Optimisers and schedules of the learning rate by name, as torch has them."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler


def _plain(kind: type[Any]) -> type[Any]:
    """An optimiser of torch to the last bit. What torch wraps its methods in tells torch.compile not to look into them,
    and imports that compiler with the first optimiser: 1.2 s, a third of the start of a process that never compiles."""
    step: Callable[..., Any] = inspect.unwrap(kind.step)

    def step_alone(self: Optimizer, closure: Any = None) -> Any:
        with torch.no_grad():
            return step(self, closure)

    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(Optimizer, name)) for name in names}
    return type(kind.__name__, (kind,), {**methods, "step": step_alone})


Adam, AdamW, SGD = map(_plain, (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD))


def build_optimizer(parameters: Iterable[nn.Parameter], settings: Any, learning_rate: float) -> Optimizer:
    """The optimiser of train settings, one kernel for all parameters."""
    return OPTIMIZERS[settings.optimizer](parameters, settings, learning_rate)


def build_schedule(optimizer: Optimizer, settings: Any, *, steps_an_epoch: int) -> Any:
    """The schedule of train settings, to be stepped after every step of the optimiser (plateau: by validation, after
    every epoch); None where the learning rate stays."""
    return SCHEDULES[settings.schedule](optimizer, settings, steps_an_epoch)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": lambda parameters, s, rate: Adam(parameters, lr=rate, weight_decay=s.weight_decay, fused=True),
    "adamw": lambda parameters, s, rate: AdamW(parameters, lr=rate, weight_decay=s.weight_decay, fused=True),
    "sgd": lambda parameters, s, rate: SGD(
        parameters, lr=rate, weight_decay=s.weight_decay, momentum=s.momentum, nesterov=s.nesterov, fused=True
    ),
}
SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": lambda optimizer, s, steps: None,
    "step": lambda optimizer, s, steps: lr_scheduler.StepLR(optimizer, s.decay_every * steps, s.decay),
    "cosine": lambda optimizer, s, steps: lr_scheduler.CosineAnnealingLR(optimizer, s.epochs * steps),
    "one_cycle": lambda optimizer, s, steps: lr_scheduler.OneCycleLR(
        optimizer,
        s.learning_rate,
        total_steps=s.epochs * steps,
        cycle_momentum=s.optimizer != "sgd" or s.momentum > 0,
    ),
    "plateau": lambda optimizer, s, steps: lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", factor=s.decay, patience=s.decay_patience
    ),
}
