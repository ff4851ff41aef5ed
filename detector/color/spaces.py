"""Operations that show the network another colour space in place of RGB, every channel brought to [0, 1]."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from kornia.color import rgb_to_hsv, rgb_to_linear_rgb, rgb_to_ycbcr, ycbcr_to_rgb
from torch import Tensor

from detector.operation import Draw

# linear sRGB to XYZ, each row divided by the D65 white (.95047, 1, 1.08883): grey has three equal values
TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)


@dataclass(frozen=True)
class YCbCr:
    """JPEG's full-range YCbCr (ITU-T T.871): Y = .299 R + .587 G + .114 B, Cb = .564 (B - Y) + .5,
    Cr = .713 (R - Y) + .5. Each fills [0, 1]; grey is Cb = Cr = .5."""

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return rgb_to_ycbcr(images).clamp(0, 1)


@dataclass(frozen=True)
class Lab:
    """CIE L*a*b* under D65: L / 100, (a + 128) / 255, (b + 128) / 255.

    sRGB reaches a from -86.2 to 98.3 and b from -107.9 to 94.5, so that two channels lie in [.16, .89] and [.07, .88];
    grey is a = b = 0, which is .502. Kornia's rgb_to_lab without its matrix product: element-wise is exact whatever
    the device's matrix precision, and no constant is copied to it, which would wait.
    """

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        red, green, blue = rgb_to_linear_rgb(images).unbind(1)
        x, y, z = (
            _cube_root(red * (row[0] / white) + green * (row[1] / white) + blue * (row[2] / white))
            for row, white in zip(TO_XYZ, WHITE, strict=True)
        )
        scaled = (y * 1.16 - 0.16, ((x - y) * 500 + 128) / 255, ((y - z) * 200 + 128) / 255)
        return torch.stack(scaled, dim=1).clamp(0, 1)


@dataclass(frozen=True)
class HSVChannels:
    """HSV as three channels: hue / 360 degrees (in [0, 1): red is both ends of it), S, V; grey has hue 0."""

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        hue, saturation, value = rgb_to_hsv(images).unbind(1)
        return torch.stack((hue / math.tau, saturation, value), dim=1).clamp(0, 1)


@dataclass(frozen=True)
class ChromaOnly:
    """RGB whose luma is mid grey everywhere: Cb and Cr kept, Y = .5, clamped, which cuts the strongest colours."""

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        _, blueness, redness = rgb_to_ycbcr(images).unbind(1)
        return ycbcr_to_rgb(torch.stack((torch.full_like(blueness, 0.5), blueness, redness), dim=1))


def _cube_root(values: Tensor) -> Tensor:
    """The f of CIE 15: the cube root, and a straight line near black."""
    return torch.where(values > 0.008856, values.clamp(min=0.008856) ** (1 / 3), values * 7.787 + 4 / 29)
