"""Whether two thumbnails show the same picture, by their pixels: laid over each other, then compared part by part."""

from collections.abc import Callable
from typing import Any

import numpy as np

from datasets import forked

SIDE = 32  # of a thumbnail, in pixels
PART = 128  # thumbnails, or pairs of them, worked on at once: so few that what they become stays in the cache
WORTH_A_FORK = 16  # parts
EDGE = 2  # pixels around it that a crop may have taken, not compared
STEPS = 4
FARTHEST = np.array([1.8, 0.11, 1.8, 0.11])  # shift in pixels and growth, in y and in x: crops of a twentieth
LEAST_DETAIL = 4.0  # grey levels; a flatter picture has nothing to be known by
LEAST_LIKENESS = 0.9
LEAST_AFTER_A_STEP = 0.7  # the first brings a copy to 0.75 at least, and seven of ten others not to 0.7
NOISE = 6.0  # grey levels that coding at quality 50 may add
BLOCK = 7  # pixels
# What each pixel of a line gives to each, in quarters; the ends stand for what lies beyond them.
BLUR = np.eye(SIDE, k=1) + 2 * np.eye(SIDE) + np.eye(SIDE, k=-1)
BLUR[0, 0] = BLUR[-1, -1] = 3
BLUR = BLUR.astype(np.float32)
DETAIL = BLUR - BLUR.mean(1, keepdims=True)  # the same, less the mean of the line


def parts_of(count: int) -> list[slice]:
    """The slices of PART among `count` places."""
    return [slice(start, start + PART) for start in range(0, count, PART)]


def each_part(count: int, work: Callable[[slice], Any]) -> list[Any]:
    """What `work` gives for each of these slices, in order; in a process for each CPU where there is enough to do."""
    parts = parts_of(count)
    return forked.each(parts, work) if len(parts) >= WORTH_A_FORK else [work(part) for part in parts]


def grey_of(thumbs: np.ndarray) -> np.ndarray:
    """Luma of thumbnails uint8 (N, 32, 32, 3), in sixteenths of a level, 0 to 4080: uint16 (N, 32, 32)."""
    red, green, blue = (thumbs[..., channel].astype(np.uint16) for channel in range(3))
    return (77 * red + 150 * green + 29 * blue) >> 4  # below 2 ** 16 before the shift


