"""The colour operations and pipelines of them: float32 on the device, by Kornia's functions, [0, 1] in and out."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeGuard

import torch
from kornia.color import grayscale_to_rgb, rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation,
    adjust_saturation_with_gray_subtraction,
    invert,
)
from torch import Tensor

from detector.randomness import uniform

Draw = Callable[[int], Tensor]  # slot -> uniform float32 (B,) in [0, 1), one number an image

SATURATIONS = {"luma": adjust_saturation_with_gray_subtraction, "hsv": adjust_saturation}
# beyond this, luma's blend in float32 rounds by more than one of 256 levels
LARGEST_FACTOR = 1e5
SLOTS = 16  # random numbers set aside for one operation of a view: its p, then its own


class Operation(Protocol):
    """What an operation has: images float32 RGB (B, 3, H, W) in [0, 1] -> the same, drawing from its slots 0, 1, ...

    Its fields are the keys of the yaml, checked in __post_init__ by a ValueError that begins `key=value: expected`.
    `op` and `p` are the view's. Factors go to Kornia as tensors made on the device: from a Python number it would make
    them on the host, and wait for the device.
    """

    @property
    def is_random(self) -> bool: ...

    def __call__(self, images: Tensor, draw: Draw) -> Tensor: ...


@dataclass(frozen=True)
class Invert:
    """1 - x."""

    is_random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return invert(images, images.new_ones(()))


@dataclass(frozen=True)
class Saturate:
    """More colour (factor above 1) or less (below).

    space: luma blends with grey and clamps, as torchvision and PIL do; hsv scales S, clamps it and keeps hue and V.
    factor: a number, or [low, high] for a uniform draw per image.
    """

    factor: float | Sequence[float]
    space: str

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not _is_number(low) or not _is_number(high) or not 0 < low <= high <= LARGEST_FACTOR:
            hint = "; for grey pictures use {op: grayscale}" if 0 in (low, high) else ""
            raise ValueError(
                f"factor={self.factor!r}: expected a number above 0 or a range [low, high], "
                f"at most {LARGEST_FACTOR:g}{hint}"
            )
        if not isinstance(self.space, str) or self.space not in SATURATIONS:
            raise ValueError(f"space={self.space!r}: expected {' or '.join(SATURATIONS)}")

    @property
    def bounds(self) -> Sequence[Any]:
        """(low, high); equal where the factor is fixed."""
        return self.factor if _is_sequence(self.factor) and len(self.factor) == 2 else (self.factor, self.factor)

    @property
    def is_random(self) -> bool:
        low, high = self.bounds
        return low < high

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        factor = _between(draw, 0, *self.bounds) if self.is_random else images.new_full((1,), self.bounds[0])
        return SATURATIONS[self.space](images, factor)


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
    full turn drawn from [-h, h]. 0 leaves that step out.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, largest = getattr(self, field.name), 0.5 if field.name == "hue" else LARGEST_FACTOR
            if not _is_number(value) or not 0 <= value <= largest:
                raise ValueError(f"{field.name}={value!r}: expected a number from 0 to {largest:g}")

    @property
    def is_random(self) -> bool:
        return any((self.brightness, self.contrast, self.saturation, self.hue))

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        for slot, (spread, adjust) in enumerate(
            (
                (self.brightness, adjust_brightness_accumulative),
                (self.contrast, adjust_contrast_with_mean_subtraction),
                (self.saturation, adjust_saturation_with_gray_subtraction),
            )
        ):
            if spread:
                images = adjust(images, _between(draw, slot, max(0.0, 1.0 - spread), 1.0 + spread))
        if self.hue:
            images = adjust_hue(images, _between(draw, 3, -self.hue, self.hue) * math.tau)
        return images


@dataclass(frozen=True)
class View:
    """A pipeline of operations, each with its probability per image; without operations it is the identity."""

    steps: tuple[tuple[Operation, float], ...] = ()

    @property
    def channels(self) -> int:
        """Of what comes out."""
        return 3

    @property
    def is_random(self) -> bool:
        """Whether images are drawn for; otherwise key and indices are not looked at."""
        return any(0 < p < 1 or (p > 0 and operation.is_random) for operation, p in self.steps)

    def __call__(self, images: Tensor, key: int, indices: Tensor) -> Tensor:
        """Images float32 RGB (B, 3, H, W) in [0, 1] -> the same shape, range and memory format; the input is kept.

        What is drawn depends on key, an image's index (int64 (B,)) and the operation's place alone. Under autocast
        it stays float32: anything less is visibly wrong at large factors.
        """
        if images.dtype != torch.float32 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images are {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}: "
                "expected float32 (B, 3, H, W) in [0, 1]"
            )
        channels_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        with torch.autocast(images.device.type, enabled=False):
            for position, (operation, p) in enumerate(self.steps):
                draw = _draw(key, indices, position * SLOTS)
                if p == 1:
                    images = operation(images, draw)
                elif p > 0:
                    chosen = draw(-1) < p
                    images = torch.where(chosen[:, None, None, None], operation(images, draw), images)
        return images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def build_view(operations: Sequence[Mapping[str, Any]], *, where: str = "aug.train") -> View:
    """A view from the list of a yaml, such as [{"op": "saturate", "space": "luma", "factor": 8, "p": 0.5}].

    Raises ValueError, one line naming the key under `where`, the value and what is accepted.
    """
    if not _is_sequence(operations):
        raise ValueError(f"{where}={operations!r}: expected a list of operations, [] for none")
    return View(tuple(_step(settings, f"{where}[{i}]") for i, settings in enumerate(operations)))


def _step(settings: Mapping[str, Any], where: str) -> tuple[Operation, float]:
    if not isinstance(settings, Mapping) or "op" not in settings:
        raise ValueError(f"{where}={settings!r}: expected a mapping with the key op, one of {', '.join(OPS)}")
    name = settings["op"]
    if not isinstance(name, str) or name not in OPS:
        raise ValueError(f"{where}.op={name!r}: expected one of {', '.join(OPS)}")
    fields = dataclasses.fields(OPS[name])
    keys = ["op", *(field.name for field in fields), "p"]
    for key, value in settings.items():
        if key not in keys:
            raise ValueError(f"{where}.{key}={value!r}: no such key for {name}; expected {', '.join(keys)}")
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in settings:
            raise ValueError(f"{where}.{field.name} is missing: {name} takes {', '.join(keys)}")
    p = settings.get("p", 1.0)
    if not _is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"{where}.p={p!r}: expected a probability from 0 to 1")
    try:
        return OPS[name](**{key: value for key, value in settings.items() if key not in ("op", "p")}), p
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


def _draw(key: int, indices: Tensor, first: int) -> Draw:
    """slot -1, an operation's p, and its own slots from 0, as slots of the whole view from `first`."""
    return lambda slot: uniform(key, indices, first + 1 + slot)


def _between(draw: Draw, slot: int, low: float, high: float) -> Tensor:
    return draw(slot) * (high - low) + low


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_sequence(value: object) -> TypeGuard[Sequence]:
    return isinstance(value, Sequence) and not isinstance(value, str)


OPS: dict[str, Any] = {"invert": Invert, "saturate": Saturate, "grayscale": Grayscale, "jitter": Jitter}
