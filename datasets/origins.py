"""Where the images of a built set come from, by name: CIFAKE, a collection of one class, or a folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from datasets import cifake, flux, folder, ledger, photos
from datasets.decoding import Location
from datasets.manifest import FAKE, NAME_OF_LABEL, REAL, DataError, Row

COLLECTIONS = "collections"  # folder inside of the data root
LISTINGS = {"flux": flux.rows, "photos": photos.rows}
DESCRIPTIONS = {"flux": flux.describe, "photos": photos.describe}
LABEL_OF_KIND = {"flux": FAKE, "photos": REAL}
MAKE = {"flux": "python scripts/generate_flux.py", "photos": "python scripts/collect_photos.py"}


@dataclass(frozen=True)
class Origin:
    """name: as it stands before the slash in paths of the manifest; kind: cifake, a key of LISTINGS, or folder.

    root: of the files; empty for CIFAKE, whose place stands in its own folder. label: of a folder of one class, else
    None: the origin says itself.
    """

    name: str
    kind: str
    root: str = ""
    label: int | None = None


def find(word: str, data_root: Path, *, label: int | None = None) -> Origin:
    """What a user means by a word: `cifake`, the name of a collection, or the path of a folder.

    label: the class asked for. DataError where there is nothing of that name, or where it is of the other class.
    """
    collection = data_root / COLLECTIONS / word
    if (collection / ledger.FILE).is_file():
        kind, _ = ledger.read(collection)
        if label not in (None, LABEL_OF_KIND[kind]):
            raise DataError(f"{collection}: holds {NAME_OF_LABEL[LABEL_OF_KIND[kind]]} images ({kind}), not the other")
        return Origin(word, kind, str(collection))
    if word == "cifake" and label is None:
        return Origin(word, "cifake")
    root = Path(word).expanduser()
    if root.is_dir():
        return Origin(root.resolve().name, "folder", str(root.resolve()), label)
    make = f"; make one with: {MAKE[word]}" if word in MAKE else ""
    known = sorted(file.parent.name for file in (data_root / COLLECTIONS).glob(f"*/{ledger.FILE}"))
    raise DataError(
        f"{word}: expected a collection in {data_root / COLLECTIONS} ({', '.join(known) or 'there is none'}), "
        f"cifake, or the path of a folder{make}"
    )


def listing(origin: Origin, data_root: Path) -> list[tuple[Row, Location]]:
    """The images of an origin, their paths beginning with its name, sorted by path; none is opened."""
    found: list[tuple[Row, Location]]
    if origin.kind == "cifake":
        found = [*cifake.rows(data_root / "cifake")]
    elif origin.kind in LISTINGS:
        found = [*LISTINGS[origin.kind](Path(origin.root))]
    elif origin.label is None:
        found = [*folder.rows(folder.FolderSettings(root=origin.root), data_root)]
    else:
        found = [*folder.one_class(Path(origin.root), origin.label)]
    if not found:
        raise DataError(f"{origin.root or origin.name}: holds no images yet")
    named = [(replace(row, path=f"{origin.name}/{row.path}", source=origin.name), place) for row, place in found]
    return sorted(named, key=lambda pair: pair[0].path)


def describe(origin: Origin) -> list[str]:
    """How the images of an origin came to be, in lines for the data card."""
    if origin.kind in DESCRIPTIONS:
        return DESCRIPTIONS[origin.kind](Path(origin.root))
    return [f"folder {Path(origin.root).name}"] if origin.kind == "folder" else ["as published, in its own split"]
