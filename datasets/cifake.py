"""CIFAKE as a source: 60,000 photographs of CIFAR-10 and as many drawn by a diffusion model, 32x32, officially split.

Read from its zip or from an unpacked tree; which of them, and where, stands in origin.json of the data set's folder.
https://www.kaggle.com/datasets/birdy654/cifake-real-and-ai-generated-synthetic-images
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import archive
from datasets.archive import Entry
from datasets.folder import LITTER, FileLocation, files_below, stamp_below
from datasets.manifest import LABELS, NAME_OF_LABEL, DataError, Row, whole_file
from datasets.partition import check_settings

# the bracketed number of `0000 (2).jpg`, from 1; no brackets mean 1
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
OFFICIAL_COUNTS = {
    ("train", "REAL"): 50_000,
    ("train", "FAKE"): 50_000,
    ("test", "REAL"): 10_000,
    ("test", "FAKE"): 10_000,
}
LAYOUT = sorted(f"{split}/{label}".lower() for split, label in OFFICIAL_COUNTS)
PICTURES = (".jpg", ".jpeg", ".png")  # names by which misplaced pictures are noticed
NUMBERED = re.compile(r"\d+(?: \((\d+)\))?\.jpe?g")
OURS = (
    "packed-",
    ".packed-",
    "split-",
    "prepared-",
    ".prepared-",
    "degraded",
)  # in a folder that CIFAKE was unpacked into
FETCH = "python scripts/fetch_cifake.py"


@dataclass
class CifakeSettings:
    """Settings of `data=cifake`.

    val_share: share of the official training images that becomes validation. leaks: drop leaves out training images
    whose like also stands in validation or test; keep trains on them. fold: 0 to folds - 1 makes that part of all
    images the test split, the official one forgotten; none: no folds. max_bad: share of files that may be damaged,
    repaired or not, before it is an error. image_size: an int or [height, width]; fit: stretch, center_crop, pad, or
    patches: up to `patches` a picture.
    repair: what becomes of a damaged training image. quarantine: it is left out; inpaint: a JPEG that was cut short is
    completed, see datasets.inpaint; replace: another of its class, split and source, drawn by data_seed, is seen twice.
    It gets its split as any other, and is left out where that is not train. repair_test: inpaint completes those of
    validation and test, too.
    """

    source: str = "cifake"
    name: str = "cifake"
    val_share: float = 0.2
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


def rows(folder: Path) -> list[tuple[Row, Entry | FileLocation]]:
    """List the pictures whose origin stands in `folder`/origin.json, sorted by path.

    Raises DataError where there is no origin yet, where it is gone, or where it is not laid out as CIFAKE is.
    """
    return listing(_origin(folder))


def stamp(folder: Path) -> str:
    """Changes when what `rows` gives may have changed, and is known without listing a zip."""
    origin = _origin(folder)
    if origin.is_dir():
        return stamp_below(origin, but=OURS if origin.samefile(folder) else ())
    return FileLocation.of(origin, origin.stat()).stamp


def _origin(folder: Path) -> Path:
    file = folder / "origin.json"
    try:
        [(kind, place)] = json.loads(file.read_text(encoding="utf-8")).items()
        if kind not in ("archive", "root"):
            raise ValueError(kind)
        origin = folder / place
    except FileNotFoundError:
        raise DataError(f"{file}: CIFAKE is not here yet; bring it with: {FETCH}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f'{file}: expected {{"archive": FILE}} or {{"root": FOLDER}}; make it anew with: {FETCH}'
        ) from error
    if not origin.exists():
        option = "--root FOLDER" if kind == "root" else "--archive FILE"
        raise DataError(f"{origin}: gone, but {file} names it; put it back or say where it is now: {FETCH} {option}")
    return origin


def write_origin(folder: Path, origin: Path) -> Path:
    """Note in `folder` that CIFAKE lies at `origin`, a zip or a tree; what lies inside `folder` may move with it."""
    place = origin.resolve()
    if place.is_relative_to(folder.resolve()):
        place = place.relative_to(folder.resolve())
    file = folder / "origin.json"
    with whole_file(file) as handle:
        json.dump({"root" if origin.is_dir() else "archive": place.as_posix()}, handle)
        handle.write("\n")
    return file


def listing(origin: Path) -> list[tuple[Row, Entry | FileLocation]]:
    """List the pictures of a zip or of an unpacked tree, sorted by path; DataError where it is not CIFAKE's layout.

    Folder names count in any case, one folder around all of them is taken away. Every file in the class folders is
    listed: whether it is a picture is for the decoder to say.
    """
    files: dict[str, Any] = files_below(origin) if origin.is_dir() else _in_archive(origin)
    folders = Counter(name.rpartition("/")[0] for name in files if name.lower().endswith(PICTURES))
    outer = {folder.split("/")[0] for folder in folders}
    around = f"{min(outer)}/" if len(outer) == 1 and min(outer).lower() not in ("train", "test") else ""
    if sorted(folder.removeprefix(around).lower() for folder in folders) != LAYOUT:
        there = [f"{folder or 'no folder'} ({number:,})" for folder, number in sorted(folders.items())]
        more = f" and {len(there) - 8} more" if len(there) > 8 else ""
        raise DataError(
            f"{origin}: has pictures in {', '.join(there[:8]) or 'no folder'}{more}; "
            "expected train/REAL, train/FAKE, test/REAL and test/FAKE, and no others"
        )
    listed: list[tuple[Row, Entry | FileLocation]] = []
    for name, location in files.items():
        if name.rpartition("/")[0] in folders:
            path = name.removeprefix(around).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            split, label, file = path.split("/")
            kind = category(file)
            row = Row(path, LABELS[label.upper()], split.lower(), source="cifake", category=kind, license="MIT")
            listed.append((row, location))
    return sorted(listed, key=lambda pair: pair[0].path)


def category(name: str) -> str:
    """CIFAR-10 class from a file's name: `0000 (2).jpg` is an automobile, `0000.jpg` an airplane; else nothing."""
    match = NUMBERED.fullmatch(name.lower())
    number = int(match[1] or 1) if match else 0
    return CLASSES[number - 1] if 1 <= number <= len(CLASSES) else ""


def count(rows: Iterable[Row]) -> dict[tuple[str, str], int]:
    """Number of images by (split, name of the label), for the same keys as OFFICIAL_COUNTS."""
    found = Counter((row.split, NAME_OF_LABEL[row.label]) for row in rows)
    return {key: found[key] for key in OFFICIAL_COUNTS}


def count_report(rows: Iterable[Row]) -> list[str]:
    """One line for each of the four counts that is not the official one."""
    lines = []
    for (split, label), number in count(rows).items():
        official = OFFICIAL_COUNTS[split, label]
        if number != official:
            difference = f"{abs(number - official):,} {'fewer' if number < official else 'more'}"
            lines.append(f"{split}/{label}: {number:,} images, {difference} than the official {official:,}")
    return lines


def _in_archive(file: Path) -> dict[str, Entry]:
    litter = tuple(f"/{name}" for name in LITTER)
    return {
        entry.name: entry
        for entry in archive.entries(file)
        if not entry.name.lower().endswith(litter) and "/._" not in entry.name
    }
