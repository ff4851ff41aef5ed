"""Networks of torchvision with a head of ours: ResNet-18 from scratch, EfficientNet-B0 from ImageNet's weights."""

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from detector.models.parts import GlobalAveragePool, check_dropout, check_size, head

STEMS = ("small", "imagenet")
WEIGHTS = ("imagenet", "none")
# of ImageNet's pictures in [0, 1]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class NoNetwork(ConnectionError):
    """Weights that have to be downloaded and cannot be."""

    exit_status = 7


@dataclass
class ResNet18:
    """torchvision's ResNet-18 (He et al. 2016).

    stem: imagenet, torchvision's convolution of 7x7 with stride 2 and pooling; small, of 3x3 with stride 1 and none, as
    it is usual for pictures of 32x32 (15 times the arithmetic there).
    """

    name: str = "resnet18"
    stem: str = "imagenet"

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ValueError(f"model.stem={self.stem!r}: expected {' or '.join(STEMS)}")

    def build(self, *, image_size: tuple[int, int], channels: int = 3, outputs: int = 1) -> nn.Module:
        """See models.ModelSettings."""
        check_size(image_size, self.name, 8 if self.stem == "small" else 32, f" with model.stem={self.stem}")
        from torchvision.models import resnet18  # takes half a second, and most runs have no need of it

        model = resnet18(num_classes=outputs)
        if self.stem == "small":
            model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            model.maxpool = nn.Identity()
        elif channels != 3:
            model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        model.avgpool = GlobalAveragePool()
        return model


@dataclass
class EfficientNetB0:
    """torchvision's EfficientNet-B0 (Tan and Le 2019), global average pooling, then linear layers of 256 and the
    logits.

    weights: imagenet, downloaded once; none, drawn at random; or a file of this network's weights, as torch saves a
    state_dict, with or without a head. weights_sha256: of that file, filled in where it is not given: a run is known by
    it, wherever the file lies. dropout: of the head. Its pictures are normalised as ImageNet's are, after
    everything else that happens to them. Stochastic depth is left out, as it would draw from a generator of its own.
    """

    name: str = "efficientnet_b0"
    weights: str = "imagenet"
    dropout: float = 0.5
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if self.weights in WEIGHTS and self.weights_sha256:
            raise ValueError(
                f"model.weights_sha256={self.weights_sha256}: expected none with model.weights={self.weights}"
            )
        if self.weights not in WEIGHTS and not self.weights_sha256:
            self.weights_sha256 = hashlib.sha256(self._file()).hexdigest()

    def _file(self) -> bytes:
        path = Path(self.weights).expanduser()
        if not self.weights or not path.is_file():
            raise ValueError(f"model.weights={self.weights}: no such file; expected {', '.join(WEIGHTS)} or a file")
        return path.read_bytes()

    def build(self, *, image_size: tuple[int, int], channels: int = 3, outputs: int = 1) -> nn.Module:
        """See models.ModelSettings."""
        check_size(image_size, self.name, 32)
        if channels != 3:
            raise ValueError(f"aug.train gives {channels} channels: model={self.name} takes three")
        from torchvision.models import efficientnet_b0

        backbone = efficientnet_b0(stochastic_depth_prob=0.0).features
        return Headed(
            backbone, nn.Sequential(GlobalAveragePool(), *head(1280, 256, outputs=outputs, dropout=self.dropout))
        )

    def load(self, model: nn.Module) -> None:
        """Bring the weights that training begins with into the network.

        Raises NoNetwork where they cannot be downloaded, ValueError or OSError where the file is not of this network.
        """
        if self.weights == "none":
            return
        state = _downloaded() if self.weights == "imagenet" else self._read()
        state = {key: value for key, value in state.items() if not key.startswith("classifier.")}
        expected = model.state_dict()
        state = {re.sub(r"^features\.", "backbone.", key): value for key, value in state.items()}
        needed = [key for key in expected if key.startswith("backbone.") and not key.endswith("num_batches_tracked")]
        missing = [key for key in needed if key not in state]
        wrong = [key for key in state if key not in expected or state[key].shape != expected[key].shape]
        if missing or wrong:
            raise ValueError(
                f"model.weights={self.weights}: not of this network, as {(missing + wrong)[0]} is not there or has "
                "another shape; expected the state_dict of an EfficientNet-B0"
            )
        model.load_state_dict(expected | state)

    def _read(self) -> dict[str, Tensor]:
        content = self._file()
        if hashlib.sha256(content).hexdigest() != self.weights_sha256:
            raise ValueError(f"model.weights={self.weights}: the file changed; expected sha256 {self.weights_sha256}")
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"model.weights={self.weights}: no file of weights alone ({type(error).__name__}); expected what "
                "torch.save makes of a state_dict"
            ) from error
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError(
                f"model.weights={self.weights}: expected a state_dict, names with tensors and nothing else"
            )
        return state


class Headed(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> logits (B, outputs), by a backbone that wants them normalised and a head."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone((images - self.mean) / self.std))


def _downloaded() -> dict[str, Any]:
    from torchvision.models import EfficientNet_B0_Weights

    try:
        return EfficientNet_B0_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except (URLError, TimeoutError, ConnectionError) as error:
        raise NoNetwork(
            f"model.weights=imagenet: cannot be downloaded ({error}); try again, or give a file, or model.weights=none "
            "for random ones"
        ) from error
    except Exception as error:  # of many kinds, as what lies there is whatever an earlier download left
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ValueError(
            f"model.weights=imagenet: what was downloaded to {folder} is damaged ({type(error).__name__}); delete it "
            "there and start again"
        ) from error
