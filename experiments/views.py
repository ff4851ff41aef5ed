"""What the network sees: pictures under every colour arm of conf/aug, as one labelled sheet."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image

from datasets import synthetic
from datasets.decoding import Bad, Location, decode_all
from datasets.folder import FileLocation
from datasets.images import ImageSettings
from datasets.manifest import DataError
from datasets.synthetic import SyntheticSettings
from detector.color import build_view
from detector.randomness import derive
from experiments.config import ConfigError, user_settings
from experiments.figures import contact_sheet

CONF = Path(__file__).parent / "conf" / "aug"
# arms whose pictures are those of another one: the first three at the strength that stands in their yaml
SAME_AS = {
    "saturate": "saturate_x8",
    "invert_saturate": "invert_saturate_x8",
    "jitter_strength": "jitter",
    "luma_only": "grayscale",
    "both": "invert_saturate_x8",  # its other three channels are none
    "none_again": "none",
    "shuffled_labels": "none",
}


def arms() -> list[str]:
    """Names of all arms in conf/aug, none first, x8 before x500."""
    names = [path.stem for path in CONF.glob("*.yaml")]
    return sorted(names, key=lambda name: (name != "none", re.sub(r"\d+", lambda digits: digits[0].zfill(4), name)))


def distinct_arms() -> list[str]:
    """The arms that each show something else: all but those of SAME_AS."""
    return [name for name in arms() if name not in SAME_AS]


def see(images_u8: np.ndarray, arm: str, *, seed: int = 0) -> np.ndarray:
    """uint8 RGB (N, H, W, 3) as the network sees them in training under `arm`, rounded back to uint8.

    Of six channels the last three, which are the transformed ones.
    """
    if not (CONF / f"{arm}.yaml").exists():
        raise ConfigError(f"aug={arm}: no such arm; there are {', '.join(arms())}")
    with initialize_config_module("experiments.conf", version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", overrides=[f"aug={arm}"]).aug, resolve=True)
    return under(images_u8, cast(dict, composed)["train"], key=derive(seed, "augmentation", 1))


def under(images_u8: np.ndarray, operations: Sequence[Mapping[str, Any]], *, key: int = 0) -> np.ndarray:
    """The same under operations as a yaml of conf/aug lists them; key: for those that draw. ConfigError where they are
    not such."""
    with user_settings():
        view = build_view(operations, where="aug.train")
    images = torch.from_numpy(images_u8).permute(0, 3, 1, 2).float() / 255
    return view.shown(images, key, torch.arange(len(images)))


def sheet(images_u8: np.ndarray, row_labels: Sequence[str], names: Sequence[str], *, scale: int) -> Image.Image:
    """Rows of pictures, columns of arms."""
    return contact_sheet({name: see(images_u8, name) for name in names}, row_labels, scale=scale)


def drawn(count: int) -> tuple[np.ndarray, list[str]]:
    """`count` test pictures of the embedded data set, half real and half fake (an even number), with their labels."""
    listing = synthetic.rows(SyntheticSettings(test=count))
    locations = [location for row, location in listing if row.split == "test"]
    return _decoded(locations, ImageSettings()), ["real"] * (count // 2) + ["fake"] * (count // 2)


def opened(paths: Sequence[Path], size: int) -> tuple[np.ndarray, list[str]]:
    """The user's own pictures, centre-cropped to size x size; labelled by a folder named real or fake, else by name."""
    labels = [path.parent.name.lower() for path in paths]
    labels = [label if label in ("real", "fake") else path.stem[:12] for label, path in zip(labels, paths, strict=True)]
    locations = [FileLocation.of(path, None) for path in paths]
    return _decoded(locations, ImageSettings(size=(size, size), fit="center_crop")), labels


def _decoded(locations: Sequence[Location], settings: ImageSettings) -> np.ndarray:
    """uint8 (N, H, W, 3); DataError naming the first that cannot be decoded."""
    pictures = []
    for location, result in zip(locations, decode_all(locations, settings), strict=True):
        if isinstance(result, Bad):
            raise DataError(f"{getattr(location, 'path', location)}: {result.reason}")
        pictures.append(result.pixels[0])
    return np.stack(pictures)
