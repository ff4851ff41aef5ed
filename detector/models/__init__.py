"""Networks by name: float RGB (B, 3, H, W) in [0, 1] in, logits (B, outputs) out.

One output: above 0 means FAKE. Several: one for each class, the largest is the one it calls.
"""

from typing import Any, Protocol

from torch import nn

from detector.models import backbones, flexible, small, university


class ModelSettings(Protocol):
    """What the settings of a network have. Its fields are the keys of the yaml, checked in __post_init__ by a
    ValueError that begins `model.key=value: expected`."""

    name: str

    def build(self, *, image_size: tuple[int, int], channels: int = 3, outputs: int = 1) -> nn.Module:
        """The network for pictures of (height, width) and `channels`, with so many logits; ValueError where it does not
        take those pictures.

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
