"""What an operation on pictures is, and how those of detector.color and detector.degrade check and draw settings."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard

from torch import Tensor

Draw = Callable[[int], Tensor]  # slot -> uniform float32 (B,) in [0, 1), one number an image

SLOTS = 16  # random numbers set aside for one operation of a view: its p, then its own


class Operation(Protocol):
    """What an operation has: images float32 RGB (B, 3, H, W) in [0, 1] -> the same, drawing from its slots 0, 1, ...

    Its fields are the keys of the yaml, checked in __post_init__ by a ValueError that begins `key=value: expected`.
    `op` and `p` are the view's. Numbers go to Kornia as tensors made on the device: from a Python number it would make
    them on the host, and wait for the device.
    """

    @property
    def is_random(self) -> bool: ...

    def __call__(self, images: Tensor, draw: Draw) -> Tensor: ...


def bounds(value: Any) -> Sequence[Any]:
    """(low, high) of a setting that is a range of two or one number, which is both; unchecked."""
    return value if is_sequence(value) and len(value) == 2 else (value, value)


def between(draw: Draw, slot: int, low: float, high: float) -> Tensor:
    """One number an image, (B,), uniform from low to high."""
    return draw(slot) * (high - low) + low


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is an int or float; True and False are neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_sequence(value: object) -> TypeGuard[Sequence]:
    """Whether it is a list, of Python's or of OmegaConf's."""
    return isinstance(value, Sequence) and not isinstance(value, str)
