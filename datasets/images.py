"""One decoder for every picture this project reads: bytes in, upright RGB uint8 at the wanted size or a reason out."""

import functools
import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np

# Three readers by name: at the first WebP, TIFF or AVIF file Pillow would load all its forty.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    ExifTags,
    Image,
    JpegImagePlugin,
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
LARGEST_SIDE = 4096
# Pillow itself refuses more, before any cap of ours is looked at.
LARGEST_MAX_PIXELS = 178_956_970
MOST_PATCHES = 1024
THUMB = 32  # pixels a side
SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


class BadImage(ValueError):
    """An image that cannot be decoded whole; the text is the reason, in one line."""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What an image must be and what becomes of it.

    size: (height, width) in pixels after `fit`, a key of FITS, or `patches`: up to `patches` pieces of that size cut
    from every image as it is, none overlapping another.
    min_side, max_pixels, max_bytes: what lies outside is a BadImage; looked at before any pixel is decoded.
    """

    size: tuple[int, int] = (32, 32)
    fit: str = "stretch"
    patches: int = 1
    min_side: int = 8
    max_pixels: int = 50_000_000
    max_bytes: int = 100_000_000

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


@dataclass(frozen=True, slots=True)
class Facts:
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
    if not data:
        raise BadImage("the file is empty")
    if len(data) > settings.max_bytes:
        raise BadImage(f"{len(data)} bytes; accepted are at most {settings.max_bytes}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, settings)
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


def _decode(data: bytes, settings: ImageSettings) -> tuple[np.ndarray, Facts]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if min(width, height) < settings.min_side:
            raise BadImage(f"{width}x{height} pixels; accepted are sides from {settings.min_side}")
        if width * height > settings.max_pixels:
            raise BadImage(f"{width}x{height} pixels; accepted are at most {settings.max_pixels}")
        layout, mode = str(image.tile[0].args) if image.tile else "", image.mode
        # A JPEG with a second picture behind the first calls itself MPO.
        name = "JPEG" if image.format == "MPO" else str(image.format)
        quality, sampling = _compression(image) if name == "JPEG" else (0, "")
        image.load()
        upright = _upright(_rgb(image, layout), _orientation(image))
    return np.asarray(upright), Facts(upright.width, upright.height, name, mode, quality, sampling)


def _compression(image: Image.Image) -> tuple[int, str]:
    """Quality and chroma subsampling of an opened JPEG."""
    tables: dict = getattr(image, "quantization", {})
    total = sum(tables[min(tables)]) if tables else 0
    quality = 1 + int(np.abs(_table_sums() - total).argmin()) if total else 0
    return quality, SAMPLINGS.get(JpegImagePlugin.get_sampling(image), "")


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


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block raises as many kinds as a damaged picture, and the pixels are whole
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def fit(image: np.ndarray, size: tuple[int, int], rule: str) -> np.ndarray:
    """RGB uint8 (H, W, 3) brought to `size` (height, width) by a rule of FITS; itself where it has that size."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(FITS[rule](Image.fromarray(image), width, height))


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


def thumb(image: np.ndarray) -> np.ndarray:
    """The whole picture as RGB uint8 (32, 32, 3), stretched: the same whatever size and fit a data set asks for."""
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


FITS = {"stretch": _stretch, "center_crop": _center_crop, "pad": _pad}

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

# From a PNG's transparent colour as stored to Pillow's 8-bit pixels, where Pillow compares the two without scaling.
KEY_SCALES = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
