"""What a report is made of: sections of plain blocks, written once and drawn as HTML and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph, or a small heading inside a section."""

    words: str
    heading: bool = False


@dataclass(frozen=True)
class Bullets:
    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """head: one cell a column; rows: as many cells each, the first of them names the row."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """name: of its files in figures/, without ending; alt: what it shows, in words; svg: None for photographs;
    narrow: a figure that a phone shows whole, and that stands beside others where there is room."""

    name: str
    alt: str
    caption: str
    png: bytes
    svg: bytes | None = None
    narrow: bool = False


@dataclass(frozen=True)
class Code:
    """Lines that keep their spaces: commands, tables of the terminal."""

    text: str


Block = Text | Bullets | Table | Picture | Code


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    title: str
    sections: Sequence[Section]

    @property
    def pictures(self) -> list[Picture]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]
