"""The undecodable last rows of a JPEG that was cut short, painted in from the rows above; needs the extra [repair]."""

import importlib.util
import io
import math

import numpy as np
from PIL import Image

from datasets import images
from datasets.images import BadImage, Facts, ImageSettings
from datasets.manifest import DataError

LEAST_DECODED = 0.5  # share of the rows that must decode; with fewer, most of the picture would be invented
RADIUS = 3  # pixels that one painted pixel is drawn from, each way
# The painted rows hold no detail, so large pictures are painted small, where Telea's way also errs less: over half of
# a picture of 4000x3000 in its own size, it drifts away from its colours, and takes twelve seconds.
LONGEST_PAINTED = 512
START, END = b"\xff\xd8\xff", b"\xff\xd9"  # of a JPEG


def check_library() -> None:
    """DataError where OpenCV is not installed."""
    if importlib.util.find_spec("cv2") is None:
        raise DataError('data.repair=inpaint needs OpenCV: pip install -e ".[repair]"')


def inpainted(data: bytes, settings: ImageSettings, reason: BadImage) -> tuple[np.ndarray, Facts, list[str]]:
    """The picture of a file that images.decode refuses for `reason`: pixels and facts as from there, and what is to be
    noted: the reason, which rows were painted, by what.

    The rows that decode are those of the whole file to the last bit; the rest is painted by the fast marching method
    (A. Telea, "An image inpainting technique based on the fast marching method", J. Graphics Tools 2004). Raises
    `reason` where the file is no JPEG or is bad for another reason than being cut short, BadImage where less than
    LEAST_DECODED of the rows decode. Of a progressive JPEG cut short none do: its last bytes belong to all of them.
    """
    if not data.startswith(START):
        raise reason
    whole, facts = images.decode(data + END, settings)  # libjpeg makes up what is missing
    with Image.open(io.BytesIO(data + END), formats=("JPEG", "MPO")) as image:
        height, rows = image.height, decoded_rows(data, image)
        missing = np.zeros((height, image.width), np.uint8)
        missing[rows:] = 255
        missing = np.asarray(images.upright(Image.fromarray(missing), images.orientation(image)))
    if rows == height:
        raise reason
    if rows < LEAST_DECODED * height:
        raise BadImage(f"{reason}; {rows} of {height} rows decode, in-painting needs {LEAST_DECODED:.0%}")
    painted, by = _paint(whole, missing)
    return painted, facts, [str(reason), f"rows {rows} to {height - 1} of {height} in-painted", by]


def decoded_rows(data: bytes, image: Image.Image) -> int:
    """How many rows of an opened JPEG, from the first on, come from its bytes `data` alone.

    Where bytes are missing libjpeg waits for more and has given out no row that depends on them, be it through a block
    or through the colour of the block below. So they are decoded onto black and onto white: what differs was not drawn.
    """
    arguments = image.tile[0].args  # type: ignore[attr-defined]
    drawn = []
    for level in (0, 255):
        canvas = Image.new(image.mode, image.size, (level,) * len(image.getbands()))
        try:
            canvas.frombytes(data, "jpeg", *arguments)
        except ValueError:  # not enough bytes
            drawn.append(np.asarray(canvas).reshape(image.height, -1))
        else:
            return image.height
    differs = (drawn[0] != drawn[1]).any(axis=1)
    return int(differs.argmax()) if differs.any() else image.height


def _paint(image: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, str]:
    """RGB uint8 (H, W, 3) painted where `missing`, uint8 (H, W), is 255; and with what."""
    import cv2

    height, width = missing.shape
    shrink = math.ceil(max(height, width) / LONGEST_PAINTED)
    small, mask = (np.asarray(Image.fromarray(array).reduce(shrink)) for array in (image, missing))
    painted = Image.fromarray(cv2.inpaint(small, (mask > 0).astype(np.uint8), RADIUS, cv2.INPAINT_TELEA))
    box = (0, 0, width / shrink, height / shrink)
    painted = painted.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.where(missing[..., None] > 0, np.asarray(painted), image), f"OpenCV {cv2.__version__}"
