"""Example pictures of a comparison, right and wrong ones, before and after the transform; needs the data and torch."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from PIL import Image

from datasets.manifest import FAKE, REAL, DataError
from experiments import tables
from experiments.ensemble import is_one
from experiments.figures import view_grid
from experiments.report.blocks import Block, Picture, Text

if TYPE_CHECKING:
    from experiments.comparison import Comparison
    from experiments.outcomes import Outcome

SHOWN = 4
SIDE = 112  # pixels on the sheet, about
# name -> label, whether it was recognised, in words
KINDS = {
    "true positives": (FAKE, True, "fake, called fake"),
    "true negatives": (REAL, True, "real, called real"),
    "false positives": (REAL, False, "real, called fake"),
    "false negatives": (FAKE, False, "fake, called real"),
}


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
    chosen = [
        (kind, words, np.flatnonzero((run.test.labels == label) & (run.correct == right)))
        for kind, (label, right, words) in KINDS.items()
    ]
    lot = np.random.default_rng(0)
    picked = [np.sort(lot.permutation(places)[:SHOWN]) for _, _, places in chosen]
    before, after = seen(run, np.concatenate(picked).astype(np.int64))
    blocks: list[Block] = [Text(f"{name}, seed {run.seed}", heading=True)]
    shown = "as they are, for" if np.array_equal(before, after) else "before and after the view"
    start = 0
    for (kind, words, places), few in zip(chosen, picked, strict=True):
        here = slice(start, start + len(few))
        start += len(few)
        share = f"{len(places):,} of {int(np.sum(run.test.labels == KINDS[kind][0])):,}"
        if not len(few):
            blocks.append(Text(f"{kind.capitalize()} ({words}): none."))
            continue
        scores = run.scores[few]
        sheet = view_grid(before[here], after[here], run.test.labels[few], scores, scale=scale(before))
        listed = ", ".join(f"{score:.3f}" for score in scores)
        blocks.append(
            Picture(
                f"{file}-{kind.replace(' ', '-')}",
                f"{len(few)} pictures, {words}, {shown} {name}; scores {listed}.",
                f"{name}, {kind}: {words}, {share}.",
                png(sheet),
            )
        )
    return blocks


def seen(run: "Outcome", places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The chosen test pictures of a run as they lie in the store, and as its network sees them: uint8 (n, H, W, 3)."""
    import torch
    from omegaconf import OmegaConf

    from detector.color import build_view
    from detector.randomness import derive
    from experiments.config import ConfigError, from_hydra
    from experiments.material import prepared

    path = Path(run.where) / "config.yaml"
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        if is_one(settings["aug"]):  # its members may see each another view
            settings["aug"] |= {"train": [], "eval": []}
        config = from_hydra(OmegaConf.create(settings))
        data = prepared(config)
    except (DataError, ConfigError, OSError) as error:
        raise Missing("the data of these runs are not here") from error
    if data.digest != run.facts["data_digest"]:
        raise Missing("the data that lie here are no longer those of the runs")
    rows = run.test.rows[places]
    before = np.asarray(data.images[rows])
    images = torch.from_numpy(before).permute(0, 3, 1, 2).float() / 255
    view = build_view(config.aug.eval, where="aug.eval")
    pixels = view.shown(images, derive(config.seed + config.aug.seed_offset, "evaluation"), torch.from_numpy(rows))
    return small(before), small(pixels)


def small(pictures: np.ndarray) -> np.ndarray:
    """Large pictures at SIDE pixels, small ones as they are."""
    if max(pictures.shape[1:3]) <= SIDE:
        return pictures
    shrink = SIDE / max(pictures.shape[1:3])
    size = (max(1, round(pictures.shape[2] * shrink)), max(1, round(pictures.shape[1] * shrink)))
    return np.stack(
        [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)) for picture in pictures]
    )


def scale(pictures: np.ndarray) -> int:
    """How many times larger small pictures, (N, H, W, 3), are drawn on a sheet."""
    return max(1, SIDE // max(pictures.shape[1:3]))


def png(sheet: Image.Image) -> bytes:
    """A sheet as PNG."""
    out = io.BytesIO()
    sheet.save(out, format="png", optimize=True)
    return out.getvalue()
