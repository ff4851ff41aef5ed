"""Pictures drawn by the program, where "fake" means passed through a small, declared distortion: a calibration source.

The bytes depend on the settings and Pillow alone, on any machine: the random stream is numpy's frozen legacy one, the
arithmetic is + - * / sqrt and comparisons on float64, element by element. No sum, mean, power or matrix product: their
last bit differs between machines.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from datasets.manifest import FAKE, NAME_OF_LABEL, REAL, Row
from datasets.partition import check_settings

LAW = 1  # raise it when the same settings draw other pictures
SPLITS = ("train", "val", "test")
EVIDENCE = ("chroma", "luma", "both", "none")
GENERATORS = ("chroma", "luma")  # of both, in turn
SIDES = (8, 1024)

SMALLEST_RADIUS = 1.5  # pixels; from here to LARGEST_RADIUS the leaves' number falls as radius ** -3
LARGEST_RADIUS = 0.6  # of the longer side
LEAVES_PER_PIXEL = 0.0375  # hides half of the ground in a picture of 32x32, more in a larger one
# Y in 128 +- 84, Cb in +- 24, Cr in +- 29 is a box inside the RGB gamut (84 + 1.772 * 24 < 127, 84 + 1.402 * 29 < 125):
# no plane is clipped on the way to RGB, so what is done to one plane cannot show in another.
LIMITS = np.array([84.0, 24.0, 29.0]).reshape(3, 1, 1)
ZIPPER = 0.06  # how unequal the gain of a transposed convolution is from one pixel to the next


@dataclass
class SyntheticSettings:
    """Settings of `data=synthetic`.

    evidence: where fakes differ from reals: chroma, luma or none; both: in chroma or in luma, half of the fakes each,
    as two sources beside that of the reals.
    strength: each fake's plane is a blend of original and distorted; the weight of the distorted one is drawn uniformly
    between 0 and strength, so that a few fakes cannot be told however well a network is trained.
    image_size: an int or [height, width]; train, val, test: pictures in each split, half of them fake.
    fold: 0 to folds - 1 makes that part of all pictures the test split instead; none: no folds.
    """

    source: str = "synthetic"
    name: str = "synthetic"
    evidence: str = "chroma"
    strength: float = 0.6
    image_size: Any = 32
    train: int = 8000
    val: int = 2000
    test: int = 2000
    fold: int | None = None
    folds: int = 5
    data_seed: int = 0

    def __post_init__(self) -> None:
        if self.evidence not in EVIDENCE:
            raise ValueError(f"data.evidence={self.evidence}: expected chroma, luma, both or none")
        if not _is_number(self.strength) or not 0 <= self.strength <= 1:
            raise ValueError(f"data.strength={self.strength}: expected a number from 0 to 1")
        sides = _sides(self.image_size)
        if len(sides) != 2 or not all(_is_whole(side) and SIDES[0] <= side <= SIDES[1] for side in sides):
            raise ValueError(
                f"data.image_size={self.image_size}: expected a whole number from {SIDES[0]} to {SIDES[1]} "
                "or [height, width] of such"
            )
        for split in SPLITS:
            count = getattr(self, split)
            if not _is_whole(count) or count < 2 or count % 2:
                raise ValueError(f"data.{split}={count}: expected an even whole number of at least 2")
        if not _is_whole(self.data_seed) or not 0 <= self.data_seed < 2**32:
            raise ValueError(f"data.data_seed={self.data_seed}: expected a whole number from 0 to {2**32 - 1}")
        check_settings(self)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture that is drawn when it is read; it depends on nothing but these fields."""

    split: str
    label: int
    index: int
    height: int
    width: int
    evidence: str
    strength: float
    data_seed: int

    @property
    def stamp(self) -> str:
        """Changes when the picture does."""
        return f"{LAW}:{self.height}x{self.width}:{self.evidence}:{self.strength}:{self.data_seed}"

    def read(self) -> bytes:
        """The picture as a JPEG file."""
        seed = (self.data_seed, SPLITS.index(self.split), self.label, self.index)
        random = np.random.RandomState(seed)
        planes = _scene(random, self.height, self.width)
        if self.label == FAKE and self.evidence != "none":
            distorted = planes[1:] if self.evidence == "chroma" else planes[:1]
            distorted += (_coarsely_decoded(distorted) - distorted) * (self.strength * random.random_sample())
        planes = np.rint(np.clip(planes, 128 - LIMITS, 128 + LIMITS)).astype(np.uint8)
        file = io.BytesIO()
        # saved from YCbCr as it stands, 4:4:4: a way through RGB would mix the planes, 4:2:0 would blur the evidence
        interleaved = np.ascontiguousarray(planes.transpose(1, 2, 0)).tobytes()
        Image.frombytes("YCbCr", (self.width, self.height), interleaved).save(file, "JPEG", quality=92, subsampling=0)
        return file.getvalue()


