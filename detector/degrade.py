"""Operations that take detail away: JPEG, blur and shrinking, in tensors on the device, [0, 1] in and out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from kornia.filters import filter2d_separable, get_gaussian_kernel1d
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from detector.operation import Draw, between, bounds, is_number

LARGEST_SIGMA = 10.0  # pixels; three of them reach over the smallest pictures
BLOCK = 8


def _cosines() -> Tensor:
    """The orthonormal two-dimensional DCT of a block as one matrix, (64, 64); in float64, then float32."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    one = torch.cos(math.pi * (2 * k + 1) * k[:, None] / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    one[0] /= math.sqrt(2)
    return torch.kron(one, one).float()


COSINES = _cosines()
# ITU-T T.81, Annex K, tables K.1 and K.2, in natural order: what libjpeg and Pillow scale by quality
# fmt: off
LUMA_STEPS = torch.tensor([
    16., 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
])
CHROMA_STEPS = torch.tensor([
    17., 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
])
# fmt: on


class TooLarge(ValueError):
    """A size of the user's that the pictures do not have."""

    exit_status = 2


@dataclass(frozen=True)
class Jpeg:
    """Written as a baseline JPEG with 4:2:0 chroma and read again, as libjpeg does, but for its integer arithmetic.

    quality: a whole number from 1 to 100, or [low, high] for a uniform draw per image. The entropy coding is left out:
    it loses nothing. Kornia's codec is not used: its differentiable rounding lets a part of the detail through, and
    it waits for the device.
    """

    quality: int | Sequence[int]

    def __post_init__(self) -> None:
        low, high = bounds(self.quality)
        whole = all(isinstance(bound, int) and not isinstance(bound, bool) for bound in (low, high))
        if not whole or not 1 <= low <= high <= 100:
            raise ValueError(
                f"quality={self.quality!r}: expected a whole number from 1 to 100 or a range [low, high] of them"
            )

    @property
    def is_random(self) -> bool:
        low, high = bounds(self.quality)
        return low < high

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        low, high = bounds(self.quality)
        quality = between(draw, 0, low, high + 1).floor() if self.is_random else images.new_full((1,), low)
        height, width = images.shape[2:]
        red, green, blue = (images * 255).round().unbind(1)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        chroma = torch.stack(((blue - luma) / 1.772, (red - luma) / 1.402), dim=1)  # 128 is taken off, as from luma
        cosines, luma_steps, chroma_steps = _constants(images.device)
        luma = _coded((luma[:, None] - 128).round(), quality, luma_steps, cosines) + 128
        chroma = chroma.round().clamp(-128, 127)
        even = pad(chroma, (0, width % 2, 0, height % 2), mode="replicate")
        # libjpeg rounds the mean of four up and down by turns, column by column
        halved = (avg_pool2d(even, 2) + (1 + torch.arange(even.shape[3] // 2, device=images.device) % 2) / 4).floor()
        # 3/4 and 1/4 of the two nearest samples, each way: libjpeg's "fancy" upsampling
        chroma = interpolate(_coded(halved, quality, chroma_steps, cosines), scale_factor=2, mode="bilinear").round()
        blueness, redness = chroma[:, :, :height, :width].unbind(1)
        luma = luma[:, 0]
        green = luma - (0.114 * 1.772 * blueness + 0.299 * 1.402 * redness) / 0.587
        decoded = torch.stack((luma + 1.402 * redness, green, luma + 1.772 * blueness), dim=1)
        return (decoded.round() / 255).clamp(0, 1)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur; sigma: pixels, from 0, or [low, high] for a uniform draw per image. The border is mirrored."""

    sigma: float | Sequence[float]

    def __post_init__(self) -> None:
        low, high = bounds(self.sigma)
        if not is_number(low) or not is_number(high) or not 0 <= low <= high <= LARGEST_SIGMA or high == 0:
            raise ValueError(
                f"sigma={self.sigma!r}: expected a number of pixels above 0 or a range [low, high], "
                f"at most {LARGEST_SIGMA:g}"
            )

    @property
    def is_random(self) -> bool:
        low, high = bounds(self.sigma)
        return low < high

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        low, high = bounds(self.sigma)
        radius = math.ceil(3 * high)
        if radius >= min(images.shape[2:]):
            raise TooLarge(f"sigma={self.sigma!r}: too large for pictures of {_size(images)}")
        sigma = between(draw, 0, low, high) if self.is_random else images.new_full((1,), low)
        kernel = get_gaussian_kernel1d(2 * radius + 1, sigma[:, None])
        return filter2d_separable(images, kernel, kernel).clamp(0, 1)


@dataclass(frozen=True)
class Resample:
    """Shrunk until the shorter side has `size` pixels, and back up: bilinear, antialiased on the way down, as PIL does.

    Every picture takes the same path, whatever it was resized by before.
    """

    size: int
    is_random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"size={self.size!r}: expected a whole number of pixels, smaller than the pictures")

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        height, width = images.shape[2:]
        shorter = min(height, width)
        if self.size >= shorter:
            raise TooLarge(f"size={self.size}: expected less than {shorter}, as the pictures are {_size(images)}")
        small = (round(height * self.size / shorter), round(width * self.size / shorter))
        shrunk = interpolate(images, small, mode="bilinear", antialias=True)
        return interpolate(shrunk, (height, width), mode="bilinear").clamp(0, 1)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """COSINES and both tables on the device, copied there once, and without waiting: a recorded step cannot copy."""
    cosines, luma, chroma = (constant.to(device, non_blocking=True) for constant in (COSINES, LUMA_STEPS, CHROMA_STEPS))
    return cosines, luma, chroma


def _coded(planes: Tensor, quality: Tensor, steps: Tensor, cosines: Tensor) -> Tensor:
    """Whole numbers from -128 to 127, (B, C, H, W) -> the same after DCT, quantisation and back; quality (B,) or (1,).

    Edges are repeated to whole blocks, as libjpeg does.
    """
    batch, channels, height, width = planes.shape
    planes = pad(planes, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    rows, columns = planes.shape[2] // BLOCK, planes.shape[3] // BLOCK
    blocks = planes.reshape(batch, channels, rows, BLOCK, columns, BLOCK).transpose(3, 4).reshape(batch, -1, BLOCK**2)
    # libjpeg's jpeg_quality_scaling and jpeg_add_quant_table
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    table = ((steps * scale[:, None] + 50) / 100).floor().clamp(1, 255)[:, None]
    blocks = ((blocks @ cosines.T) / table).round() * table @ cosines
    planes = blocks.reshape(batch, channels, rows, columns, BLOCK, BLOCK).transpose(3, 4)
    planes = planes.reshape(batch, channels, rows * BLOCK, columns * BLOCK)[:, :, :height, :width]
    return planes.round().clamp(-128, 127)


def _size(images: Tensor) -> str:
    return f"{images.shape[2]}x{images.shape[3]}"
