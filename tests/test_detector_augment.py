"""What varies the pictures of training, held against torchvision and plain loops."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from detector.augment import AUGMENTS, build_augment
from detector.randomness import derive, uniform

KEY = derive(0, "geometry", 1)
ROWS = torch.arange(64)

EVERY = [
    {"op": "flip", "p": 0.5},
    {"op": "rotate", "degrees": 15},
    {"op": "crop", "pixels": 4},
    {"op": "random_resized_crop"},
    {"op": "cutout", "share": 0.5},
    {"op": "noise", "sigma": 0.1},
]


def pictures(count=64, size=(32, 40)):
    small = torch.rand(count, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(small, size, mode="bilinear").contiguous(memory_format=torch.channels_last)


def varied(operation, images, rows=None, key=KEY):
    rows = torch.arange(len(images)) if rows is None else rows
    return build_augment([operation])(images, key, rows)


def test_flip_is_the_mirror_image_of_about_every_other_one():
    images = pictures()
    seen = varied({"op": "flip", "p": 0.5}, images)
    mirrored = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(seen, images, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(seen, images, strict=True)])
    assert bool((mirrored ^ same).all()) and 16 < mirrored.sum() < 48


def test_rotate_is_torchvisions_by_the_angle_that_is_drawn():
    images = pictures(8, (32, 32))
    angles = (uniform(KEY, torch.arange(8), 1) * 2 - 1) * 30
    seen = varied({"op": "rotate", "degrees": 30}, images)
    for ours, image, angle in zip(seen, images, angles.tolist(), strict=True):
        theirs = reference.rotate(image, angle, InterpolationMode.BILINEAR)
        assert (ours - theirs)[:, 4:-4, 4:-4].abs().max() < 0.01
    assert angles.abs().max() > 15


def test_crop_moves_by_whole_pixels_and_is_black_where_nothing_was():
    images, moves = pictures(400) + 0.1, set()
    seen = varied({"op": "crop", "pixels": 2}, images)
    for ours, image in zip(seen, images, strict=True):
        framed = torch.nn.functional.pad(image, [2] * 4)
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(ours, framed[:, y : y + 32, x : x + 40])]
        assert len(found) == 1
        moves.update(found)
    assert len(moves) == 25


def test_a_resized_crop_of_the_whole_is_the_picture_and_of_a_part_torchvisions():
    images = pictures(8, (32, 32))
    whole = varied({"op": "random_resized_crop", "scale": [1.0, 1.0], "ratio": [1.0, 1.0]}, images)
    torch.testing.assert_close(whole, images, atol=1e-5, rtol=0)
    # a quarter of the area; where it begins is drawn in the third and fourth slot
    seen = varied({"op": "random_resized_crop", "scale": [0.25, 0.25], "ratio": [1.0, 1.0]}, images)
    left, top = (uniform(KEY, torch.arange(8), slot) * 16 for slot in (3, 4))
    for ours, image, x, y in zip(seen, images, left.tolist(), top.tolist(), strict=True):
        shifted = torch.nn.functional.interpolate(image[None], scale_factor=8, mode="bilinear")[0]
        part = shifted[:, round(8 * y) : round(8 * y) + 128, round(8 * x) : round(8 * x) + 128]
        theirs = torch.nn.functional.interpolate(part[None], (32, 32), mode="area")[0]
        assert (ours - theirs).abs().max() < 0.03


def test_cutout_is_one_grey_square_whose_middle_lies_anywhere():
    images = torch.zeros(500, 3, 32, 32)
    covered = (varied({"op": "cutout", "share": 0.25}, images) == 0.5)[:, 0]
    sizes = covered.sum((1, 2))
    assert sizes.max() == 64 and (sizes < 64).any() and (sizes > 0).all()
    assert torch.equal(covered, covered.any(2)[:, :, None] & covered.any(1)[:, None, :])
    assert covered.float().mean(0).min() > 0.005  # no place is spared


def test_noise_is_gaussian_of_its_sigma_independent_and_another_in_every_image_and_epoch():
    images = torch.full((40, 3, 32, 32), 0.5)
    noise = (varied({"op": "noise", "sigma": 0.1}, images) - 0.5) / 0.1
    assert stats.kstest(noise[:8].flatten().numpy()[::7], "norm").pvalue > 1e-3
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    flat = noise.flatten(1)
    other = (varied({"op": "noise", "sigma": 0.1}, images, key=derive(0, "geometry", 2)) - 0.5).flatten(1)
    for second in (flat.roll(1, 0), flat.roll(1, 1), other):
        assert abs(np.corrcoef(flat.flatten(), second.flatten())[0, 1]) < 5 / flat.numel() ** 0.5
    bright = varied({"op": "noise", "sigma": 1.0}, torch.ones(4, 3, 8, 8))
    assert bright.max() == 1 and bright.min() >= 0 and bright.mean() < 0.9


@pytest.mark.parametrize("operation", EVERY, ids=lambda operation: operation["op"])
def test_each_hangs_on_the_image_alone_and_keeps_range_and_layout(operation):
    images = pictures()
    before, seen = images.clone(), varied(operation, images)
    assert seen.dtype == torch.float32 and seen.shape == images.shape and not torch.equal(seen, images)
    assert seen.min() >= 0 and seen.max() <= 1 and torch.equal(images, before)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    some = torch.tensor([60, 3, 17])
    torch.testing.assert_close(varied(operation, images[some], some), seen[some], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ({"op": "flip", "p": 2}, "train.augment[0].p=2: expected"),
        ({"op": "invert"}, f"train.augment[0].op='invert': expected one of {', '.join(AUGMENTS)}"),
        ({"op": "rotate", "degrees": 0}, "train.augment[0].degrees=0: expected"),
        ({"op": "crop", "pixels": 1.5}, "train.augment[0].pixels=1.5: expected"),
        ({"op": "random_resized_crop", "scale": [0, 1]}, "train.augment[0].scale=[0, 1]: expected"),
        ({"op": "cutout", "share": 1}, "train.augment[0].share=1: expected"),
        ({"op": "noise", "sigma": math.inf}, "train.augment[0].sigma=inf: expected"),
    ],
)
def test_a_wrong_setting_is_named(operation, said):
    with pytest.raises(ValueError) as error:
        build_augment([operation])
    assert str(error.value).startswith(said)
