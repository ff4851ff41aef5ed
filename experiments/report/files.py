"""A report on disk: its page, the same as Markdown, its figures."""

from pathlib import Path

from datasets.manifest import whole_file
from experiments.report import html, markdown
from experiments.report.blocks import Report


def write(report: Report, folder: Path, *, name: str) -> None:
    """`name`.html, `name`.md and figures/ of a report, each whole or not there."""
    for picture in report.pictures:
        for ending, data in (("png", picture.png), ("svg", picture.svg)):
            if data is not None:
                with whole_file(folder / "figures" / f"{picture.name}.{ending}", "wb") as file:
                    file.write(data)
    for ending, text in (("md", markdown.page(report)), ("html", html.page(report))):
        with whole_file(folder / f"{name}.{ending}") as file:
            file.write(text)
