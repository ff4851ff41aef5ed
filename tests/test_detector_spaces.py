"""Colour operations held against torchvision, PIL, OpenCV, colorsys, Kornia and published values."""

import colorsys

import kornia
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats
from test_detector_color import photographs, saturated, seen
from torchvision.transforms import functional as reference

from detector.color import OPS, SATURATIONS


@pytest.mark.parametrize("factor", [0.5, 2, 8, 500])
def test_luma_saturation_is_torchvisions_but_for_its_rounder_weights(factor):
    # grey is .299 R against torchvision's .2989 R, which the blend multiplies by factor - 1
    expected = reference.adjust_saturation(photographs(), factor)
    atol = 1e-4 * abs(factor - 1) + 1e-4
    torch.testing.assert_close(saturated(photographs(), factor, "luma"), expected, atol=atol, rtol=0)


def test_luma_saturation_at_500_can_be_told_from_torchvisions_next_to_grey_alone():
    noise = photographs(64)[32:]
    off = (saturated(noise, 500, "luma") - reference.adjust_saturation(noise, 500)).abs() > 1 / 255
    assert 0 < off.float().mean() < 3.5e-3


@pytest.mark.parametrize("factor", [0.5, 2, 8, 500])
def test_luma_saturation_is_the_blend_in_float64(factor):
    images = photographs().double()
    gray = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    expected = (gray + factor * (images - gray)).clamp(0, 1)
    ours = saturated(images.float(), factor, "luma").double()
    torch.testing.assert_close(ours, expected, atol=3e-7 * max(factor, 1), rtol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_luma_saturation_is_kornias_to_the_last_bit(memory_format):
    images, factors = photographs(), torch.linspace(0.5, 500, len(photographs()))
    expected = kornia.enhance.adjust_saturation_with_gray_subtraction(images, factors)
    blended = SATURATIONS["luma"](images.contiguous(memory_format=memory_format), factors)
    assert blended.is_contiguous(memory_format=memory_format) and torch.equal(blended, expected)


@pytest.mark.parametrize("factor", [0.5, 2, 8])
def test_luma_saturation_is_pils_within_the_rounding_of_its_grey(factor):
    images = photographs()
    levels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    expected = np.stack([np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(factor)) for image in levels])
    ours = saturated(images, factor, "luma").permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(ours - expected).max() <= 0.5 * abs(factor - 1) + 1


# import cv2, numpy as np  # OpenCV 5.0.0
# colours = np.array([...COLOURS...], np.float32)
# for factor in (2, 8, 500):
#     hsv = cv2.cvtColor(colours[None], cv2.COLOR_RGB2HSV)
#     hsv[..., 1] = np.clip(hsv[..., 1] * factor, 0, 1)
#     print([[round(float(value), 4) for value in colour] for colour in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]])
# fmt: off
COLOURS = [[0.9, 0.8, 0.7], [0.5, 0.6, 0.55], [0.1, 0.4, 0.3], [0.6, 0.5, 0.6],
           [0.7, 0.7, 0.3], [0.52, 0.5, 0.51], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0]]
OPENCV = {
    2: [[0.9, 0.7, 0.5], [0.4, 0.6, 0.5], [0.0, 0.4, 0.2667], [0.6, 0.4, 0.6],
        [0.7, 0.7, 0.0], [0.52, 0.48, 0.5], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0]],
    8: [[0.9, 0.45, 0.0], [0.0, 0.6, 0.3], [0.0, 0.4, 0.2667], [0.6, 0.0, 0.6],
        [0.7, 0.7, 0.0], [0.52, 0.36, 0.44], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0]],
    500: [[0.9, 0.45, 0.0], [0.0, 0.6, 0.3], [0.0, 0.4, 0.2667], [0.6, 0.0, 0.6],
          [0.7, 0.7, 0.0], [0.52, 0.0, 0.26], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0]],
}
# fmt: on


@pytest.mark.parametrize("factor", OPENCV)
def test_hsv_saturation_is_opencvs(factor):
    colours = torch.tensor(COLOURS)[:, :, None, None]
    expected = torch.tensor(OPENCV[factor])[:, :, None, None]
    torch.testing.assert_close(saturated(colours, factor, "hsv"), expected, atol=1e-4, rtol=0)


