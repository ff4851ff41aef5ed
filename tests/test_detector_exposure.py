"""What a view leaves of a picture, counted by numpy."""

import numpy as np
import torch

from detector.exposure import clipped_share, num_colors


def pictures(channels: int) -> tuple[torch.Tensor, np.ndarray]:
    """Levels from few to many, as float32 in [0, 1] and as uint8."""
    generator = np.random.default_rng(0)
    levels = np.stack([generator.choice(generator.integers(0, 256, n), (channels, 8, 8)) for n in (1, 2, 3, 40)])
    levels[2, 0, :4] = 255
    levels[2, -1, 6:] = 0
    return torch.from_numpy(levels.astype(np.float32)) / 255, levels


def test_colors_are_the_different_pixels_also_of_six_channels():
    for channels in (1, 3, 6, 7):
        images, levels = pictures(channels)
        expected = [len(np.unique(image.reshape(channels, -1), axis=1).T) for image in levels]
        assert num_colors(images).tolist() == expected
        assert num_colors((images + 0.4 / 255).clamp(0, 1)).tolist() == expected  # counted at 8 bits


def test_no_two_colors_are_taken_for_one():
    levels = torch.zeros(255, 3, 1, 2)
    levels[:, 0, 0, 0] = 1  # (1, 0, 0) against (0, 1, 0), (0, 2, 0), ... (0, 255, 0)
    levels[:, 1, 0, 1] = torch.arange(1, 256)
    assert num_colors(levels / 255).tolist() == [2] * 255


def test_the_clipped_share_is_that_of_values_at_either_end():
    images, levels = pictures(3)
    expected = [np.isin(image, (0, 255)).mean() for image in levels]
    np.testing.assert_allclose(clipped_share(images), expected, atol=1e-7)
    assert expected[2] > 0
    nearly = torch.full((1, 3, 2, 2), 1 - 2**-20)
    assert clipped_share(nearly).item() == 0
