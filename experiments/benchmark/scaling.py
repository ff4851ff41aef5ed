"""How the cost of a study grows: with the number of images, with the models trained together, with the size of images.

The pictures are uint8 noise written straight into an array: what a picture shows does not change what it costs.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from experiments.benchmark import ours

IMAGES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
MODELS = (1, 2, 4, 8, 16, 32, 64)
SIDES = (32, 48, 64, 96, 128, 192, 256)
STEPS = 5  # of training together between two looks at the losses, times ours.LONGER
LOOKS = 4  # that are timed
PIECE = 10_000  # pictures written at a time
LARGE_BATCH = 16

Points = Sequence[tuple[float, float]]  # x, seconds


@dataclass(frozen=True)
class Line:
    """fixed + growing * x; turns: the x from which the growing part is the larger one."""

    fixed: float
    growing: float

    @property
    def turns(self) -> float:
        return self.fixed / self.growing if self.growing > 0 else math.inf

    def at(self, x: float) -> float:
        return self.fixed + self.growing * x


def fit_line(xs: Sequence[float], costs: Sequence[float]) -> Line:
    """The line with the least relative squared error, neither part of it negative."""
    weights = 1 / np.asarray(costs, float)
    design = np.stack([weights, np.asarray(xs, float) * weights], axis=1)
    fixed, growing = np.linalg.lstsq(design, np.ones(len(weights)), rcond=None)[0].tolist()
    if growing < 0:
        return Line(float(weights.sum() / (weights**2).sum()), 0.0)
    if fixed < 0:
        return Line(0.0, float(design[:, 1].sum() / (design[:, 1] ** 2).sum()))
    return Line(fixed, growing)


def noise(count: int, side: int, file: Path) -> np.ndarray:
    """uint8 (count, side, side, 3) of random values, memory-mapped from `file`."""
    random = np.random.default_rng(0)
    images = np.lib.format.open_memmap(file, "w+", np.uint8, (count, side, side, 3))
    for start in range(0, count, PIECE):
        part = images[start : start + PIECE]
        part[:] = random.integers(0, 256, part.shape, np.uint8)
    images.flush()
    return np.load(file, mmap_mode="c")


def search_seconds(images: np.ndarray) -> float:
    """Seconds of the search for near-duplicates, which a data set goes through once."""
    from datasets import duplicates

    began = time.perf_counter()
    duplicates.near_pairs(images)
    return time.perf_counter() - began


def epoch_seconds(images: np.ndarray, device: str, steps: int) -> float:
    """Seconds of an epoch of A32 over these pictures in random order, from the median time of a step."""
    import torch

    from detector.batches import Pictures
    from detector.color import build_view

    ours.as_a_run()
    count = len(images)
    pictures = Pictures(images, np.arange(count) % 2, torch.device(device))
    timed = ours.timed_steps(pictures, torch.arange(count), build_view([]), "fp32")
    seconds = median([next(timed) for _ in range(steps + 2)][2:])  # the first pay for what happens once
    return seconds * -(-count // ours.BATCH)


def together_seconds(models: int, device: str) -> float:
    """Seconds of one step of so many A32 trained together, each with a seed of its own."""
    import torch

    from detector import together
    from detector.batches import Pictures
    from detector.color import build_view
    from detector.train import Training, TrainSettings

    ours.as_a_run()
    where, steps = torch.device(device), STEPS * ours.LONGER[device]
    count = ours.BATCH * steps  # an epoch to each look, as on CUDA there is no more than one
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    settings = TrainSettings(epochs=LOOKS + 1, batch_size=ours.BATCH, log_every=steps)
    members = []
    for seed in range(models):
        torch.manual_seed(seed)
        training = Training.begin(ours.new_model(), settings, num_images=count, device=where)
        members.append(together.Member(training, build_view([]), seed))
    pictures = Pictures(images, np.arange(count) % 2, where)
    events = together.fit_together(members, pictures, torch.arange(count))
    return median([*ours.timed(event if place == 0 else None for place, event in events)][1:])


def side_seconds(side: int, device: str, steps: int) -> float:
    """Seconds of one step of A720 on pictures of side x side pixels, batch 16."""
    import torch

    from detector.batches import Pictures
    from detector.color import build_view
    from detector.models.small import Cnn720
    from detector.train import Training, TrainSettings, fit

    ours.as_a_run()
    where, at_once = torch.device(device), ours.LONGER[device]
    count = LARGE_BATCH * at_once
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    settings = TrainSettings(epochs=steps + 2, batch_size=LARGE_BATCH, log_every=at_once)
    model = Cnn720().build(image_size=(side, side))
    training = Training.begin(model, settings, num_images=count, device=where)
    pictures = Pictures(images, np.arange(count) % 2, where)
    return median([*ours.timed(fit(training, pictures, torch.arange(count), build_view([]), seed=0))][2:])


def curves(place: Path, device: str, start_seconds: float, *, quick: bool) -> Iterator[tuple[str, float, float]]:
    """Every point of every curve as (curve, x, seconds), as they are measured.

    start_seconds: from the start of a run's process to its first step, which every run pays for.
    """
    for count in IMAGES[: 3 if quick else None]:
        images = noise(count, 32, place / "noise.npy")
        yield "images", count, start_seconds + epoch_seconds(images, device, steps=5 if quick else 20)
        yield "search", count, search_seconds(images)
    for models in MODELS[: 4 if quick else None]:
        yield "models", models, together_seconds(models, device)
    for side in SIDES[: 4 if quick else None]:
        yield "side", side, side_seconds(side, device, steps=4 if quick else 10)


TITLES = {
    "images": "number of images",
    "search": "number of images, the search for near-duplicates",
    "models": "models trained together",
    "side": "side of an image (pixels)",
}
TURNS: dict[str, dict[str, Any]] = {  # power: of x, by which the growing part grows
    "images": {"power": 1, "before": "starting up", "after": "training steps"},
    "search": {"power": 1, "before": "what it costs for any number", "after": "each image"},
    "models": {"power": 1, "before": "what a step costs for any number of models", "after": "each model's own work"},
    "side": {"power": 2, "before": "what a step costs for any size", "after": "pixels"},
}


def line_of(name: str, points: Points) -> Line:
    """The line through a curve, over x or its power."""
    return fit_line([x ** TURNS[name]["power"] for x, _ in points], [seconds for _, seconds in points])


def limits(name: str, points: Points) -> tuple[float, str]:
    """The x at which a curve turns from one limit to another, and what limits it before and after, in words."""
    before, after, power = TURNS[name]["before"], TURNS[name]["after"], TURNS[name]["power"]
    turn = line_of(name, points).turns ** (1 / power)
    if turn < points[0][0]:
        return turn, f"{after}, from the smallest on"
    if turn > points[-1][0]:
        return turn, f"{before}, up to the largest"
    return turn, f"up to {turn:,.0f}: {before}; beyond: {after}"
