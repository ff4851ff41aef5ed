"""A finished run, or an ensemble of them, as something that scores pictures."""

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
from detector.color import View, build_view
from detector.predict import predict
from detector.randomness import derive
from experiments import condition, ensemble, runs
from experiments.config import Config, from_hydra
from experiments.runs import Run, Untrusted


class Unfinished(ValueError):
    """A folder that holds no finished run; the text is one line."""

    exit_status = 2


@dataclass(frozen=True)
class Member:
    """A trained network, ready on its device, and the view it was tested through."""

    config: Config
    network: nn.Module
    view: View

    def scores(self, pictures: Pictures, rows: Tensor) -> np.ndarray:
        """Probability of FAKE, float64 (n,), of the pictures `rows` (int64, CPU), as in the run's own test."""
        key = derive(self.config.seed + self.config.aug.seed_offset, "evaluation")
        return predict(self.network, pictures, rows, self.view, key=key, precision=self.config.train.precision)


@dataclass(frozen=True)
class Classifier:
    """The members whose mean probability it gives, one for a run; threshold: chosen on validation."""

    members: list[Member]
    threshold: float

    def scores(self, pictures: Pictures, rows: Tensor) -> np.ndarray:
        """Probability of FAKE, float64 (n,), of the pictures `rows` (int64, CPU)."""
        return np.mean([member.scores(pictures, rows) for member in self.members], axis=0)


def load(folder: Path, device: torch.device) -> Classifier:
    """That of a finished run's or ensemble's folder.

    Raises Unfinished where there is none or its files were changed since, CheckpointError where its weights cannot be
    read.
    """
    run = _finished(folder)
    members = [_finished(member) for member in ensemble.members_of(run)] or [run]
    return Classifier([_member(each, device) for each in members], run.metrics[-1]["val/threshold"])


def _finished(folder: Path) -> Run:
    try:
        found = runs.read_finished(folder)
    except Untrusted as error:
        raise Unfinished(f"{folder}: {error}") from error
    if found is None:
        raise Unfinished(f"{folder}: {runs.unfinished(folder)}; expected a finished run")
    if (task := found[0].config.get("task", condition.DETECTION)) != condition.DETECTION:
        raise Unfinished(f"{folder}: a run of task={task}; expected one that tells real from fake")
    return found[0]


def _member(run: Run, device: torch.device) -> Member:
    config = from_hydra(OmegaConf.create(run.config))
    view = build_view(config.aug.eval, where="aug.eval")
    network = config.model.build(image_size=image_settings(config.data).size, channels=view.channels)
    network.load_state_dict(_weights(run.folder, config.train.keep))
    return Member(config, network.to(device).to(memory_format=torch.channels_last).eval(), view)


def _weights(folder: Path, keep: str) -> dict[str, Any]:
    """Those that were tested."""
    if keep == "best":
        return checkpoint.load(folder / "best.pt")["model"]
    state = checkpoint.load(folder / "last.pt")
    if not (averaged := state["averaged"]):
        return state["model"]
    return {key.removeprefix("module."): value for key, value in averaged.items() if key.startswith("module.")}
