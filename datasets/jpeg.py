"""What is particular to JPEG: how a file was compressed, and decoding at a half, a quarter or an eighth of its size."""

import functools
import io

import numpy as np
from PIL import Image, JpegImagePlugin

SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
SCALES = (8, 4, 2)  # what the inverse transform of a block of 8x8 can be divided by


def compression(image: Image.Image) -> tuple[int, str]:
    """Quality and chroma subsampling of an opened JPEG, as images.Facts has them."""
    tables: dict = getattr(image, "quantization", {})
    total = sum(tables[min(tables)]) if tables else 0
    quality = 1 + int(np.abs(_table_sums() - total).argmin()) if total else 0
    return quality, SAMPLINGS.get(JpegImagePlugin.get_sampling(image), "")


def decode_small(image: Image.Image, least: tuple[int, int]) -> int:
    """Have an opened JPEG decoded at the smallest scale that divides its width and height and leaves `least`, (width,
    height): 8, 4, 2 or, as it is, 1. All of the file is read in any case, and damage noticed."""
    for scale in SCALES:
        small = image.width // scale, image.height // scale
        if (small[0] * scale, small[1] * scale) == image.size and small[0] >= least[0] and small[1] >= least[1]:
            image.draft(None, small)
            return scale
    return 1


def decode_scan(data: bytes, canvas: Image.Image) -> np.ndarray:
    """The pixels of a JPEG that is known to be RGB of the size of `canvas` and upright: uint8 (height, width, 3).

    What Image.open() gives, by the same decoder, without parsing in Python what was parsed before. The canvas, RGB, is
    written over; the pixels are a copy. ValueError where the JPEG is not whole.
    """
    canvas.frombytes(data, "jpeg", "RGB", "")
    return np.frombuffer(canvas.tobytes(), np.uint8).reshape(canvas.height, canvas.width, 3)


@functools.cache
def _table_sums() -> np.ndarray:
    """Sum of libjpeg's luma table at each quality from 1 to 100, which falls from one to the next."""
    sums = []
    for quality in range(1, 101):
        out = io.BytesIO()
        Image.new("L", (8, 8)).save(out, "JPEG", quality=quality)
        with Image.open(out, formats=("JPEG",)) as image:
            sums.append(sum(image.quantization[0]))  # type: ignore[attr-defined]
    return np.array(sums)
