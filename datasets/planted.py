"""Thumbnails drawn in bulk, and copies altered on purpose: what a search for duplicates is measured on."""

import io
from collections.abc import Callable
from itertools import cycle

import numpy as np
from PIL import Image

from datasets.likeness import SIDE, has_detail


def thumbnails(count: int, *, seed: int = 0) -> np.ndarray:
    """Pictures of nothing whose detail falls with frequency as that of photographs: uint8 (count, 32, 32, 3).

    Amplitude over frequency after D. Field, J. Opt. Soc. Am. A 4, 1987. One in twenty is nearly flat, as sky is.
    """
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE))
    amplitude = np.maximum(frequency, 1 / SIDE) ** -1.3
    amplitude[0, 0] = 0
    drawn = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for start in range(0, count, 2048):
        number = min(2048, count - start)
        spectrum = random.standard_normal((2, number, 3, *amplitude.shape))
        planes = np.fft.irfft2((spectrum[0] + 1j * spectrum[1]) * amplitude, s=(SIDE, SIDE))
        planes /= planes.std((2, 3), keepdims=True)
        contrast = np.where(random.random(number) < 0.05, 2, random.uniform(15, 55, number))[:, None, None]
        luma = random.uniform(70, 180, (number, 1, 1)) + contrast * planes[:, 0]
        levels = luma[..., None] + contrast[..., None] / 5 * np.moveaxis(planes[:, [1, 2, 1]], 1, 3) * [1, 1, -1]
        drawn[start : start + number] = np.clip(levels, 0, 255)
    return drawn


def with_copies(count: int, num_copies: int, *, seed: int = 0) -> tuple[np.ndarray, dict[tuple[int, int], str]]:
    """Thumbnails uint8 (count, 32, 32, 3), the last of which are altered copies; (index of one, of its copy): kind.

    Of those with detail, that is: who copies clear sky cannot be found out.
    """
    random = np.random.default_rng(seed)
    drawn = thumbnails(count, seed=seed)
    copied = np.flatnonzero(has_detail(drawn, np.arange(2 * num_copies)))[:num_copies].tolist()
    pairs = zip(copied, range(count - num_copies, count), strict=True)
    copies = dict(zip(pairs, cycle(KINDS), strict=False))
    for (picture, copy), kind in copies.items():
        drawn[copy] = altered(drawn[picture], kind, random)
    return drawn, copies


def index_pairs(count: int, num_pairs: int, *, seed: int = 0) -> np.ndarray:
    """Pairs such as a search finds, of neighbours among `count` images: int64 (num_pairs, 2), ascending."""
    first = np.random.default_rng(seed).choice(count - 1, num_pairs, replace=False)
    return np.stack([np.sort(first), np.sort(first) + 1], axis=1)


def altered(picture: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """A copy of a picture uint8 (H, W, 3), changed by a kind of KINDS, as the thumbnail uint8 (32, 32, 3) of it."""
    changed = KINDS[kind](Image.fromarray(picture), random)
    return np.asarray(changed.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _coded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    size = round(image.width * scale), round(image.height * scale)
    return _coded(image.resize(size, Image.Resampling.BICUBIC), 90)


def _cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Without these shares of the width and the height."""
    width, height = image.size
    box = (round(left * width), round(top * height), width - round(right * width), height - round(bottom * height))
    return _coded(image.crop(box), 90)


def _relit(image: Image.Image, gain: float, offset: float) -> Image.Image:
    return _coded(image.point(lambda level: level * gain + offset), 90)


KINDS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "quality 50": lambda image, random: _coded(image, 50),
    "quality 60 to 95": lambda image, random: _coded(image, int(random.integers(60, 96))),
    "half the size": lambda image, random: _scaled(image, 0.5),
    "scaled by 0.7 to 2": lambda image, random: _scaled(image, random.uniform(0.7, 2)),
    "cropped by up to 5 % a side": lambda image, random: _cropped(image, *random.uniform(0, 0.05, 4)),
    "cropped by 5 % on every side": lambda image, random: _cropped(image, 0.05, 0.05, 0.05, 0.05),
    "other light": lambda image, random: _relit(image, random.uniform(0.85, 1.1), random.uniform(-12, 12)),
    "cropped, scaled by 0.7, quality 60": lambda image, random: _coded(
        _scaled(_cropped(image, *random.uniform(0, 0.05, 4)), 0.7), 60
    ),
}
