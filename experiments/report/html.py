"""A report as one HTML page that needs nothing but itself: no network, no script, pictures inside."""

import base64
from collections.abc import Sequence
from html import escape

from experiments.report.blocks import Block, Bullets, Code, Picture, Report, Section, Table, Text

# Pictures keep a white ground in dark pages. What is wider than a phone scrolls inside its own box, never the page.
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5a6068; --ground: #ffffff; --line: #d5d9de; --band: #f3f5f7;
  --link: #0b5394; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a6adb6; --ground: #15181c; --line: #3a4048;
  --band: #20252b; --link: #8ab8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p, ul { max-width: 46rem; margin: .5rem 0; }
ul { padding-left: 1.2rem; }
a { color: var(--link); }
nav { margin-top: 1.5rem; }
nav ul { columns: 18rem; padding: 0; list-style: none; font-size: .9rem; }
section:first-of-type p { font-size: 1.12rem; }
.box { overflow-x: auto; margin: .8rem 0; border: 1px solid var(--line); border-radius: 6px; }
.box:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .84rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption, figcaption { text-align: left; color: var(--soft); font-size: .86rem; padding: .5rem .6rem; }
caption span { display: block; position: sticky; left: .6rem; max-width: min(60rem, calc(100vw - 3.5rem)); }
th, td { padding: .35rem .5rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 16rem; }
thead th { background: var(--band); white-space: nowrap; vertical-align: bottom; }
figure { margin: 1rem 0; }
figure.pixels, figure.narrow { display: inline-block; vertical-align: top; margin-right: 1rem; max-width: 100%; }
figure .box { background: #ffffff; margin-bottom: 0; width: fit-content; max-width: 100%; }
img { display: block; height: auto; max-width: 100%; min-width: 34rem; margin: 0 auto; background: #ffffff; }
img.pixels { min-width: 26rem; margin: 0; }
img.narrow { min-width: 0; width: 24rem; margin: 0; }
pre { overflow-x: auto; padding: .7rem; margin: .8rem 0; background: var(--band); border-radius: 6px; font-size: .82rem;
  line-height: 1.45; }
@page { margin: 15mm; }
@media print {
  :root { --ink: #000000; --soft: #333333; --ground: #ffffff; --line: #999999; --band: #eeeeee; --link: #000000; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .box { overflow: visible; border: none; }
  img, img.pixels, img.narrow { min-width: 0; max-height: 22cm; }
  table { font-size: 7.5pt; }
  caption span { position: static; max-width: none; }
  th, td { padding: .15rem .3rem; }
  td, thead th { white-space: normal; }
  td.long { min-width: 0; }
  pre { white-space: pre-wrap; }
  figure, tr, pre, li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
LONG = 60  # characters from which on a cell may break its lines


def page(report: Report) -> str:
    """The whole page."""
    links = "".join(
        f'<li><a href="#part-{number}">{escape(section.title)}</a></li>\n'
        for number, section in enumerate(report.sections, start=1)
    )
    answer, *others = (_section(section, number) for number, section in enumerate(report.sections, start=1))
    body = "\n".join(others)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(report.title)}</h1>\n{answer}\n<nav aria-label="Sections">\n<ul>\n{links}</ul>\n</nav>\n'
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section, number: int) -> str:
    blocks = "\n".join(map(_block, section.blocks))
    return (
        f'<section id="part-{number}" aria-labelledby="title-{number}">\n'
        f'<h2 id="title-{number}">{escape(section.title)}</h2>\n{blocks}\n</section>'
    )


def _block(block: Block) -> str:
    if isinstance(block, Text):
        tag = "h3" if block.heading else "p"
        return f"<{tag}>{escape(block.words)}</{tag}>"
    if isinstance(block, Bullets):
        return "<ul>\n" + "".join(f"<li>{escape(line)}</li>\n" for line in block.lines) + "</ul>"
    if isinstance(block, Code):
        return f'<pre tabindex="0">{escape(block.text)}</pre>'
    return _table(block) if isinstance(block, Table) else _picture(block)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "".join(f"<tr>{_cells(row)}</tr>\n" for row in table.rows)
    return (
        f'<div class="box" role="region" aria-label="{escape(table.caption)}" tabindex="0">\n<table>\n'
        f"<caption><span>{escape(table.caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>\n</div>"
    )


def _cells(row: Sequence[str]) -> str:
    first, *others = row
    cells = [(' class="long"' if len(cell) > LONG else "", escape(cell)) for cell in others]
    return f'<th scope="row">{escape(first)}</th>' + "".join(f"<td{look}>{cell}</td>" for look, cell in cells)


def _picture(picture: Picture) -> str:
    kind, data = ("svg+xml", picture.svg) if picture.svg is not None else ("png", picture.png)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    style = "pixels" if picture.svg is None else "narrow" if picture.narrow else ""
    look = f' class="{style}"' if style else ""
    return (
        f'<figure{look}>\n<div class="box" tabindex="0" role="region" aria-label="{escape(picture.caption)}">'
        f'<img{look} src="{source}" alt="{escape(picture.alt)}"></div>\n'
        f"<figcaption>{escape(picture.caption)}</figcaption>\n</figure>"
    )
