"""The machine that is measured: what it is, what it could do at best, how long a run takes to its first step on it."""

from pathlib import Path
from typing import Any

from experiments.benchmark import child
from experiments.benchmark.material import Material, sizes_of
from experiments.benchmark.pictures import Drawn, Pictures, drawn_files
from experiments.benchmark.rounds import OURS, Round
from experiments.shell import Unusable

PRECISIONS = ("fp32", "bf16")
STAT, STOLEN = Path("/proc/stat"), 8  # the first line of it: "cpu", and ticks of all CPUs by what they were at
IMAGES = 2_500  # training files of the run whose start is measured


def with_device(device: str) -> dict[str, Any]:
    """What this machine is; raises Unusable where it lacks the device."""
    machine = child.task(OURS, "machine", device=device).answer
    if device == "cuda" and not machine["gpu"]:
        raise Unusable("--device cuda: this machine has no CUDA device; --device cpu works everywhere")
    return machine


def ticks() -> tuple[int, int]:
    """Of all CPUs together since they were started, and of these how many other machines took that share the hardware;
    zeros where the system does not tell."""
    if not STAT.exists():
        return 0, 0
    counts = [int(text) for text in STAT.read_text().split("\n", 1)[0].split()[1 : STOLEN + 1]]
    return sum(counts), counts[-1]


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
