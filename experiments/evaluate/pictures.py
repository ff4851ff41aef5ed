"""The surest right and the surest wrong pictures of a run, with where its network looks; needs the data and torch."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import nn

from datasets.manifest import FAKE, REAL, DataError
from detector.batches import Pictures
from detector.explain import grad_cam
from experiments import classifier
from experiments.classifier import Member
from experiments.figures import view_grid
from experiments.material import prepared
from experiments.predictions import TestSet
from experiments.report.blocks import Block, Picture, Text
from experiments.report.examples import KINDS, Missing, png, scale, small

SHOWN = 8  # of each kind
HEAT = 0.6  # how much of the hottest place is heat and not picture


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
    config = found.members[0].config
    try:
        data = prepared(config)
    except (DataError, OSError) as error:
        raise Missing("the data of this run are not here") from error
    if data.digest != found.run.provenance["data_digest"]:
        raise Missing("the data that lie here are no longer those of the run")
    rows = torch.from_numpy(test.rows[places])
    before = np.asarray(data.images[test.rows[places]])
    few = Pictures(before, np.zeros(len(rows)), found.device)
    after, heat = _looked(found.members[0], few, rows, scores[places] >= 0.5)
    overlay = small(overlaid(before, heat))
    enlarged = scale(before)
    before, after = small(before), small(after)
    said: list[Block] = [
        Text(
            "The surest of each kind, at 0.5; the score is that of fake, not calibrated. Looked at: Grad-CAM"
            f"{' of the first member' * (len(found.members) > 1)}, evidence for what the picture was called, in each "
            "picture scaled to its own highest; a picture without heat has no such evidence in the last feature map."
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


def _looked(member: Member, pictures: Pictures, rows: torch.Tensor, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network saw of pictures, uint8 (n, H, W, 3), and where it found evidence for what it called them, at
    least 0, float32 (n, H, W). rows: int64 (n,), as the view knows them; fake: what they were called, bool (n,)."""
    dtype = next(member.network.parameters()).dtype
    turned = nn.Linear(1, 1, bias=False, dtype=dtype)
    nn.init.constant_(turned.weight, -1.0)
    networks = {FAKE: member.network, REAL: nn.Sequential(member.network, turned)}
    seen, heat = [], []
    for place in range(len(rows)):  # one at a time: a large network holds every map of a batch
        images = pictures.at(torch.tensor([place])).images
        one = rows[place : place + 1]
        seen.append(member.view.shown(images, member.key, one))
        given = member.view(images, member.key, one).to(dtype)
        heat.append(grad_cam(networks[int(fake[place])], given).numpy())
    return np.concatenate(seen), np.concatenate(heat)


def overlaid(pictures: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Pictures, uint8 (n, H, W, 3), under heat, at least 0, (n, H, W), each scaled to its own highest."""
    highest = heat.max(axis=(1, 2), keepdims=True)
    share = np.divide(heat, highest, out=np.zeros_like(heat), where=highest > 0)
    colors = 255 * matplotlib.colormaps["inferno"](share)[..., :3]
    weight = HEAT * share[..., None]
    return (pictures * (1 - weight) + colors * weight).round().astype(np.uint8)
