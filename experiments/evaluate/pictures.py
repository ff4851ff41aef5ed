"""The surest right and the surest wrong pictures of a run, with where its network looks; needs the data and torch."""

from pathlib import Path

import numpy as np
import torch

from datasets.manifest import FAKE, DataError
from detector.batches import Pictures
from experiments import classifier
from experiments.figures import view_grid
from experiments.material import OtherData, tested_on
from experiments.overlays import KINDS, SIDE, enlargement, heats, laid_over, pixels, shrunk
from experiments.predictions import TestSet
from experiments.report.blocks import Block, Picture, Text
from experiments.report.examples import Missing, png

SHOWN = 8  # of each kind


def surest(test: TestSet, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Kind of KINDS -> places in the test set, int64, the surest first, SHOWN at most; called fake from 0.5 on."""
    order = np.argsort(scores, kind="stable")
    called = scores[order] >= 0.5
    found = {}
    for kind, (label, right, _) in KINDS.items():
        as_fake = (label == FAKE) == right
        inside = order[(test.labels[order] == label) & (called == as_fake)]
        found[kind] = (inside[::-1] if as_fake else inside)[:SHOWN]
    return found


def blocks(folder: Path, test: TestSet, scores: np.ndarray) -> list[Block]:
    """A sheet for each of KINDS; scores: float64 (N,), of the test set, of FAKE. Raises Missing where the data or the
    network are not here or no longer those of the run."""
    chosen = surest(test, scores)
    places = np.concatenate(list(chosen.values()))
    found = _loaded(folder)
    try:
        data = tested_on(found.members[0].config, found.run.provenance, test)
    except OtherData as error:
        raise Missing("the data that lie here are no longer those of the run") from error
    except (DataError, OSError) as error:
        raise Missing("the data of this run are not here") from error
    rows = torch.from_numpy(test.rows[places])
    pictures, member = Pictures(data.images, data.labels, found.device), found.members[0]
    before = pixels(pictures, rows)
    images = torch.from_numpy(before).permute(0, 3, 1, 2).float() / 255
    after = member.view.shown(images, member.key, rows)
    overlay = laid_over(before, heats(member.network, member.view, pictures, rows, member.key))
    before, after, overlay = (shrunk(each, SIDE) for each in (before, after, overlay))
    said: list[Block] = [
        Text(
            "The surest of each kind, at 0.5; the score is that of fake, not calibrated. Looked at: Grad-CAM"
            f"{' of the first member' * (len(found.members) > 1)}, weighted place by place (HiResCAM), evidence for "
            "what the picture was called, in each picture scaled to its own highest; a picture without heat has no "
            "such evidence in the last feature map."
        )
    ]
    start = 0
    for kind, few_of in chosen.items():
        here = slice(start, start + len(few_of))
        start += len(few_of)
        words = KINDS[kind][2]
        if not len(few_of):
            said.append(Text(f"{kind.capitalize()} ({words}): none."))
            continue
        rows_of_sheet = {"looked at": overlay[here]}
        enlarged = enlargement(before)
        sheet = view_grid(before[here], after[here], test.labels[few_of], scores[few_of], enlarged, rows_of_sheet)
        listed = ", ".join(f"{score:.3f}" for score in scores[few_of])
        alt = f"{len(few_of)} pictures, {words}, and where the network looks; scores {listed}."
        name = f"surest-{kind.replace(' ', '-')}"
        said.append(Picture(name, alt, f"{kind.capitalize()}: {words}.", png(sheet)))
    return said


def _loaded(folder: Path) -> classifier.Classifier:
    try:
        return classifier.load(folder, torch.device("cpu"))
    except (ValueError, OSError, RuntimeError) as error:  # weights gone, torn, or of another network
        raise Missing("its network is not here, or none that this version can read") from error
