"""What a process needs before it can work at a run: data, device, pictures, labels, views; runs share what is alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from datasets import audit, build
from datasets.manifest import FAKE, NAME_OF_LABEL, REAL, DataError
from detector.batches import Pictures
from detector.color import build_view
from detector.familiarity import familiar, features
from detector.predict import predict
from detector.randomness import derive, permutation
from detector.train import NotFinite
from experiments import overlays
from experiments.config import Config, ConfigError
from experiments.generators import classes_of, labels_of
from experiments.measures import groups, measure, measure_classes, members
from experiments.predictions import TestSet

_prepared: dict[str, build.Dataset] = {}
_pictures: dict[tuple[str, str, torch.device], Pictures] = {}
LOOKED_AT = 5000  # images of a split, for what a network finds familiar
QUANTILE = 0.999  # of validation images, that are no stranger than the limit
SHOWN = 8  # test pictures of each class in TensorBoard's grids


class Material:
    """Everything of a run that does not change while it is trained.

    seed: of all that is drawn; rows: int64 of each split; classes: what a picture may be called; outputs: of the
    network; truth: the number of every row's class, labels: the same of each split; sources: of each split the places
    of each group that is measured for itself; beside: the metric that is said beside accuracy, and in words; views: of
    training (`train`) and testing (`eval`); unit: what a row is called.
    """

    def __init__(self, config: Config):
        self.config = config
        self.seed = config.seed + config.aug.seed_offset
        self.device = choose_device(config.device)
        self.data = data = prepared(config)
        self.rows = {split: torch.from_numpy(data.indices(split)) for split in ("train", "val", "test")}
        self.by_generator = config.task == "generator"
        if self.by_generator:
            self.classes = classes_of(data.rows, config.data.name)
            self.truth, self.outputs = labels_of(data.rows, self.classes), len(self.classes)
            self.beside = ("balanced_accuracy", "balanced accuracy")
        else:
            self.classes = tuple(NAME_OF_LABEL[label] for label in (REAL, FAKE))
            self.truth, self.outputs = data.labels, 1
            self.beside = ("auc", "AUC")
        self.labels = {split: self.truth[rows.numpy()] for split, rows in self.rows.items()}
        found = {} if self.by_generator else groups(data.rows)
        self.sources = {
            split: members([data.rows[i] for i in rows.tolist()], found) if found else {}
            for split, rows in self.rows.items()
        }
        self.unit = "images" if len(data.first) == len(data.rows) else "patches"
        self.views = {kind: build_view(getattr(config.aug, kind), where=f"aug.{kind}") for kind in ("train", "eval")}

    def notes(self) -> list[str]:
        """What was found about the data, for the user."""
        return [*self.data.notes, audit.headline(self.data.audit)]

    def facts(self) -> dict[str, Any]:
        """Where the run's result comes from, for provenance.json."""
        return {
            "seed": self.config.seed,
            "digest": self.config.digest,
            "data_digest": self.data.digest,
            "content_digest": self.data.content,
            "manifest": str(self.data.manifest),
            "quarantined": self.data.quarantined,
            "repaired": len(self.data.repairs),
            "notes": self.data.notes,
        }

    def pictures(self) -> Pictures:
        """The data set's pictures on the device, with the labels that training sees: those of a control are dealt out
        anew among the training images. Runs with the same data settings share them, where the labels are true."""
        if self.config.aug.shuffle_labels:
            return Pictures(self.data.images, self.shown_labels(), self.device)
        key = (_settings(self.config), self.config.task, self.device)
        if key not in _pictures:
            _pictures.clear()  # those of other data may fill the device
            _pictures[key] = Pictures(self.data.images, self.truth, self.device)
        return _pictures[key]

    def shown_labels(self) -> np.ndarray:
        """The labels as training sees them, (N,)."""
        if not self.config.aug.shuffle_labels:
            return self.truth
        labels, rows = self.truth.copy(), self.rows["train"].numpy()
        labels[rows] = labels[rows[permutation(self.seed, 0, len(rows)).numpy()]]
        return labels

    def measured(self, split: str, scores: np.ndarray, threshold: float | None = None) -> dict[str, float]:
        """All metrics of a split's scores, float64 (n,) or (n, classes), see experiments.measures."""
        if self.by_generator:
            return measure_classes(split, scores, self.labels[split], self.classes)
        return measure(split, scores, self.labels[split], self.sources[split], threshold=threshold)

    def measured_in_training(self, scores: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """The same of an epoch's training images, `rows` in the order of their scores."""
        if self.by_generator:
            return measure_classes("train", scores, self.truth[rows], self.classes)
        return measure("train", scores, self.truth[rows], {}, threshold=None)

    def called(self, scores: np.ndarray) -> np.ndarray:
        """The number of the class that each score, float64 (n,) or (n, classes), calls its picture: int64 (n,)."""
        return scores.argmax(axis=1) if self.by_generator else (scores >= 0.5).astype(np.int64)

    def scores(self, model: torch.nn.Module, pictures: Pictures) -> dict[str, np.ndarray]:
        """The network's scores of validation and test, float64 (n,) or (n, classes) each; NotFinite where they are not
        numbers."""
        key, precision = derive(self.seed, "evaluation"), self.config.train.precision
        scores = {
            split: predict(model, pictures, self.rows[split], self.views["eval"], key=key, precision=precision)
            for split in ("val", "test")
        }
        if not all(np.isfinite(values).all() for values in scores.values()):
            raise NotFinite("the network's scores are not numbers any more; try a smaller train.learning_rate")
        return scores

    def familiar(self, model: torch.nn.Module, pictures: Pictures) -> dict[str, Any]:
        """What tells whether a picture is like those of training, for a checkpoint: features of the network, see
        detector.familiarity, by LOOKED_AT training and validation images; smallest and largest sides of the files."""
        key, precision = derive(self.seed, "evaluation"), self.config.train.precision
        found, chosen = {}, {}
        for split in ("train", "val"):
            rows = self.rows[split]
            chosen[split] = rows[torch.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).long()]
            with features(model) as seen:
                predict(model, pictures, chosen[split], self.views["eval"], key=key, precision=precision)
            found[split] = torch.cat(seen).numpy()
        known = familiar(found["train"], self.truth[chosen["train"].numpy()], found["val"], quantile=QUANTILE)
        sides = [(row.height, row.width) for row in self.data.rows if row.split == "train"]
        return {
            "means": torch.from_numpy(known.means),
            "inverse": torch.from_numpy(known.inverse),
            "limit": known.limit,
            "quantile": known.quantile,
            "smallest": [min(each) for each in zip(*sides, strict=True)],
            "largest": [max(each) for each in zip(*sides, strict=True)],
        }

    def shown(self, test_scores: np.ndarray, pictures: Pictures) -> dict[str, Any]:
        """The same eight real and eight fake test pictures before and after the view, with label and score of fake."""
        labels = np.minimum(self.labels["test"], FAKE)
        of_fake = 1 - test_scores[:, 0] if self.by_generator else test_scores
        places = np.concatenate([np.flatnonzero(labels == label)[:SHOWN] for label in (REAL, FAKE)])
        rows = self.rows["test"][torch.from_numpy(places)]
        batch = next(iter(pictures.batches(rows, len(rows))))
        pixels = self.views["eval"].shown(batch.images, derive(self.seed, "evaluation"), batch.rows)
        before = np.asarray(self.data.images[rows.numpy()])
        return {"before": before, "after": pixels, "labels": labels[places], "scores": of_fake[places]}

    def overlays(self, model: torch.nn.Module, test_scores: np.ndarray, pictures: Pictures) -> dict[str, Image.Image]:
        """Where the network looked, see experiments.overlays: a sheet of test pictures for each kind of right and wrong
        ones."""
        key = derive(self.seed, "evaluation")
        return overlays.of_kinds(model, self.views["eval"], pictures, self.rows["test"], test_scores, key)


