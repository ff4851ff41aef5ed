"""Any folder of pictures as a source: train|val|test / real|fake, or just real|fake."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from datasets.manifest import LABELS, DataError, Row
from datasets.partition import check_settings

SPLIT_FOLDERS = ("train", "val", "test")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
LITTER = {".ds_store", "thumbs.db", "desktop.ini"}  # left by file managers, nobody's data


@dataclass
class FolderSettings:
    """Settings of `data=folder`.

    root: the folder. val_share, test_share: shares cut by seed where the folder brings no such split.
    leaks: drop leaves out training images whose like also stands in validation or test; keep trains on them.
    fold: 0 to folds - 1 makes that part of all images the test split, whatever the folder brings; none: no folds.
    max_bad: share of files that may be damaged, repaired or not, before it is an error.
    image_size: an int or [height, width]; fit: stretch, center_crop, pad, or patches: up to `patches` a picture.
    repair: what becomes of a damaged training image. quarantine: it is left out; inpaint: a JPEG that was cut short is
    completed, see datasets.inpaint; replace: another of its class, split and source, drawn by data_seed, is seen twice.
    It gets its split as any other, and is left out where that is not train. repair_test: inpaint completes those of
    validation and test, too.
    """

    source: str = "folder"
    name: str = "folder"
    root: str = ""
    val_share: float = 0.1
    test_share: float = 0.1
    leaks: str = "drop"
    fold: int | None = None
    folds: int = 5
    data_seed: int = 0
    image_size: Any = 32
    fit: str = "stretch"
    patches: int = 1
    max_bad: float = 0.01
    repair: str = "quarantine"
    repair_test: bool = False

    def __post_init__(self) -> None:
        check_settings(self)


class FileLocation(NamedTuple):
    """A file on disk; stamp changes when its place, its size or a time of change does."""

    path: str
    stamp: str

    @classmethod
    def of(cls, path: Path, status: os.stat_result | None) -> "FileLocation":
        """`status` as os.stat gave it; None for what cannot be read, such as a link that leads nowhere."""
        return cls(str(path), f"{path.absolute()}:{_times(status)}")

    def read(self) -> bytes:
        """The file's bytes; OSError where it cannot be read."""
        return Path(self.path).read_bytes()


def rows(settings: FolderSettings, folder: Path) -> list[tuple[Row, FileLocation]]:
    """List every file below the class folders, sorted by path; `folder` (the data set's own) is not needed.

    Whether a file is a picture is for the decoder to say: here nothing is skipped.
    """
    root, found = _root(settings), []
    for split, split_folder in _split_folders(root):
        for label_name, class_folder in class_folders(split_folder).items():
            files = files_below(class_folder)
            if not files:
                raise DataError(f"{class_folder}: holds no file; expected pictures of the class {label_name}")
            inside = class_folder.relative_to(root).as_posix()
            for name, location in files.items():
                row = Row(_shown(f"{inside}/{name}"), LABELS[label_name], split=split, source=settings.name)
                found.append((row, location))
    return sorted(found, key=lambda pair: pair[0].path)


def stamp(settings: FolderSettings, folder: Path) -> str:
    """Changes when what `rows` gives may have changed; DataError, before anything is walked through, as there."""
    root = _root(settings)
    for _, split_folder in _split_folders(root):
        class_folders(split_folder)
    return stamp_below(root)


def _root(settings: FolderSettings) -> Path:
    if not settings.root:
        raise DataError("data.root is missing: give the folder of pictures, for example data=folder data.root=pictures")
    root = Path(settings.root).expanduser()
    if not root.is_dir():
        raise DataError(f"data.root={settings.root}: no such folder")
    return root


def one_class(root: Path, label: int) -> list[tuple[Row, FileLocation]]:
    """List every file below a folder whose pictures are all of one class, sorted by path."""
    found = [(Row(_shown(name), label), location) for name, location in files_below(root).items()]
    return sorted(found, key=lambda pair: pair[0].path)


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def subfolders(folder: Path) -> dict[str, Path]:
    """Visible folders inside `folder` by lower-case name; DataError where two share one or pictures lie beside them."""
    inside: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            if entry.suffix.lower() in PICTURES:
                raise DataError(f"{entry}: a picture beside the class folders; expected every picture inside of one")
            continue
        if entry.name.lower() in inside:
            raise DataError(f"{folder}: holds both {inside[entry.name.lower()].name} and {entry.name}; expected one")
        inside[entry.name.lower()] = entry
    return inside


def class_folders(folder: Path) -> dict[str, Path]:
    """The folders of the two classes inside `folder`, as {"REAL": ..., "FAKE": ...}; DataError where they are not."""
    inside = subfolders(folder)
    if set(inside) != {"real", "fake"}:
        names = ", ".join(entry.name for entry in inside.values()) or "none"
        raise DataError(f"{folder}: holds the folders {names}; expected real and fake, and no others")
    return {name.upper(): inside[name] for name in ("real", "fake")}


def _split_folders(root: Path) -> list[tuple[str, Path]]:
    inside = subfolders(root)
    if set(inside) & {"real", "fake"}:
        return [("", root)]
    if "train" not in inside or not set(inside) <= set(SPLIT_FOLDERS):
        names = ", ".join(entry.name for entry in inside.values()) or "none"
        raise DataError(
            f"data.root={root}: holds the folders {names}; expected real and fake, or train, test and perhaps val, "
            "each with real and fake"
        )
    return [(split, inside[split]) for split in SPLIT_FOLDERS if split in inside]


def files_below(folder: Path) -> dict[str, FileLocation]:
    """Every file below by its path from there, links followed, each folder once even where links make a circle."""
    start = len(os.path.join(folder.absolute(), ""))  # noqa: PTH118 - with the slash
    return {
        entry.path[start:]: FileLocation(entry.path, f"{entry.path}:{_times(status)}")
        for entry, status in _below(folder.absolute())
        if not entry.is_dir() and entry.name.lower() not in LITTER and not entry.name.startswith("._")
    }


def stamp_below(folder: Path, *, but: tuple[str, ...] = ()) -> str:
    """Changes when a file or a folder below comes, goes or is renamed, and when a file's size or a time of it does.

    but: how the names of what does not count begin, by their path from the folder.
    """
    start = len(os.path.join(folder.absolute(), ""))  # noqa: PTH118 - with the slash
    entries = [
        f"{entry.path}\0{'' if entry.is_dir() else _times(status)}".encode("utf-8", "surrogateescape")
        for entry, status in _below(folder.absolute())
        if not entry.path.startswith(but, start)
    ]
    return hashlib.sha256(b"\n".join([os.fsencode(folder.absolute()), *sorted(entries)])).hexdigest()


def _below(folder: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result | None]]:
    """Every file and folder below, links followed; the status of a folder, and of what cannot be read, is None."""
    seen, waiting = set(), [str(folder)]
    while waiting:
        place = waiting.pop()
        here = os.stat(place)  # noqa: PTH116 - a Path for each of a million files takes longer than reading it
        if (here.st_dev, here.st_ino) in seen:
            continue
        seen.add((here.st_dev, here.st_ino))
        with os.scandir(place) as entries:
            for entry in entries:
                status = None
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    with suppress(OSError):
                        status = entry.stat()
                yield entry, status


def _times(status: os.stat_result | None) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}" if status else "gone"