def test_grayscale_is_torchvisions_and_white_stays_white():
    images = photographs()
    expected = reference.rgb_to_grayscale(images, num_output_channels=3)
    gray = seen([{"op": "grayscale"}], images)
    torch.testing.assert_close(gray, expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(gray[1], images[1])
    assert torch.equal(gray[:, 0], gray[:, 2])


def test_invert_flips_and_twice_is_nothing():
    images = photographs()
    torch.testing.assert_close(seen([{"op": "invert"}], images), 1 - images)
    torch.testing.assert_close(seen([{"op": "invert"}, {"op": "invert"}], images), images)


@pytest.mark.parametrize("space", ["luma", "hsv"])
def test_factor_one_is_identity_and_grey_stays_grey(space):
    images = photographs()
    torch.testing.assert_close(saturated(images, 1, space), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(saturated(images[:3], 500, space), images[:3], atol=1e-4, rtol=0)


def test_inversion_adds_nothing_to_luma_saturation_but_does_to_hsv():
    images = photographs()[3:]
    for space, adds in (("luma", False), ("hsv", True)):
        inverted_first = seen([{"op": "invert"}, {"op": "saturate", "space": space, "factor": 8}], images)
        difference = (inverted_first - (1 - saturated(images, 8, space))).abs()
        assert difference.mean() > 0.1 if adds else difference.max() < 1e-5


STEPS = [
    ("brightness", lambda image, draw: reference.adjust_brightness(image, 0.6 + 0.8 * draw)),
    ("contrast", lambda image, draw: reference.adjust_contrast(image, 0.6 + 0.8 * draw)),
    ("saturation", lambda image, draw: reference.adjust_saturation(image, 0.6 + 0.8 * draw)),
    ("hue", lambda image, draw: reference.adjust_hue(image, -0.4 + 0.8 * draw)),
]


@pytest.mark.parametrize(("names", "steps"), [([s[0]], [s]) for s in STEPS] + [([s[0] for s in STEPS], STEPS)])
def test_jitter_is_torchvisions_one_by_one_and_all_in_order(names, steps):
    images = photographs()
    draws = torch.rand(4, len(images), generator=torch.Generator().manual_seed(1))
    jittered = OPS["jitter"](**dict.fromkeys(names, 0.4))(images, lambda slot: draws[slot])
    slots = [name for name, _ in STEPS]
    for i, image in enumerate(images):
        for name, adjust in steps:
            image = adjust(image, draws[slots.index(name), i].item())
        torch.testing.assert_close(jittered[i], image, atol=5e-4, rtol=0)


def test_jitter_factors_are_never_negative():
    gray = seen([{"op": "jitter", "brightness": 3}], torch.full((4000, 3, 1, 1), 0.1))[:, 0, 0, 0]
    assert gray.min() < 0.001
    assert stats.kstest(gray.numpy(), stats.uniform(0, 0.4).cdf).pvalue > 1e-3


def test_jitters_strength_scales_all_four_spreads():
    images, whole = photographs(), {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.25}
    plain = seen([{"op": "jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}], images)
    assert torch.equal(seen([{"op": "jitter", **whole, "strength": 0.4}], images), plain)
    assert torch.equal(seen([{"op": "jitter", **whole, "strength": 0}], images), images)


def pils(operation, images: torch.Tensor) -> torch.Tensor:
    """PIL's operation on the uint8 levels of each image, back as float32."""
    levels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    done = np.stack([np.asarray(operation(Image.fromarray(image))) for image in levels])
    return torch.from_numpy(done).permute(0, 3, 1, 2).float() / 255


TONES = {
    "solarize at .5": ({"op": "solarize", "threshold": 0.5}, lambda image: ImageOps.solarize(image, 128)),
    "posterize to 3": ({"op": "posterize", "bits": 3}, lambda image: ImageOps.posterize(image, 3)),
    "posterize to 7": ({"op": "posterize", "bits": 7}, lambda image: ImageOps.posterize(image, 7)),
    "equalize": ({"op": "equalize_histogram"}, ImageOps.equalize),
}


@pytest.mark.parametrize(("operation", "theirs"), TONES.values(), ids=TONES)
def test_a_tone_is_pils_to_the_level_also_after_an_inversion(operation, theirs):
    images = photographs()
    torch.testing.assert_close(seen([operation], images), pils(theirs, images), atol=1e-6, rtol=0)
    inverted = seen([{"op": "invert"}, operation], images)  # 1 - k / 255 is not a level's float32 itself
    torch.testing.assert_close(inverted, pils(theirs, 1 - images), atol=1e-6, rtol=0)


def test_gamma_is_torchvisions():
    images = photographs()
    expected = reference.adjust_gamma(images, 2.2)
    torch.testing.assert_close(seen([{"op": "gamma", "gamma": 2.2}], images), expected, atol=1e-6, rtol=0)


def by_pixel(convert, images: torch.Tensor) -> torch.Tensor:
    """A function of (r, g, b) on every pixel."""
    pixels = images.double().permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    done = torch.tensor([convert(*pixel) for pixel in pixels])
    return done.reshape(len(images), *images.shape[2:], 3).permute(0, 3, 1, 2).float()


def test_hsv_channels_are_colorsys():
    images = photographs()
    hsv = seen([{"op": "hsv_channels"}], images)
    torch.testing.assert_close(hsv, by_pixel(colorsys.rgb_to_hsv, images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [90, 120, -30])
def test_hue_rotation_is_colorsys_and_a_full_turn_is_nothing(degrees):
    def turned(*pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)

    images = photographs()
    rotated = seen([{"op": "hue_rotate", "degrees": degrees}], images)
    torch.testing.assert_close(rotated, by_pixel(turned, images), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen([{"op": "hue_rotate", "degrees": 360}], images), images, atol=1e-5, rtol=0)
    red = torch.tensor([1.0, 0, 0])[None, :, None, None]
    green = seen([{"op": "hue_rotate", "degrees": 120}], red)
    torch.testing.assert_close(green.flatten(), torch.tensor([0, 1.0, 0]), atol=1e-5, rtol=0)


def test_channels_are_shuffled_as_named_and_three_times_is_nothing():
    images, shuffle = photographs(), {"op": "channel_shuffle", "order": "gbr"}
    assert torch.equal(seen([shuffle], images), images[:, [1, 2, 0]])
    assert torch.equal(seen([shuffle] * 3, images), images)


# CIE L*a*b* of the sRGB primaries under D65, as published with the usual colour calculators (brucelindbloom.com)
PRIMARIES = torch.eye(3)[:, :, None, None]
LAB = torch.tensor([[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]])


def test_lab_is_the_published_one_and_kornias():
    scaled = (LAB + torch.tensor([0, 128, 128])) / torch.tensor([100, 255, 255])
    torch.testing.assert_close(seen([{"op": "lab"}], PRIMARIES)[:, :, 0, 0], scaled, atol=1e-4, rtol=0)
    lab = seen([{"op": "lab"}], photographs()) * torch.tensor([100, 255, 255])[:, None, None]
    lab -= torch.tensor([0, 128, 128])[:, None, None]
    torch.testing.assert_close(lab, kornia.color.rgb_to_lab(photographs()), atol=1e-3, rtol=0)


def test_labs_stated_ranges_hold_for_all_of_srgb():
    steps = torch.linspace(0, 1, 33)
    cube = torch.cartesian_prod(steps, steps, steps).T[None, :, :, None]
    lab = seen([{"op": "lab"}], cube)[0, :, :, 0]
    low, high = lab.amin(1), lab.amax(1)
    torch.testing.assert_close(low, torch.tensor([0, (128 - 86.18) / 255, (128 - 107.86) / 255]), atol=1e-3, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1, (128 + 98.23) / 255, (128 + 94.48) / 255]), atol=1e-3, rtol=0)


def test_ycbcr_is_jpegs_of_the_primaries_and_pils():
    # ITU-T T.871, section 7
    published = torch.tensor([[0.299, 0.331264, 1.0], [0.587, 0.168736, 0.081312], [0.114, 1.0, 0.418688]])
    torch.testing.assert_close(seen([{"op": "ycbcr"}], PRIMARIES)[:, :, 0, 0], published, atol=4e-4, rtol=0)
    images = photographs()
    theirs = pils(lambda image: image.convert("YCbCr"), images)  # its middle is level 128, ours one half
    shifted = theirs - torch.tensor([0, 0.5 / 255, 0.5 / 255])[:, None, None]
    torch.testing.assert_close(seen([{"op": "ycbcr"}], images), shifted, atol=1.1 / 255, rtol=0)


def test_chroma_only_has_one_luma_and_the_same_chroma_unless_clamped():
    pale = photographs()[3:8]
    chroma = seen([{"op": "chroma_only"}], pale)
    before, after = (seen([{"op": "ycbcr"}], images) for images in (pale, chroma))
    torch.testing.assert_close(after[:, 0], torch.full_like(after[:, 0], 0.5), atol=1e-5, rtol=0)
    torch.testing.assert_close(after[:, 1:], before[:, 1:], atol=1e-5, rtol=0)
    gray = seen([{"op": "chroma_only"}], photographs()[:3])
    torch.testing.assert_close(gray, torch.full_like(gray, 0.5), atol=1e-4, rtol=0)
