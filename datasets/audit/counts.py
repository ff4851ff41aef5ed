"""How many images of what, and how many copies, groups across splits and missing licences."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from datasets.audit.verdicts import CLEAN, NOT_JUDGED, SUSPICIOUS, counted, strata_of
from datasets.manifest import LABELS, Row

IMBALANCE = 1.5


def add_counts(report: dict[str, Any], rows: Sequence[Row]) -> None:
    """How many of what, and three lines about it."""
    classes = {name: [row for row in rows if row.label == label] for name, label in LABELS.items()}
    sides = Counter(group for group, _ in {(row.group or row.path, row.split) for row in rows})
    labels = Counter(sha256 for sha256, _ in {(row.sha256 or row.path, row.label) for row in rows})
    sizes = {name: Counter((row.width, row.height) for row in inside) for name, inside in classes.items()}
    counts: dict[str, Any] = {
        "images": {name: len(inside) for name, inside in classes.items()},
        "sources": {name: dict(Counter(row.source for row in inside)) for name, inside in classes.items()},
        "different sizes": {name: len(inside) for name, inside in sizes.items()},
        "frequent sizes": {
            name: {f"{width}x{height}": number for (width, height), number in inside.most_common(5)}
            for name, inside in sizes.items()
        },
        "exact copies": len(rows) - len(labels),
        "alike": len(rows) - len(sides),
        "copies in both classes": sum(number > 1 for number in labels.values()),
        "groups across splits": sum(number > 1 for number in sides.values()),
        "without a licence": {name: sum(not row.license for row in inside) for name, inside in classes.items()},
    }
    report["counts"] = counts
    images = counts["images"]
    uneven = []
    for name, inside in strata_of(rows).items():
        real, fake = np.bincount([rows[i].label for i in inside], minlength=2)
        if max(real, fake) > IMBALANCE * min(real, fake):
            uneven.append(f"{name}: {real:,} REAL, {fake:,} FAKE")
    text = "; ".join(uneven) or f"{images['REAL']:,} REAL, {images['FAKE']:,} FAKE"
    text += f"; sizes: {len(sizes['REAL']):,} in REAL, {len(sizes['FAKE']):,} in FAKE"
    report["lines"].append(counted("counts", SUSPICIOUS if uneven else CLEAN, text))
    both, torn = counts["copies in both classes"], counts["groups across splits"]
    text = f"{counts['exact copies']:,} exact copies, {counts['alike']:,} images grouped with an earlier one; "
    text += f"{both:,} pictures in both classes, {torn:,} groups across splits"
    report["lines"].append(counted("duplicates", SUSPICIOUS if both or torn else CLEAN, text))
    missing = sum(counts["without a licence"].values())
    text = f"{missing:,} of {len(rows):,} images without one" if missing else "every image has one"
    report["lines"].append(counted("licences", NOT_JUDGED if missing else CLEAN, text))
