"""Whole pictures brought to a size: what each rule keeps, cuts and fills."""

import numpy as np
import pytest

from datasets.fitting import FITS, fit

RED = (255, 0, 0)
NOISE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)


def disc(width, height, radius):
    y, x = np.mgrid[:height, :width]
    inside = (x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2 <= radius**2
    return np.where(inside[..., None], np.uint8(255), np.array(RED, np.uint8) // 2)


def extent(image):
    """Width and height of what is brighter than half in green."""
    seen = image[..., 1] > 127
    return np.ptp(np.flatnonzero(seen.any(0))) + 1, np.ptp(np.flatnonzero(seen.any(1))) + 1


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (150, 100)])
def test_each_fit_rule_does_what_it_is_called(width, height):
    short, long = min(width, height), max(width, height)
    radius = short * 0.3
    image = disc(width, height, radius)
    stretched, cropped, padded = (fit(image, (100, 100), rule) for rule in ("stretch", "center_crop", "pad"))
    assert stretched.shape == cropped.shape == padded.shape == (100, 100, 3)
    assert np.abs(np.array(extent(stretched)) - (200 * radius / width, 200 * radius / height)).max() <= 2
    assert np.abs(np.array(extent(cropped)) - 200 * radius / short).max() <= 2
    assert np.abs(np.array(extent(padded)) - 200 * radius / long).max() <= 2
    for round_one in (cropped, padded):
        assert np.abs(round_one.astype(int) - round_one[::-1, ::-1]).mean() < 3  # less than two pixels off the centre
    assert (cropped > 0).any(2).all()
    upright = padded if width > height else padded.swapaxes(0, 1)
    dark = ~upright.any((1, 2))
    assert dark[:16].all() and dark[-16:].all() and not dark[17:-17].any()


def test_a_picture_of_the_right_size_is_not_touched():
    assert all(fit(NOISE, (48, 40), rule) is NOISE for rule in FITS)
    assert np.array_equal(fit(NOISE, (48, 30), "center_crop"), NOISE[:, 5:35])
    assert np.array_equal(fit(NOISE, (48, 29), "center_crop"), NOISE[:, 5:34])
    assert np.array_equal(fit(NOISE, (48, 50), "pad")[:, 5:45], NOISE)


def test_making_small_averages_instead_of_picking():
    stripes = np.zeros((320, 320, 3), np.uint8)
    stripes[:, ::2] = 255
    for rule in FITS:
        assert np.abs(fit(stripes, (32, 32), rule).astype(int) - 127.5).max() < 12
