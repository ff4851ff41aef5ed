"""The metrics of a split: of all its images, and of each source of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from datasets.manifest import FAKE, REAL, Row
from detector.metrics import evaluate


def sources(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """For each source its images among `rows`, int64 (n,); empty where there is only one.

    A source of fakes alone is measured against the photographs of all sources that have no fakes, which stand with it:
    how well FLUX images are told from photographs. Without such photographs, or without such fakes, it stands alone.
    """
    source = np.array([row.source for row in rows])
    label = np.array([row.label for row in rows])
    kinds = {name: frozenset(label[source == name].tolist()) for name in sorted(set(source.tolist()))}
    alone = {kind: [name for name, has in kinds.items() if has == {kind}] for kind in (REAL, FAKE)}
    groups = {name: [name] for name, has in kinds.items() if len(has) == 2}
    if alone[REAL] and alone[FAKE]:
        groups |= {name: [name, *alone[REAL]] for name in alone[FAKE]}
    else:
        groups |= {name: [name] for name in (*alone[REAL], *alone[FAKE])}
    if len(groups) < 2:
        return {}
    return {name: np.flatnonzero(np.isin(source, members)) for name, members in sorted(groups.items())}


def measure(
    split: str,
    scores: np.ndarray,
    labels: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    threshold: float | None,
) -> dict[str, float]:
    """Every metric of detector.metrics as `split/metric`, and of each group of images as `split/group/metric`.

    scores, labels: (N,) of the whole split; threshold: for accuracy_at_threshold, None leaves it out.
    """
    measured = evaluate(scores, labels, threshold=threshold)
    named = {f"{split}/{name}": value for name, value in measured.items()}
    for group, members in groups.items():
        part = evaluate(scores[members], labels[members], threshold=threshold)
        named |= {f"{split}/{group}/{name}": value for name, value in part.items()}
    return named
