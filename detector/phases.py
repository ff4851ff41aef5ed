"""What is trained in which phase, what stays frozen, and what validation says of how long to go on."""

import math
import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

LAST = re.compile(r"last (\d+)")


def freeze(model: nn.Module, trained: str, *, where: str) -> None:
    """Leave gradients only to what is trained: all, the last N layers that have weights ("last 30", in the order in
    which the network lists them), or a part by its name. ValueError naming `where` where there is no such part."""
    layers = [module for module in model.modules() if [*module.parameters(recurse=False)]]
    if trained == "all":
        chosen: list[nn.Module] = [model]
    elif found := LAST.fullmatch(trained):
        if not 1 <= int(found[1]) <= len(layers):
            raise ValueError(f"{where}={trained!r}: this network has {len(layers)} layers; expected last 1 to that")
        chosen = layers[-int(found[1]) :]
    else:
        parts = [name for name, part in model.named_modules() if name and [*part.parameters()]]
        if trained not in parts:
            named = ", ".join(name for name, _ in model.named_children())
            raise ValueError(
                f"{where}={trained!r}: no part of this network; expected all, last N, or one such as {named}"
            )
        chosen = [model.get_submodule(trained)]
    model.requires_grad_(False)
    for part in chosen:
        part.requires_grad_(True)


def set_training(model: nn.Module) -> None:
    """Training mode, but for frozen layers: the statistics of their batch normalisation stay what they are."""
    model.train()
    for module in model.modules():
        own = [*module.parameters(recurse=False)]
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


@dataclass
class Judge:
    """What validation came to so far: the best accuracy, and how many epochs ago that was.

    patience: so many epochs without a better one are enough, None: they never are. keeps: whether the weights of the
    best epoch are kept, for the next phase to begin with.
    """

    patience: int | None = None
    keeps: bool = False
    best: float = -math.inf
    since: int = 0
    weights: dict[str, Tensor] | None = None

    @property
    def has_seen_enough(self) -> bool:
        return self.patience is not None and self.since >= self.patience

    def take(self, accuracy: float, model: nn.Module) -> None:
        """What the epoch that has just ended came to."""
        self.since += 1
        if accuracy > self.best:
            self.best, self.since = accuracy, 0
            if self.keeps:
                self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "since": self.since, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.best, self.since, self.weights = state["best"], state["since"], state["weights"]
