"""Operations that treat the channels one by one, by their values alone: invert, solarize, posterize and such."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from kornia.enhance import adjust_gamma, equalize, invert, posterize, solarize
from torch import Tensor

from detector.operation import Draw, is_number


@dataclass(frozen=True)
class Invert:
    """1 - x."""

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return invert(images, images.new_ones(()))


@dataclass(frozen=True)
class ChannelShuffle:
    """The channels in a fixed other order: gbr puts green where red was, blue for green and red for blue."""

    order: str
    is_random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.order, str) or sorted(self.order) != ["b", "g", "r"]:
            raise ValueError(f"order={self.order!r}: expected the letters r, g and b in some order, such as gbr")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return torch.stack([images[:, "rgb".index(channel)] for channel in self.order], dim=1)


@dataclass(frozen=True)
class Solarize:
    """1 - x where x is at or above the threshold, x below."""

    threshold: float
    is_random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not is_number(self.threshold) or not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold!r}: expected a number from 0 to 1")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return solarize(images, images.new_full((), self.threshold))


@dataclass(frozen=True)
class Posterize:
    """Only the upper `bits`, 1 to 7, of the eight of each value; the others become 0, as PIL does."""

    bits: int
    is_random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 1 <= self.bits <= 7:
            raise ValueError(f"bits={self.bits!r}: expected a whole number from 1 to 7")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return posterize(_levels(images), images.new_full((1,), self.bits, dtype=torch.int32))


@dataclass(frozen=True)
class Gamma:
    """x ** gamma: above 1 darker, below 1 lighter."""

    gamma: float
    is_random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not is_number(self.gamma) or not 0.1 <= self.gamma <= 10:
            raise ValueError(f"gamma={self.gamma!r}: expected a number from 0.1 to 10")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return adjust_gamma(images, float(self.gamma))


@dataclass(frozen=True)
class EqualizeHistogram:
    """Each channel's values spread so that its histogram is flat, as PIL does; each image by itself."""

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return equalize(_levels(images))


def _levels(images: Tensor) -> Tensor:
    """To the nearest of 256 levels: Kornia cuts off, so that (1 - k / 255) would often fall one level short."""
    return (images * 255).round() / 255
