"""A whole picture brought to a wanted size, by the rules of FITS."""

import math

import numpy as np
from PIL import Image

THUMB = 32  # pixels a side
SPARE = 2.0  # pixels to each side for one that is wanted: where there are more, a JPEG is decoded at a smaller scale


def fit(image: np.ndarray, size: tuple[int, int], rule: str) -> np.ndarray:
    """RGB uint8 (H, W, 3) brought to `size` (height, width) by a rule of FITS; itself where it has that size."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(FITS[rule](Image.fromarray(image), width, height))


def thumb(image: np.ndarray) -> np.ndarray:
    """The whole picture as RGB uint8 (32, 32, 3), stretched; whatever size and fit a data set asks for, it is the same,
    but for what a large JPEG loses where it is decoded small."""
    return fit(image, (THUMB, THUMB), "stretch")


def _stretch(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _center_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale until the short side fits, cut the rest off evenly; in one step, so that a ribbon needs no memory."""
    scale = max(width / image.width, height / image.height)
    box_width, box_height = min(image.width, width / scale), min(image.height, height / scale)
    # Whole pixels: a cut without scaling must not resample.
    left, top = (image.width - box_width) // 2, (image.height - box_height) // 2
    box = (left, top, left + box_width, top + box_height)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def _pad(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale until the long side fits, fill the rest evenly with black."""
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    padded = Image.new("RGB", (width, height))
    padded.paste(image.resize(inner, Image.Resampling.BICUBIC), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return padded


def are_thumbs(size: tuple[int, int], rule: str) -> bool:
    """Whether pictures so fitted are their own thumbs, as CIFAKE's are at their native size."""
    return size == (THUMB, THUMB) and rule == "stretch"


def enough(width: int, height: int, size: tuple[int, int], rule: str) -> tuple[int, int]:
    """The least (width, height) at which a picture may be decoded instead of its own, so that `fit` to `size` (height,
    width) and `thumb` still have SPARE pixels to each side for one of theirs. center_crop: its own, as the middle of a
    smaller one lies elsewhere by a part of a pixel."""
    if rule == "center_crop":
        return width, height
    across, down = size[1] / width, size[0] / height
    if rule == "pad":
        across = down = min(across, down)
    return math.ceil(SPARE * max(across * width, THUMB)), math.ceil(SPARE * max(down * height, THUMB))


FITS = {"stretch": _stretch, "center_crop": _center_crop, "pad": _pad}
