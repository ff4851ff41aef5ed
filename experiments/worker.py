"""One process at one run: from where it stands to done, leaving a folder from which another could go on."""

import sys
import time
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

from datasets import audit, build
from datasets.decoding import usable_cpus
from datasets.manifest import FAKE, REAL, DataError, whole_file
from detector import checkpoint
from detector.batches import Pictures
from detector.color import build_view
from detector.exposure import exposure
from detector.metrics import best_threshold
from detector.models import build_model
from detector.predict import predict
from detector.randomness import derive, permutation
from detector.train import Epoch, NotFinite, Steps, Training, fit
from experiments import record
from experiments.config import Config, ConfigError
from experiments.measures import groups, measure, members
from experiments.tracking import Tracker

_prepared: dict[str, build.Dataset] = {}
SHOWN = 8  # test pictures of each class in TensorBoard's grids


class Worker:
    """Everything one process holds while it works at one run; the caller holds the folder's lock."""

    def __init__(self, config: Config):
        self.config = config
        self.seed = config.seed + config.aug.seed_offset
        self.folder = config.folder
        self.device = choose_device(config.device)
        self.data = data = prepared(config)
        for note in data.notes:
            print(note)
        print(audit.headline(data.audit))
        if warning := audit.warning(data.audit):
            print(f"warning: {warning}", file=sys.stderr)
        self.rows = {split: torch.from_numpy(data.indices(split)) for split in ("train", "val", "test")}
        self.labels = {split: data.labels[rows.numpy()] for split, rows in self.rows.items()}
        found = groups(data.rows)
        self.sources = {
            split: members([data.rows[i] for i in rows.tolist()], found) if found else {}
            for split, rows in self.rows.items()
        }
        self.unit = "images" if len(data.first) == len(data.rows) else "patches"
        self.views = {kind: build_view(getattr(config.aug, kind), where=f"aug.{kind}") for kind in ("train", "eval")}
        self.speeds: list[float] = []
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}

    def complete(self) -> None:
        """Train what is missing, test, write the results and the done mark."""
        config, started = self.config, time.perf_counter()
        state = self._last_state()
        threads = state["threads"] if state else config.threads or min(usable_cpus(), 8)
        torch.set_num_threads(threads)
        torch.manual_seed(derive(self.seed, "weights"))
        channels = self.views["train"].channels
        model = build_model(config.model, image_size=self.data.images.shape[1:3], channels=channels)
        training = Training.begin(model, config.train, num_images=len(self.rows["train"]), device=self.device)
        if state:
            training.load_state_dict(state)
            self.history, self.best = state["history"], state["best"]
            print(f"resuming after epoch {training.epoch} of {config.train.epochs}")
        self.pictures = Pictures(self.data.images, self._shown_labels(), self.device)
        places = {True: "memory-mapped" if self.device.type == "cpu" else "on the device", False: "streamed to it"}
        where = places[self.pictures.resident]
        print(f"device: {self.device}, {threads} threads; pictures {where}", flush=True)

        config_text = record.write_config(self.folder, config.as_dict())
        number = len(record.processes(self.folder)) if state else 0
        cuda = self.device.type == "cuda"
        process = {
            "after_epoch": training.epoch,
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "threads": threads,
        }
        facts = {
            "seed": config.seed,
            "digest": config.digest,
            "data_digest": self.data.digest,
            "content_digest": self.data.content,
            "manifest": str(self.data.manifest),
            "quarantined": self.data.quarantined,
            "notes": self.data.notes,
        }
        record.write_provenance(self.folder, facts, process, number=number)
        record.write_audit(self.folder, self.data.audit)
        with Tracker(self.folder, resume=self._marks().get(training.epoch)) as tracker:
            if not state:
                tracker.text("configuration", f"```yaml\n{config_text}```")
                tracker.text("audit", "```\n" + "\n".join(audit.lines(self.data.audit)) + "\n```")
            scores = self._train(training, tracker, threads)
            if scores is None or config.train.keep == "best":
                if config.train.keep == "best":
                    training.model.load_state_dict(checkpoint.load(self.folder / "best.pt")["model"])
                scores = self._scores(training.model)
            metrics = self._test(scores, training, tracker)
        process["seconds"] = round(time.perf_counter() - started, 2)
        if self.speeds:
            process["images_per_second"] = round(float(np.median(self.speeds)), 1)
        record.write_provenance(self.folder, facts, process, number=number)
        record.mark_done(self.folder)
        self._say_result(metrics, scores["test"])

    def _say_result(self, metrics: dict[str, float], test_scores: np.ndarray) -> None:
        config, called = self.config, test_scores >= 0.5
        if called.all() or not called.any():
            print(f"warning: every test image is called {'FAKE' if called.all() else 'REAL'}")
        for source in self.sources["test"]:
            images = len(self.sources["test"][source])
            accuracy, auc = (metrics[f"test/{source}/{name}"] for name in ("accuracy", "auc"))
            print(f"  {source}: test accuracy {accuracy:.4f}, AUC {auc:.4f} ({images:,} {self.unit})")
        quarantined = f"{self.data.quarantined} quarantined"
        print(
            f"{config.aug.name}, seed {config.seed}: test accuracy {metrics['test/accuracy']:.4f}, "
            f"AUC {metrics['test/auc']:.4f} ({len(self.rows['test']):,} {self.unit}; {quarantined})",
            flush=True,
        )

    def _train(self, training: Training, tracker: Tracker, threads: int) -> dict[str, np.ndarray] | None:
        """Epoch by epoch, each recorded and then saved; returns the last scores of val and test, if there was any."""
        total, scores = len(self.rows["train"]), None
        with tqdm(total=total, unit=" images", unit_scale=True, disable=None, leave=False) as bar:
            for event in fit(training, self.pictures, self.rows["train"], self.views["train"], seed=self.seed):
                if isinstance(event, Steps):
                    bar.set_description(f"epoch {training.epoch + 1}/{self.config.train.epochs}", refresh=False)
                    bar.update(event.images - bar.n)
                    tracker.losses(event.steps[-1:], [float(np.mean(event.losses))], event.learning_rates[-1:])
                    continue
                bar.reset()
                scores = self._scores(training.model)
                self._record_epoch(event, scores, training, tracker)
                self._save(training, tracker, threads)
        return scores

    def _record_epoch(self, event: Epoch, scores: dict[str, np.ndarray], training: Training, tracker: Tracker) -> None:
        speed = len(event.rows) / event.seconds
        self.speeds.append(speed)
        measured = measure("train", event.scores, self.data.labels[event.rows], {}, threshold=None)
        measured |= self._measured("val", scores["val"])
        self.history.append({"epoch": event.epoch, "step": training.step, **measured})
        test = self._measured("test", scores["test"])
        tracker.epoch(event.epoch, measured | test, images_per_second=speed)
        for split in ("val", "test"):
            tracker.scores(event.epoch, split, self.labels[split], scores[split])
        tracker.views(event.epoch, **self._shown(scores["test"]))
        tqdm.write(
            f"epoch {event.epoch}/{self.config.train.epochs}  train accuracy {measured['train/accuracy']:.4f}  "
            f"val accuracy {measured['val/accuracy']:.4f}  val AUC {measured['val/auc']:.4f}  {speed:,.0f} images/s",
            file=sys.stdout,
        )
        sys.stdout.flush()

    def _save(self, training: Training, tracker: Tracker, threads: int) -> None:
        accuracy = self.history[-1]["val/accuracy"]
        if not self.best or accuracy > self.best["val/accuracy"]:
            self.best = {"epoch": training.epoch, "val/accuracy": accuracy}
            checkpoint.save(self.folder / "best.pt", {"model": training.model.state_dict(), **self.best})
        # the board's place is kept apart: it holds names made from the clock, and last.pt must be the same bytes always
        self._write_marks(training.epoch, tracker.mark())
        state = training.state_dict() | {"history": self.history, "best": self.best, "threads": threads}
        checkpoint.save(self.folder / "last.pt", state | {"data": self.data.digest})
        record.write_metrics(self.folder, self.history)

    def _test(self, scores: dict[str, np.ndarray], training: Training, tracker: Tracker) -> dict[str, float]:
        """The kept weights on validation, which chooses the threshold, and on test; the last line of metrics.jsonl."""
        threshold = best_threshold(scores["val"], self.labels["val"])
        kept = self.best["epoch"] if self.config.train.keep == "best" else training.epoch
        measured: dict[str, float] = {"val/threshold": threshold}
        for split in ("val", "test"):
            measured |= self._measured(split, scores[split], threshold)
            tracker.figures(kept, split, self.labels[split], scores[split], threshold)
        key = derive(self.seed, "evaluation")
        shares, colors = exposure(self.pictures, self.rows["test"], self.views["eval"], key=key)
        measured |= {"view/clipped": float(shares.mean()), "view/colors": float(colors.mean())}
        record.write_metrics(self.folder, [*self.history, {"epoch": kept, "step": training.step, **measured}])
        pairs = {split: (self.rows[split].numpy(), scores[split]) for split in ("val", "test")}
        record.write_predictions(self.folder, self.data.rows, pairs)
        settings = self.config.flattened()
        group = "/".join((*self.folder.parts[-4:-1], self.config.digest, self.data.content[:8]))
        tracker.hyperparameters(
            settings,
            {
                f"{split}/{name}": measured[f"{split}/{name}"]
                for split in ("val", "test")
                for name in ("accuracy", "auc")
            },
            group,
        )
        return measured

    def _measured(self, split: str, scores: np.ndarray, threshold: float | None = None) -> dict[str, float]:
        return measure(split, scores, self.labels[split], self.sources[split], threshold=threshold)

    def _scores(self, model: torch.nn.Module) -> dict[str, np.ndarray]:
        key = derive(self.seed, "evaluation")
        precision = self.config.train.precision
        scores = {
            split: predict(model, self.pictures, self.rows[split], self.views["eval"], key=key, precision=precision)
            for split in ("val", "test")
        }
        if not all(np.isfinite(values).all() for values in scores.values()):
            raise NotFinite("the network's scores are not numbers any more; try a smaller train.learning_rate")
        return scores

    def _shown(self, test_scores: np.ndarray) -> dict[str, Any]:
        """The same eight real and eight fake test pictures before and after the view, with label and score."""
        labels = self.labels["test"]
        places = np.concatenate([np.flatnonzero(labels == label)[:SHOWN] for label in (REAL, FAKE)])
        rows = self.rows["test"][torch.from_numpy(places)]
        batch = next(iter(self.pictures.batches(rows, len(rows))))
        with torch.inference_mode():
            after = self.views["eval"](batch.images, derive(self.seed, "evaluation"), batch.rows)
        pixels = (after[:, -3:] * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        before = np.asarray(self.data.images[rows.numpy()])
        return {"before": before, "after": pixels, "labels": labels[places], "scores": test_scores[places]}

    def _shown_labels(self) -> np.ndarray:
        """The labels as training sees them: those of a control are dealt out anew among the training images."""
        if not self.config.aug.shuffle_labels:
            return self.data.labels
        labels, rows = self.data.labels.copy(), self.rows["train"].numpy()
        labels[rows] = labels[rows[permutation(self.seed, 0, len(rows)).numpy()]]
        return labels

    def _last_state(self) -> dict[str, Any] | None:
        path = self.folder / "last.pt"
        if not path.exists():
            return None
        state = checkpoint.load(path)
        if state["data"] != self.data.digest:
            raise ConfigError(
                f"{self.folder}: the data changed since this run began (manifest {state['data'][:12]}, now "
                f"{self.data.digest[:12]}); bring them back, or delete the folder to start afresh"
            )
        return state

    def _marks(self) -> dict[int, dict[str, int]]:
        """The board's place at the end of an epoch, by epoch."""
        path = self.folder / "board.yaml"
        return yaml.safe_load(path.read_text()) if path.exists() else {}

    def _write_marks(self, epoch: int, newest: dict[str, int]) -> None:
        """Keep the place at this checkpoint and at the one before: a kill may come between the two files."""
        marks = {known: mark for known, mark in self._marks().items() if known == epoch - 1} | {epoch: newest}
        with whole_file(self.folder / "board.yaml") as file:
            yaml.safe_dump(marks, file)


def prepared(config: Config) -> build.Dataset:
    """The data set of a configuration, prepared once in a process: all runs of a sweep see the same."""
    key = repr((config.data, config.data_root))
    if key not in _prepared:
        _prepared.clear()  # one at a time: a sweep over data sets need not hold them all
        _prepared[key] = build.prepare(config.data, data_root=config.data_root)
    return _prepared[key]


def check_data(config: Config, digest: str) -> None:
    """ConfigError where the data are no longer those of a finished run; data that are not here cannot be compared."""
    try:
        now = prepared(config).digest
    except DataError as error:
        print(f"the data of this finished run are not here to be compared: {error}")
        return
    if now != digest:
        raise ConfigError(
            f"{config.folder}: done on other data (manifest {digest[:12]}, now {now[:12]}); bring them back, "
            "or delete the folder to run it again"
        )


def choose_device(name: str) -> torch.device:
    """auto, cpu, cuda or cuda:N as a device that is there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ConfigError(f"device={name}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            f"device={name}: this machine has {torch.cuda.device_count()} CUDA devices; device=cpu works everywhere"
        )
    return torch.device(name)
