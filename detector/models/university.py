"""The two networks of a university course's project. Its report names maps and layers only; what is assumed is said."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import interpolate

from detector.models.parts import GlobalAveragePool, check_size, pooled_block

MAPS = (32, 64, 128, 256, 512)


@dataclass
class University1:
    """Three convolutions of 32, 64 and 64 maps, the first two pooled, then linear layers of 64 and 1.

    Assumed: kernels of 3 without padding and 64 hidden units, as in the tutorial network that the report's description
    fits.
    """

    name: str = "university_1"

    def build(self, *, image_size: tuple[int, int], channels: int = 3, outputs: int = 1) -> nn.Sequential:
        """See models.ModelSettings."""
        check_size(image_size, self.name, 18)
        height, width = (((side - 2) // 2 - 2) // 2 - 2 for side in image_size)
        return nn.Sequential(
            *(nn.Conv2d(channels, 32, 3), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Conv2d(32, 64, 3), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Conv2d(64, 64, 3), nn.ReLU(inplace=True)),
            nn.Flatten(),
            nn.Linear(64 * height * width, 64),
            nn.ReLU(inplace=True),
            nn.Linear(64, outputs),
        )


@dataclass
class University2:
    """Five convolutions of 32 to 512 maps, each pooled; what the second gives is also projected by a convolution of 1x1
    to 512 maps, resized to what the fifth gives, and added to it; then global average pooling and one linear layer.

    Assumed: kernels of 3 with padding, pooling by 2 after each, nearest resizing.
    """

    name: str = "university_2"

    def build(self, *, image_size: tuple[int, int], channels: int = 3, outputs: int = 1) -> nn.Module:
        """See models.ModelSettings."""
        check_size(image_size, self.name, 32)
        return WithSkip(channels, outputs)


class WithSkip(nn.Module):
    """images (B, channels, H, W) -> logits (B, outputs)."""

    def __init__(self, channels: int, outputs: int):
        super().__init__()
        blocks = [
            nn.Sequential(*pooled_block(inputs, maps, nn.MaxPool2d(2), kernel=3))
            for inputs, maps in zip((channels, *MAPS), MAPS, strict=False)
        ]
        self.first, self.rest = nn.Sequential(*blocks[:2]), nn.Sequential(*blocks[2:])
        self.projection = nn.Conv2d(MAPS[1], MAPS[-1], 1)
        self.head = nn.Sequential(GlobalAveragePool(), nn.Linear(MAPS[-1], outputs))

    def forward(self, images: Tensor) -> Tensor:
        early = self.first(images)
        late = self.rest(early)
        return self.head(late + interpolate(self.projection(early), late.shape[2:]))
