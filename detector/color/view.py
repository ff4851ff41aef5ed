"""Pipelines of operations: built from the lists of a yaml, drawing per image."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector import arithmetic
from detector.color.saturation import Grayscale, HueRotate, Jitter, Saturate
from detector.color.spaces import ChromaOnly, HSVChannels, Lab, YCbCr
from detector.color.tones import ChannelShuffle, EqualizeHistogram, Gamma, Invert, Posterize, Solarize
from detector.degrade import Blur, Jpeg, Resample
from detector.operation import SLOTS, Draw, Operation, is_number, is_sequence
from detector.randomness import uniform


@dataclass(frozen=True)
class View:
    """A pipeline of operations, each with its probability per image; without operations it is the identity."""

    steps: tuple[tuple[Operation, float], ...] = ()

    @property
    def channels(self) -> int:
        """Of what comes out: 3, or 6 where the last operation is `both`."""
        return 6 if any(isinstance(operation, Both) for operation, _ in self.steps) else 3

    @property
    def is_random(self) -> bool:
        """Whether images are drawn for; otherwise key and indices are not looked at."""
        return any(0 < p < 1 or (p > 0 and operation.is_random) for operation, p in self.steps)

    def __call__(self, images: Tensor, key: int | Tensor, indices: Tensor) -> Tensor:
        """Images float32 RGB (B, 3, H, W) in [0, 1] -> (B, channels, H, W), same range and memory format, input kept.

        What is drawn depends on an image's key (one for all, or int64 (B,)), its index (int64 (B,)) and the
        operation's place alone. It stays float32 whatever the network computes in.
        """
        if images.dtype != torch.float32 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images are {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}: "
                "expected float32 (B, 3, H, W) in [0, 1]"
            )
        channels_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        with arithmetic.of_colour(images.device):
            images = self.apply(images, lambda slot: uniform(key, indices, slot))
        return images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    @torch.inference_mode()
    def shown(self, images: Tensor, key: int, indices: Tensor) -> np.ndarray:
        """The same as pictures for people, uint8 (B, H, W, 3); of six channels what was transformed, the last three."""
        return (self(images, key, indices)[:, -3:] * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """The operations one after the other; each has SLOTS of `draw` to itself, the first for its p."""
        for position, (operation, p) in enumerate(self.steps):
            first = position * SLOTS
            if p == 1:
                images = operation(images, _from(draw, first + 1))
            elif p > 0:
                chosen = draw(first) < p
                images = torch.where(chosen[:, None, None, None], operation(images, _from(draw, first + 1)), images)
        return images


@dataclass(frozen=True)
class Both:
    """What comes in and what the operations of `view` make of it, stacked as six channels; always the last operation,
    and without p."""

    view: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        if self.inner.channels != 3:
            raise ValueError("view holds both itself: expected operations that give three channels")
        if not self.inner.steps:
            raise ValueError("view=[]: expected at least one operation, or the second three channels repeat the first")

    @cached_property
    def inner(self) -> View:
        """The operations of `view`."""
        return build_view(self.view, where="view")

    @property
    def is_random(self) -> bool:
        return self.inner.is_random

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        # it is the last operation, so every slot after its own is free
        return torch.cat((images, self.inner.apply(images, _from(draw, SLOTS))), dim=1)


def build_view(
    operations: Sequence[Mapping[str, Any]], *, where: str = "aug.train", table: Mapping[str, Any] | None = None
) -> View:
    """A view from the list of a yaml, such as [{"op": "saturate", "space": "luma", "factor": 8, "p": 0.5}].

    table: the operations by name, those of OPS where it is left out.
    Raises ValueError, one line naming the key under `where`, the value and what is accepted.
    """
    if not is_sequence(operations):
        raise ValueError(f"{where}={operations!r}: expected a list of operations, [] for none")
    steps = tuple(
        _step(settings, f"{where}[{i}]", OPS if table is None else table) for i, settings in enumerate(operations)
    )
    for i, (operation, p) in enumerate(steps):
        if isinstance(operation, Both) and i < len(steps) - 1:
            raise ValueError(f"{where}[{i}].op='both': expected it last in the list, as it gives six channels")
        if isinstance(operation, Both) and p != 1:
            raise ValueError(f"{where}[{i}].p={p!r}: expected 1 for both, as all images have as many channels")
    return View(steps)


def _step(settings: Mapping[str, Any], where: str, table: Mapping[str, Any]) -> tuple[Operation, float]:
    if not isinstance(settings, Mapping) or "op" not in settings:
        raise ValueError(f"{where}={settings!r}: expected a mapping with the key op, one of {', '.join(table)}")
    name = settings["op"]
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"{where}.op={name!r}: expected one of {', '.join(table)}")
    fields = dataclasses.fields(table[name])
    keys = ["op", *(field.name for field in fields), "p"]
    for key, value in settings.items():
        if key not in keys:
            raise ValueError(f"{where}.{key}={value!r}: no such key for {name}; expected {', '.join(keys)}")
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in settings:
            raise ValueError(f"{where}.{field.name} is missing: {name} takes {', '.join(keys)}")
    p = settings.get("p", 1.0)
    if not is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"{where}.p={p!r}: expected a probability from 0 to 1")
    try:
        return table[name](**{key: value for key, value in settings.items() if key not in ("op", "p")}), p
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


def _from(draw: Draw, first: int) -> Draw:
    return lambda slot: draw(first + slot)


OPS: dict[str, Any] = {
    "invert": Invert,
    "saturate": Saturate,
    "grayscale": Grayscale,
    "jitter": Jitter,
    "hue_rotate": HueRotate,
    "channel_shuffle": ChannelShuffle,
    "ycbcr": YCbCr,
    "lab": Lab,
    "hsv_channels": HSVChannels,
    "chroma_only": ChromaOnly,
    "solarize": Solarize,
    "posterize": Posterize,
    "gamma": Gamma,
    "equalize_histogram": EqualizeHistogram,
    "jpeg": Jpeg,
    "blur": Blur,
    "resample": Resample,
    "both": Both,
}
