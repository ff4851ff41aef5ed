"""The laws every view obeys, what it draws, and the settings that are refused."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from detector.color import OPS, build_view
from detector.randomness import derive

EVERY_VIEW: dict[str, list[dict]] = {
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
    "weak jitter": [{"op": "jitter", "brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.25, "strength": 0.4}],
    "hue_rotate": [{"op": "hue_rotate", "degrees": 90}],
    "channel_shuffle": [{"op": "channel_shuffle", "order": "gbr"}],
    "ycbcr": [{"op": "ycbcr"}],
    "lab": [{"op": "lab"}],
    "hsv_channels": [{"op": "hsv_channels"}],
    "chroma_only": [{"op": "chroma_only"}],
    "solarize": [{"op": "solarize", "threshold": 0.5, "p": 0.5}],
    "posterize": [{"op": "posterize", "bits": 3}],
    "gamma": [{"op": "gamma", "gamma": 2.2}],
    "equalize_histogram": [{"op": "equalize_histogram"}],
    "invert, equalize": [{"op": "invert"}, {"op": "equalize_histogram", "p": 0.5}],
    "jpeg 75": [{"op": "jpeg", "quality": 75}],
    "jpeg range": [{"op": "jpeg", "quality": [30, 100], "p": 0.5}],
    "blur": [{"op": "blur", "sigma": 1}],
    "blur range": [{"op": "blur", "sigma": [0, 1], "p": 0.5}],
    "resample": [{"op": "resample", "size": 12}],
    "both": [{"op": "both", "view": [{"op": "invert"}, {"op": "saturate", "space": "luma", "factor": 8}]}],
    "jitter, both": [{"op": "jitter", "hue": 0.1}, {"op": "both", "view": [{"op": "jitter", "hue": 0.1, "p": 0.5}]}],
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


def test_every_operation_is_held_to_these_laws():
    assert set(OPS) == {step["op"] for operations in EVERY_VIEW.values() for step in operations}


def saturated(images: torch.Tensor, factor: float | list[float], space: str) -> torch.Tensor:
    return seen([{"op": "saturate", "space": space, "factor": factor}], images)


@every_view
def test_every_view_keeps_range_shape_and_its_input(operations):
    images = photographs()
    before = images.clone()
    result = seen(operations, images)
    assert result.shape == (len(images), build_view(operations).channels, *images.shape[2:])
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


def test_both_stacks_what_comes_in_with_what_its_own_view_makes_of_it():
    images = photographs()
    inner: list[dict] = [{"op": "invert"}, {"op": "saturate", "space": "hsv", "factor": 8}]
    result = seen([{"op": "grayscale"}, {"op": "both", "view": inner}], images)
    gray = seen([{"op": "grayscale"}], images)
    torch.testing.assert_close(result[:, :3], gray)
    torch.testing.assert_close(result[:, 3:], seen(inner, gray))


def test_what_both_draws_is_apart_from_what_is_drawn_before_it():
    images = torch.full((4000, 3, 1, 1), 0.25)
    half = {"op": "invert", "p": 0.5}
    flipped = seen([half, {"op": "both", "view": [half]}], images)[:, [0, 3], 0, 0] == 0.75
    inner = flipped[:, 0] != flipped[:, 1]
    for where in (flipped[:, 0], ~flipped[:, 0]):
        assert stats.binomtest(int(inner[where].sum()), int(where.sum()), 0.5).pvalue > 1e-3


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
        ([{"op": "jitter", "hue": 0.1, "strength": 0}], False),
        ([{"op": "jpeg", "quality": [75, 75]}], False),
        ([{"op": "blur", "sigma": [0, 1]}], True),
        ([{"op": "both", "view": [{"op": "invert"}]}], False),
        ([{"op": "both", "view": [{"op": "invert", "p": 0.5}]}], True),
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
BOTH = [{"op": "both", "view": [{"op": "invert"}]}]
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
    ([{"op": "jitter", "hue": 0.2, "strength": 5}], "aug.train[0].strength=5: expected at most 2.5 with hue=0.2"),
    ([{"op": "hue_rotate", "degrees": 400}], "aug.train[0].degrees=400: expected a number from -360 to 360"),
    ([{"op": "channel_shuffle", "order": "rrb"}], "aug.train[0].order='rrb': expected the letters r, g and b in some "),
    ([{"op": "solarize", "threshold": 128}], "aug.train[0].threshold=128: expected a number from 0 to 1"),
    ([{"op": "posterize", "bits": 8}], "aug.train[0].bits=8: expected a whole number from 1 to 7"),
    ([{"op": "posterize", "bits": 2.5}], "aug.train[0].bits=2.5: expected a whole number from 1 to 7"),
    ([{"op": "gamma", "gamma": 0}], "aug.train[0].gamma=0: expected a number from 0.1 to 10"),
    ([{"op": "jpeg", "quality": [0, 9]}], "aug.train[0].quality=[0, 9]: expected a whole number from 1 to 100 or a "),
    ([{"op": "jpeg", "quality": 75.5}], "aug.train[0].quality=75.5: expected a whole number from 1 to 100 or a range"),
    ([{"op": "blur", "sigma": 0}], "aug.train[0].sigma=0: expected a number of pixels above 0 or a range [low, high]"),
    ([{"op": "resample", "size": 16.5}], "aug.train[0].size=16.5: expected a whole number of pixels, smaller than the"),
    ([{"op": "both", "view": []}], "aug.train[0].view=[]: expected at least one operation"),
    ([{"op": "both", "view": "invert"}], "aug.train[0].view='invert': expected a list of operations"),
    ([{"op": "both", "view": [{"op": "invert", "p": 2}]}], "aug.train[0].view[0].p=2: expected a probability from 0 "),
    ([{"op": "both", "view": BOTH}], "aug.train[0].view holds both itself: expected operations that give three"),
    ([*BOTH, {"op": "invert"}], "aug.train[0].op='both': expected it last in the list, as it gives six channels"),
    ([{**BOTH[0], "p": 0.5}], "aug.train[0].p=0.5: expected 1 for both, as all images have as many channels"),
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