def prepared(config: Config) -> build.Dataset:
    """The data set of a configuration, prepared once in a process: all runs of a sweep see the same."""
    key = _settings(config)
    if key not in _prepared:
        _prepared.clear()  # one at a time: a sweep over data sets need not hold them all
        _prepared[key] = build.prepare(config.data, data_root=config.data_root)
    return _prepared[key]


class OtherData(DataError):
    """Data are here, but not those that a finished run was tested on; the text is one line."""


def tested_on(config: Config, facts: Mapping[str, Any], test: TestSet) -> build.Dataset:
    """The data set of a finished run, with its test images at the rows that it recorded; the others may be split
    otherwise, as versions of this program differ in which images they leave out.

    facts: of its provenance. Raises OtherData where the files or the rows are others, DataError where there are none.
    """
    data = prepared(config)
    if data.content != facts["content_digest"] or any(
        row >= len(data.rows) or data.rows[row].path != path
        for row, path in zip(test.rows.tolist(), test.paths.tolist(), strict=True)
    ):
        raise OtherData(
            f"the data that lie in {config.data_root / config.data.name} are no longer those of the run (content "
            f"{data.content[:12]}, then {facts['content_digest'][:12]})"
        )
    return data


def _settings(config: Config) -> str:
    """What decides on the pictures; the manifest is the same for other sizes and fits of the same files."""
    return repr((config.data, config.data_root))


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
