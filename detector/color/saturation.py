"""More colour or less: saturation, grey, jitter, and a turn of the hue."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from kornia.color import grayscale_to_rgb, rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation,
)
from torch import Tensor

from detector.operation import Draw, between, bounds, is_number

# beyond this, luma's blend in float32 rounds by more than one of 256 levels
LARGEST_FACTOR = 1e5


def _blended(images: Tensor, factor: Tensor) -> Tensor:
    """Kornia's adjust_saturation_with_gray_subtraction to the last bit, channel by channel: spreading grey over
    channels that lie last in memory takes most of its time. factor: (1,) or (B,)."""
    factor = factor[:, None, None, None]
    grey = (1 - factor) * rgb_to_grayscale(images)
    blended = factor * images
    for channel in range(3):
        blended[:, channel] += grey[:, 0]
    return blended.clamp_(0, 1)


@cache
def _blend(factor: float, device: torch.device) -> Tensor:
    """The same blend for one factor as what each channel (row) gives to each, float32 (3, 3): a product with it takes
    a third of the time. On the device once, as a recorded step cannot copy."""
    grey = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    matrix = factor * torch.eye(3, dtype=torch.float64) + (1 - factor) * grey[:, None]
    return matrix.float().to(device, non_blocking=True)


SATURATIONS = {"luma": _blended, "hsv": adjust_saturation}


@dataclass(frozen=True)
class Saturate:
    """More colour (factor above 1) or less (below).

    space: luma blends with grey and clamps, as torchvision and PIL do; hsv scales S, clamps it and keeps hue and V.
    factor: a number, or [low, high] for a uniform draw per image.
    """

    factor: float | Sequence[float]
    space: str

    def __post_init__(self) -> None:
        low, high = bounds(self.factor)
        if not is_number(low) or not is_number(high) or not 0 < low <= high <= LARGEST_FACTOR:
            hint = "; for grey pictures use {op: grayscale}" if 0 in (low, high) else ""
            raise ValueError(
                f"factor={self.factor!r}: expected a number above 0 or a range [low, high], "
                f"at most {LARGEST_FACTOR:g}{hint}"
            )
        if not isinstance(self.space, str) or self.space not in SATURATIONS:
            raise ValueError(f"space={self.space!r}: expected {' or '.join(SATURATIONS)}")

    @property
    def is_random(self) -> bool:
        low, high = bounds(self.factor)
        return low < high

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        low, high = bounds(self.factor)
        if self.is_random:
            return SATURATIONS[self.space](images, between(draw, 0, low, high))
        if self.space == "luma":
            pixels = images.permute(0, 2, 3, 1).contiguous()  # as they lie, where channels lie last
            return (pixels @ _blend(low, images.device)).permute(0, 3, 1, 2).clamp_(0, 1)
        return SATURATIONS[self.space](images, images.new_full((1,), low))


@dataclass(frozen=True)
class Grayscale:
    """Luma (.299 R + .587 G + .114 B) in all three channels."""

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return grayscale_to_rgb(rgb_to_grayscale(images))


@dataclass(frozen=True)
class Jitter:
    """torchvision's ColorJitter, drawn per image, always in the order brightness, contrast, saturation, hue.

    Brightness, contrast and (luma) saturation x are factors drawn from [max(0, 1 - x), 1 + x]; hue h is a part of a
    full turn drawn from [-h, h]. All four are multiplied by `strength` first. 0 leaves that step out.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, largest = getattr(self, field.name), 0.5 if field.name == "hue" else LARGEST_FACTOR
            if not is_number(value) or not 0 <= value <= largest:
                raise ValueError(f"{field.name}={value!r}: expected a number from 0 to {largest:g}")
        if self.hue * self.strength > 0.5:
            raise ValueError(f"strength={self.strength!r}: expected at most {0.5 / self.hue:g} with hue={self.hue!r}")

    @property
    def is_random(self) -> bool:
        return self.strength > 0 and any((self.brightness, self.contrast, self.saturation, self.hue))

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        for slot, (spread, adjust) in enumerate(
            (
                (self.brightness * self.strength, adjust_brightness_accumulative),
                (self.contrast * self.strength, adjust_contrast_with_mean_subtraction),
                (self.saturation * self.strength, _blended),
            )
        ):
            if spread:
                images = adjust(images, between(draw, slot, max(0.0, 1.0 - spread), 1.0 + spread))
        if turn := self.hue * self.strength:
            images = adjust_hue(images, between(draw, 3, -turn, turn) * math.tau)
        return images


@dataclass(frozen=True)
class HueRotate:
    """The hue of HSV turned by `degrees`, from -360 to 360: red goes to yellow at 60, to green at 120."""

    degrees: float
    is_random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not is_number(self.degrees) or not -360 <= self.degrees <= 360:
            raise ValueError(f"degrees={self.degrees!r}: expected a number from -360 to 360")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return adjust_hue(images, images.new_full((1,), math.radians(self.degrees)))
