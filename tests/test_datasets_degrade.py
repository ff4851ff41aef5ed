"""Degraded pictures: each kind held against another way to the same, drawn by file, and packed like any other."""

import colorsys
import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from datasets import store
from datasets.degrade import KINDS, check, degraded
from datasets.folder import FileLocation
from datasets.images import ImageSettings
from datasets.manifest import Row

SMOOTH = np.asarray(Image.effect_noise((40, 30), 60).resize((53, 37), Image.Resampling.BICUBIC).convert("RGB"))
NOISE = np.random.default_rng(3).integers(0, 256, (37, 53, 3), np.uint8)
GREY = np.full((256, 256, 3), 128, np.uint8)
IDENTITIES = [name for name in KINDS if name not in ("jpeg", "webp")]


@pytest.mark.parametrize(("kind", "quality"), [("JPEG", 30), ("JPEG", 95), ("WEBP", 40)])
def test_a_codec_gives_the_pixels_of_pillows_own_file(kind, quality):
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, kind, quality=quality)
    assert np.array_equal(degraded(NOISE, (kind.lower(), quality), "a"), np.asarray(Image.open(file).convert("RGB")))


@pytest.mark.parametrize("name", IDENTITIES)
def test_the_strength_that_is_called_clean_leaves_every_byte(name):
    assert np.array_equal(degraded(NOISE, (name, KINDS[name].clean), "a"), NOISE)


@pytest.mark.parametrize("degrees", [30, -75, 180])
def test_hue_turns_as_colorsys_does(degrees):
    expected = np.empty(NOISE.shape)
    for place in np.ndindex(NOISE.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(NOISE[place] / 255))
        turned = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)
        expected[place] = np.array(turned) * 255
    assert np.abs(degraded(NOISE, ("hue", degrees), "a") - expected).max() < 0.5001  # halves are rounded either way


def test_noise_has_its_standard_deviation_and_is_independent_of_its_neighbours():
    found = degraded(GREY, ("noise", 10), "a") - 128.0
    assert found.std() == pytest.approx(10, rel=0.02) and abs(found.mean()) < 0.1
    assert abs(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(found[:, 1:].ravel(), found[:, :-1].ravel())[0, 1]) < 0.02


def test_light_and_colour_by_their_formulas():
    grey = NOISE @ [0.299, 0.587, 0.114]
    for factor in (0.5, 1.5):
        bright = degraded(NOISE, ("brightness", factor), "a")
        assert np.abs(bright - np.clip(factor * NOISE, 0, 255)).max() <= 1
        colourful = degraded(NOISE, ("saturation", factor), "a")
        assert np.abs(colourful - np.clip(grey[..., None] * (1 - factor) + factor * NOISE, 0, 255)).max() <= 1.6
        assert np.abs(degraded(NOISE, ("gamma", factor), "a") - 255 * (NOISE / 255) ** factor).max() <= 0.5


def test_blur_and_resize_take_away_what_is_fine_and_keep_the_size():
    assert np.array_equal(
        degraded(NOISE, ("blur", 1.5), "a"), np.asarray(Image.fromarray(NOISE).filter(ImageFilter.GaussianBlur(1.5)))
    )
    small = Image.fromarray(NOISE).resize((26, 18), Image.Resampling.BICUBIC).resize((53, 37), Image.Resampling.BICUBIC)
    assert np.array_equal(degraded(NOISE, ("resize", 0.5), "a"), np.asarray(small))
    lost = [np.abs(degraded(SMOOTH, ("resize", factor), "a").astype(int) - SMOOTH).mean() for factor in (0.25, 0.5, 2)]
    assert lost[0] > lost[1] > lost[2]


def test_a_crop_is_a_piece_of_the_picture_whose_place_the_file_decides():
    places = set()
    for file in "abcdef":
        piece = degraded(NOISE, ("crop", 0.5), file)
        windows = np.lib.stride_tricks.sliding_window_view(NOISE, piece.shape)[..., 0, :, :, :]
        [found] = np.argwhere((windows == piece).all((2, 3, 4)))
        places.add(tuple(found))
    assert piece.shape == (18, 26, 3) and len(places) > 3


def test_a_large_picture_is_degraded_strip_by_strip_as_in_one(monkeypatch):
    whole = [degraded(NOISE, each, "a") for each in (("noise", 9), ("hue", 50))]
    monkeypatch.setattr("datasets.degrade.STRIP", 200)
    for each, expected in zip((("noise", 9), ("hue", 50)), whole, strict=True):
        assert np.array_equal(degraded(NOISE, each, "a"), expected)


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [
        ("jpg", 90, "no such degradation; expected one of jpeg, webp"),
        ("jpeg", 0, "whole number from 1 to 100"),
        ("jpeg", 90.5, "whole number from 1 to 100"),
        ("noise", -1, "from 0 to 128"),
        ("blur", float("nan"), "from 0 to 20"),
        ("gamma", "2", "from 0.1 to 10"),
        ("hue", True, "from -180 to 180"),
    ],
)
def test_what_cannot_be_is_refused_in_words(name, strength, expected):
    with pytest.raises(ValueError, match=expected):
        check((name, strength))
    with pytest.raises(ValueError, match=expected):
        ImageSettings(degradation=(name, strength))


@pytest.fixture
def listing(tmp_path):
    """Three files of photograph-like size, a large JPEG among them that would be decoded at an eighth."""
    found = []
    for number, side in enumerate((53, 256, 40)):
        picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8))
        file = tmp_path / f"{number}.{'jpg' if side > 100 else 'png'}"
        picture.save(file)
        found.append((Row(file.name, number % 2), FileLocation.of(file, None)))
    return found


def test_a_store_holds_the_whole_picture_degraded_and_then_fitted_in_any_order(listing, tmp_path):
    settings = ImageSettings(degradation=("noise", 20))
    packed = store.open_or_pack(listing, settings, tmp_path / "one")
    turned = store.open_or_pack(listing[::-1], settings, tmp_path / "two")
    assert np.array_equal(packed.images, turned.images[::-1])
    for (_, location), pixels in zip(listing, packed.images, strict=True):
        data = location.read()
        whole = degraded(np.asarray(Image.open(io.BytesIO(data))), ("noise", 20), hashlib.sha256(data).hexdigest())
        assert np.array_equal(pixels, np.asarray(Image.fromarray(whole).resize((32, 32), Image.Resampling.BICUBIC)))


def test_a_store_is_found_again_by_its_degradation_and_plain_ones_as_before(listing):
    digests = {store.digest(listing, ImageSettings(degradation=each)) for each in (None, ("noise", 20), ("noise", 21))}
    assert len(digests) == 3


def test_two_files_of_equal_bytes_are_degraded_alike_and_others_not():
    alike = [degraded(GREY, ("noise", 5), file) for file in ("a", "a", "b")]
    assert np.array_equal(*alike[:2]) and not np.array_equal(*alike[1:])
