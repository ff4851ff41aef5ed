"""Example pictures of a comparison, right and wrong ones, before and after the transform; needs the data and torch."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from PIL import Image

from datasets.manifest import DataError
from experiments import tables
from experiments.ensemble import is_one
from experiments.figures import view_grid
from experiments.overlays import KINDS, SIDE, by_lot, enlargement, heats, laid_over, shrunk
from experiments.report.blocks import Block, Picture, Text
from experiments.runs import NoRun

if TYPE_CHECKING:
    from torch import Tensor

    from detector.batches import Pictures
    from experiments.comparison import Comparison
    from experiments.outcomes import Outcome

SHOWN = 4


class Missing(ValueError):
    """Pictures cannot be shown; its text says why."""


def blocks(comparison: "Comparison", suffix: str) -> list[Block]:
    """Sheets of pictures of the baseline and of the arm that differs most; one sentence where the data are not here."""
    if comparison.by_generator:
        return [Text("None is shown: right and wrong ones are sorted here for real against fake alone.")]
    names = dict(zip(map(id, [comparison.baseline, *comparison.arms]), tables.labels(comparison), strict=True))
    arms = [comparison.baseline, *sorted(comparison.arms, key=lambda arm: -abs(float(arm.differences.mean())))[:1]]
    found: list[Block] = []
    try:
        for place, arm in enumerate(arms):
            found += of_run(arm.members[0], names[id(arm)], f"examples-{('baseline', 'arm')[place]}{suffix}")
    except Missing as error:
        if error.__cause__:  # may name places of this machine, which the report must not
            print(f"no example pictures: {' '.join(str(error.__cause__).split())}")
        return [Text(f"No pictures are shown: {error}.")]
    words = f"By lot among the test images of seed {arms[0].members[0].seed}, not chosen; the score is that of fake."
    return [Text(words), *found]


def of_run(run: "Outcome", name: str, file: str) -> list[Block]:
    """A sheet for each of KINDS; name: of the arm; file: how the names of the pictures begin. Raises Missing."""
    if run.scores is None:
        raise Missing("these runs were read from a table, which keeps no scores and no pictures")
    chosen = by_lot(run.test.labels, run.correct, SHOWN)
    before, after, heat = seen(run, np.concatenate(list(chosen.values())).astype(np.int64))
    blocks: list[Block] = [Text(f"{name}, seed {run.seed}", heading=True)]
    shown = f"as they are, for {name}" if np.array_equal(before, after) else f"before and after the view {name}"
    shown += "" if heat is None else ", and where the network looked (Grad-CAM, weighted place by place)"
    start = 0
    for kind, few in chosen.items():
        label, right, words = KINDS[kind]
        here = slice(start, start + len(few))
        start += len(few)
        of_label = run.test.labels == label
        share = f"{int(np.sum(of_label & (run.correct == right))):,} of {int(np.sum(of_label)):,}"
        if not len(few):
            blocks.append(Text(f"{kind.capitalize()} ({words}): none."))
            continue
        scores = run.scores[few]
        beside = {} if heat is None else {"Grad-CAM": heat[here]}
        sheet = view_grid(before[here], after[here], run.test.labels[few], scores, enlargement(before), beside)
        listed = ", ".join(f"{score:.3f}" for score in scores)
        blocks.append(
            Picture(
                f"{file}-{kind.replace(' ', '-')}",
                f"{len(few)} pictures, {words}, {shown}; scores {listed}.",
                f"{name}, {kind}: {words}, {share}.",
                png(sheet),
            )
        )
    return blocks


def seen(run: "Outcome", places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The chosen test pictures of a run as they lie in the store, as its network sees them, and with where it looked
    laid over them, None where there are no weights of one network: uint8 (n, H, W, 3)."""
    import torch
    from omegaconf import OmegaConf

    from detector.batches import Pictures
    from detector.color import build_view
    from detector.randomness import derive
    from experiments.config import ConfigError, from_hydra
    from experiments.material import OtherData, tested_on

    path = Path(run.where) / "config.yaml"
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        if is_one(settings["aug"]):  # its members may see each another view
            settings["aug"] |= {"train": [], "eval": []}
        config = from_hydra(OmegaConf.create(settings))
        data = tested_on(config, run.facts, run.test)
    except OtherData as error:
        raise Missing("the data that lie here are no longer those of the runs") from error
    except (DataError, ConfigError, OSError) as error:
        raise Missing("the data of these runs are not here") from error
    rows = run.test.rows[places]
    before = np.asarray(data.images[rows])
    images = torch.from_numpy(before).permute(0, 3, 1, 2).float() / 255
    view = build_view(config.aug.eval, where="aug.eval")
    pixels = view.shown(images, derive(config.seed + config.aug.seed_offset, "evaluation"), torch.from_numpy(rows))
    heat = _looked(run, Pictures(data.images, data.labels, torch.device("cpu")), torch.from_numpy(rows))
    over = None if heat is None else shrunk(laid_over(before, heat), SIDE)
    return shrunk(before, SIDE), shrunk(pixels, SIDE), over


def _looked(run: "Outcome", pictures: "Pictures", rows: "Tensor") -> np.ndarray | None:
    """Grad-CAM of the pictures `rows`; None where there are no weights of one network."""
    from detector.checkpoint import CheckpointError
    from experiments import classifier

    try:
        members = classifier.load(Path(run.where), pictures.device).members
    except (NoRun, CheckpointError, OSError):
        return None
    return heats(members[0].network, members[0].view, pictures, rows, members[0].key) if len(members) == 1 else None


def png(sheet: Image.Image) -> bytes:
    """A sheet as PNG."""
    out = io.BytesIO()
    sheet.save(out, format="png", optimize=True)
    return out.getvalue()
