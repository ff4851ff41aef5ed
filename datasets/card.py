"""dataset_card.md: what a built set is made of, for its reader and for a paper."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets import audit, build, origins, sources
from datasets.assemble import Assembled
from datasets.built import Recipe, read_recipe
from datasets.manifest import NAME_OF_LABEL, Row, whole_file
from datasets.origins import Origin

CITATIONS = {
    "cifake": "CIFAKE: Bird & Lotfi 2024, IEEE Access 12; Krizhevsky & Hinton 2009 (CIFAR-10). Licence MIT.",
    "flux": "Images made with FLUX.1-schnell: Black Forest Labs 2024, weights under Apache-2.0.",
    "photos": "Photographs: see ATTRIBUTION.csv of the collection; name every author when you pass pictures on.",
}


def write(made: Assembled, data_root: Path) -> tuple[Path, build.Dataset]:
    """Pack the set once, small, split and audit it, and write its card; returns the card's path and the data set."""
    name = made.home.name
    data = build.prepare_or_look(sources.settings_for(name, data_root), data_root=data_root)
    recipe = read_recipe(made.home)
    made_by = {origin.name: origins.describe(origin, data_root) for origin in recipe.origins}
    rows = [data.rows[i] for i in data.first]
    path = made.home / "dataset_card.md"
    with whole_file(path) as handle:
        report = audit.lines(data.audit)
        handle.write(text(name, recipe, rows, made.quarantine, made_by=made_by, notes=data.notes, audit_lines=report))
    return path, data


def text(
    name: str,
    recipe: Recipe,
    rows: Sequence[Row],
    quarantine: Sequence[tuple[str, str]],
    *,
    made_by: dict[str, list[str]],
    notes: Sequence[str],
    audit_lines: Sequence[str],
) -> str:
    """The card as Markdown.

    rows: one a file, with their split; quarantine: (path, reason); made_by: for the name of an origin, lines on how its
    images were made; notes, audit_lines: lines of `build.prepare` and of the audit's table.
    """
    parts = [
        f"# {name}",
        "Real and generated images for the question whether a detector sees how an image was made.",
        "## Images",
        _table(
            ["source", "class", "train", "val", "test", "left out as leaks", "licences"],
            [_counts(rows, source, label) for source, label in sorted({(row.source, row.label) for row in rows})],
        ),
        _balance(rows),
        "## Sources",
        *(_source(origin, made_by[origin.name]) for origin in recipe.origins),
        "## Equalising",
        _law(recipe),
        _table(["class", "size", "format", "quality, least / median / most"], _sizes(rows)),
        "## Left out",
        _bullets(left_out(quarantine)) or "Nothing.",
        "## Duplicates and splits",
        _bullets(notes),
        "## Audit",
        "What separates the classes besides what they show; `python scripts/audit_dataset.py " + name + "` draws it.",
        "```\n" + "\n".join(audit_lines) + "\n```",
        "## Citation",
        _bullets([CITATIONS[kind] for kind in sorted({origin.kind for origin in recipe.origins} & set(CITATIONS))]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _counts(rows: Sequence[Row], source: str, label: int) -> list[object]:
    mine = [row for row in rows if (row.source, row.label) == (source, label)]
    split = Counter(row.split for row in mine)
    licences = Counter(row.license or "not noted" for row in mine)
    named = ", ".join(f"{licence} ({number:,})" for licence, number in licences.most_common(8))
    return [
        *(source, NAME_OF_LABEL[label]),
        *(f"{split[key]:,}" for key in ("train", "val", "test", "unused")),
        named + (f" and {len(licences) - 8} more" if len(licences) > 8 else ""),
    ]


def _balance(rows: Sequence[Row]) -> str:
    count = Counter(row.label for row in rows)
    real, fake = count[0], count[1]
    return f"REAL {real:,}, FAKE {fake:,}: {max(real, fake) / max(1, min(real, fake)):.2f} to 1."


def _source(origin: Origin, lines: Sequence[str]) -> str:
    label = "" if origin.label is None else f", {NAME_OF_LABEL[origin.label]}"
    return f"**{origin.name}** ({origin.kind}{label})\n\n" + _bullets(lines)


def _law(recipe: Recipe) -> str:
    if recipe.equalize is None:
        return "None: every image is as it came. Size and codec may tell the classes apart."
    law = "; ".join(f"{key} {value}" for key, value in recipe.equalize.items())
    return f"Every image but CIFAKE's went through one law, its lots drawn from the image's own bytes: {law}."


def _sizes(rows: Sequence[Row]) -> list[list[object]]:
    lines: list[list[object]] = []
    for label, name in NAME_OF_LABEL.items():
        mine = [row for row in rows if row.label == label]
        for (width, height, kind), number in Counter((row.width, row.height, row.format) for row in mine).most_common(
            5
        ):
            qualities = [row.quality for row in mine if (row.width, row.height, row.format) == (width, height, kind)]
            band = f"{min(qualities)} / {np.median(qualities):.0f} / {max(qualities)}" if any(qualities) else "-"
            lines.append([name, f"{width}x{height} ({number:,})", kind, band])
    return lines


def left_out(quarantine: Sequence[tuple[str, str]]) -> list[str]:
    """How many of which source were left out, by reason, the most frequent eight; empty where nothing was."""
    # a reason that names the size of its picture is the same for its likes
    kinds = Counter((path.split("/")[0], re.sub(r"^\d+x\d+ pixels; ", "", reason)) for path, reason in quarantine)
    shown = [f"{source}: {number:,} x {reason}" for (source, reason), number in kinds.most_common(8)]
    return shown + ([f"and {len(kinds) - 8:,} more reasons"] if len(kinds) > 8 else [])
