"""One process at one run: from where it stands to done, leaving a folder from which another could go on."""

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from datasets import audit
from datasets.decoding import usable_cpus
from detector import checkpoint, multiclass
from detector.exposure import exposure
from detector.metrics import best_threshold
from detector.randomness import derive
from detector.train import Epoch, Steps, Training, fit
from experiments import allocator, record
from experiments.config import Config, ConfigError, user_settings
from experiments.material import Material
from experiments.measures import calibration
from experiments.tracking import Tracker


@dataclass(frozen=True)
class Progress:
    """How far a run is: so many images of `total` in epoch `epoch` of `epochs`, counted from 1."""

    epoch: int
    epochs: int
    images: int
    total: int

    @property
    def share(self) -> float:
        """Of the whole training, in [0, 1]."""
        return (self.epoch - 1 + self.images / self.total) / self.epochs


class Worker:
    """A run while a process is at it: begin, handle every event of its training, finish, close; under its lock.

    training, pictures: there once it has begun; together: how many runs share the time of this process.
    """

    training: Training

    def __init__(self, config: Config):
        self.config = config
        self.folder = config.folder
        self.together = 1
        self.material = Material(config)
        for note in self.material.notes():
            print(note)
        if warning := audit.warning(self.material.data.audit):
            print(f"warning: {warning}", file=sys.stderr)
        self.speeds: list[float] = []
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self._images = 0  # of the epoch that is being trained
        self._scores: dict[str, np.ndarray] | None = None  # after the last epoch
        self._open = ExitStack()

    def close(self) -> None:
        """Give back what is open, however far the run came."""
        self._open.close()

    def complete(self) -> Generator[Progress, None, None]:
        """Train what is missing, test, write the results and the done mark."""
        self.begin()
        yield self.progress
        yield from self.rest()

    def rest(self) -> Iterator[Progress]:
        """The same of a run that has begun."""
        material = self.material
        rows, view = material.rows["train"], material.views["train"]
        for event in fit(self.training, self.pictures, rows, view, seed=material.seed):
            self.handle(event)
            yield self.progress
        if (ended := self.training.epoch) < self.config.train.epochs:
            _say(f"ended after epoch {ended}: {self.training.judge.since} epochs without a better validation accuracy")
        self.finish()

    def share(self, together: int) -> None:
        """From now on so many runs share the time of this process."""
        self.together, self._started = together, time.perf_counter()
        torch.set_num_threads(self.threads)

    @property
    def progress(self) -> Progress:
        """Where the training stands; between two epochs at the end of the former."""
        done, total = self.training.epoch, len(self.material.rows["train"])
        if done and not self._images:
            return Progress(done, self.config.train.epochs, total, total)
        return Progress(done + 1, self.config.train.epochs, self._images, total)

    def begin(self) -> Training:
        """Take up the last checkpoint or draw the network; open the records of the run."""
        self._started = time.perf_counter()
        config, material = self.config, self.material
        state = self._last_state()
        self.threads = state["threads"] if state else config.threads or min(usable_cpus(), 8)
        kept = allocator.choose(config.allocator)
        torch.set_num_threads(self.threads)
        if material.device.index is not None:
            torch.cuda.set_device(material.device)  # streams and recordings belong to the current one
        torch.manual_seed(derive(material.seed, "weights"))
        channels, count = material.views["train"].channels, len(material.rows["train"])
        size = material.data.images.shape[1:3]
        model = config.model.build(image_size=size, channels=channels, outputs=material.outputs)
        if not state and hasattr(config.model, "load"):
            with user_settings():
                config.model.load(model)
        self.training = Training.begin(model, config.train, num_images=count, device=material.device)
        if state:
            self.training.load_state_dict(state)
            self.history, self.best = state["history"], state["best"]
            print(f"resuming after epoch {self.training.epoch} of {config.train.epochs}")
        self.pictures = material.pictures()
        on_cuda = material.device.type == "cuda"
        resident = "on the device" if on_cuda else "memory-mapped"
        where = resident if self.pictures.resident else "streamed to it"
        print(f"device: {material.device}, {self.threads} threads; pictures {where}", flush=True)

        text = record.write_config(self.folder, config.as_dict())
        self._number = len(record.processes(self.folder)) if state else 0
        self._process = {
            "after_epoch": self.training.epoch,
            "device": torch.cuda.get_device_name(material.device) if on_cuda else "cpu",
            "threads": self.threads,
            "allocator": kept,
        }
        record.write_provenance(self.folder, material.facts(), self._process, number=self._number)
        record.write_audit(self.folder, material.data.audit)
        self.tracker = Tracker(self.folder, resume=record.marks(self.folder).get(self.training.epoch))
        self._open.callback(self.tracker.close)
        if not state:
            self.tracker.text("configuration", f"```yaml\n{text}```")
            self.tracker.text("audit", "```\n" + "\n".join(audit.lines(material.data.audit)) + "\n```")
        return self.training

    def handle(self, event: Steps | Epoch) -> None:
        """Record what was just trained; after an epoch the network is tested and saved too."""
        if isinstance(event, Steps):
            self._images = event.images
            self.tracker.losses(event.steps[-1:], [float(np.mean(event.losses))], event.learning_rates[-1:])
            return
        self._images = 0
        self._scores = self.material.scores(self.training.tested, self.pictures)
        self._record_epoch(event, self._scores)
        accuracy = self.history[-1]["val/accuracy"]
        if not self.best or accuracy > self.best["val/accuracy"]:
            self.best = {"epoch": event.epoch, "val/accuracy": accuracy}
            checkpoint.save(self.folder / "best.pt", {"model": self.training.tested.state_dict(), **self.best})
        self.training.judged(accuracy)
        self._save()

    def finish(self) -> None:
        """Test the kept weights, write results, provenance and the done mark, and say what came out."""
        scores = self._scores
        if scores is None or self.config.train.keep == "best":
            if self.config.train.keep == "best":
                self.training.tested.load_state_dict(checkpoint.load(self.folder / "best.pt")["model"])
            scores = self.material.scores(self.training.tested, self.pictures)
        metrics = self._test(scores)
        checkpoint.save(self.folder / "familiar.pt", self.material.familiar(self.training.tested, self.pictures))
        self.close()
        self._process["seconds"] = round((time.perf_counter() - self._started) / self.together, 2)
        if self.together > 1:
            self._process["together"] = self.together
        if self.speeds:
            self._process["images_per_second"] = round(float(np.median(self.speeds)), 1)
        record.write_provenance(self.folder, self.material.facts(), self._process, number=self._number)
        record.mark_done(self.folder)
        self._say_result(metrics, scores["test"])

    def _record_epoch(self, event: Epoch, scores: dict[str, np.ndarray]) -> None:
        material, tracker = self.material, self.tracker
        speed = len(event.rows) / event.seconds
        self.speeds.append(speed)
        measured = material.measured_in_training(event.scores, event.rows)
        measured |= material.measured("val", scores["val"])
        self.history.append({"epoch": event.epoch, "step": self.training.step, **measured})
        test = material.measured("test", scores["test"])
        tracker.epoch(event.epoch, measured | test, images_per_second=speed)
        for split in () if material.by_generator else ("val", "test"):
            tracker.scores(event.epoch, split, material.labels[split], scores[split])
        tracker.views(event.epoch, **material.shown(scores["test"], self.pictures))
        name, word = material.beside
        _say(
            f"epoch {event.epoch}/{self.config.train.epochs}  train accuracy {measured['train/accuracy']:.4f}  "
            f"val accuracy {measured['val/accuracy']:.4f}  val {word} {measured[f'val/{name}']:.4f}  "
            f"{speed:,.0f} images/s"
        )

    def _save(self) -> None:
        training = self.training
        # the board's place is kept apart: it holds names made from the clock, and last.pt must be the same bytes always
        record.write_marks(self.folder, training.epoch, self.tracker.mark())
        state = training.state_dict() | {"history": self.history, "best": self.best, "threads": self.threads}
        checkpoint.save(self.folder / "last.pt", state | {"data": self.material.data.digest})
        record.write_metrics(self.folder, self.history)

    def _test(self, scores: dict[str, np.ndarray]) -> dict[str, float]:
        """The kept weights on validation, which chooses the threshold, and on test; the last line of metrics.jsonl."""
        material = self.material
        threshold = None if material.by_generator else best_threshold(scores["val"], material.labels["val"])
        kept = self.best["epoch"] if self.config.train.keep == "best" else self.training.epoch
        measured: dict[str, float] = {} if threshold is None else {"val/threshold": threshold}
        for split in ("val", "test"):
            measured |= material.measured(split, scores[split], threshold)
            if threshold is None:
                counts = multiclass.confusion(scores[split], material.labels[split])
                self.tracker.generators(kept, split, counts, material.classes)
            else:
                self.tracker.figures(kept, split, material.labels[split], scores[split], threshold)
        if not material.by_generator:
            measured |= calibration(scores, material.labels)
            self.tracker.overlays(kept, material.overlays(self.training.tested, scores["test"], self.pictures))
        key = derive(material.seed, "evaluation")
        shares, colors = exposure(self.pictures, material.rows["test"], material.views["eval"], key=key)
        measured |= {"view/clipped": float(shares.mean()), "view/colors": float(colors.mean())}
        measured["model/num_parameters"] = sum(weights.numel() for weights in self.training.model.parameters())
        record.write_metrics(self.folder, [*self.history, {"epoch": kept, "step": self.training.step, **measured}])
        pairs = {split: (material.rows[split].numpy(), scores[split]) for split in ("val", "test")}
        classes = material.classes if material.by_generator else ()
        record.write_predictions(self.folder, material.data.rows, pairs, labels=material.truth, classes=classes)
        group = "/".join((*self.folder.parts[-4:-1], self.config.digest, material.data.content[:8]))
        shown = (f"{split}/{name}" for split in ("val", "test") for name in ("accuracy", material.beside[0]))
        self.tracker.hyperparameters(self.config.flattened(), {name: measured[name] for name in shown}, group)
        return measured

    def _say_result(self, metrics: dict[str, float], test_scores: np.ndarray) -> None:
        config, material, (name, word) = self.config, self.material, self.material.beside
        if len(called := np.unique(material.called(test_scores))) == 1:
            _say(f"warning: every test image is called {material.classes[called[0]]}")
        for number, one in enumerate(material.classes if material.by_generator else ()):
            count = int(np.sum(material.labels["test"] == number))
            _say(f"  {one}: test recall {metrics[f'test/{one}/recall']:.4f} ({count:,} {material.unit})")
        for source, places in material.sources["test"].items():
            accuracy, auc = (metrics[f"test/{source}/{name}"] for name in ("accuracy", "auc"))
            _say(f"  {source}: test accuracy {accuracy:.4f}, AUC {auc:.4f} ({len(places):,} {material.unit})")
        _say(
            f"{config.aug.name}, seed {config.seed}: test accuracy {metrics['test/accuracy']:.4f}, "
            f"{word} {metrics[f'test/{name}']:.4f} ({len(test_scores):,} {material.unit}; "
            f"{material.data.quarantined} quarantined)"
        )

    def _last_state(self) -> dict[str, Any] | None:
        path = self.folder / "last.pt"
        if not path.exists():
            return None
        state = checkpoint.load(path)
        now = self.material.data.digest
        if state["data"] != now:
            raise ConfigError(
                f"{self.folder}: the data changed since this run began (manifest {state['data'][:12]}, now "
                f"{now[:12]}); bring them back, or delete the folder to start afresh"
            )
        return state


def _say(line: str) -> None:
    """A line on stdout, above a progress bar where there is one."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()
