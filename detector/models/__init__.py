"""Networks by name: float RGB (B, 3, H, W) in [0, 1] in, one logit an image (B, 1) out; above 0 means FAKE."""

from typing import Any, Protocol

from torch import nn

from detector.models import backbones, flexible, small, university


class ModelSettings(Protocol):
    """What the settings of a network have. Its fields are the keys of the yaml, checked in __post_init__ by a
    ValueError that begins `model.key=value: expected`."""

    name: str

    def build(self, *, image_size: tuple[int, int], channels: int = 3) -> nn.Module:
        """The network for pictures of (height, width) and `channels`; ValueError where it does not take those.

        Weights are drawn by PyTorch's defaults from the global generator.
        """
        ...


def settings_of(name: object) -> type[Any]:
    """The settings of a network; ValueError where there is none of this name."""
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(f"model.name={name!r}: expected one of {', '.join(sorted(MODELS))}")
    return MODELS[name]


MODELS: dict[str, type[Any]] = {
    "cnn32": small.Cnn32,
    "cnn720": small.Cnn720,
    "flexible": flexible.Flexible,
    "university_1": university.University1,
    "university_2": university.University2,
    "resnet18": backbones.ResNet18,
    "efficientnet_b0": backbones.EfficientNetB0,
}
