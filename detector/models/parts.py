"""What several networks are built of."""

from torch import Tensor, nn

from detector.dropout import Dropout


class GlobalAveragePool(nn.Module):
    """(B, C, H, W) -> (B, C). A mean, because AdaptiveAvgPool2d has no deterministic backward on CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def pooled_block(channels: int, filters: int, pool: nn.Module, *, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (but for its stride), pooling, ReLU.

    Max pooling and ReLU commute, so values and gradients are those of the usual order (convolution, ReLU, pooling),
    with a quarter of the ReLU's memory traffic.
    """
    convolution = nn.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2)
    return [convolution, pool, nn.ReLU(inplace=True)]


def head(features: int, *hidden: int, outputs: int, dropout: float) -> list[nn.Module]:
    """Linear, ReLU and Dropout for each of `hidden`, then the logits; the dropout layers are places 0, 1, ..."""
    layers: list[nn.Module] = []
    for place, (inputs, units) in enumerate(zip((features, *hidden), hidden, strict=False)):
        layers += [nn.Linear(inputs, units), nn.ReLU(inplace=True), Dropout(dropout, place)]
    return [*layers, nn.Linear((features, *hidden)[-1], outputs)]


def check_dropout(dropout: float) -> None:
    """ValueError where it is no probability to drop by."""
    if not 0 <= dropout < 1:
        raise ValueError(f"model.dropout={dropout}: expected a probability from 0 to below 1")


def check_size(image_size: tuple[int, int], name: str, least: int, hint: str = "") -> None:
    """ValueError where a side is too short for a network."""
    if min(image_size) < least:
        raise ValueError(
            f"data.image_size is {text(image_size)}: model={name} takes any size from {least}x{least}{hint}"
        )


def text(image_size: tuple[int, int]) -> str:
    """(32, 48) as 32x48."""
    return "x".join(map(str, image_size))
