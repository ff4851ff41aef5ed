"""What was made of a data set, found again by the sizes and times of the files it was made of: none is listed or read.

One small file for each way of preparing it, beside its stores.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import PIL

from datasets.manifest import whole_file


@dataclass(frozen=True)
class Prepared:
    """stamp: of the files and of the program that read them; packed, split: names of folders of the data set; digest,
    content, notes: as build.Dataset has them."""

    stamp: str
    packed: str
    split: str
    digest: str
    content: str
    notes: list[str]


def code_in(folder: Path) -> str:
    """Changes with every line of the program below `folder`."""
    code = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        code.update(file.read_bytes())
    return code.hexdigest()


CODE = code_in(Path(__file__).parent)  # as it is imported, whatever becomes of the files while this process works


def place(home: Path, settings: Any, *, split: bool) -> Path:
    """Where it is kept for the settings of a source and a data set in `home`."""
    key = json.dumps([str(home), asdict(settings), split])
    return home / f"prepared-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def stamp_of(files: str) -> str:
    """The stamp of files, as their source gives it, and of the program: other code may list, group or split them
    otherwise."""
    return hashlib.sha256(f"{CODE}\n{PIL.__version__}\n{files}".encode("utf-8", "surrogateescape")).hexdigest()


def read(path: Path, stamp: str) -> Prepared | None:
    """What is kept there, where it has this stamp."""
    with suppress(FileNotFoundError, ValueError, TypeError):  # the last two: a damaged one is made anew
        known = Prepared(**json.loads(path.read_text(encoding="utf-8")))
        if known.stamp == stamp:
            return known
    return None


def write(path: Path, known: Prepared) -> None:
    """Keep it, whole or not at all."""
    with whole_file(path) as handle:
        json.dump(asdict(known), handle, indent=1)
