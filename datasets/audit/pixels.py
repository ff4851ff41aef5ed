"""What needs the files: traces of their decoded pixels, and whether another codec of one class would be noticed."""

import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from datasets.audit import traces
from datasets.audit.verdicts import (
    CLEAN,
    INNOCENT,
    LARGE,
    NOT_JUDGED,
    SUSPICIOUS,
    counted,
    judge,
    labels_of,
    line_of,
    only,
    sample,
    strata_of,
)
from datasets.images import BadImage, ImageSettings, decode
from datasets.manifest import FAKE, REAL, Row

MOST_READ = 1000  # of a class
SMALLER = 0.05  # of a class; so many may be left out so that the others are seen on a larger square
SWAP_QUALITIES = (50, 92)
LAST_CODEC = (
    "these were equalised, so it may be what they show, such as smooth colours, or what little an earlier codec left"
)
SCALED = f"{INNOCENT}, or that they were scaled down from larger ones"


def add_pixels(report: dict[str, Any], rows: Sequence[Row], read: Callable[[int], bytes], seed: int) -> None:
    """Add the lines that need files, all from the same sample, and under `read` what was looked at."""
    from tqdm import tqdm  # a tenth of what it takes to open a data set, which needs no file

    few, places = sample(rows, MOST_READ, seed)
    sides, used = squares(few)
    quality = min(SWAP_QUALITIES, key=Counter(row.quality for row in few).__getitem__)
    before: list[Row] = []
    after: list[Row] = []
    found: list[dict[str, float]] = []
    unreadable = 0
    for row, place, side in zip(few, tqdm(places, desc="auditing", unit=" images", disable=None), used, strict=True):
        if min(row.width, row.height) < side:
            continue
        try:
            pixels, _ = decode(read(int(place)), ImageSettings())
        except BadImage:
            unreadable += 1
            continue
        if min(pixels.shape[:2]) < side:
            continue
        before.append(row)
        after.append(_encoded_again(row, pixels, quality) if row.label == FAKE else row)
        found.append(traces.pixel_traces(traces.middle(pixels, int(side))))
    smaller = len(few) - len(found) - unreadable
    report["read"] = {"files": len(few), "unreadable": unreadable, "too small": smaller, "squares": sides}
    equalised = np.array([bool(row.was) for row in before], bool)
    for part, names, because, of in (
        ("codec traces", traces.CODEC_FACTS, LAST_CODEC, equalised),
        ("detail", traces.DETAIL_FACTS, SCALED, None),
    ):
        facts = {name: np.array([trace[name] for trace in found], np.float64) for name in names}
        report["lines"] += judge(part, facts, before, seed, because=because, of=of)
        report["distributions"] |= traces.distributions(facts, labels_of(before))
    report["lines"].append(_swap(before, after, quality, seed))
    looked = ", ".join(f"{side} ({name})" if len(sides) > 1 else f"{side}" for name, side in sides.items())
    text = f"{len(found):,} of {len(few):,} on a square of {looked} pixels; "
    text += f"left out: {smaller:,} smaller than it, {unreadable:,} unreadable"
    report["lines"].append(counted("pixels seen", NOT_JUDGED, text))


def squares(rows: Sequence[Row]) -> tuple[dict[str, int], np.ndarray]:
    """Side of the square that is looked at: stratum -> pixels; and the same for each row, int64 (N,).

    All of a stratum are seen on one square, as traces depend on its side; of each class all but SMALLER contain it.
    """
    shorter = np.array([min(row.width, row.height) for row in rows], np.int64)
    labels = labels_of(rows)
    sides, each = {}, np.full(len(rows), traces.LEAST_SIDE)
    for name, inside in strata_of(rows).items():
        fits = inside[shorter[inside] >= traces.LEAST_SIDE]
        classes = [shorter[fits[labels[fits] == label]] for label in (REAL, FAKE)]
        least = [int(np.quantile(inside, SMALLER, method="lower")) for inside in classes if len(inside)]
        each[inside] = sides[name] = min([traces.MOST_SIDE, *least]) // 8 * 8 if least else traces.LEAST_SIDE
    return sides, each


def _encoded_again(row: Row, pixels: np.ndarray, quality: int) -> Row:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality, subsampling="4:2:0")
    return row._replace(format="JPEG", mode="RGB", sampling="4:2:0", quality=quality, bytes=out.tell())


def _swap(before: Sequence[Row], after: Sequence[Row], quality: int, seed: int) -> dict[str, Any]:
    """Would file facts show that one class alone was encoded again? Where they do not, their silence means nothing."""
    facts = (only(traces.file_facts(rows), traces.FILE_FACTS) for rows in (before, after))
    was, line = (line_of("swap test", values, before, seed) for values in facts)
    if line["auc"] is None:
        return line
    moved = f"FAKE alone encoded again as JPEG {quality} moves file facts from {was['auc']:.3f} to {line['auc']:.3f}"
    if was["low"] >= LARGE:
        return line | {"verdict": NOT_JUDGED, "because": f"{moved}; the classes were apart before"}
    if line["low"] >= LARGE:
        return line | {"verdict": CLEAN, "because": f"{moved}: a codec of one class would be seen"}
    return line | {"verdict": SUSPICIOUS, "because": f"{moved}: a codec of one class would not be seen"}
