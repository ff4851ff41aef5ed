"""The machine that is measured: what it is, what it could do at best, how long a run takes to its first step on it."""

from pathlib import Path
from typing import Any

from experiments.benchmark import child
from experiments.benchmark.material import Material, sizes_of
from experiments.benchmark.pictures import Drawn, Pictures, drawn_files
from experiments.benchmark.rounds import OURS, Round
from experiments.shell import Unusable

PRECISIONS = ("fp32", "bf16")
IMAGES = 2_500  # training files of the run whose start is measured


def with_device(device: str) -> dict[str, Any]:
    """What this machine is; raises Unusable where it lacks the device."""
    machine = child.task(OURS, "machine", device=device).answer
    if device == "cuda" and not machine["gpu"]:
        raise Unusable("--device cuda: this machine has no CUDA device; --device cpu works everywhere")
    return machine


def limits(device: str) -> list[dict[str, Any]]:
    """The roofline of a training step in each precision."""
    tasks = [
        child.task("experiments.benchmark.roofline", "limits", precision=precision, device=device)
        for precision in PRECISIONS
    ]
    return [task.answer for task in tasks]


def seconds_to_first_step(place: Path, device: str) -> float:
    """Of a run on a few drawn pictures that are packed already."""
    counts = {"train": IMAGES, "test": IMAGES // 5}
    material = Material(Pictures(drawn_files(counts, Drawn), "drawn"), place, sizes_of(IMAGES, quick=True))
    return Round(material, device, {}).first_step
