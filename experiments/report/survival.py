"""What experiments.robustness left beside the runs, as a section of their report."""

from pathlib import Path

from experiments import charts, runs
from experiments.report.blocks import Bullets, Picture, Section, Table, Text
from experiments.robustness import document, figures


def sections(root: Path) -> list[Section]:
    """One section, or none where nothing was degraded yet."""
    found = document.read(root / "robustness")
    if found is None:
        return []
    if any(runs.mark(root / name) != then for name, then in found["runs"].items()):
        said = "Its runs have changed since they were scored: python -m experiments.robustness looks again."
        return [Section("Degraded pictures", [Text(said)])]
    summary, (head, rows) = document.summary(found), document.table(found)
    drawn = {"robustness": figures.heat(found), "robustness-one-sided": figures.one_sided(found)}
    captions = ("Both classes degraded.", "Solid, filled: only fakes degraded; dashed, hollow: only reals.")
    pictures = [
        Picture(name, f"{caption} {' '.join(summary)}", caption, charts.png(figure), charts.svg(figure))
        for (name, figure), caption in zip(drawn.items(), captions, strict=True)
    ]
    said = f"Test {found['metric']}, and the difference to {head[1]} in points; {document.marks()}"
    return [Section("Degraded pictures", [Text(found["title"]), Bullets(summary), *pictures, Table(said, head, rows)])]
