"""Whether two thumbnails show the same picture, by their pixels: laid over each other, then compared part by part."""

from collections.abc import Iterator

import numpy as np

SIDE = 32  # of a thumbnail, in pixels
PART = 2048  # thumbnails, or pairs of them, worked on at once
EDGE = 2  # pixels around it that a crop may have taken, not compared
STEPS = 4
FARTHEST = np.array([1.8, 0.11, 1.8, 0.11])  # shift in pixels and growth, in y and in x: crops of a twentieth
LEAST_DETAIL = 4.0  # grey levels; a flatter picture has nothing to be known by
LEAST_LIKENESS = 0.9
NOISE = 6.0  # grey levels that coding at quality 50 may add
BLOCK = 7  # pixels


def parts_of(count: int) -> Iterator[slice]:
    """Slices that cover `count` places, PART in each."""
    return (slice(start, start + PART) for start in range(0, count, PART))


def grey_of(thumbs: np.ndarray) -> np.ndarray:
    """Luma of thumbnails uint8 (N, 32, 32, 3), in sixteenths of a level, 0 to 4080: uint16 (N, 32, 32)."""
    red, green, blue = (thumbs[..., channel].astype(np.uint16) for channel in range(3))
    return (77 * red + 150 * green + 29 * blue) >> 4  # below 2 ** 16 before the shift


def has_detail(thumbs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Which of some thumbnails uint8 (N, 32, 32, 3) hold more than the means of their rows and columns: bool (n,)."""
    detail = np.empty(len(indices), bool)
    for part in parts_of(len(indices)):
        rest = _without_means(_blurred(grey_of(thumbs[indices[part]])))
        detail[part] = rest.std((1, 2)) >= LEAST_DETAIL
    return detail


def same_picture(thumbs: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs (M, 2) among thumbnails uint8 (N, 32, 32, 3) are the same by their pixels: bool (M,).

    They are where that holds as they lie, or once the first is moved and stretched to lie on the second.
    """
    same = np.zeros(len(pairs), bool)
    for part in parts_of(len(pairs)):
        first, second = (_blurred(grey_of(thumbs[pairs[part, side]])) for side in (0, 1))
        inner = second[:, EDGE:-EDGE, EDGE:-EDGE]
        chunk = _alike(first[:, EDGE:-EDGE, EDGE:-EDGE], inner)
        open_ = np.flatnonzero(~chunk)
        chunk[open_] = _alike(_aligned(first[open_], inner[open_]), inner[open_])
        same[part] = chunk
    return same


def _alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which of the pictures (M, 28, 28) that lie on each other are the same, gain and offset apart: bool (M,).

    What is left without the means of rows and columns must correlate: a horizon or a shaded sky is common to thousands
    of pictures, and is gone then. And the first must explain every part of the second: in no block may the rest exceed
    the block's own contrast.
    """
    left, right = _without_means(first), _without_means(second)
    likeness = _product(left, right) / np.sqrt(_product(left, left) * _product(right, right) + 1e-9)
    first = first - first.mean((1, 2), keepdims=True)
    second = second - second.mean((1, 2), keepdims=True)
    first *= (_product(first, second) / (_product(first, first) + 1e-9))[:, None, None]
    contrast = (_blocks(first).var((2, 4)) + _blocks(second).var((2, 4))) / 2
    rest = (_blocks(first - second) ** 2).mean((2, 4))
    return (likeness >= LEAST_LIKENESS) & (rest <= contrast + NOISE**2).all((1, 2))


def _aligned(first: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The first pictures (M, 32, 32), shifted and stretched to lie on the targets (M, 28, 28): (M, 28, 28).

    Lucas and Kanade's steps (IJCAI 1981) for shift and growth in y and in x, gain and offset free; a weak spring holds
    what the picture leaves open.
    """
    offsets = np.arange(EDGE, SIDE - EDGE, dtype=np.float32) - (SIDE - 1) / 2
    spring = np.diag([1, 1, 400, 40_000, 400, 40_000])
    moves = np.zeros((len(first), 4))
    for _ in range(STEPS):
        moved = _moved(first, moves, offsets)
        down, across = np.gradient(moved, axis=(1, 2))
        terms = (np.ones_like(moved), moved, down, down * offsets[:, None], across, across * offsets)
        design = np.stack(terms, axis=1).reshape(len(first), len(terms), len(offsets) ** 2)
        normal = (design @ design.transpose(0, 2, 1)).astype(np.float64) + spring
        right = (design @ target.reshape(len(first), len(offsets) ** 2, 1)).astype(np.float64)
        fit = np.linalg.solve(normal, right)[:, :, 0]
        moves = np.clip(moves + fit[:, 2:] / np.maximum(fit[:, 1:2], 0.2), -FARTHEST, FARTHEST)
    return _moved(first, moves, offsets)


def _moved(images: np.ndarray, moves: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Images (M, 32, 32) read at offsets (n,) from their middle, shifted and stretched; linear between pixels."""
    for axis in (1, 2):
        shift, growth = moves[:, 2 * axis - 2, None], moves[:, 2 * axis - 1, None]
        places = np.clip((SIDE - 1) / 2 + shift + (1 + growth) * offsets, 0, SIDE - 1.001)
        before = places.astype(np.int64)
        weight = np.expand_dims((places - before).astype(np.float32), 3 - axis)
        before = np.expand_dims(before, 3 - axis)
        near, far = (np.take_along_axis(images, before + step, axis) for step in (0, 1))
        images = near + (far - near) * weight
    return images


def _blurred(grey: np.ndarray) -> np.ndarray:
    """Grey levels float32 (N, 32, 32), each the (1, 2, 1) / 4 mean of its neighbours along both axes."""
    levels = grey.astype(np.float32) / 16
    for axis in (1, 2):
        around = np.pad(levels, [(1, 1) if side == axis else (0, 0) for side in range(3)], mode="edge")
        before, middle, after = (np.take(around, range(k, k + SIDE), axis) for k in range(3))
        levels = (before + 2 * middle + after) / 4
    return levels


def _without_means(images: np.ndarray) -> np.ndarray:
    means = images.mean(1, keepdims=True) + images.mean(2, keepdims=True) - images.mean((1, 2), keepdims=True)
    return images - means


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("nyx,nyx->n", left, right)


def _blocks(images: np.ndarray) -> np.ndarray:
    """(M, 28, 28) as (M, row of blocks, row in the block, column of blocks, column in it)."""
    count = images.shape[1] // BLOCK
    return images.reshape(len(images), count, BLOCK, count, BLOCK)