def has_detail(thumbs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Which of some thumbnails uint8 (N, 32, 32, 3) hold more than the means of their rows and columns: bool (n,)."""
    found = each_part(len(indices), lambda part: detailed(grey_of(thumbs[indices[part]])))
    return np.concatenate([np.empty(0, bool), *found])


def detailed(grey: np.ndarray) -> np.ndarray:
    """The same of their luma, as `grey_of` gives it."""
    rest = (DETAIL.T @ (grey.astype(np.float32) @ DETAIL) / 256).reshape(len(grey), SIDE * SIDE)
    return np.einsum("ni,ni->n", rest, rest) >= LEAST_DETAIL**2 * SIDE * SIDE


def same_picture(thumbs: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs (M, 2) among thumbnails uint8 (N, 32, 32, 3) are the same by their pixels: bool (M,).

    They are where that holds as they lie, or once the first is moved and stretched to lie on the second.
    """

    def of_part(part: slice) -> np.ndarray:
        first, second = (_blurred(grey_of(thumbs[pairs[part, side]])) for side in (0, 1))
        inner = second[:, EDGE:-EDGE, EDGE:-EDGE]
        same = _alike(first[:, EDGE:-EDGE, EDGE:-EDGE], inner)
        left = np.flatnonzero(~same)
        left = left[_likeness(_aligned(first[left], inner[left], 1), inner[left]) >= LEAST_AFTER_A_STEP]
        same[left] = _alike(_aligned(first[left], inner[left], STEPS), inner[left])
        return same

    return np.concatenate([np.empty(0, bool), *each_part(len(pairs), of_part)])


def _alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which of the pictures (M, 28, 28) that lie on each other are the same, gain and offset apart: bool (M,).

    What is left without the means of rows and columns must correlate: a horizon or a shaded sky is common to thousands
    of pictures, and is gone then. And the first must explain every part of the second: in no block may the rest exceed
    the block's own contrast.
    """
    same = _likeness(first, second) >= LEAST_LIKENESS
    first, second = (images[same] - images[same].mean((1, 2), keepdims=True) for images in (first, second))
    first *= (_product(first, second) / (_product(first, first) + 1e-9))[:, None, None]
    contrast = (_blocks(first).var((2, 4)) + _blocks(second).var((2, 4))) / 2
    rest = (_blocks(first - second) ** 2).mean((2, 4))
    same[same] = (rest <= contrast + NOISE**2).all((1, 2))
    return same


def _likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How pictures (M, 28, 28) correlate without the means of their rows and columns: (M,), from -1 to 1."""
    left, right = _without_means(first), _without_means(second)
    return _product(left, right) / np.sqrt(_product(left, left) * _product(right, right) + 1e-9)


def _aligned(first: np.ndarray, target: np.ndarray, steps: int) -> np.ndarray:
    """The first pictures (M, 32, 32), shifted and stretched to lie on the targets (M, 28, 28): (M, 28, 28).

    Lucas and Kanade's steps (IJCAI 1981) for shift and growth in y and in x, gain and offset free; a weak spring holds
    what the picture leaves open.
    """
    offsets = np.arange(EDGE, SIDE - EDGE, dtype=np.float32) - (SIDE - 1) / 2
    spring = np.diag([1, 1, 400, 40_000, 400, 40_000])
    moves = np.zeros((len(first), 4))
    # of the fit: a level, the picture, its slopes down and across and these times their place; then the target
    terms = np.ones((len(first), 7, len(offsets), len(offsets)), np.float32)
    terms[:, 6] = target
    flat = terms.reshape(len(first), 7, len(offsets) ** 2)
    moved = first[:, EDGE:-EDGE, EDGE:-EDGE]
    for _ in range(steps):
        terms[:, 1] = moved
        terms[:, 2], terms[:, 4] = np.gradient(moved, axis=(1, 2))
        terms[:, 3], terms[:, 5] = terms[:, 2] * offsets[:, None], terms[:, 4] * offsets
        products = (flat[:, :6] @ flat.transpose(0, 2, 1)).astype(np.float64)
        fit = np.linalg.solve(products[:, :, :6] + spring, products[:, :, 6:])[:, :, 0]
        moves = np.clip(moves + fit[:, 2:] / np.maximum(fit[:, 1:2], 0.2), -FARTHEST, FARTHEST)
        moved = _moved(first, moves, offsets)
    return moved


def _moved(images: np.ndarray, moves: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Images (M, 32, 32) read at offsets (n,) from their middle, shifted and stretched; linear between pixels."""
    places = (SIDE - 1) / 2 + moves[:, 0::2, None] + (1 + moves[:, 1::2, None]) * offsets  # (M, 2, n), in y and in x
    places = np.clip(places, 0, SIDE - 1).astype(np.float32)
    down, across = np.maximum(1 - np.abs(places[..., None] - np.arange(SIDE, dtype=np.float32)), 0).swapaxes(0, 1)
    return down @ (images @ across.transpose(0, 2, 1))


def _blurred(grey: np.ndarray) -> np.ndarray:
    """Grey levels float32 (N, 32, 32), each the (1, 2, 1) / 4 mean of its neighbours along both axes."""
    # whole numbers below 2 ** 24, hence exact in whatever order they are added
    return (BLUR.T @ (grey.astype(np.float32) @ BLUR)) / 256


def _without_means(images: np.ndarray) -> np.ndarray:
    means = images.mean(1, keepdims=True) + images.mean(2, keepdims=True) - images.mean((1, 2), keepdims=True)
    return images - means


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("nyx,nyx->n", left, right)


def _blocks(images: np.ndarray) -> np.ndarray:
    """(M, 28, 28) as (M, row of blocks, row in the block, column of blocks, column in it)."""
    count = images.shape[1] // BLOCK
    return images.reshape(len(images), count, BLOCK, count, BLOCK)
