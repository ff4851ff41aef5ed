"""Operations that vary the pictures of training, whatever their colours: flips, turns, cuts and noise.

They are drawn anew for each image and epoch, before the colour view and alike in all arms; testing sees none of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from kornia.geometry import rotate
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from detector.color.view import View, build_view
from detector.operation import Draw, between, bounds, is_number
from detector.randomness import numbers


@dataclass(frozen=True)
class Flip:
    """Left becomes right; with p=0.5 every other image."""

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return images.flip(3)


@dataclass(frozen=True)
class Rotate:
    """Turned about the middle by an angle drawn from [-degrees, degrees], bilinear, black where nothing was."""

    degrees: float
    is_random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not is_number(self.degrees) or not 0 < self.degrees <= 180:
            raise ValueError(f"degrees={self.degrees!r}: expected a number above 0, at most 180")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return rotate(images, between(draw, 0, -self.degrees, self.degrees), align_corners=False)


@dataclass(frozen=True)
class Crop:
    """Moved by a whole number of pixels drawn from [-pixels, pixels], down and across, black where nothing was: a crop
    of the picture with so wide a margin, as it is usual with CIFAR-10 (He et al. 2016)."""

    pixels: int
    is_random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, int) or isinstance(self.pixels, bool) or self.pixels < 1:
            raise ValueError(f"pixels={self.pixels!r}: expected a whole number of at least 1")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        framed = pad(images, [self.pixels] * 4).permute(0, 2, 3, 1)
        first = [between(draw, slot, 0, 2 * self.pixels + 1).long()[:, None] for slot in (0, 1)]
        down, across = (
            start + torch.arange(size, device=images.device)
            for start, size in zip(first, images.shape[2:], strict=True)
        )
        image = torch.arange(len(images), device=images.device)[:, None, None]
        return framed[image, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class RandomResizedCrop:
    """A part of the picture, brought back to its size, bilinear.

    scale: share of the area, a range [low, high] for a uniform draw; ratio: width to height, a range for a draw uniform
    in its logarithm. torchvision's RandomResizedCrop, but that a side too long for the picture is cut, not drawn anew.
    """

    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    is_random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for key, top in (("scale", 1.0), ("ratio", 10.0)):
            low, high = bounds(getattr(self, key))
            if not is_number(low) or not is_number(high) or not 0 < low <= high <= top:
                raise ValueError(f"{key}={getattr(self, key)!r}: expected a range [low, high] above 0, up to {top:g}")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        height, width = images.shape[2:]
        area = between(draw, 0, *bounds(self.scale)) * (height * width)
        low, high = map(math.log, bounds(self.ratio))
        ratio = between(draw, 1, low, high).exp()
        # shares of the picture's width and height; its middle lies at 0 and its edges at -1 and 1
        wide, tall = ((area * ratio).sqrt() / width).clamp(max=1), ((area / ratio).sqrt() / height).clamp(max=1)
        right, down = ((2 * draw(slot) - 1) * (1 - share) for slot, share in ((2, wide), (3, tall)))
        none = torch.zeros_like(wide)
        places = torch.stack([torch.stack([wide, none, right], 1), torch.stack([none, tall, down], 1)], 1)
        grid = affine_grid(places, list(images.shape), align_corners=False)
        return grid_sample(images, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Cutout:
    """A grey square somewhere, its middle anywhere in the picture (DeVries and Taylor 2017); share: its side, of the
    picture's shorter one."""

    share: float
    is_random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not is_number(self.share) or not 0 < self.share < 1:
            raise ValueError(f"share={self.share!r}: expected a number between 0 and 1")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        half = self.share * min(images.shape[2:]) / 2
        covered = []
        for slot, size in enumerate(images.shape[2:]):
            middles = torch.arange(size, device=images.device) + 0.5
            covered.append((middles - draw(slot)[:, None] * size).abs() < half)
        square = covered[0][:, None, :, None] & covered[1][:, None, None, :]
        return images.masked_fill(square, 0.5)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on every value, then clamped; sigma: its standard deviation, of the range [0, 1]."""

    sigma: float
    is_random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not is_number(self.sigma) or not 0 < self.sigma <= 1:
            raise ValueError(f"sigma={self.sigma!r}: expected a number above 0, at most 1")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        start = ((draw(0) * 2**24).long() << 24) + (draw(1) * 2**24).long()
        drawn = numbers(start[:, None], torch.arange(images[0].numel(), device=images.device))
        # Box and Muller (1958), of the upper and the middle 24 bits; the first never 0
        radius, angle = (((drawn >> shift) & (2**24 - 1)).float() * 2**-24 for shift in (40, 16))
        normal = (-2 * (radius + 2**-25).log()).sqrt() * (math.tau * angle).cos()
        return (images + self.sigma * normal.view(images.shape)).clamp(0, 1)


def build_augment(operations: Sequence[Mapping[str, Any]], *, where: str = "train.augment") -> View:
    """What training sees of each image, from the list of a yaml, such as [{"op": "flip", "p": 0.5}]; see build_view."""
    return build_view(operations, where=where, table=AUGMENTS)


AUGMENTS: dict[str, Any] = {
    "flip": Flip,
    "rotate": Rotate,
    "crop": Crop,
    "random_resized_crop": RandomResizedCrop,
    "cutout": Cutout,
    "noise": Noise,
}
