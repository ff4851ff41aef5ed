"""Which degradations, and how strong: a grid from a yaml of conf/robustness or one's own."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from datasets.degrade import KINDS, Degradation, check
from experiments.shell import Unusable

FOLDER = Path(__file__).parents[1] / "conf" / "robustness"
CLEAN = "clean"

Cell = Degradation | None  # None: pictures as they are


def read(word: str) -> list[Cell]:
    """The cells of a grid by its name, or of a yaml file: the clean pictures first, then in the order of the file.

    Raises Unusable where it is not names of KINDS, each with a list of strengths.
    """
    path = Path(word) if word.endswith((".yaml", ".yml")) else FOLDER / f"{word}.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise Unusable(f"--grid {word}: expected one of {known}, or the path of a yaml file") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or no date
        raise Unusable(f"--grid {path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not found:
        raise Unusable(f"--grid {path}: expected lines such as jpeg: [90, 50]; kinds are {', '.join(KINDS)}")
    cells: list[Cell] = [None]
    for name, strengths in found.items():
        if not isinstance(strengths, list) or not strengths:
            raise Unusable(f"--grid {path}: {name}: {strengths!r}: expected a list of strengths such as [90, 50]")
        for strength in strengths:
            try:
                check((name, strength))
            except ValueError as error:
                raise Unusable(f"--grid {path}: {error}") from error
            cells.append((name, float(strength)))
    labels = [label(cell) for cell in cells]  # by which all that follows tells them apart
    if len(set(labels)) < len(labels):
        twice = next(each for place, each in enumerate(labels) if each in labels[:place])
        raise Unusable(f"--grid {path}: {twice} stands there twice")
    return cells


def label(cell: Cell) -> str:
    """A cell in words: clean, jpeg 90."""
    return f"{cell[0]} {cell[1]:g}" if cell else CLEAN


def lines(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of each kind from mild to strong, or along its strength where that lies on both sides of the clean
    pictures, which stand in their place among them."""
    found: dict[str, list[Cell]] = {}
    for name in dict.fromkeys(cell[0] for cell in cells if cell):
        clean = KINDS[name].clean
        placed: list[tuple[float, Cell]] = [(cell[1], cell) for cell in cells if cell and cell[0] == name]
        falling = all(strength <= clean for strength, _ in placed)
        clean += 0.5 if falling else -1e-9  # before a cell of the same strength, such as quality 100
        ordered = sorted([*placed, (clean, None)], key=lambda pair: -pair[0] if falling else pair[0])
        found[name] = [cell for _, cell in ordered]
    return found
