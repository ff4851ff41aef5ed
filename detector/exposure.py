"""What a view leaves of a picture: how much of it is clipped, and how many colours remain."""

import numpy as np
import torch
from torch import Tensor

from detector.batches import Pictures
from detector.color import View

PIXELS = 100 * 32 * 32  # of a batch
LOOKED_AT = 2000 * 32 * 32  # pixels in all, but at least
LEAST = 50  # pictures


@torch.inference_mode()
def exposure(pictures: Pictures, rows: Tensor, view: View, *, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Clipped share and number of colours, (n,) each, of the first of the pictures `rows` (int64, CPU) seen through
    `view`: 2,000 of 32x32, fewer larger ones."""
    height, width = pictures.size
    first = rows[: max(LEAST, LOOKED_AT // (height * width))]
    shares, colors = [], []
    for batch in pictures.batches(first, max(1, PIXELS // (height * width))):
        seen = view(batch.images, key, batch.rows)
        shares.append(clipped_share(seen))
        colors.append(num_colors(seen))
    return torch.cat(shares).double().cpu().numpy(), torch.cat(colors).double().cpu().numpy()


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
