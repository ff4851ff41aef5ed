"""Where a network looked: Grad-CAM laid over pictures, and over those that it called rightly and wrongly."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from PIL import Image

from datasets.manifest import FAKE, REAL
from experiments import figures

if TYPE_CHECKING:  # sheets of pictures alone are drawn without torch
    from torch import Tensor, nn

    from detector.batches import Pictures
    from detector.color import View

SIDE = 112  # pixels of a picture on a sheet, about
EACH = 4  # pictures of a kind
AT_ONCE = 2**20  # pixels
# name -> label, whether it was recognised, in words
KINDS = {
    "true positives": (FAKE, True, "fake, called fake"),
    "true negatives": (REAL, True, "real, called real"),
    "false positives": (REAL, False, "real, called fake"),
    "false negatives": (FAKE, False, "fake, called real"),
}
VEIL = 0.75  # of the heat's colour where it is greatest


def by_lot(labels: np.ndarray, correct: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Places of `count` pictures of each of KINDS, or of those there are; the same for the same labels and calls.

    labels: (N,), REAL or FAKE; correct: bool (N,).
    """
    lot = np.random.default_rng(0)
    every = (
        (kind, np.flatnonzero((labels == label) & (correct == right))) for kind, (label, right, _) in KINDS.items()
    )
    return {kind: np.sort(lot.permutation(places)[:count]) for kind, places in every}


def heats(network: "nn.Module", view: "View", pictures: "Pictures", rows: "Tensor", key: int) -> np.ndarray:
    """Grad-CAM, by place, of the pictures `rows` (int64, CPU), seen through `view`: float32 (n, H, W) in [0, 1].

    Evidence for what each is called, REAL or FAKE; each picture's greatest heat is 1, as logits of two networks have no
    common measure. A picture without evidence is 0 everywhere.
    """
    from detector.explain import grad_cam

    height, width = pictures.size
    found = []
    for batch in pictures.batches(rows, max(1, AT_ONCE // (height * width))):
        heat = grad_cam(network, view(batch.images, key, batch.rows), of_call=True, by_place=True)
        found.append((heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy())
    return np.concatenate(found)


def laid_over(pictures: np.ndarray, heat: np.ndarray, *, signed: bool = False) -> np.ndarray:
    """Pictures, uint8 (N, H, W, 3), in grey, with heat (N, H, W) from 0 to 1 as a glow, or signed: from -1, purple, to
    1, orange; uint8 (N, H, W, 3)."""
    glow = matplotlib.colormaps["PuOr_r" if signed else "inferno"]((heat + 1) / 2 if signed else heat)
    grey = (pictures @ np.array([0.299, 0.587, 0.114]))[..., None]
    veil = VEIL * np.abs(heat)[..., None]
    return np.rint((1 - veil) * grey + veil * 255 * glow[..., :3]).astype(np.uint8)


def sheet(
    pictures: np.ndarray,
    heat: Mapping[str, np.ndarray],
    labels: np.ndarray,
    scores: np.ndarray,
    title: str = "as it is",
) -> Image.Image:
    """Pictures, uint8 (N, H, W, 3), by their title above each heat (N, H, W) laid over them, and the difference of two;
    label and score of fake below."""
    rows = {title: pictures} | {name: laid_over(pictures, found) for name, found in heat.items()}
    if len(heat) == 2:
        first, second = heat.values()
        rows["difference"] = laid_over(pictures, first - second, signed=True)
    rows = {name: shrunk(found, SIDE) for name, found in rows.items()}
    return figures.picture_grid(rows, labels, scores, enlargement(rows[title]))


def of_kinds(
    network: "nn.Module", view: "View", pictures: "Pictures", rows: "Tensor", scores: np.ndarray, key: int
) -> dict[str, Image.Image]:
    """A sheet for each of KINDS that is there among the pictures `rows`, with their scores of fake, (n,)."""
    labels = pictures.labels.cpu().numpy()[rows.numpy()].astype(int)
    chosen = by_lot(labels, (scores >= 0.5) == (labels == FAKE), EACH)
    found = {}
    for kind, places in chosen.items():
        if len(places):
            few = rows[places]
            heat = heats(network, view, pictures, few, key)
            seen = pixels(pictures, few)
            found[kind] = sheet(seen, {"Grad-CAM": heat}, labels[places], scores[places], KINDS[kind][2])
    return found


def pixels(pictures: "Pictures", rows: "Tensor") -> np.ndarray:
    """The pictures `rows` as they lie in the store, uint8 (n, H, W, 3)."""
    return pictures.images[rows.to(pictures.images.device)].cpu().numpy()


def shrunk(pictures: np.ndarray, side: int) -> np.ndarray:
    """Pictures, uint8 (N, H, W, 3), of at most `side` pixels; small ones as they are."""
    if max(pictures.shape[1:3]) <= side:
        return pictures
    shrink = side / max(pictures.shape[1:3])
    size = (max(1, round(pictures.shape[2] * shrink)), max(1, round(pictures.shape[1] * shrink)))
    return np.stack(
        [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)) for picture in pictures]
    )


def enlargement(pictures: np.ndarray) -> int:
    """How many times larger small pictures, (N, H, W, 3), are drawn on a sheet."""
    return max(1, SIDE // max(pictures.shape[1:3]))
