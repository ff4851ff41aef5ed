"""The metrics of a split: of all its images, and of each source of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from datasets.manifest import FAKE, REAL, Row
from detector import multiclass
from detector.calibration import calibrated, temperature
from detector.metrics import ece, evaluate


def groups(rows: Sequence[Row]) -> dict[str, set[str]]:
    """What is measured for itself, and the sources of the images in it; empty where there is only one.

    A source of fakes alone is measured against the photographs of all sources that have no fakes, which stand with it:
    how well FLUX images are told from photographs. Without such photographs, or without such fakes, it stands alone.
    """
    kinds: dict[str, set[int]] = {}
    for row in rows:
        kinds.setdefault(row.source, set()).add(row.label)
    alone = {kind: {name for name, has in kinds.items() if has == {kind}} for kind in (REAL, FAKE)}
    found = {name: {name} for name, has in kinds.items() if len(has) == 2}
    if alone[REAL] and alone[FAKE]:
        found |= {name: {name, *alone[REAL]} for name in alone[FAKE]}
    else:
        found |= {name: {name} for name in (*alone[REAL], *alone[FAKE])}
    return dict(sorted(found.items())) if len(found) > 1 else {}


def members(rows: Sequence[Row], found: Mapping[str, set[str]]) -> dict[str, np.ndarray]:
    """For each of `groups` its images among the rows of one split, int64 (n,); without those that have none there."""
    source = np.array([row.source for row in rows])
    places = {name: np.flatnonzero(np.isin(source, list(inside))) for name, inside in found.items()}
    return {name: there for name, there in places.items() if len(there)}


def calibration(scores: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The temperature that validation chooses, and the expected calibration error that it leaves in val and test.

    scores: probability of FAKE, (N,) of each split; see detector.calibration.
    """
    found = temperature(scores["val"], labels["val"])
    after = {f"{split}/ece_calibrated": ece(calibrated(scores[split], found), labels[split]) for split in scores}
    return {"val/temperature": found, **after}


def measure(
    split: str,
    scores: np.ndarray,
    labels: np.ndarray,
    parts: Mapping[str, np.ndarray],
    *,
    threshold: float | None,
) -> dict[str, float]:
    """Every metric of detector.metrics as `split/metric`, and of each part of the images as `split/part/metric`.

    scores, labels: (N,) of the whole split; threshold: for accuracy_at_threshold, None leaves it out.
    """
    measured = evaluate(scores, labels, threshold=threshold)
    named = {f"{split}/{name}": value for name, value in measured.items()}
    for part, places in parts.items():
        measured = evaluate(scores[places], labels[places], threshold=threshold)
        named |= {f"{split}/{part}/{name}": value for name, value in measured.items()}
    return named


def measure_classes(split: str, scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Every metric of detector.multiclass as `split/metric`; scores (N, classes), labels (N,)."""
    return {f"{split}/{name}": value for name, value in multiclass.evaluate(scores, labels, classes).items()}
