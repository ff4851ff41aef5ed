"""Degraded test pictures as packed stores, and the scores that finished runs give them; both found again."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from datasets import fitting, store
from datasets.build import image_settings
from datasets.decoding import Location
from datasets.images import ImageSettings
from datasets.manifest import DataError, Row, whole_file
from detector.batches import Pictures
from experiments import classifier, runs
from experiments.config import from_hydra
from experiments.material import OtherData, tested_on
from experiments.outcomes import Outcome
from experiments.predictions import TestSet
from experiments.robustness.grid import Cell, label

FOLDER = "degraded"  # beside the stores of a data set
WHOLE = ("crop", 1.0)  # leaves every pixel as it is
SAME = 0.002  # mean difference of scores; another device or precision is below it


@dataclass(frozen=True)
class Tested:
    """The files of a test set, in its order, and where their degraded pictures lie."""

    listing: list[tuple[Row, Location]]
    images: ImageSettings
    home: Path

    @property
    def nbytes(self) -> int:
        """Of the pictures of one cell."""
        height, width = self.images.size
        return len(self.listing) * height * width * 3

    def settings(self, cell: Cell) -> ImageSettings:
        """Of the pictures of a cell. A JPEG that training has read at half its size or less is read whole for the clean
        pictures too, as for the degraded ones: the two ways differ by more than a mild codec does."""
        return replace(self.images, degradation=cell or (WHOLE if any(map(self._smaller, self.listing)) else None))

    def _smaller(self, listed: tuple[Row, Location]) -> bool:
        row, _ = listed
        across, down = fitting.enough(row.width, row.height, self.images.size, self.images.fit)
        return row.format == "JPEG" and row.width >= 2 * across and row.height >= 2 * down

    def digest(self, cell: Cell) -> str:
        """Of the store of a cell, whether or not it is there."""
        return store.digest(self.listing, self.settings(cell))

    def pictures(self, cell: Cell) -> np.ndarray:
        """uint8 (N, H, W, 3), memory-mapped; packed where they are not there. DataError where a file is not whole."""
        place = self.home / FOLDER / label(cell).replace(" ", "_")
        said = f"packing {label(cell)}"
        packed = store.open_or_pack(self.listing, self.settings(cell), place, description=said, others=False)
        if packed.quarantine:
            path, reason = packed.quarantine[0]
            more = f" and {len(packed.quarantine) - 1} more" if len(packed.quarantine) > 1 else ""
            raise DataError(f"{label(cell)}: {path}{more}: {reason}; mend it, or leave {label(cell)} out of the grid")
        return packed.images


def tested(
    outcomes: Sequence[Outcome], data_root: Path | None, of_each: int | None
) -> tuple[list[Outcome], dict[str, Tested]]:
    """The runs as if tested on `of_each` images of either class, None: all; and the files of each of their test sets.

    data_root: where the data lie now, None: where the runs say. DataError where they are no longer those of the runs.
    """
    found, tests = [], {}
    for digest in dict.fromkeys(run.test.digest for run in outcomes):
        same = [run for run in outcomes if run.test.digest == digest]
        places = sample(same[0].test, of_each)
        found += [of_sample(run, places) for run in same]
        tests[found[-1].test.digest] = _files_of(found[-1], data_root)
    return found, tests


def _files_of(outcome: Outcome, data_root: Path | None) -> Tested:
    config = from_hydra(OmegaConf.create(runs.read(Path(outcome.where)).config))
    config = replace(config, data_root=data_root or config.data_root)
    test = outcome.test
    try:
        data = tested_on(config, outcome.facts, test)
    except OtherData as error:
        raise DataError(f"{outcome.where}: {error}; bring them back, or give --data-root") from error
    listing = [(data.rows[row], data.locations[row]) for row in test.rows]
    return Tested(listing, image_settings(config.data), config.data_root / config.data.name)


def sample(test: TestSet, of_each: int | None) -> np.ndarray:
    """int64 (n,), rising: the test images that are looked at, of each class the first by a hash of their paths."""
    if of_each is None:
        return np.arange(len(test.paths))
    order = np.argsort([hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest() for path in test.paths])
    of_class = [order[test.labels[order] == label][:of_each] for label in np.unique(test.labels)]
    return np.sort(np.concatenate(of_class))


def of_sample(outcome: Outcome, places: np.ndarray) -> Outcome:
    """The run as if it had been tested on these of its test images alone; its recorded metrics stay."""
    columns = {name: getattr(outcome.test, name)[places] for name in ("labels", "groups", "rows", "sources", "paths")}
    test = replace(outcome.test, digest=f"{outcome.test.digest}:{len(places)}", **columns)
    assert outcome.scores is not None  # read from a run folder
    return replace(outcome, test=test, correct=outcome.correct[places], scores=outcome.scores[places])


def score(
    outcomes: Sequence[Outcome], cells: Sequence[Cell], tests: Mapping[str, Tested], folder: Path, device: torch.device
) -> tuple[dict[str, np.ndarray], int]:
    """The probability of FAKE, not calibrated, that each run gives the pictures of each cell: by the run's folder,
    float64 (cells, N); and how many of these rows were not there yet in `folder`, where every row is kept.

    tests: by the digest of an outcome's test set.
    """
    found = {outcome.where: np.full((len(cells), len(outcome.test.labels)), np.nan) for outcome in outcomes}
    digests = {key: [test.digest(cell) for cell in cells] for key, test in tests.items()}
    files = {outcome.where: _files(outcome, digests[outcome.test.digest], folder) for outcome in outcomes}
    for where, rows in found.items():
        for row, file in zip(rows, files[where], strict=True):
            with suppress(FileNotFoundError, ValueError, EOFError):  # the last two: a damaged one is made anew
                row[:] = np.load(file, allow_pickle=False)
    missing = {where: np.flatnonzero(np.isnan(rows).any(axis=1)).tolist() for where, rows in found.items()}
    wanted = {(outcome.test.digest, place): None for outcome in outcomes for place in missing[outcome.where]}
    pictures = {(digest, place): tests[digest].pictures(cells[place]) for digest, place in wanted}
    count = sum(map(len, missing.values()))
    with tqdm(total=count, desc="scoring", unit=" cells", disable=None, leave=False) as bar:
        for outcome in outcomes:
            if not len(missing[outcome.where]):
                continue
            ready = classifier.load(Path(outcome.where), device)
            for place in missing[outcome.where]:
                images = pictures[outcome.test.digest, place]
                shown = Pictures(images, np.zeros(len(images)), device)
                found[outcome.where][place] = ready.scores(shown, torch.arange(len(images)))[0]
                with whole_file(files[outcome.where][place], "wb") as handle:
                    np.save(handle, found[outcome.where][place])
                bar.update()
    return found, count


def _files(outcome: Outcome, digests: Sequence[str], folder: Path) -> list[Path]:
    """Where the scores of a run are kept: by its done mark, which holds for its files, and by the pictures."""
    key = runs.mark(Path(outcome.where))
    return [folder / key / f"{digest}.npy" for digest in digests]


def differing(outcomes: Sequence[Outcome], scores: Mapping[str, np.ndarray]) -> list[str]:
    """A line for each run whose scores of the clean pictures are not those of its own test: the check of it all."""
    said = []
    for run in outcomes:
        off = np.abs(scores[run.where][0] - run.scores)
        if off.mean() > SAME:
            said.append(f"{run.where}: its clean pictures score {off.mean():.3f} off its own test on average")
    return said
