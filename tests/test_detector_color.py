"""Colour operations held against torchvision, PIL and OpenCV, and the laws every view obeys."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import stats
from torchvision.transforms import functional as reference

from detector.color import OPS, build_view
from detector.randomness import derive

EVERY_VIEW = {
    "invert": [{"op": "invert"}],
    "luma x8": [{"op": "saturate", "space": "luma", "factor": 8}],
    "luma x500": [{"op": "saturate", "space": "luma", "factor": 500}],
    "hsv x8": [{"op": "saturate", "space": "hsv", "factor": 8}],
    "hsv x500": [{"op": "saturate", "space": "hsv", "factor": 500}],
    "luma range": [{"op": "saturate", "space": "luma", "factor": [0.5, 8], "p": 0.5}],
    "hsv range": [{"op": "saturate", "space": "hsv", "factor": [0.5, 8], "p": 0.5}],
    "grayscale": [{"op": "grayscale"}],
    "jitter": [{"op": "jitter", "brightness": 0.4, "contrast": 1.4, "saturation": 0.4, "hue": 0.3, "p": 0.8}],
    "invert, luma x500": [{"op": "invert"}, {"op": "saturate", "space": "luma", "factor": 500}],
    "nothing": [],
}
every_view = pytest.mark.parametrize("operations", EVERY_VIEW.values(), ids=EVERY_VIEW)
KEY = derive(0, "augmentation", 1)


def photographs(num: int = 16, size: int = 32) -> torch.Tensor:
    """Uint8 levels as float32: half smooth and pale, half noise, with black, white and grey images among them."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(num, 3, size, size, generator=generator)
    smooth = torch.nn.functional.interpolate(noise[: num // 2, :, :4, :4], size, mode="bicubic").clamp(0, 1)
    images = torch.cat([0.3 + 0.4 * smooth, noise[num // 2 :]])
    images[0], images[1], images[2] = 0, 1, images[2, :1].clone()
    return (images * 255).round() / 255


def seen(operations: list[dict], images: torch.Tensor, *, key: int = KEY) -> torch.Tensor:
    return build_view(operations)(images, key, torch.arange(len(images)))


def saturated(images: torch.Tensor, factor: float, space: str) -> torch.Tensor:
    return seen([{"op": "saturate", "space": space, "factor": factor}], images)


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


@every_view
def test_every_view_keeps_range_shape_and_its_input(operations):
    images = photographs()
    before = images.clone()
    result = seen(operations, images)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(images, before)


@every_view
def test_an_image_is_seen_alike_in_any_company_and_otherwise_in_another_epoch(operations):
    images, view = photographs(), build_view(operations)
    result = seen(operations, images)
    some = torch.tensor([11, 2, 7, 2, 12, 13])
    torch.testing.assert_close(view(images[some], KEY, some), result[some], atol=1e-6, rtol=0)
    assert torch.equal(view(images, KEY, torch.arange(16)), result)
    later = view(images, derive(0, "augmentation", 2), torch.arange(16))
    assert torch.equal(later, result) != view.is_random


@every_view
def test_a_view_draws_from_no_generator(operations):
    before = torch.get_rng_state()
    seen(operations, photographs())
    assert torch.equal(before, torch.get_rng_state())


@every_view
def test_a_view_stays_float32_under_autocast(operations):
    images = photographs()
    with torch.autocast("cpu", torch.bfloat16):
        result = seen(operations, images)
    assert result.dtype == torch.float32
    assert torch.equal(result, seen(operations, images))


@every_view
def test_memory_format_changes_no_value_and_is_kept(operations):
    images = photographs()
    last = seen(operations, images.to(memory_format=torch.channels_last))
    first = seen(operations, images)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert first.is_contiguous()
    torch.testing.assert_close(last, first, atol=1e-6, rtol=0)


def test_p_acts_on_each_image_by_itself():
    images = torch.full((4000, 3, 2, 2), 0.25)
    flipped = {p: seen([{"op": "invert", "p": p}], images) == 0.75 for p in (0, 0.5, 1)}
    assert not flipped[0].any()
    assert flipped[1].all()
    assert torch.equal(flipped[0.5].all(3).all(2).all(1), flipped[0.5].any(3).any(2).any(1))
    assert stats.binomtest(int(flipped[0.5][:, 0, 0, 0].sum()), 4000, 0.5).pvalue > 1e-3


def test_two_operations_draw_apart_and_p_apart_from_the_factor():
    images = torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1).repeat(4000, 1, 1, 1)
    twice = [{"op": "invert", "p": 0.5}, {"op": "invert", "p": 0.5}]
    kept = torch.isclose(seen(twice, images), images).all(1).sum()
    assert stats.binomtest(int(kept), 4000, 0.5).pvalue > 1e-3
    factors = recovered(seen([{"op": "saturate", "space": "hsv", "factor": [1.2, 2], "p": 0.5}], images))
    assert stats.kstest(factors[factors > 1.1], stats.uniform(1.2, 0.8).cdf).pvalue > 1e-3


def recovered(images: torch.Tensor) -> np.ndarray:
    """The factor that (.5, .4, .3) was saturated by: it scales the distance of any two channels, in either space."""
    return ((images[:, 0] - images[:, 2]) / 0.2)[:, 0, 0].numpy()


@pytest.mark.parametrize("space", ["luma", "hsv"])
def test_factors_of_a_range_are_uniform(space):
    images = torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1).repeat(4000, 1, 1, 1)
    factors = recovered(saturated(images, [0.5, 2], space))
    assert stats.kstest(factors, stats.uniform(0.5, 1.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("operations", "is_random"),
    [
        ([], False),
        ([{"op": "invert", "p": 1}], False),
        ([{"op": "invert", "p": 0}], False),
        ([{"op": "invert", "p": 0.5}], True),
        ([{"op": "saturate", "space": "luma", "factor": [8, 8]}], False),
        ([{"op": "saturate", "space": "luma", "factor": [2, 8]}], True),
        ([{"op": "saturate", "space": "luma", "factor": [2, 8], "p": 0}], False),
        ([{"op": "jitter"}], False),
        ([{"op": "invert"}, {"op": "jitter", "hue": 0.1}], True),
    ],
)
def test_a_view_says_whether_it_draws(operations, is_random):
    assert build_view(operations).is_random == is_random


def test_the_empty_view_is_the_identity():
    images = photographs()
    assert seen([], images) is images


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 3, 4, 4).bfloat16(), torch.zeros(3, 4, 4)]
)
def test_images_of_another_type_or_shape_are_refused(images):
    with pytest.raises(ValueError, match=r"^images are .*: expected float32 \(B, 3, H, W\) in \[0, 1\]$"):
        seen([], images)


NUMBER = "expected a number above 0 or a range [low, high], at most 100000"
HINT = "; for grey pictures use {op: grayscale}"
LUMA = {"op": "saturate", "space": "luma"}
REFUSED = [
    ([{**LUMA, "factor": "eight"}], f"aug.train[0].factor='eight': {NUMBER}"),
    ([{"op": "invert"}, {**LUMA, "factor": -1}], f"aug.train[1].factor=-1: {NUMBER}"),
    ([{**LUMA, "factor": 0}], f"aug.train[0].factor=0: {NUMBER}{HINT}"),
    ([{**LUMA, "factor": [0, 2]}], f"aug.train[0].factor=[0, 2]: {NUMBER}{HINT}"),
    ([{**LUMA, "factor": True}], f"aug.train[0].factor=True: {NUMBER}"),
    ([{**LUMA, "factor": [8, 2]}], f"aug.train[0].factor=[8, 2]: {NUMBER}"),
    ([{**LUMA, "factor": [1, 2, 3]}], f"aug.train[0].factor=[1, 2, 3]: {NUMBER}"),
    ([{**LUMA, "factor": [1, "b"]}], f"aug.train[0].factor=[1, 'b']: {NUMBER}"),
    ([{**LUMA, "factor": None}], f"aug.train[0].factor=None: {NUMBER}"),
    ([{**LUMA, "factor": math.nan}], f"aug.train[0].factor=nan: {NUMBER}"),
    ([{**LUMA, "factor": math.inf}], f"aug.train[0].factor=inf: {NUMBER}"),
    ([{"op": "saturate", "space": "lab", "factor": 8}], "aug.train[0].space='lab': expected luma or hsv"),
    ([{"op": "saturate", "space": [], "factor": 8}], "aug.train[0].space=[]: expected luma or hsv"),
    ([LUMA], "aug.train[0].factor is missing: saturate takes op, factor, space, p"),
    ([{**LUMA, "factor": 8, "amount": 2}], "aug.train[0].amount=2: no such key for saturate; expected op, factor, "),
    ([{"op": "flip"}], "aug.train[0].op='flip': expected one of invert, saturate, grayscale, jitter"),
    ([{"op": ["invert"]}], "aug.train[0].op=['invert']: expected one of invert, "),
    (["invert"], "aug.train[0]='invert': expected a mapping with the key op, one of invert, "),
    ([{"p": 1}], "aug.train[0]={'p': 1}: expected a mapping with the key op, one of invert, "),
    ("invert", "aug.train='invert': expected a list of operations, [] for none"),
    ({"op": "invert"}, "aug.train={'op': 'invert'}: expected a list of operations, [] for none"),
    ([{"op": "invert", "p": 1.5}], "aug.train[0].p=1.5: expected a probability from 0 to 1"),
    ([{"op": "invert", "p": True}], "aug.train[0].p=True: expected a probability from 0 to 1"),
    ([{"op": "jitter", "hue": 0.6}], "aug.train[0].hue=0.6: expected a number from 0 to 0.5"),
    ([{"op": "jitter", "contrast": -0.1}], "aug.train[0].contrast=-0.1: expected a number from 0 to 100000"),
    ([{"op": "jitter", "brightness": [0.5, 1]}], "aug.train[0].brightness=[0.5, 1]: expected a number from 0 to "),
]


@pytest.mark.parametrize(("operations", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_wrong_setting_gets_one_line_naming_key_value_and_what_is_accepted(operations, message):
    with pytest.raises(ValueError) as error:
        build_view(operations)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_the_message_names_the_list_it_was_told():
    with pytest.raises(ValueError, match=r"^aug\.eval\[0\]\.op='x': "):
        build_view([{"op": "x"}], where="aug.eval")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_view
def test_on_the_gpu_a_view_gives_the_same_and_never_waits(operations):
    images, indices, view = photographs(), torch.arange(16), build_view(operations)
    expected = view(images, KEY, indices)
    images, indices = images.cuda(), indices.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = view(images, KEY, indices)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result.min() >= 0
    assert result.max() <= 1
    torch.testing.assert_close(result.cpu(), expected, atol=1e-4, rtol=0)
