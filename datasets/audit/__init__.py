"""What separates the classes besides their content: facts of the files, codec traces, colour, counts, copies.

A verdict goes by the 95 % interval of an AUC (datasets/audit/separation.py), so by size and certainty of an effect:
  confounded     its low end is at least 0.60: a network may learn this and nothing else
  clean          its high end is below 0.55, however certain the effect; or chance lies within and 0.65 does not
  too few to say chance lies within, and so does 0.65; or fewer than 20 images of a class
  suspicious     everything between
  not judged     counted only
Some of it may be innocent, and what is found there is called suspicious at most: colour, and how fine and noisy a
picture is, may be the very thing that generation does to a picture; bytes per pixel may be detail, where the codec is
known; codec traces may be what is shown, where every image was equalised; how far equalising scaled pictures down shows
in them as resampling only. The verdict on the whole is the worst of the lines.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from datasets.audit import traces
from datasets.audit.counts import add_counts
from datasets.audit.pixels import add_pixels
from datasets.audit.verdicts import CONFOUNDED, INNOCENT, SUSPICIOUS, VERDICTS, judge, labels_of, only, sample
from datasets.manifest import Row

MOST_THUMBS = 10_000  # of a class; as for the next
MOST_SHORT = 20_000
# Of these the quality is a fact of its own, or nothing was lost: what is left of the bytes is the picture's own.
EXPLAINED = {"JPEG", "PNG", "BMP", "GIF"}
DETAILED = "bytes go with how detailed pictures are, once codec and quality are the same"
RESAMPLED = (
    "how far pictures were scaled down differs between the classes, which shows as resampling only; "
    "collect photographs of about the generator's size"
)


def audit(
    rows: Sequence[Row], thumbs: np.ndarray, read: Callable[[int], bytes] | None, *, seed: int = 0
) -> dict[str, Any]:
    """The whole audit of a listing, as a report that JSON can hold.

    rows: one a file; thumbs: uint8 (N, H, W, 3), in the same order; read: number of a row -> its file's bytes; None
    leaves out what needs them. Rows that are `unused` are left out. Where several sources come together, each that has
    both classes is also judged alone, and so are the others together: a small source hides in a large one.
    File facts are judged on all rows, colours and scaling on at most MOST_THUMBS, pixels on at most pixels.MOST_READ of
    a class, by lot.

    report: verdict; lines, each part, auc, low, high (None where nothing was measured), verdict, because, alone (AUC
    of each fact for itself); counts; distributions: fact -> REAL, FAKE (counts), edges, quartiles; read: how many files
    were to be read, how many of them were unreadable or too small, and the side of the square seen of the others.
    """
    report = _report(rows, thumbs, seed, most_rows=len(rows), most_thumbs=MOST_THUMBS)
    if read:
        add_pixels(report, rows, read, seed)
    return _finished(report)


def short(rows: Sequence[Row], thumbs: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The audit without reading a file, on at most MOST_SHORT rows of a class: what runs before a training."""
    return _finished(_report(rows, thumbs, seed, most_rows=MOST_SHORT, most_thumbs=MOST_SHORT // 5))


def warning(report: Mapping[str, Any]) -> str:
    """One line that names the shortcuts of a confounded set; empty for all others."""
    found = [f"{line['part']}: {line['because']}" for line in report["lines"] if line["verdict"] == CONFOUNDED]
    return f"confounded: the classes differ in more than what they show; {'; '.join(found)}" if found else ""


def headline(report: Mapping[str, Any]) -> str:
    """The verdict in one line, with the parts that tell the classes apart."""
    telling = [line for line in report["lines"] if line["verdict"] in (SUSPICIOUS, CONFOUNDED) and line["auc"]]
    parts = ", ".join(f"{line['part']} AUC {line['auc']:.3f}" for line in telling)
    return f"audit: {report['verdict']}{f' ({parts})' if parts else ''}"


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


def _report(rows: Sequence[Row], thumbs: np.ndarray, seed: int, *, most_rows: int, most_thumbs: int) -> dict[str, Any]:
    report: dict[str, Any] = {"verdict": "", "seed": seed, "lines": [], "counts": {}, "distributions": {}}
    few, _ = sample(rows, most_rows, seed)
    facts = traces.file_facts(few)
    report["lines"] += judge("file facts", only(facts, traces.FILE_FACTS), few, seed, names=traces.FILE_FACTS)
    known = np.array([row.format in EXPLAINED for row in few], bool)
    report["lines"] += judge(traces.DENSITY, only(facts, [traces.DENSITY]), few, seed, because=DETAILED, of=known)
    report["distributions"] |= traces.distributions(facts, labels_of(few))
    few, places = sample(rows, most_thumbs, seed)
    colors = traces.color_facts(thumbs[places])
    report["lines"] += judge("colour", colors, few, seed, because=INNOCENT)
    report["distributions"] |= traces.distributions(colors, labels_of(few))
    if scaled := [row for row in few if row.was]:
        scaling = traces.scaling_facts(scaled)
        report["lines"] += judge("scaling", scaling, scaled, seed, because=RESAMPLED)
        report["distributions"] |= traces.distributions(scaling, labels_of(scaled))
    add_counts(report, [row for row in rows if row.split != "unused"])
    return report


def _finished(report: dict[str, Any]) -> dict[str, Any]:
    report["verdict"] = max((line["verdict"] for line in report["lines"]), key=VERDICTS.index)
    return report
