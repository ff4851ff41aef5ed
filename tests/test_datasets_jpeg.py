"""JPEG decoded small, and files that begin alike: the pixels are those of the plain way, or as near as is said."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from datasets import images
from datasets.decoding import Bad, decode_all
from datasets.fitting import thumb
from datasets.images import BadImage, Decoder, ImageSettings, decode, pieces


@dataclass(frozen=True)
class Bytes:
    data: bytes
    stamp: str = ""

    def read(self):
        return self.data


def photograph(width, height, seed=0):
    """Detail that falls with frequency as in photographs, in luma more than in colour, and a sharp edge."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    amplitude = np.maximum(frequency, 1 / max(width, height)) ** -1.3
    amplitude[0, 0] = 0
    noise = random.normal(size=(3, *amplitude.shape, 2)) @ [1, 1j]
    planes = np.fft.irfft2(noise * amplitude, s=(height, width))
    planes *= np.array([45, 9, 9])[:, None, None] / planes.std((1, 2), keepdims=True)
    planes[0, :, width // 3 :] += 40
    levels = 110 + planes[0][..., None] + np.moveaxis(planes[[1, 2, 1]], 0, 2) * [1, 1, -1]
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def encoded(image, format="JPEG", **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def differences(data, settings):
    """How many times smaller the picture came; mean difference in levels of what is packed, and of the thumb."""
    whole, facts = decode(data, settings)
    small, same = Decoder(settings).decode(data)
    assert facts == same and (facts.height, facts.width) == whole.shape[:2]
    assert whole.shape[0] * small.shape[1] == whole.shape[1] * small.shape[0]
    packed = np.subtract(*(pieces(image, settings) for image in (whole, small)), dtype=float)
    thumbs = np.subtract(thumb(whole), thumb(small), dtype=float)
    return whole.shape[0] // small.shape[0], np.abs(packed).mean(), np.abs(thumbs).mean()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize(
    ("fit", "size", "times"),
    [("stretch", (96, 96), 4), ("pad", (96, 96), 4), ("pad", (64, 250), 4), ("stretch", (200, 300), 2)],
)
def test_a_jpeg_decoded_small_differs_by_less_than_a_level(fit, size, times, subsampling):
    data = encoded(photograph(1280, 960), quality=90, subsampling=subsampling)
    smaller, packed, thumbs = differences(data, ImageSettings(size=size, fit=fit))
    assert smaller == times
    assert 0 < packed < 1.0 and thumbs < 0.5


@pytest.mark.parametrize(
    ("width", "height", "settings"),
    [
        (1280, 960, {"fit": "patches", "size": (96, 96)}),  # pieces as they are
        (1280, 960, {"fit": "center_crop", "size": (96, 96)}),  # the middle would lie elsewhere
        (1280, 960, {"size": (500, 500)}),  # less than twice as large
        (1281, 961, {"size": (96, 96)}),  # not to be divided by two
        (120, 1280, {"size": (96, 32)}),  # one side is too short
        (96, 960, {"size": (8, 8)}),  # large enough for the picture, too small for its thumb
    ],
)
def test_a_jpeg_is_decoded_whole_where_something_would_be_lost(width, height, settings):
    smaller, packed, thumbs = differences(encoded(photograph(width, height)), ImageSettings(**settings))
    assert (smaller, packed, thumbs) == (1, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_comes_small_and_upright(orientation):
    data = encoded(photograph(640, 1280), exif=turned(orientation), quality=95, subsampling=0)
    settings = ImageSettings(size=(64, 160) if orientation > 4 else (160, 64))
    smaller, packed, thumbs = differences(data, settings)
    assert smaller == 4 and packed < 1 and thumbs < 0.5


def test_other_pictures_than_plain_jpegs_come_as_they_are():
    picture = photograph(640, 640)
    for format in ("PNG", "WEBP"):
        assert differences(encoded(picture, format), ImageSettings()) == (1, 0, 0)
    assert differences(encoded(picture.convert("L")), ImageSettings())[0] == 8  # grey is a JPEG like others
    assert differences(encoded(picture.convert("CMYK")), ImageSettings())[0] == 8


def test_a_jpeg_cut_short_is_refused_also_where_it_would_come_small():
    whole = encoded(photograph(640, 640), progressive=True)
    for data in (whole, encoded(photograph(640, 640))):
        Decoder(ImageSettings()).decode(data)
        for length in (len(data) // 2, len(data) * 9 // 10):
            with pytest.raises(BadImage, match="truncated"):
                Decoder(ImageSettings()).decode(data[:length])


def files_that_begin_alike():
    """In an order in which what was known of the last one is wrong for the next as often as right."""
    pictures = [photograph(48, 32, seed) for seed in range(4)]
    plain = [encoded(picture, quality=85) for picture in pictures]
    large = encoded(photograph(64, 32, 5), quality=85)
    grey = [encoded(picture.convert("L"), quality=85) for picture in pictures[:2]]
    sideways = [encoded(photograph(32, 32, seed), quality=85, exif=turned(6)) for seed in range(2)]
    small = [encoded(photograph(256, 256, seed), quality=30) for seed in range(2)]  # comes at half its size
    printed = [encoded(picture.convert("CMYK"), quality=85) for picture in pictures[:2]]
    several = [encoded(pictures[0], "MPO", save_all=True, append_images=[picture]) for picture in pictures[1:3]]
    steps = [encoded(picture, quality=85, progressive=True) for picture in pictures[:2]]
    cut = plain[3][: len(plain[3]) * 3 // 4]
    files = [*plain[:3], cut, plain[3], *grey, *sideways, *small, *printed, *several, *steps, large, *plain, b""]
    return [*files, plain[0] * 2, plain[0] * 20, encoded(pictures[0], "PNG"), *plain[:2], plain[0][:300], plain[1]]


def read(way, data):
    try:
        pixels, facts = way(data)
    except BadImage as error:
        return str(error)
    return pixels.tobytes(), pixels.shape, facts


def test_what_is_known_of_the_last_file_changes_nothing(monkeypatch):
    opened = []
    monkeypatch.setattr(images, "_guarded", lambda *a, real=images._guarded, **k: opened.append(a) or real(*a, **k))
    settings = ImageSettings(size=(32, 48), max_bytes=20_000)
    decoder, files = Decoder(settings), files_that_begin_alike()
    found = [read(decoder.decode, data) for data in files]
    assert len(opened) < len(files) - 6
    assert found == [read(Decoder(settings).decode, data) for data in files]
    assert len({str(each) for each in found}) > 15 and "; accepted are at most 20000" in str(found)
    assert (128, 128, 3) in {each[1] for each in found}


def test_an_embedded_preview_is_not_taken_for_the_beginning():
    """A file's beginning ends where its own pixels begin, not those of a picture inside of its metadata."""
    exif = b"Exif\0\0" + encoded(photograph(16, 16))
    same, other = (encoded(photograph(48, 32), quality=quality, exif=exif) for quality in (80, 40))
    assert same[: same.index(b"\xff\xda")] == other[: other.index(b"\xff\xda")]
    decoder = Decoder(ImageSettings())
    assert [decoder.decode(data)[1].quality for data in (same, same, other)] == [80, 80, 40]


def test_children_tell_small_and_whole_facts_alike():
    files = [encoded(photograph(1280, 960)), encoded(photograph(48, 32))]
    settings = ImageSettings(size=(96, 128))
    for data, result in zip(files, decode_all([Bytes(data) for data in files], settings, workers=1), strict=True):
        assert not isinstance(result, Bad)
        image, facts = Decoder(settings).decode(data)
        assert (result.width, result.height, result.format) == (facts.width, facts.height, "JPEG")
        np.testing.assert_array_equal(result.pixels, pieces(image, settings))
        np.testing.assert_array_equal(result.thumb, thumb(image))
