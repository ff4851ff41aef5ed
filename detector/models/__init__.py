"""Networks by name: float RGB (B, 3, H, W) in [0, 1] in, one logit an image (B, 1) out; above 0 means FAKE."""

from dataclasses import dataclass

from torch import nn

from detector.models import small


@dataclass
class ModelSettings:
    """name: a key of MODELS; dropout: probability of both dropout layers of the head."""

    name: str = "cnn32"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in MODELS:
            raise ValueError(f"model.name={self.name!r}: expected one of {', '.join(sorted(MODELS))}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout={self.dropout}: expected a probability from 0 to below 1")


def build_model(settings: ModelSettings, *, image_size: tuple[int, int], channels: int = 3) -> nn.Module:
    """The network for pictures of (height, width) and `channels`; ValueError where it does not take that size.

    Weights are drawn by PyTorch's defaults from the global generator.
    """
    return MODELS[settings.name](image_size=image_size, channels=channels, dropout=settings.dropout)


MODELS = {"cnn32": small.cnn32, "cnn720": small.cnn720}
