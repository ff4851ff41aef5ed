"""Where the images of a built set come from, by name: CIFAKE, a collection of one class, or a folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import cifake, flux, folder, ledger, photos
from datasets.decoding import Location
from datasets.folder import stamp_below
from datasets.manifest import FAKE, NAME_OF_LABEL, REAL, DataError, Row

COLLECTIONS = "collections"  # folder inside of the data root
LISTINGS = {"flux": flux.rows, "photos": photos.rows}
DESCRIPTIONS = {"flux": flux.describe, "photos": photos.describe}
LABEL_OF_KIND = {"flux": FAKE, "photos": REAL}
MAKE = {"flux": "python scripts/generate_flux.py", "photos": "python scripts/collect_photos.py"}


@dataclass(frozen=True)
class Origin:
    """name: as it stands before the slash in paths of the manifest; kind: cifake, a key of LISTINGS, or folder.

    root: of a folder; empty for the others, which lie in the data root. label: of a folder of one class, else None: the
    origin says itself.
    """

    name: str
    kind: str
    root: str = ""
    label: int | None = None


def find(word: str, data_root: Path, *, label: int | None = None) -> Origin:
    """What a user means by a word: `cifake`, the name of a collection, the path of a folder, or NAME=PATH of one.

    label: the class asked for. DataError where there is nothing of that name, or where it is of the other class.
    """
    collection = data_root / COLLECTIONS / word
    if word and (collection / ledger.FILE).is_file():
        kind, _ = ledger.read(collection)
        if label not in (None, LABEL_OF_KIND[kind]):
            raise DataError(f"{collection}: holds {NAME_OF_LABEL[LABEL_OF_KIND[kind]]} images ({kind}), not the other")
        return Origin(word, kind)
    if word == "cifake" and label is None:
        return Origin(word, "cifake")
    name, _, path = ("", "", word) if Path(word).expanduser().is_dir() else word.rpartition("=")
    root = Path(path).expanduser()
    if path and root.is_dir():
        name = name or os.fsencode(root.resolve().name).decode("utf-8", "backslashreplace")
        if not name or name != Path(name).name:
            raise DataError(f"{word}: expected the path of a folder, or NAME=PATH with a plain name")
        return Origin(name, "folder", str(root.resolve()), label)
    make = f"; make one with: {MAKE[word]}" if word in MAKE else ""
    known = sorted(file.parent.name for file in (data_root / COLLECTIONS).glob(f"*/{ledger.FILE}"))
    there = f"{data_root / COLLECTIONS} ({', '.join(known) or 'there is none'})"
    raise DataError(f"{word or repr(word)}: expected a collection in {there}, cifake, or the path of a folder{make}")


def listing(origin: Origin, data_root: Path) -> list[tuple[Row, Location]]:
    """The images of an origin, their paths beginning with its name, sorted by path; none is opened."""
    found = list(_listed(origin, data_root))
    if not found:
        raise DataError(f"{origin.root or origin.name}: holds no images yet")
    named = [(row._replace(path=f"{origin.name}/{row.path}", source=origin.name), place) for row, place in found]
    return sorted(named, key=lambda pair: pair[0].path)


def places(origin: Origin, data_root: Path) -> dict[str, Location]:
    """Path, as `listing` gives it -> where that image lies."""
    return {f"{origin.name}/{row.path}": place for row, place in _listed(origin, data_root)}


def stamp(origin: Origin, data_root: Path) -> str:
    """Changes when what `listing` gives may have changed."""
    if origin.kind == "cifake":
        return cifake.stamp(data_root / "cifake")
    return stamp_below(Path(origin.root) if origin.root else data_root / COLLECTIONS / origin.name)


def describe(origin: Origin, data_root: Path) -> list[str]:
    """How the images of an origin came to be, in lines for the data card."""
    if origin.kind in DESCRIPTIONS:
        return DESCRIPTIONS[origin.kind](data_root / COLLECTIONS / origin.name)
    return [f"folder {Path(origin.root).name}"] if origin.kind == "folder" else ["as published, in its own split"]


def _listed(origin: Origin, data_root: Path) -> Iterator[tuple[Row, Location]]:
    if origin.kind == "cifake":
        yield from cifake.rows(data_root / "cifake")
    elif origin.kind in LISTINGS:
        yield from LISTINGS[origin.kind](data_root / COLLECTIONS / origin.name)
    elif origin.label is None:
        yield from folder.rows(folder.FolderSettings(root=origin.root), data_root)
    else:
        yield from folder.one_class(Path(origin.root), origin.label)
