"""Both classes through one law of size, crop and codec: they differ in what they show, not in how it was kept."""

import hashlib
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from datasets import images
from datasets.images import BadImage, ImageSettings, decode

LARGEST_SIDE = images.LARGEST_SIDE
CROPS = ("center", "drawn")
SAMPLING = "4:2:0"
SRGB = ImageCms.createProfile("sRGB")


@dataclass(frozen=True, slots=True)
class EqualizeSettings:
    """The law; the same for every picture, so that nothing of it can depend on a picture's class.

    sizes: the common sizes, (height, width) in pixels; each picture gets one of them by lot.
    long_side: least and most pixels of the long side after scaling, before the crop.
    quality: least and most JPEG quality. codec: JPEG.
    max_scale: every picture is scaled at least this far down, so that the 8x8 grid and the resampling of its first
    life are gone; nothing is ever enlarged. crop: center, or drawn (by lot). seed: of the lots.
    """

    sizes: tuple[tuple[int, int], ...] = ((512, 512),)
    long_side: tuple[int, int] = (640, 960)
    quality: tuple[int, int] = (70, 95)
    codec: str = "JPEG"
    max_scale: float = 0.9
    crop: str = "center"
    seed: int = 0

    def __post_init__(self) -> None:
        try:  # yaml and JSON know lists only
            pairs = tuple((height, width) for height, width in self.sizes)
        except (TypeError, ValueError):
            pairs = ()
        if not pairs or not all(_is_whole(side, 8, LARGEST_SIDE) for pair in pairs for side in pair):
            accepted = f"a list of [height, width], each from 8 to {LARGEST_SIDE}"
            raise ValueError(f"equalize.sizes is {self.sizes}; expected {accepted}")
        object.__setattr__(self, "sizes", pairs)
        for key, low, high in (("long_side", 8, 2 * LARGEST_SIDE), ("quality", 1, 100)):
            band = getattr(self, key)
            whole = isinstance(band, Sequence) and len(band) == 2 and all(_is_whole(end, low, high) for end in band)
            if not whole or band[0] > band[1]:
                raise ValueError(f"equalize.{key} is {band}; expected [least, most] from {low} to {high}")
            object.__setattr__(self, key, tuple(band))
        if self.codec != "JPEG":
            raise ValueError(f"equalize.codec is {self.codec!r}; expected JPEG")
        if not 0 < self.max_scale <= 1:
            raise ValueError(f"equalize.max_scale is {self.max_scale}; expected a number above 0 and at most 1")
        if self.crop not in CROPS:
            raise ValueError(f"equalize.crop is {self.crop!r}; expected one of {', '.join(CROPS)}")
        if not _is_whole(self.seed, 0, 2**63):
            raise ValueError(f"equalize.seed is {self.seed!r}; expected 0 or a larger whole number")


def _is_whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


@dataclass(frozen=True, slots=True)
class Equalized:
    """data: the JPEG, without metadata, baseline, 4:2:0; facts: what was drawn and done, JSON-able.

    facts: width, height, format of the original; scale; size (height, width); box (left, top, right, bottom) that was
    cut out of the scaled picture; quality; profile: the colour profile that was brought to sRGB, "" where there was
    none, "not applied: ..." where it could not be.
    """

    data: bytes
    facts: dict[str, Any]


def equalize(data: bytes, settings: EqualizeSettings) -> Equalized:
    """One picture under the law: the same bytes and settings in, the same bytes out.

    All lots are drawn from sha256(seed, sha256 of the bytes): class, name and order cannot reach them. The size is
    drawn among all common sizes, and a picture must cover each of them, else small pictures would get small sizes.
    The scale is drawn so that the long side falls into its band, within what the largest crop and max_scale allow.
    Transparency lies on white. A colour profile is applied, as Adobe RGB taken for sRGB loses saturation and only
    photographs have it; a camera's EXIF note of Adobe RGB without a profile and PNG's gAMA are not heeded.
    Raises BadImage where it cannot be decoded or is too small.
    """
    pixels, was = decode(data, ImageSettings())
    size, at, left, top, quality = _lots(data, settings.seed)
    height, width = settings.sizes[int(size * len(settings.sizes))]
    scale = _scale(was.width, was.height, at, settings)
    scaled = max(width, round(was.width * scale)), max(height, round(was.height * scale))
    if settings.crop == "center":
        left = top = 0.5
    corner = int(left * (scaled[0] - width + 1)), int(top * (scaled[1] - height + 1))
    box = (*corner, corner[0] + width, corner[1] + height)
    picture = Image.fromarray(pixels).resize(scaled, Image.Resampling.BICUBIC).crop(box)
    picture, profile = _to_srgb(picture, data)
    lowest, highest = settings.quality
    drawn = lowest + int(quality * (highest - lowest + 1))
    out = io.BytesIO()
    picture.save(out, settings.codec, quality=drawn, subsampling=SAMPLING)
    facts = {"width": was.width, "height": was.height, "format": was.format, "scale": round(scale, 6)}
    facts |= {"size": [height, width], "box": list(box), "quality": drawn, "profile": profile}
    return Equalized(out.getvalue(), facts)


def _lots(data: bytes, seed: int) -> list[float]:
    """Five numbers in [0, 1) that depend on the seed and the bytes alone, whatever numpy's generators become."""
    digest = hashlib.sha512(f"{seed}:{hashlib.sha256(data).hexdigest()}".encode()).digest()
    return [int.from_bytes(digest[place : place + 6], "big") / 2**48 for place in range(0, 30, 6)]


def _scale(width: int, height: int, at: float, settings: EqualizeSettings) -> float:
    """`at` in [0, 1) is the place in what is left of the band; BadImage where a common size cannot be covered."""
    tallest, widest = (max(sides) for sides in zip(*settings.sizes, strict=True))
    least = max(widest / width, tallest / height)
    if least > settings.max_scale:
        needed = f"{math.ceil(widest / settings.max_scale)}x{math.ceil(tallest / settings.max_scale)}"
        rule = f"at a scale of at most {settings.max_scale:g}"
        raise BadImage(f"{width}x{height} pixels; to cover {widest}x{tallest} {rule} it needs {needed}")
    low, high = (np.clip(side / max(width, height), least, settings.max_scale) for side in settings.long_side)
    return float(low + at * (high - low))


def _to_srgb(picture: Image.Image, data: bytes) -> tuple[Image.Image, str]:
    """RGB in the colours of the file's profile -> sRGB by relative colorimetry, and what became of the profile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=images.FORMATS) as file:
            profile = file.info.get("icc_profile")
    if not profile:
        return picture, ""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = " ".join(ImageCms.getProfileDescription(source).split())[:100]
        if source.profile.xcolor_space != "RGB ":
            return picture, f"not applied: {name} is for {source.profile.xcolor_space.strip()}"
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        converted = ImageCms.profileToProfile(picture, source, SRGB, renderingIntent=intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture, "not applied: the profile is damaged"
    assert converted is not None
    return converted, name
