"""A finished run, or an ensemble of them, as something that scores pictures."""

import csv
import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from datasets.build import image_settings
from datasets.decoding import Bad, Decoded, Location, decode_all
from datasets.images import ImageSettings
from detector.batches import Pictures
from detector.calibration import calibrated, temperature
from detector.explain import grad_cam
from experiments import condition, ensemble, runs
from experiments.member import Member, trained
from experiments.paired import wilson
from experiments.predictions import table
from experiments.runs import NoRun, Run, Untrusted

LONG_SIDE = 256  # pixels of a picture that people look at
BATCH = 1000  # files that are scored at once, while the next are decoded, or fewer:
BATCH_BYTES = 64_000_000  # of their pixels


@dataclass(frozen=True)
class Verdict:
    """Of one file. probability: of FAKE, calibrated, in [0, 1]; fake: whether it reaches the threshold; unlike: in what
    it is unlike the training data, empty where in nothing; bad: why it could not be scored, empty where it was."""

    probability: float
    fake: bool
    unlike: str = ""
    bad: str = ""

    @property
    def word(self) -> str:
        """FAKE or REAL, empty where there is no verdict."""
        return "" if self.bad else "FAKE" if self.fake else "REAL"

    def row(self, path: str) -> dict[str, Any]:
        """Of a table or of JSON; what has no verdict has no probability either."""
        return {
            "path": path.encode("utf-8", "backslashreplace").decode(),
            "verdict": self.word or None,
            "probability": None if self.bad else self.probability,
            "unlike": self.unlike,
            "reason": self.bad,
        }


