"""One decoder for every picture this project reads: bytes in, upright RGB uint8 at the wanted size or a reason out."""

import contextlib
import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Three readers by name: at the first WebP, TIFF or AVIF file Pillow would load all its forty.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    ExifTags,
    Image,
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from datasets import degrade, fitting, jpeg
from datasets.fitting import FITS, fit

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
LARGEST_SIDE = 4096
# Pillow itself refuses more, before any cap of ours is looked at.
LARGEST_MAX_PIXELS = 178_956_970
MOST_PATCHES = 1024


class BadImage(ValueError):
    """An image that cannot be decoded whole; the text is the reason, in one line."""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What an image must be and what becomes of it.

    size: (height, width) in pixels after `fit`, a key of FITS, or `patches`: up to `patches` pieces of that size cut
    from every image as it is, none overlapping another.
    inpaint: a JPEG that was cut short is completed, see datasets.inpaint; otherwise it is bad.
    degradation: what is done to the whole picture before `fit`, and how strongly, see datasets.degrade.
    min_side, max_pixels, max_bytes: what lies outside is a BadImage; looked at before any pixel is decoded.
    """

    size: tuple[int, int] = (32, 32)
    fit: str = "stretch"
    patches: int = 1
    inpaint: bool = False
    min_side: int = 8
    max_pixels: int = 50_000_000
    max_bytes: int = 100_000_000
    degradation: degrade.Degradation | None = None

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in self.size):
            raise ValueError(f"data.image_size is {self.size}; expected height, width from 1 to {LARGEST_SIDE}")
        if self.fit not in (*FITS, "patches"):
            raise ValueError(f"data.fit is {self.fit!r}; expected one of {', '.join(FITS)}, patches")
        if type(self.patches) is not int or not 1 <= self.patches <= MOST_PATCHES:
            raise ValueError(f"data.patches is {self.patches!r}; expected a whole number from 1 to {MOST_PATCHES}")
        if self.patches > 1 and self.fit != "patches":
            raise ValueError(f"data.patches is {self.patches} while data.fit is {self.fit}; they need data.fit=patches")
        tops = {"min_side": LARGEST_SIDE, "max_pixels": LARGEST_MAX_PIXELS, "max_bytes": 2**31 - 1}
        for key, top in tops.items():
            value = getattr(self, key)
            if type(value) is not int or not 1 <= value <= top:
                raise ValueError(f"{key} is {value!r}; expected a whole number from 1 to {top}")
        if self.degradation:
            degrade.check(self.degradation)


class Facts(NamedTuple):
    """Of the image before `fit`.

    width, height: in pixels, as it is shown; format and mode: Pillow's names, as stored; quality: of a JPEG, 1 to 100,
    the one with which libjpeg makes tables of the same sum, else 0; sampling: its chroma subsampling, else empty.
    """

    width: int
    height: int
    format: str
    mode: str
    quality: int
    sampling: str


def decode(data: bytes, settings: ImageSettings) -> tuple[np.ndarray, Facts]:
    """Decode the first frame of a file whole: RGB uint8 (height, width, 3), EXIF orientation applied, read-only.

    Palette, grey, CMYK and the like become RGB; what is transparent becomes white; 16-bit values are scaled, not
    clipped; float images are taken where all their values lie in [0, 1]. Raises BadImage and nothing else.
    """
    return _guarded(data, settings, to_fit=False)[:2]


class Decoder:
    """`decode` for many files that will all be fitted under the same settings.

    A large JPEG comes at a half, a quarter or an eighth of its size where that is still `fitting.enough` and nothing is
    to be done to the whole; its facts are of the whole. Files of one collection often begin alike, up to the coded
    pixels: what stands there is read once.
    """

    def __init__(self, settings: ImageSettings) -> None:
        self.settings = settings
        # how the last file began, where that says all but its pixels; what it says; and where to draw those
        self.known: tuple[bytes, Facts, Image.Image] | None = None

    def decode(self, data: bytes) -> tuple[np.ndarray, Facts]:
        """See images.decode."""
        if self.known and data.startswith(self.known[0]) and len(data) <= self.settings.max_bytes:
            _, facts, canvas = self.known
            with contextlib.suppress(Exception):  # whatever it is, reading it from the start says what
                return jpeg.decode_scan(data, canvas), facts
        image, facts, beginning = _guarded(data, self.settings, to_fit=True)
        self.known = (beginning, facts, Image.new("RGB", image.shape[1::-1])) if beginning else None
        return image, facts


def _guarded(data: bytes, settings: ImageSettings, *, to_fit: bool) -> tuple[np.ndarray, Facts, bytes]:
    """`_decode`, with BadImage for whatever goes wrong."""
    if not data:
        raise BadImage("the file is empty")
    if len(data) > settings.max_bytes:
        raise BadImage(f"{len(data)} bytes; accepted are at most {settings.max_bytes}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, settings, to_fit=to_fit)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(f"not a readable image of the kinds {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"more than {LARGEST_MAX_PIXELS} pixels; accepted are at most {settings.max_pixels}") from error
    except MemoryError as error:
        raise BadImage("decoding needs more memory than there is") from error
    except Exception as error:  # on damaged files Pillow raises eleven kinds, IndexError and AttributeError among them
        raise BadImage(f"cannot be decoded: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """The kind and the text of an exception in at most 200 printable characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def _decode(data: bytes, settings: ImageSettings, *, to_fit: bool) -> tuple[np.ndarray, Facts, bytes]:
    """The image, its facts and, of a plain JPEG, the bytes that say all of these: those before its coded pixels.

    to_fit: a JPEG may come smaller than it is.
    """
    file = io.BytesIO(data)
    with Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        if min(width, height) < settings.min_side:
            raise BadImage(f"{width}x{height} pixels; accepted are sides from {settings.min_side}")
        if width * height > settings.max_pixels:
            raise BadImage(f"{width}x{height} pixels; accepted are at most {settings.max_pixels}")
        layout, mode = str(image.tile[0].args) if image.tile else "", image.mode
        # A JPEG with a second picture behind the first calls itself MPO.
        name = "JPEG" if image.format == "MPO" else str(image.format)
        quality, sampling = jpeg.compression(image) if name == "JPEG" else (0, "")
        scale, beginning = 1, data[: file.tell()] if image.format == "JPEG" else b""
        if name == "JPEG" and to_fit and settings.fit != "patches" and not settings.degradation:
            sideways = orientation(image) in SIDEWAYS
            shown = (height, width) if sideways else (width, height)
            least = fitting.enough(*shown, settings.size, settings.fit)
            scale = jpeg.decode_small(image, least[::-1] if sideways else least)
        image.load()
        turn = orientation(image)
        turned = upright(_rgb(image, layout), turn)
        plain = mode == "RGB" and scale == 1 and turned is image
    shown = turned.size if scale == 1 else (height, width) if turn in SIDEWAYS else (width, height)
    return np.asarray(turned), Facts(*shown, name, mode, quality, sampling), beginning if plain else b""


