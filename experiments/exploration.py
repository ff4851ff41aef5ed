"""A page of a data set: how what is measured of its pictures is spread in each class, and what they look like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets import audit
from datasets.build import Dataset
from datasets.manifest import LABELS
from experiments import audit_figure, charts
from experiments.audit_figure import PANELS
from experiments.figures import contact_sheet
from experiments.overlays import SIDE, enlargement, shrunk
from experiments.report import files
from experiments.report.blocks import Block, Bullets, Code, Picture, Report, Section, Table, Text
from experiments.report.examples import png

SHOWN = 8  # pictures of each class
# What each fact is, beyond its unit; measured in datasets/audit/traces.py.
MEASURED = {
    "scale": "how far equalising scaled the picture down",
    "quality": "estimated from the quantisation tables of the JPEG",
    "brightness": "0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), mean over the thumbnail of 32 x 32 pixels",
    "saturation": "(max - min) / max of R, G, B, black counts 0, mean over that thumbnail, which is less than that of "
    "the picture where neighbours differ in colour",
    "red": "mean over that thumbnail, 255 is 1; green and blue likewise",
    "sharpness": "variance of the second difference of luma along rows and columns, the Laplacian's two parts, in "
    "squared grey levels; its natural logarithm",
    "noise": "standard deviation of luma in grey levels of 255 (Immerkaer 1996, a difference of two Laplacians, with "
    "the median in place of the mean, so that edges do not count)",
}


def write(name: str, report: Mapping[str, Any], data: Dataset, folder: Path) -> Path:
    """exploration.html, its Markdown and figures/ in a folder; returns the page's path.

    name: of the data set; report: of audit.audit.
    """
    files.write(page(name, report, data), folder, name="exploration")
    return folder / "exploration.html"


def page(name: str, report: Mapping[str, Any], data: Dataset) -> Report:
    """The whole page."""
    drawing = audit_figure.draw(report)
    words = "How each fact is spread in both classes; above a panel the AUC of that fact alone, 0.5 is nothing."
    figure = Picture("distributions", words, words, charts.png(drawing), charts.svg(drawing))
    told = [f"{fact}: {what}." for fact, what in MEASURED.items() if fact in report["distributions"]]
    looked = Text("Sharpness and noise are of a sample of files, each seen on a square about its middle.")
    return Report(
        f"Hueprint: the data set {name}",
        [
            Section("The answer", [Text(f"{audit.headline(report)}."), Bullets(data.notes)]),
            Section("Distributions", [_quartiles(report), figure]),
            Section("Pictures by lot", _pictures(data, report["seed"])),
            Section("What is measured", [Bullets(told), looked]),
            Section("What separates the classes", [Code("\n".join(audit.lines(report)))]),
        ],
    )


def _quartiles(report: Mapping[str, Any]) -> Table:
    alone = audit_figure.areas(report)
    rows = [
        [
            words,
            *(_spread(report["distributions"][fact]["quartiles"][label]) for label in LABELS),
            f"{alone[fact]:.3f}" if fact in alone else "-",
        ]
        for fact, words in PANELS.items()
        if fact in report["distributions"]
    ]
    return Table("Median, and quartiles in brackets", ["fact", *LABELS, "AUC alone"], rows)


def _spread(quartiles: list[float]) -> str:
    if not quartiles:
        return "-"
    low, middle, high = (f"{value:.4g}" for value in quartiles)
    return f"{middle} ({low} to {high})"


def _pictures(data: Dataset, seed: int) -> list[Block]:
    """As many of each class as both have, SHOWN at most, at the size that a network gets."""
    lot = np.random.default_rng(seed)
    labels = data.labels[data.first]
    chosen = [lot.permutation(data.first[labels == label])[:SHOWN] for label in LABELS.values()]
    count = min(map(len, chosen))
    pictures = [np.asarray(data.images[np.sort(few[:count])]) for few in chosen]
    columns = {
        f"{place + 1}": shrunk(np.stack([of_class[place] for of_class in pictures]), SIDE) for place in range(count)
    }
    sheet = contact_sheet(columns, [name.lower() for name in LABELS], scale=enlargement(pictures[0]))
    alt = f"{count} real and {count} fake pictures."
    return [Picture("by-lot", alt, "Drawn by lot, not chosen; as large as a network sees them.", png(sheet))]
