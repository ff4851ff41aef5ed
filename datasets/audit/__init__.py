"""What separates the classes besides their content: facts of the files, codec traces, colour, counts, copies.

A verdict goes by the 95 % interval of an AUC (datasets/audit/separation.py), so by size and certainty of an effect:
  confounded     its low end is at least 0.60: a network may learn this and nothing else
  clean          its high end is below 0.55, however certain the effect; or chance lies within and 0.65 does not
  too few to say chance lies within, and so does 0.65; or fewer than 20 images of a class
  suspicious     everything between
  not judged     counted only
Colour, and how fine and noisy a picture is, may be the very thing that generation does to a picture: what is found
there is called suspicious at most; so are codec traces where every image was equalised. The verdict on the whole is
the worst of the lines.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.audit import traces
from datasets.audit.separation import Separation, group_folds, separation
from datasets.images import BadImage, ImageSettings, decode
from datasets.manifest import FAKE, LABELS, REAL, Row

VERDICTS = ("not judged", "clean", "too few to say", "suspicious", "confounded")  # from good to bad
NOT_JUDGED, CLEAN, TOO_FEW, SUSPICIOUS, CONFOUNDED = VERDICTS
LEAST_IMAGES = 20  # of a class
LARGE, SMALL, CHANCE, UNSURE = 0.60, 0.55, 0.5, 0.65
MOST_READ = 1000  # of a class; as for the next two
MOST_THUMBS = 10_000
MOST_SHORT = 20_000
IMBALANCE = 1.5
SWAP_QUALITIES = (50, 92)
# Of these the quality is a fact of its own, or nothing was lost: what is left of the bytes is the picture's own.
EXPLAINED = {"JPEG", "PNG", "BMP", "GIF"}
DETAILED = "bytes go with how detailed pictures are, once codec and quality are the same"
LAST_CODEC = (
    "all were equalised, so it may be what they show, such as smooth colours, or what little an earlier codec left"
)
INNOCENT = "may be what generation does, or another choice of pictures"
SCALED = f"{INNOCENT}, or that they were scaled down from larger ones"
Facts = Mapping[str, np.ndarray]


def audit(
    rows: Sequence[Row], thumbs: np.ndarray, read: Callable[[int], bytes] | None, *, seed: int = 0
) -> dict[str, Any]:
    """The whole audit of a listing, as a report that JSON can hold.

    rows: one a file; thumbs: uint8 (N, H, W, 3), in the same order; read: number of a row -> its file's bytes; None
    leaves out what needs them. Rows that are `unused` are left out. Where several sources come together, each that has
    both classes is also judged alone, and so are the others together: a small source hides in a large one.
    File facts are judged on all rows, colours on at most MOST_THUMBS, pixels on at most MOST_READ of a class, by lot.

    report: verdict; lines, each part, auc, low, high (None where nothing was measured), verdict, because, alone (AUC
    of each fact for itself); counts; distributions: fact -> REAL, FAKE (counts) and edges; read: how many files were
    read, how many of them could not be used.
    """
    report = _report(rows, thumbs, seed, most_rows=len(rows), most_thumbs=MOST_THUMBS)
    if read:
        _add_pixels(report, rows, read, seed)
    return _finished(report)


def short(rows: Sequence[Row], thumbs: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The audit without reading a file, on at most MOST_SHORT rows of a class: what runs before a training."""
    return _finished(_report(rows, thumbs, seed, most_rows=MOST_SHORT, most_thumbs=MOST_SHORT // 5))


def warning(report: Mapping[str, Any]) -> str:
    """One line that names the shortcuts of a confounded set; empty for all others."""
    found = [f"{line['part']}: {line['because']}" for line in report["lines"] if line["verdict"] == CONFOUNDED]
    return f"confounded: the classes differ in more than what they show; {'; '.join(found)}" if found else ""


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report as a table for the terminal, a line of the report each, and the verdict."""
    width = max(len(line["part"]) for line in report["lines"])
    table = [f"{'':{width}}  {'AUC':5}  {'95 % interval':14}  {'verdict':14}  because"]
    for line in report["lines"]:
        measured = line["auc"] is not None
        area = f"{line['auc']:.3f}" if measured else ""
        interval = f"{line['low']:.3f} to {line['high']:.3f}" if measured else ""
        table.append(f"{line['part']:{width}}  {area:5}  {interval:14}  {line['verdict']:14}  {line['because']}")
    return [*table, f"verdict: {report['verdict']}"]


def verdict_of(found: Separation) -> str:
    """The rule at the head of this file."""
    if found.low >= LARGE:
        return CONFOUNDED
    if found.high < SMALL:
        return CLEAN
    if found.low <= CHANCE:
        return CLEAN if found.high < UNSURE else TOO_FEW
    return SUSPICIOUS


def _report(rows: Sequence[Row], thumbs: np.ndarray, seed: int, *, most_rows: int, most_thumbs: int) -> dict[str, Any]:
    report: dict[str, Any] = {"verdict": "", "seed": seed, "lines": [], "counts": {}, "distributions": {}}
    few, places = _sample(rows, most_rows, seed)
    facts = traces.file_facts(few)
    report["lines"] += _judge("file facts", _only(facts, traces.FILE_FACTS), few, seed, names=traces.FILE_FACTS)
    because = DETAILED if {row.format for row in few} <= EXPLAINED else ""
    report["lines"] += _judge(traces.DENSITY, _only(facts, [traces.DENSITY]), few, seed, because=because)
    report["distributions"] |= traces.distributions(facts, _labels(few))
    few, places = _sample(rows, most_thumbs, seed)
    colors = traces.color_facts(thumbs[places])
    report["lines"] += _judge("colour", colors, few, seed, because=INNOCENT)
    report["distributions"] |= traces.distributions(colors, _labels(few))
    _add_counts(report, [row for row in rows if row.split != "unused"])
    return report


def _labels(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row.label for row in rows], np.int64)


def _only(facts: Facts, names: Iterable[str]) -> Facts:
    return {name: facts[name] for name in names}


def _finished(report: dict[str, Any]) -> dict[str, Any]:
    report["verdict"] = max((line["verdict"] for line in report["lines"]), key=VERDICTS.index)
    return report


def _strata(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Name -> indices: each source that has both classes, and the others together."""
    real, fake = ({row.source for row in rows if row.label == label} for label in (REAL, FAKE))
    if len(real | fake) == 1:
        return {min(real | fake): np.arange(len(rows))}
    others = " + ".join(sorted(real ^ fake))
    names = np.array([row.source if row.source in real & fake else others for row in rows])
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


def _sample(rows: Sequence[Row], most: int, seed: int) -> tuple[list[Row], np.ndarray]:
    """About `most` rows of each class with their indices, in order: by lot, evenly from the strata."""
    labels = np.array([row.label if row.split != "unused" else -1 for row in rows])
    random = np.random.default_rng(seed)
    strata = _strata(rows)
    chosen = [np.empty(0, np.int64)]
    for inside in strata.values():
        for label in (REAL, FAKE):
            chosen.append(random.permutation(inside[labels[inside] == label])[: -(-most // len(strata))])
    places = np.sort(np.concatenate(chosen))
    return [rows[place] for place in places], places


def _judge(part: str, facts: Facts, rows: Sequence[Row], seed: int, **words: Any) -> list[dict[str, Any]]:
    """A line for all rows and, where there are several strata, one for each."""
    strata = _strata(rows)
    judged = [_line(part, facts, rows, seed, **words)]
    for name, inside in strata.items() if len(strata) > 1 else ():
        there = {fact: values[inside] for fact, values in facts.items()}
        judged.append(_line(f"{part} ({name})", there, [rows[i] for i in inside], seed, **words))
    return judged


def _line(
    part: str,
    facts: Facts,
    rows: Sequence[Row],
    seed: int,
    *,
    names: Mapping[str, str] | None = None,
    because: str = "",
) -> dict[str, Any]:
    """names: fact -> what it is called, by default itself. because: why it may be innocent; then suspicious at most."""
    labels = _labels(rows)
    count = np.bincount(labels, minlength=2)
    if count.min() < LEAST_IMAGES:
        there = f"{count[REAL]:,} REAL and {count[FAKE]:,} FAKE; at least {LEAST_IMAGES} of each are needed"
        return _counted(part, TOO_FEW, there)
    folds = group_folds([row.group for row in rows], labels, seed)
    found = separation(facts, labels, folds)
    alone = {fact: separation({fact: values}, labels, folds) for fact, values in facts.items()}
    why, verdict = _why(alone, names or {}), verdict_of(found)
    if because and verdict in (SUSPICIOUS, CONFOUNDED):
        why, verdict = f"{why}: {because}", SUSPICIOUS
    numbers = {key: round(value, 4) for key, value in found._asdict().items()}
    best = {fact: round(single.auc, 4) for fact, single in alone.items()}
    return {"part": part, **numbers, "verdict": verdict, "because": why, "alone": best}


def _why(alone: Mapping[str, Separation], names: Mapping[str, str]) -> str:
    """The facts that tell most, at most three of different names."""
    telling = sorted(alone, key=lambda fact: -alone[fact].auc)
    said: dict[str, str] = {}
    for fact in telling:
        if alone[fact].auc >= SMALL and alone[fact].low > CHANCE:
            name = names.get(fact, fact)
            words = f"AUC {alone[fact].auc:.3f}"
            said.setdefault(name, f"{name} ({fact} alone: {words})" if name != fact else f"{name} (alone: {words})")
    first = telling[0]
    return ", ".join(list(said.values())[:3]) or f"nothing stands out; {first} alone: AUC {alone[first].auc:.3f}"


def _counted(part: str, verdict: str, because: str) -> dict[str, Any]:
    return {"part": part, "auc": None, "low": None, "high": None, "verdict": verdict, "because": because, "alone": {}}


def _add_counts(report: dict[str, Any], rows: Sequence[Row]) -> None:
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
    for name, inside in _strata(rows).items():
        real, fake = np.bincount([rows[i].label for i in inside], minlength=2)
        if max(real, fake) > IMBALANCE * min(real, fake):
            uneven.append(f"{name}: {real:,} REAL, {fake:,} FAKE")
    text = "; ".join(uneven) or f"{images['REAL']:,} REAL, {images['FAKE']:,} FAKE"
    text += f"; sizes: {len(sizes['REAL']):,} in REAL, {len(sizes['FAKE']):,} in FAKE"
    report["lines"].append(_counted("counts", SUSPICIOUS if uneven else CLEAN, text))
    both, torn = counts["copies in both classes"], counts["groups across splits"]
    text = f"{counts['exact copies']:,} exact copies, {counts['alike']:,} images grouped with an earlier one; "
    text += f"{both:,} pictures in both classes, {torn:,} groups across splits"
    report["lines"].append(_counted("duplicates", SUSPICIOUS if both or torn else CLEAN, text))
    missing = sum(counts["without a licence"].values())
    text = f"{missing:,} of {len(rows):,} images without one" if missing else "every image has one"
    report["lines"].append(_counted("licences", NOT_JUDGED if missing else CLEAN, text))


def _add_pixels(report: dict[str, Any], rows: Sequence[Row], read: Callable[[int], bytes], seed: int) -> None:
    """The lines that need files: traces of pixels and the swap test, from the same sample."""
    few, places = _sample(rows, MOST_READ, seed)
    wide = [min(row.width, row.height) >= traces.LEAST_SIDE for row in few]
    sides = [min(row.width, row.height) for row, fits in zip(few, wide, strict=True) if fits]
    side = min([traces.MOST_SIDE, *sides]) // 8 * 8
    used = Counter(row.quality for row in few)
    quality = min(SWAP_QUALITIES, key=lambda candidate: used[candidate])
    before: list[Row] = []
    after: list[Row] = []
    found: list[dict[str, float]] = []
    for row, place, fits in zip(few, tqdm(places, desc="auditing", unit=" images", disable=None), wide, strict=True):
        try:
            pixels, _ = decode(read(int(place)), ImageSettings())
        except BadImage:
            continue
        if not fits or min(pixels.shape[:2]) < side:
            continue
        before.append(row)
        after.append(_encoded_again(row, pixels, quality) if row.label == FAKE else row)
        found.append(traces.pixel_traces(traces.middle(pixels, side)))
    report["read"] = {"files": len(few), "left out": len(few) - len(found), "square": side}
    codec = LAST_CODEC if all(row.was for row in before) else ""
    for part, names, because in (("codec traces", traces.CODEC_FACTS, codec), ("detail", traces.DETAIL_FACTS, SCALED)):
        facts = {name: np.array([trace[name] for trace in found], np.float64) for name in names}
        report["lines"] += _judge(part, facts, before, seed, because=because)
        report["distributions"] |= traces.distributions(facts, _labels(before))
    report["lines"].append(_swap(before, after, quality, seed))


def _encoded_again(row: Row, pixels: np.ndarray, quality: int) -> Row:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality, subsampling="4:2:0")
    return replace(row, format="JPEG", mode="RGB", sampling="4:2:0", quality=quality, bytes=out.tell())


def _swap(before: Sequence[Row], after: Sequence[Row], quality: int, seed: int) -> dict[str, Any]:
    """Would file facts show that one class alone was encoded again? Where they do not, their silence means nothing."""
    facts = (_only(traces.file_facts(rows), traces.FILE_FACTS) for rows in (before, after))
    was, line = (_line("swap test", values, before, seed) for values in facts)
    if line["auc"] is None:
        return line
    moved = f"FAKE alone encoded again as JPEG {quality} moves file facts from {was['auc']:.3f} to {line['auc']:.3f}"
    if was["low"] >= LARGE:
        return line | {"verdict": NOT_JUDGED, "because": f"{moved}; the classes were apart before"}
    if line["low"] >= LARGE:
        return line | {"verdict": CLEAN, "because": f"{moved}: a codec of one class would be seen"}
    return line | {"verdict": SUSPICIOUS, "because": f"{moved}: a codec of one class would not be seen"}