def _rgb(image: Image.Image, layout: str) -> Image.Image:
    """`layout` is the file's own pixel layout, as Pillow names it; PNG's transparent colour is stored in its terms."""
    if image.mode[0] in "IF":
        return _scaled_grey(image).convert("RGB")
    if image.has_transparency_data:
        if layout in KEY_SCALES and "transparency" in image.info:
            key = image.info["transparency"]
            scaled = [int(value * KEY_SCALES[layout]) for value in (key if isinstance(key, tuple) else (key,))]
            image.info["transparency"] = tuple(scaled) if isinstance(key, tuple) else scaled[0]
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey as 8-bit grey: convert() would clip, a ramp of 65,536 levels to 256 of them."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    top = 1 if image.mode == "F" else 4095 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):
        raise BadImage(f"grey values from {low} to {high}; accepted in this kind of image are 0 to {top}")
    grey = np.rint(values.astype(np.float32) * np.float32(255 / top)).astype(np.uint8)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
        grey = 255 - grey  # white is zero, which Pillow heeds up to 8 bits only
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def orientation(image: Image.Image) -> int:
    """Of an opened picture as EXIF numbers it; 1 is upright."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block raises as many kinds as a damaged picture, and the pixels are whole
        return 1


def upright(image: Image.Image, turn: int) -> Image.Image:
    """The picture as it is to be shown, where it is stored in that orientation."""
    return image.transpose(TURNS[turn]) if turn in TURNS else image


def pieces(image: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """RGB uint8 (H, W, 3) -> (pieces, height, width, 3): one by a rule of FITS, or several under `patches`.

    Patches are cells of a grid as fine as the image allows, in its middle, at its own resolution; which of them, an
    order drawn from the pixels says. BadImage where not even one fits in.
    """
    if settings.fit != "patches":
        return fit(image, settings.size, settings.fit)[None]
    height, width = settings.size
    down, across = image.shape[0] // height, image.shape[1] // width
    if not down * across:
        raise BadImage(f"{image.shape[1]}x{image.shape[0]} pixels; a patch of {width}x{height} does not fit in")
    seed = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8])
    cells = np.random.default_rng(seed).permutation(down * across)[: settings.patches]
    top, left = (image.shape[0] - down * height) // 2, (image.shape[1] - across * width) // 2
    corners = [(top + cell // across * height, left + cell % across * width) for cell in cells]
    return np.stack([image[y : y + height, x : x + width] for y, x in corners])


# Orientation as EXIF numbers it; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

SIDEWAYS = (5, 6, 7, 8)  # of these, width and height change places

# From a PNG's transparent colour as stored to Pillow's 8-bit pixels, where Pillow compares the two without scaling.
KEY_SCALES = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
