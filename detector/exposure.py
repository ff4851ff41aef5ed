"""What a view leaves of a picture: how much of it is clipped, and how many colours remain."""

import torch
from torch import Tensor


def clipped_share(images: Tensor) -> Tensor:
    """Share of channel values at either end of the range: images float (B, C, H, W) in [0, 1] -> (B,)."""
    return ((images <= 0) | (images >= 1)).float().mean((1, 2, 3))


def num_colors(images: Tensor) -> Tensor:
    """Number of different colours of each picture at 8 bits a channel: images (B, C, H, W), C at most 7 -> (B,)."""
    words = torch.zeros_like(images[:, 0], dtype=torch.int64)
    for channel in images.unbind(1):
        words = words * 256 + (channel * 255).round().long()
    words = words.flatten(1).sort(dim=1).values
    return 1 + (words[:, 1:] != words[:, :-1]).sum(1)