@dataclass(frozen=True)
class Classifier:
    """The members whose mean probability it gives, one for a run; several threads may use it at once.

    run: whose it is; temperature: chosen on validation; threshold: of the calibrated probability, chosen there too;
    tested: how many test images the run's accuracy is of.
    """

    run: Run
    members: list[Member]
    temperature: float
    threshold: float
    tested: int
    device: torch.device
    # a network gathers its features, and its gradients, for one caller at a time
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def facts(self) -> dict[str, Any]:
        """Whose verdicts these are, for people elsewhere: no place on this machine. interval: of the accuracy on the
        run's own test images, 95 %."""
        accuracy = self.run.metrics[-1]["test/accuracy"]
        config = self.run.config
        names = {part: config[part]["name"] for part in ("data", "model", "aug")}
        name = condition.run_name(self.run.provenance["digest"], config["data"].get("fold"), config["seed"])
        return {
            "run": "/".join([*names.values(), name]),
            **names,
            "accuracy": accuracy,
            "interval": list(wilson(round(accuracy * self.tested), self.tested)),
            "test_images": self.tested,
            "threshold": self.threshold,
        }

    @property
    def images(self) -> ImageSettings:
        """How pictures are brought to the network's size: as in training, but none is completed by in-painting."""
        return replace(image_settings(self.members[0].config.data), inpaint=False)

    def scores(self, pictures: Pictures, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of the pictures `rows` (int64, CPU): probability of FAKE as in the run's predictions.csv, not calibrated,
        float64 (n,), and whether a member finds them strange, bool (n,)."""
        with self.lock:
            scores, strange = zip(*(member.scores(pictures, rows) for member in self.members), strict=True)
        return np.mean(scores, axis=0), np.any(strange, axis=0)

    def judge(self, locations: Sequence[Location]) -> Iterator[Verdict]:
        """A verdict for each file, in their order; decoded as in training, in child processes that may die of it."""
        waiting: list[Decoded | Bad] = []
        images = self.images
        most = max(1, min(BATCH, BATCH_BYTES // (images.patches * images.size[0] * images.size[1] * 3)))
        for result in decode_all(locations, images, description="scoring"):
            waiting.append(result if isinstance(result, Bad) else result._replace(pixels=result.pixels.copy()))
            if len(waiting) == most:
                yield from self._verdicts(waiting)
                waiting = []
        if waiting:
            yield from self._verdicts(waiting)

    def looked_at(self, locations: Sequence[Location]) -> tuple[list[np.ndarray], np.ndarray]:
        """Files that were scored, for people: each as it is, uint8 (h, w, 3) of LONG_SIDE at most, and all (of patches
        the first) as the first member sees them, uint8 (N, H, W, 3)."""
        pictures, pixels = self.decoded(locations)
        member = self.members[0]
        return pictures, member.view.shown(_floats(pixels), member.key, torch.arange(len(pixels)))

    def decoded(self, locations: Sequence[Location]) -> tuple[list[np.ndarray], np.ndarray]:
        """Files that were scored: each as it is, as in `looked_at`, and all at the network's size before any view,
        uint8 (N, H, W, 3)."""
        whole = ImageSettings(size=(LONG_SIDE, LONG_SIDE), fit="pad")
        pictures, pixels = [], []
        for large, small in zip(decode_all(locations, whole), decode_all(locations, self.images), strict=True):
            assert isinstance(large, Decoded) and isinstance(small, Decoded)
            share = LONG_SIDE / max(large.height, large.width)
            height, width = (max(1, round(side * share)) for side in (large.height, large.width))
            top, left = (LONG_SIDE - height) // 2, (LONG_SIDE - width) // 2
            pictures.append(large.pixels[0, top : top + height, left : left + width].copy())
            pixels.append(small.pixels[0].copy())
        return pictures, np.stack(pixels)

    def explained(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of pictures as `decoded` gives them: as the first member sees them, uint8 (N, H, W, 3), and where it finds
        evidence for FAKE, float32 (N, H, W), see detector.explain.grad_cam."""
        member, rows = self.members[0], torch.arange(len(pixels))
        images = _floats(pixels)
        with self.lock:
            heat = grad_cam(member.network, member.view(images, member.key, rows).to(self.device), by_place=True)
        return member.view.shown(images, member.key, rows), heat.cpu().numpy()

    def _verdicts(self, results: Sequence[Decoded | Bad]) -> Iterator[Verdict]:
        found = [result for result in results if isinstance(result, Decoded)]
        probabilities, strange = np.empty(0), np.empty(0, dtype=bool)
        if found:
            pixels = np.concatenate([result.pixels for result in found])
            pictures = Pictures(pixels, np.zeros(len(pixels)), self.device)
            rows, first = torch.arange(len(pixels)), np.cumsum([0, *(len(result.pixels) for result in found[:-1])])
            pieces = np.diff([*first, len(pixels)])
            scores, each = self.scores(pictures, rows)
            probabilities = np.add.reduceat(calibrated(scores, self.temperature), first) / pieces
            strange = np.logical_and.reduceat(each, first)
        scored = zip(found, probabilities.tolist(), strange.tolist(), strict=True)
        for result in results:
            if isinstance(result, Bad):
                yield Verdict(np.nan, False, bad=result.reason)
            else:
                _, probability, is_strange = next(scored)
                yield Verdict(probability, probability >= self.threshold, unlike=self._unlike(result, is_strange))

    def _unlike(self, result: Decoded, is_strange: bool) -> str:
        said = []
        member = self.members[0]
        if member.smallest and member.largest:
            (low_height, low_width), (high_height, high_width) = member.smallest, member.largest
            if not (low_height <= result.height <= high_height and low_width <= result.width <= high_width):
                there = f"{low_width}x{low_height}"
                if member.smallest != member.largest:
                    there += f" to {high_width}x{high_height}"
                said.append(f"{result.width}x{result.height}, trained on {there}")
        if is_strange:
            said.append("unlike the training pictures")
        return "; ".join(said)


def load(folder: Path, device: torch.device) -> Classifier:
    """That of a finished run's or ensemble's folder.

    Raises NoRun where there is none, its files were changed since or are of another version, CheckpointError where its
    weights cannot be read or are of another network.
    """
    run, predictions = _finished(folder)
    members = [_member_run(member, sha256) for member, sha256 in ensemble.members_of(run).items()] or [run]
    try:
        heads, scores = table(predictions)
        last = run.metrics[-1]
        chosen, _ = last["val/threshold"], last["test/accuracy"]
    except Untrusted as error:
        raise NoRun(f"{folder}: {error}; is it a run of another version?") from error
    except LookupError as error:
        raise NoRun(f"{folder}: metrics.jsonl: no results as those of this version; is it of another?") from error
    val = np.array([head[1] == "val" for head in heads])
    labels = np.array([int(head[3]) for head in heads])[val]
    found = temperature(scores[val], labels)
    threshold = float(calibrated([chosen], found)[0]) if chosen <= 1 else chosen  # above 1: nothing is called FAKE
    tested = sum(head[1] == "test" for head in heads)
    return Classifier(run, [trained(each, device) for each in members], found, threshold, tested, device)


def write_rows(file: IO[str], judged: Iterable[tuple[str, Verdict]], threshold: float) -> None:
    """A row of CSV for each file and its verdict."""
    names = ["path", "verdict", "probability", "threshold", "unlike", "reason"]
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**verdict.row(path), "threshold": threshold} for path, verdict in judged)


def _floats(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _member_run(folder: Path, sha256: str) -> Run:
    run, predictions = _finished(folder)
    if hashlib.sha256(predictions).hexdigest() != sha256:
        raise NoRun(f"{folder}: trained anew since it was averaged; delete the ensemble and average its members anew")
    return run


def _finished(folder: Path) -> tuple[Run, bytes]:
    found = runs.finished(folder)
    if found[0].task != condition.DETECTION:
        raise NoRun(f"{folder}: a run of task={found[0].task}; expected one that tells real from fake")
    return found
