"""The network of a finished run as it was tested: its weights, its view, and what it found familiar."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from datasets.build import image_settings
from detector import checkpoint
from detector.batches import Pictures
from detector.checkpoint import CheckpointError
from detector.color import View, build_view
from detector.familiarity import Familiar, features
from detector.predict import predict
from detector.randomness import derive
from experiments.config import Config, from_hydra
from experiments.runs import Run


@dataclass(frozen=True)
class Member:
    """A trained network, ready on its device, and the view it was tested through.

    familiar: what its features of training are; smallest, largest: (height, width) of the training files; None where
    the run is older than these.
    """

    config: Config
    network: nn.Module
    view: View
    familiar: Familiar | None
    smallest: tuple[int, int] | None
    largest: tuple[int, int] | None

    @property
    def key(self) -> int:
        """For a view that draws: that of the run's own test."""
        return derive(self.config.seed + self.config.aug.seed_offset, "evaluation")

    def scores(self, pictures: Pictures, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of the pictures `rows` (int64, CPU), as in the run's own test: probability of FAKE, float64 (n,), and whether
        they lie farther from the features of training than nearly all of validation, bool (n,)."""
        with features(self.network) as seen:
            precision = self.config.train.precision
            scores = predict(self.network, pictures, rows, self.view, key=self.key, precision=precision)
        if self.familiar is None:
            return scores, np.zeros(len(rows), dtype=bool)
        return scores, self.familiar.distances(torch.cat(seen).numpy()) > self.familiar.limit


def trained(run: Run, device: torch.device) -> Member:
    """That of a finished run. Raises CheckpointError where its weights cannot be read or are of another network."""
    config = from_hydra(OmegaConf.create(run.config))
    view = build_view(config.aug.eval, where="aug.eval")
    network = config.model.build(image_size=image_settings(config.data).size, channels=view.channels)
    try:
        network.load_state_dict(_weights(run.folder, config.train.keep))
        familiar = _familiar(run.folder / "familiar.pt")
    except (AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{run.folder}: its weights are not those of model={config.model.name}; is it a run of another version?"
        ) from error
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    return Member(config, network, view, *familiar)


def _familiar(path: Path) -> tuple[Familiar, tuple[int, int], tuple[int, int]] | tuple[None, None, None]:
    """See Member."""
    if not path.exists():
        return None, None, None
    known = checkpoint.load(path)
    found = Familiar(known["means"].numpy(), known["inverse"].numpy(), known["limit"], known["quantile"])
    (low_height, low_width), (high_height, high_width) = known["smallest"], known["largest"]
    return found, (low_height, low_width), (high_height, high_width)


def _weights(folder: Path, keep: str) -> dict[str, Any]:
    """Those that were tested."""
    if keep == "best":
        return checkpoint.load(folder / "best.pt")["model"]
    state = checkpoint.load(folder / "last.pt")
    if not (averaged := state.get("averaged")):  # not in checkpoints of earlier versions
        return state["model"]
    return {key.removeprefix("module."): value for key, value in averaged.items() if key.startswith("module.")}
