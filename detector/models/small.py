"""The two small networks of the reference system: one for 32x32 pictures, one for photographs of any size.

Both pool before the ReLU: max pooling and ReLU commute, so values and gradients are those of the published order
(Conv ReLU MaxPool), with a quarter of the ReLU's memory traffic.
"""

from torch import Tensor, nn

from detector.dropout import Dropout


class GlobalAveragePool(nn.Module):
    """(B, C, H, W) -> (B, C). A mean, because AdaptiveAvgPool2d has no deterministic backward on CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def cnn32(*, image_size: tuple[int, int], channels: int = 3, dropout: float) -> nn.Sequential:
    """Three convolutions and three linear layers for 32x32 pictures; 634,305 parameters."""
    if tuple(image_size) != (32, 32):
        raise ValueError(
            f"data.image_size is {_text(image_size)}: model=cnn32 takes 32x32; model=cnn720 takes any size from 32x32"
        )
    return nn.Sequential(
        *_block(channels, 32, nn.MaxPool2d(2), kernel=3),
        *_block(32, 64, nn.MaxPool2d(2), kernel=3),
        *_block(64, 128, nn.MaxPool2d(2), kernel=3),
        nn.Flatten(),
        *_head(128 * 4 * 4, 256, 64, dropout),
    )


def cnn720(*, image_size: tuple[int, int], channels: int = 3, dropout: float) -> nn.Sequential:
    """Five convolutions, global average pooling and three linear layers, made for 1280x720; any size from 32x32."""
    if min(image_size) < 32:
        raise ValueError(f"data.image_size is {_text(image_size)}: model=cnn720 takes any size from 32x32")
    return nn.Sequential(
        *_block(channels, 32, nn.MaxPool2d(3, stride=2, padding=1), kernel=7, stride=2),
        *_block(32, 64, nn.MaxPool2d(3, stride=2, padding=1), kernel=5),
        *_block(64, 128, nn.MaxPool2d(2), kernel=3),
        *_block(128, 256, nn.MaxPool2d(2), kernel=3),
        nn.Conv2d(256, 512, 3, padding=1),
        nn.ReLU(inplace=True),
        GlobalAveragePool(),
        *_head(512, 1024, 256, dropout),
    )


def _block(channels: int, filters: int, pool: nn.Module, *, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2)
    return [convolution, pool, nn.ReLU(inplace=True)]


def _head(features: int, first: int, second: int, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(((features, first), (first, second))):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), Dropout(dropout, place)]
    return [*layers, nn.Linear(second, 1)]


def _text(image_size: tuple[int, int]) -> str:
    return "x".join(map(str, image_size))