def rows(settings: SyntheticSettings) -> list[tuple[Row, Drawing]]:
    """List all pictures, split by split, as many REAL as FAKE in each."""
    height, width = _sides(settings.image_size)
    listing = []
    for split in SPLITS:
        for label in (REAL, FAKE):
            for index in range(getattr(settings, split) // 2):
                path = f"{split}/{NAME_OF_LABEL[label]}/{index:05d}.jpg"
                source, evidence = settings.source, settings.evidence
                if label == FAKE and evidence == "both":
                    source = evidence = GENERATORS[index % len(GENERATORS)]
                row = Row(path=path, label=label, split=split, source=source)
                law = (evidence, float(settings.strength), settings.data_seed)
                listing.append((row, Drawing(split, label, index, height, width, *law)))
    return listing


def _scene(random: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """A photograph of nothing: float64 (3, height, width), Y, Cb and Cr around 128, within LIMITS but for the noise."""
    y, x = (np.arange(2 * height) + 0.5) / 2, (np.arange(2 * width) + 0.5) / 2
    leaf = _leaves(random, y, x)
    num_leaves = int(leaf.max()) + 1
    look = random.random_sample(8)
    contrast, saturation = 20 + 35 * look[0], 4 + 16 * look[1]
    colour = np.empty((3, num_leaves))
    luma, warmth, green = _bell(random, (3, num_leaves))
    warmth, green = 2 * look[2] - 1 + warmth * np.abs(warmth), 0.6 * (look[3] - 0.5) + 0.4 * green
    colour[0] = 70 * (look[4] - 0.5) + contrast * luma
    colour[1], colour[2] = saturation * (-warmth - green), saturation * (0.9 * warmth - 0.8 * green)
    slope_y, slope_x = contrast / max(height, width) * _bell(random, (2, num_leaves))
    planes = colour[:, leaf]
    planes[0] += slope_y[leaf] * (y[:, None] - height / 2) + slope_x[leaf] * (x - width / 2)
    light = 1 + 0.6 * ((look[5] - 0.5) * (y[:, None] / height - 0.5) + (look[6] - 0.5) * (x / width - 0.5))
    planes[0] = (planes[0] + 128) * light - 128
    planes[1:] *= light
    planes = _halved(planes)
    planes /= np.sqrt(1 + (planes / (0.9 * LIMITS)) * (planes / (0.9 * LIMITS)))
    noise = _bell(random, planes.shape)
    noise[0] *= (1 + 2 * look[7]) * np.sqrt(0.5 + (planes[0] + 128) / 256)  # brighter pixels count more photons
    noise[1:] *= 1 + 2 * look[7]
    return planes + noise + 128


def _leaves(random: np.random.RandomState, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Occluding shapes on the grid y, x: which one is seen where, 0 being the ground behind all."""
    step = y[1] - y[0]
    height, width = len(y) * step, len(x) * step
    seen = np.zeros((len(y), len(x)), dtype=np.int64)
    ratio = SMALLEST_RADIUS / (LARGEST_RADIUS * max(height, width))
    count = int(LEAVES_PER_PIXEL * height * width)
    uniform = random.random_sample((5, count))
    kinds = random.randint(0, 3, size=count)
    long = SMALLEST_RADIUS / np.sqrt(1 - uniform[0] * (1 - ratio * ratio))
    short = long * (0.35 + 0.65 * uniform[1])
    centre_y, centre_x = uniform[2] * height, uniform[3] * width
    tangent = 2 * uniform[4] - 1  # of half the angle: cosine and sine without trigonometry
    cosine, sine = (1 - tangent * tangent) / (1 + tangent * tangent), 2 * tangent / (1 + tangent * tangent)
    reach = 1.42 * long
    bounds = np.stack([centre_y - reach, centre_y + reach, centre_x - reach, centre_x + reach])
    bounds = np.maximum(np.rint(bounds / step), 0).astype(np.int64)
    for k, (top, bottom, left, right) in enumerate(bounds.T.tolist()):
        dy, dx = (y[top:bottom] - centre_y[k])[:, None], x[left:right] - centre_x[k]
        u = dx * (cosine[k] / long[k]) + dy * (sine[k] / long[k])
        v = dy * (cosine[k] / short[k]) - dx * (sine[k] / short[k])
        if kinds[k] == 0:
            inside = u * u + v * v < 1
        elif kinds[k] == 1:
            inside = np.maximum(np.abs(u), np.abs(v)) < 1
        else:
            inside = (np.abs(u) * 2 + v < 1) & (v > -1)
        seen[top:bottom, left:right][inside] = k + 1
    return seen


def _bell(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Nearly normal numbers of mean 0 and standard deviation 1: the sum of three uniforms."""
    one, two, three = random.random_sample((3, *shape))
    return 2 * (one + two + three - 1.5)


def _coarsely_decoded(planes: np.ndarray) -> np.ndarray:
    """Planes (n, height, width) at a quarter of their resolution, brought back by two transposed convolutions.

    Their kernels overlap unevenly, as those of a learned decoder do: one pixel gets more gain than the next.
    """
    height, width = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (0, -height % 4), (0, -width % 4)), mode="edge")
    return _doubled(_doubled(_halved(_halved(padded))))[:, :height, :width]


def _halved(planes: np.ndarray) -> np.ndarray:
    top, bottom = planes[:, ::2], planes[:, 1::2]
    return (top[:, :, ::2] + top[:, :, 1::2] + bottom[:, :, ::2] + bottom[:, :, 1::2]) / 4


def _doubled(planes: np.ndarray) -> np.ndarray:
    """A transposed convolution of stride 2, along height, then width."""
    for _ in range(2):
        after = np.concatenate([planes[:, 1:], planes[:, -1:]], axis=1)
        doubled = np.empty((planes.shape[0], 2 * planes.shape[1], planes.shape[2]))
        doubled[:, ::2] = planes * (1 + ZIPPER)
        doubled[:, 1::2] = (planes + after) * ((1 - ZIPPER) / 2)
        planes = doubled.swapaxes(1, 2)
    return planes


def _sides(image_size: Any) -> tuple[Any, ...]:
    return tuple(image_size) if isinstance(image_size, list | tuple) else (image_size, image_size)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
