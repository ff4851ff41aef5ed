"""A report as Markdown whose pictures lie beside it, in figures/."""

import re

from experiments.report.blocks import Block, Bullets, Code, Report, Table, Text


def page(report: Report) -> str:
    """The whole text."""
    parts = [f"# {plain(report.title)}"]
    for section in report.sections:
        parts += [f"## {plain(section.title)}", *map(_block, section.blocks)]
    return "\n\n".join(parts) + "\n"


def plain(words: str) -> str:
    """Words that Markdown shows as they are."""
    marked = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*|\[\]])", r"\\\1", " ".join(marked.split()))


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"{'### ' if block.heading else ''}{plain(block.words)}"
    if isinstance(block, Bullets):
        return "\n".join(f"- {plain(line)}" for line in block.lines)
    if isinstance(block, Code):
        return f"~~~\n{block.text}\n~~~"
    if isinstance(block, Table):
        lines = [list(block.head), ["---"] * len(block.head), *map(list, block.rows)]
        table = "\n".join("| " + " | ".join(plain(cell) for cell in line) + " |" for line in lines)
        return f"{plain(block.caption)}\n\n{table}"
    return f"![{plain(block.alt)}](figures/{block.name}.png)\n\n{plain(block.caption)}"
