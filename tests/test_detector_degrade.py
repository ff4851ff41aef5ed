"""JPEG, blur and shrinking held against Pillow and torchvision."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from test_detector_color import KEY, photographs, seen
from torchvision.transforms import functional as reference

from detector.color import build_view
from detector.degrade import TooLarge


def pillows_jpeg(images: torch.Tensor, quality: int) -> torch.Tensor:
    decoded = []
    for image in (images * 255).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        decoded.append(np.array(Image.open(file)))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("quality", [5, 30, 49, 75, 95, 100])
@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_jpeg_is_pillows_within_a_level_on_average(quality, size):
    smooth = photographs(16)[3:8]
    noise = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    images = torch.cat([smooth, 0.7 * smooth[[0, 1, 2, 3, 4, 0, 1, 2]] + 0.3 * noise])
    images = (torch.nn.functional.interpolate(images, size, mode="bilinear") * 255).round() / 255
    ours, theirs = seen([{"op": "jpeg", "quality": quality}], images), pillows_jpeg(images, quality)
    off = (ours - theirs).abs() * 255
    lost = (images - theirs).abs() * 255
    assert off.mean() < 1
    assert off.mean() < 0.1 * lost.mean() + 0.25


def test_jpeg_of_jpeg_is_nearly_the_same_and_quality_orders_the_loss():
    images = photographs()[3:]
    once = {q: seen([{"op": "jpeg", "quality": q}], images) for q in (10, 50, 90)}
    lost = [(once[q] - images).abs().mean() for q in (10, 50, 90)]
    assert lost[0] > lost[1] > lost[2] > 0
    again = seen([{"op": "jpeg", "quality": 50}], once[50])
    assert (again - once[50]).abs().mean() < 0.25 * lost[1]


def test_jpeg_gives_eight_bit_levels_and_leaves_grey_grey():
    images = photographs()
    levels = seen([{"op": "jpeg", "quality": 75}], images + 0.3 / 255 * (images < 0.9)) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    torch.testing.assert_close(levels[:2], images[:2] * 255, atol=1e-4, rtol=0)
    assert torch.equal(levels[2, 0], levels[2, 1])


def test_each_image_gets_the_quality_that_is_drawn_for_it():
    image = photographs()[9:10].repeat(400, 1, 1, 1)
    drawn = seen([{"op": "jpeg", "quality": [60, 64]}], image)
    fixed = torch.cat([seen([{"op": "jpeg", "quality": q}], image[:1]) for q in range(60, 65)])
    matches = (drawn[:, None] - fixed).abs().mean((2, 3, 4)) < 1e-4
    assert (matches.sum(1) == 1).all()
    assert stats.chisquare(matches.sum(0).numpy()).pvalue > 1e-3  # the ends as often as the middle


@pytest.mark.parametrize("sigma", [0.3, 1, 2.5])
def test_blur_is_torchvisions(sigma):
    images, width = photographs(), 2 * int(np.ceil(3 * sigma)) + 1
    expected = reference.gaussian_blur(images, [width, width], [sigma, sigma])
    torch.testing.assert_close(seen([{"op": "blur", "sigma": sigma}], images), expected, atol=1e-5, rtol=0)


def test_each_image_gets_the_blur_that_is_drawn_for_it():
    peak = torch.zeros(2000, 3, 9, 9)
    peak[:, :, 4, 4] = 1
    center = seen([{"op": "blur", "sigma": [0.5, 1]}], peak)[:, 0, 4, 4]
    # the middle of a sampled Gaussian of radius 3, squared for both axes, falls as sigma rises
    sigmas = torch.linspace(0.5, 1, 501)
    heights = (1 / torch.exp(-0.5 * (torch.arange(-3, 4) / sigmas[:, None]) ** 2).sum(1)) ** 2
    drawn = np.interp(-center.numpy(), -heights.numpy(), sigmas.numpy())
    assert stats.kstest(drawn, stats.uniform(0.5, 0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("size", [24, 16, 8])
def test_resample_is_pils_bilinear_down_and_up(size):
    images = photographs()
    expected = [
        [
            np.asarray(Image.fromarray(plane).resize((size, size), bilinear).resize((32, 32), bilinear))
            for plane in image
        ]
        for bilinear in [Image.Resampling.BILINEAR]
        for image in images.numpy()
    ]
    ours = seen([{"op": "resample", "size": size}], images)
    torch.testing.assert_close(ours, torch.from_numpy(np.array(expected)), atol=1e-5, rtol=0)


def test_resample_keeps_the_shape_of_wide_pictures_and_refuses_what_would_not_shrink():
    wide = torch.rand(2, 3, 20, 41)
    assert seen([{"op": "resample", "size": 7}], wide).shape == wide.shape
    for operation, message in (
        ({"op": "resample", "size": 20}, "size=20: expected less than 20, as the pictures are 20x41"),
        ({"op": "blur", "sigma": 7}, "sigma=7: too large for pictures of 20x41"),
    ):
        with pytest.raises(TooLarge, match=f"^{message}$"):
            build_view([operation])(wide, KEY, torch.arange(2))
