"""What happens to a picture on its way through the world: codecs, scaling, noise and light, at a named strength.

A degradation is a function (picture, strength, generator) -> picture of a decoded RGB Pillow image at its own size. The
codecs are Pillow's own. What is random is drawn from the file's sha256 and the degradation: the same file is degraded
alike wherever it is found, whatever is degraded beside it.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

STRIP = 2**18  # pixels that are calculated with at once: in float32, several copies of a large picture are gigabytes

Degradation = tuple[str, float]  # a key of KINDS, strength


class Kind(NamedTuple):
    """apply: (picture, strength, generator) -> picture; low, high: the strengths that are accepted; clean: the strength
    that leaves a picture as it is, or is nearest to that; what: the strength in words."""

    apply: Callable[[Image.Image, float, np.random.Generator], Image.Image]
    low: float
    high: float
    clean: float
    what: str


def check(degradation: Degradation) -> None:
    """Raises ValueError where there is no such kind, or not at this strength."""
    name, strength = degradation
    if name not in KINDS:
        raise ValueError(f"{name}: no such degradation; expected one of {', '.join(KINDS)}")
    kind, whole = KINDS[name], name in CODECS
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not kind.low <= strength <= kind.high or (whole and strength != int(strength)):
        a_number = "a whole number" if whole else "a number"
        raise ValueError(f"{name}={strength!r}: expected {a_number} from {kind.low:g} to {kind.high:g} ({kind.what})")


def degraded(image: np.ndarray, degradation: Degradation, sha256: str) -> np.ndarray:
    """RGB uint8 (H, W, 3) degraded: the same height and width, but for `crop`. sha256: of the image's file."""
    name, strength = degradation
    key = hashlib.sha256(f"{sha256}\0{name}\0{float(strength)!r}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(key))
    return np.asarray(KINDS[name].apply(Image.fromarray(image), float(strength), generator))


def _coded(picture: Image.Image, kind: str, **settings: object) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    with Image.open(file, formats=(kind,)) as coded:
        return coded.convert("RGB")


def _jpeg(picture: Image.Image, quality: float, _: np.random.Generator) -> Image.Image:
    return _coded(picture, "JPEG", quality=int(quality), subsampling="4:2:0")


def _webp(picture: Image.Image, quality: float, _: np.random.Generator) -> Image.Image:
    return _coded(picture, "WEBP", quality=int(quality))


def _blur(picture: Image.Image, sigma: float, _: np.random.Generator) -> Image.Image:
    """Pillow's Gaussian, three box blurs; the border is repeated."""
    return picture.filter(ImageFilter.GaussianBlur(sigma))


def _resize(picture: Image.Image, factor: float, _: np.random.Generator) -> Image.Image:
    """To `factor` times its size and back, bicubic, averaging on the way down."""
    between = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(between, Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.BICUBIC)


def _noise(picture: Image.Image, sd: float, generator: np.random.Generator) -> Image.Image:
    """Gaussian, of each channel value for itself."""
    return _by_strips(picture, lambda strip: strip + sd * generator.standard_normal(strip.shape, np.float32))


def _brightness(picture: Image.Image, factor: float, _: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(factor)


def _gamma(picture: Image.Image, exponent: float, _: np.random.Generator) -> Image.Image:
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(int).tolist()
    return picture.point(3 * table)


def _saturation(picture: Image.Image, factor: float, _: np.random.Generator) -> Image.Image:
    """Blended with its own grey, or away from it (luma)."""
    return ImageEnhance.Color(picture).enhance(factor)


def _hue(picture: Image.Image, degrees: float, _: np.random.Generator) -> Image.Image:
    """H of HSV turned, S and V kept; in floats, as Pillow's HSV has only 256 hues."""

    def turned(rgb: np.ndarray) -> np.ndarray:
        top, low = rgb.max(axis=2), rgb.min(axis=2)
        span = top - low
        red, green, blue = np.moveaxis(rgb, 2, 0)
        safe = np.where(span > 0, span, 1)
        hue = np.where(
            top == red,
            (green - blue) / safe,
            np.where(top == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
        )
        # of six: how far a channel's own sextant is from the hue says how much of the span it lacks
        place = (hue[..., None] + np.float32(degrees / 60) + np.array([5, 3, 1], np.float32)) % 6
        return top[..., None] - span[..., None] * np.clip(np.minimum(place, 4 - place), 0, 1)

    return _by_strips(picture, turned)


def _crop(picture: Image.Image, share: float, generator: np.random.Generator) -> Image.Image:
    """`share` of either side is kept, the place is drawn; nothing is scaled here."""
    width, height = (max(1, round(side * share)) for side in picture.size)
    left, top = (int(generator.integers(rest + 1)) for rest in (picture.width - width, picture.height - height))
    return picture.crop((left, top, left + width, top + height))


def _by_strips(picture: Image.Image, change: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    """`change` of float32 (h, W, 3) in 0..255, rounded and cut to uint8, from top to bottom."""
    pixels = np.asarray(picture)
    step = max(1, STRIP // picture.width)
    strips: Iterator[np.ndarray] = (
        np.rint(change(pixels[top : top + step].astype(np.float32))).clip(0, 255).astype(np.uint8)
        for top in range(0, len(pixels), step)
    )
    return Image.fromarray(np.concatenate(list(strips)))


CODECS = ("jpeg", "webp")  # their quality is a whole number

# Packed stores and scores know a kind by its name: one whose meaning changes needs another.
KINDS = {
    "jpeg": Kind(_jpeg, 1, 100, 100, "quality"),
    "webp": Kind(_webp, 0, 100, 100, "quality"),
    "blur": Kind(_blur, 0, 20, 0, "sigma in pixels"),
    "resize": Kind(_resize, 0.05, 4, 1, "to so many times its size and back"),
    "noise": Kind(_noise, 0, 128, 0, "standard deviation of 255 levels"),
    "brightness": Kind(_brightness, 0, 8, 1, "factor"),
    "gamma": Kind(_gamma, 0.1, 10, 1, "exponent"),
    "saturation": Kind(_saturation, 0, 500, 1, "factor"),
    "hue": Kind(_hue, -180, 180, 0, "degrees"),
    "crop": Kind(_crop, 0.1, 1, 1, "share of either side that is kept"),
}
