"""One round of the benchmark: both sides of every row measured, each thing once however many rows show it."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from experiments import events
from experiments.benchmark import child
from experiments.benchmark.child import Finished
from experiments.benchmark.material import Material

PARENT = "experiments.benchmark.parent"
OURS = "experiments.benchmark.ours"
WORKERS = (0, 2)  # of PARENT's DataLoader; the better is taken
# The views of the sweeps, as PARENT has them: invert, factor of saturation.
VIEWS: dict[str, tuple[bool, float | None]] = {
    "none": (False, None),
    "invert_saturate_x8": (True, 8.0),
    "invert": (True, None),
    "saturate_x2": (False, 2.0),
    "saturate_x8": (False, 8.0),
    "saturate_x500": (False, 500.0),
}
MORE_VIEWS = (*VIEWS, "invert_saturate_x500", "saturate_hsv_x8", "saturate_hsv_x500", "grayscale")
A32 = {"network": "a32", "resize": None, "batch_size": 32}
A720 = {"network": "a720", "resize": 256, "batch_size": 16}
EPOCH_LINE = re.compile(r"epoch (\d+)/\d+ ")
COUNT_LINE = re.compile(r"images: ([\d,]+) train")


class Round:
    """Both sides, measured when a row asks, alternately first. chosen: PARENT's better number of workers for each kind
    of work, found in the first round and kept for the others."""

    def __init__(self, material: Material, device: str, chosen: dict[Path, dict[int, float]]):
        self.material, self.sizes, self.device, self.chosen = material, material.sizes, device, chosen
        self._homes: list[Path] = []
        self._runs: dict[tuple, Any] = {}

    def clear(self) -> None:
        """Delete what our side has packed and trained in this round."""
        for home in self._homes:
            shutil.rmtree(home)

    def home(self, origin: Path) -> Path:
        self._homes.append(self.material.new_home(origin))
        return self._homes[-1]

    # our side

    @cached_property
    def packed(self) -> tuple[Finished, Path]:
        """The archive made ready for the first time, in a process of its own; and the home it lies in."""
        return self._pack(self.material.archive)

    @cached_property
    def ready(self) -> tuple[Finished, Path]:
        """The same of what epochs are measured on."""
        return self.packed if self.sizes.epoch is None else self._pack(self.material.epoch)

    def _pack(self, origin: Path) -> tuple[Finished, Path]:
        home = self.home(origin)
        return child.task(OURS, "pack", data_root=str(home / "data")), home

    def command(self, home: Path, *words: str, runs: str = "runs") -> list[str]:
        """`python -m experiments.run` on the pictures of a home."""
        settings = ("data=cifake", "data.leaks=keep", f"data_root={home / 'data'}", f"runs_root={home / runs}")
        return child.module("experiments.run", *words, *settings, f"device={self.device}")

    def epochs(self, precision: str) -> dict[str, float]:
        """Two epochs of train=parent on the packed pictures. epoch: images a second from the end of the first epoch to
        the end of the second, everything included; training: of the training alone."""
        _, home = self.ready
        return self._once(("epochs", precision), lambda: self._epochs(home, f"train.precision={precision}"))

    def _epochs(self, home: Path, *words: str) -> dict[str, float]:
        runs = "-".join(word.rpartition("=")[2] for word in words)
        finished = child.run(self.command(home, *words, "aug=none", "train.epochs=2", runs=runs))
        ends = {int(line[1]): at for at, text in finished.lines if (line := EPOCH_LINE.match(text))}
        counts = [line[1] for _, text in finished.lines if (line := COUNT_LINE.match(text))]
        if set(ends) != {1, 2} or not counts:
            raise child.Failed(
                f"experiments.run {' '.join(words)}: did not say how many images and when an epoch ended"
            )
        speed = json.loads(next((home / runs).rglob("provenance.json")).read_text())["processes"][-1]
        return {
            "epoch": int(counts[0].replace(",", "")) / (ends[2] - ends[1]),
            "training": speed["images_per_second"],
            "threads": speed["threads"],
        }

    @cached_property
    def whole_peak_mib(self) -> float:
        """The most memory that a run on all pictures has held."""
        _, home = self.packed
        return child.run(self.command(home, "aug=none", "train.epochs=1", runs="whole")).peak_mib

    @cached_property
    def first_step(self) -> float:
        """Seconds from the start of the process to the end of the first step, on pictures packed before."""
        _, home = self.ready
        command = self.command(home, "aug=none", "train.log_every=1", runs="first")
        return child.until(command, lambda: first_loss(home / "first"))

    @cached_property
    def loop(self) -> dict[str, Any]:
        _, home = self.ready
        settings = {"data_root": str(home / "data"), "precision": "fp32", "pairs": self.sizes.pairs}
        return child.task(OURS, "loop", **settings, device=self.device).answer

    def sweep(self, origin: Path, views: int, seeds: int, precision: str = "fp32") -> float:
        """Seconds of a sweep of one epoch each, packing and start-up included."""
        words = (f"aug={','.join([*VIEWS][:views])}", f"seed=range({seeds})", f"train.precision={precision}")
        return child.run(self.command(self.home(origin), "-m", *words, "train.epochs=1")).seconds

    def large(self, precision: str) -> dict[str, float]:
        """The same as `epochs` on large pictures."""
        words = ("data.image_size=256", "model=cnn720", "train.batch_size=16", f"train.precision={precision}")
        return self._once(("large", precision), lambda: self._epochs(self._large_home, *words))

    @cached_property
    def _large_home(self) -> Path:
        return self.home(self.material.large)

    def recipe(self, train: str) -> dict[str, float]:
        """One whole run of a recipe on the packed pictures. seconds: from the network to the done mark, as the run
        itself writes down; wall: of the command; accuracy: of the test."""
        return self._once(("recipe", train), lambda: self._recipe(train))

    def _recipe(self, train: str) -> dict[str, float]:
        _, home = self.ready
        finished = child.run(self.command(home, "aug=none", f"train={train}", runs=train))
        [folder] = [file.parent for file in (home / train).rglob("done")]
        seconds = json.loads((folder / "provenance.json").read_text())["processes"][-1]["seconds"]
        accuracy = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["test/accuracy"]
        return {"seconds": seconds, "wall": finished.seconds, "accuracy": accuracy}

    @cached_property
    def sixty(self) -> float:
        """Seconds of a sweep over ten views and six seeds, each a whole run of train=parent."""
        _, home = self.ready
        words = (f"aug={','.join(MORE_VIEWS)}", "seed=range(6)", "train=parent")
        return child.run(self.command(home, "-m", *words, runs="sixty")).seconds

    # PARENT's side

    @cached_property
    def parent_loading(self) -> dict[str, float]:
        return child.task(PARENT, "loading", root=str(self.material.tree), resize=None, batch_size=32).answer

    @cached_property
    def parent_run(self) -> Finished:
        """One epoch on the same pictures; the test is evaluated with both numbers of workers."""
        origin = self.material.epoch
        return self._better(origin, lambda workers: self._parent(origin, A32, workers, also_evaluate=2 - workers))

    @cached_property
    def parent_large(self) -> Finished:
        return self._better(self.material.large, partial(self._parent, self.material.large, A720))

    @cached_property
    def parent_steps(self) -> dict[str, list[float]]:
        settings = {"batch_size": 32, "repetitions": 10 * self.sizes.pairs, "device": self.device}
        return child.task(PARENT, "steps", **settings).answer

    def parent_sweep(self, origin: Path, views: int, seeds: int) -> float:
        """Seconds of a process for each run, one after the other; where not every one is measured, their mean times
        the number of runs."""
        # what PARENT draws is another each time: the seed only tells the runs apart
        jobs = [(origin, *view, seed) for view in [*VIEWS.values()][:views] for seed in range(seeds)]
        measured = jobs[: self.sizes.processes or len(jobs)]
        seconds = [self._once(job, partial(self._parent_job, *job[:3])) for job in measured]
        return sum(seconds) / len(seconds) * len(jobs)

    def _parent_job(self, origin: Path, invert: bool, factor: float | None) -> float:
        measure = partial(self._parent, origin, {**A32, "invert": invert, "factor": factor})
        return self._better(origin, measure, by=lambda run: -run.seconds).seconds

    def _parent(self, root: Path, recipe: Mapping[str, Any], workers: int, **more: Any) -> Finished:
        settings = {"root": str(root), "workers": workers, "device": self.device}
        return child.task(PARENT, "whole_run", **settings, **recipe, **more)

    def _better(
        self,
        origin: Path,
        measure: Callable[[int], Finished],
        by: Callable[[Finished], float] = lambda run: run.answer["epoch"],
    ) -> Finished:
        """With PARENT's better number of workers; the first time on these files both are tried."""
        if origin in self.chosen:
            return measure(self.workers(origin))
        tried = {workers: measure(workers) for workers in WORKERS}
        self.chosen[origin] = {workers: by(run) for workers, run in tried.items()}
        return tried[self.workers(origin)]

    def workers(self, origin: Path) -> int:
        """PARENT's better number of workers on these files, once it has been measured."""
        return max(self.chosen[origin], key=lambda workers: self.chosen[origin][workers])

    def _once(self, key: tuple, measure: Callable[[], Any]) -> Any:
        if key not in self._runs:
            self._runs[key] = measure()
        return self._runs[key]


def first_loss(runs: Path) -> float | None:
    """When the first loss of any run below `runs` was recorded, in seconds since 1970; None before that."""
    for file in sorted(runs.rglob(f"{events.EVENTS}*")):
        for event in EventFileLoader(str(file)).Load():
            if any(value.tag == "train/loss" for value in event.summary.value):
                return event.wall_time
    return None
