"""Dropout that draws nothing from a generator: a unit's fate is a hash, whatever else is trained beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from detector.randomness import numbers

_keys: ContextVar[Tensor | None] = ContextVar("keys", default=None)


class Dropout(nn.Module):
    """(B, ...) -> the same, each unit 0 with probability p and divided by 1 - p otherwise; in evaluation the identity.

    Whether a unit is dropped depends on the image's key, `place` and the unit's number alone. place: a number of its
    own for every such layer of a network.
    """

    def __init__(self, p: float, place: int):
        super().__init__()
        self.p, self.place = p, place

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        units = torch.arange(x[0].numel(), device=x.device) + self.place * 2**32
        # numbers are evenly spread over all of int64
        kept = numbers(image_keys()[:, None], units) >= int(self.p * 2**64) - 2**63
        return x * (kept.view(x.shape).to(x.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        """For print(model)."""
        return f"p={self.p}, place={self.place}"


@contextmanager
def drawing(keys: Tensor) -> Iterator[None]:
    """Within it, networks in training mode drop by `keys`, one an image: int64 (B,) of detector.randomness.numbers."""
    token = _keys.set(keys)
    try:
        yield
    finally:
        _keys.reset(token)


def image_keys() -> Tensor:
    """The keys given to `drawing`; RuntimeError outside of it."""
    if (keys := _keys.get()) is None:
        raise RuntimeError(
            "dropout in training mode has no keys to draw by: call the network within `with drawing(keys)`"
        )
    return keys
