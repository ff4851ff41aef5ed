"""The pictures that both sides are measured on: CIFAKE's own files, or drawn ones in its layout; and large ones."""

import io
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from datasets import cifake
from datasets.manifest import DataError

OFFICIAL = {"train": 100_000, "test": 20_000}  # images, half of them fake
SIDE = 32
LARGE = (768, 1344)  # height, width: what FLUX.1-schnell gives for 16:9
ROOM = 4_000_000_000  # bytes of disk that the largest measurement needs for a while


class Readable(Protocol):
    """A file's bytes."""

    def read(self) -> bytes: ...


@dataclass(frozen=True)
class Drawn:
    """A JPEG of 32x32 and about the bytes of CIFAKE's."""

    number: int

    def read(self) -> bytes:
        return _drawn((0, self.number), (SIDE, SIDE), ((4, 1.0), (12, 0.25)), noise=0.04, quality=85)


@dataclass(frozen=True)
class DrawnLarge:
    """A JPEG of 1344x768, some 300 kB."""

    number: int

    def read(self) -> bytes:
        spots = ((4, 1.0), (16, 0.4), (64, 0.25), (256, 0.15))
        return _drawn((1, self.number), LARGE, spots, noise=0.04, quality=95)


def _drawn(
    seed: tuple[int, int],
    size: tuple[int, int],
    layers: Sequence[tuple[int, float]],
    *,
    noise: float,
    quality: int,
) -> bytes:
    """Random spots, so many across the picture and of such a share each layer over the ones before; noise on top."""
    random = np.random.default_rng(seed)
    height, width = size
    picture = Image.new("RGB", (width, height))
    for cells, share in layers:
        spots = Image.fromarray(random.integers(0, 256, (cells * height // width + 1, cells, 3), np.uint8))
        picture = Image.blend(picture, spots.resize((width, height)), share)
    grain = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
    file = io.BytesIO()
    Image.blend(picture, grain, noise).save(file, "JPEG", quality=quality)
    return file.getvalue()


Files = list[tuple[str, Readable]]  # path in CIFAKE's layout, file


@dataclass(frozen=True)
class Pictures:
    """files: of the whole set; words: what they are, for the reader; archive: the zip they stand in, if in one."""

    files: Files
    words: str
    archive: Path | None = None


def found(archive: Path | None, data_root: Path) -> Pictures:
    """CIFAKE from `archive` or, without one, from where data_root/cifake says it lies; else drawn pictures.

    DataError where an archive is named and is not CIFAKE.
    """
    if archive is not None:
        return _cifake(cifake.listing(archive), archive)
    if not (data_root / "cifake" / "origin.json").exists():
        words = (
            "Drawn pictures, JPEG files of CIFAKE's size and layout, as CIFAKE is not here: the figures are of those"
        )
        return Pictures(drawn_files(OFFICIAL), words)
    listing = cifake.rows(data_root / "cifake")
    packed = getattr(listing[0][1], "archive", None)  # an entry of a zip knows it, a file does not
    return _cifake(listing, Path(packed) if packed else None)


def _cifake(listing: Sequence, archive: Path | None) -> Pictures:
    return Pictures([(row.path, place) for row, place in listing], "CIFAKE", archive)


def drawn_files(counts: dict[str, int], kind: type = Drawn) -> Files:
    """So many training and test pictures in CIFAKE's layout and names, half of them fake; drawn when they are read."""
    files: Files = []
    for split, count in counts.items():
        for label in ("FAKE", "REAL"):
            for index in range(count // 2):
                bracket = f" ({index % 10 + 1})" if index % 10 else ""
                name = f"{split}/{label}/{index // 10:04d}{bracket}.jpg"
                files.append((name, kind(len(files))))
    return files


def first(files: Files, counts: dict[str, int]) -> Files:
    """Of each split the first pictures, half of them of each class; DataError where there are not so many."""
    folders = defaultdict(list)
    for path, file in files:
        folders[path.rpartition("/")[0].lower()].append((path, file))
    taken: Files = []
    for split, count in counts.items():
        for label in ("fake", "real"):
            there = folders[f"{split}/{label}"]
            if len(there) < count // 2:
                raise DataError(f"{split}/{label.upper()}: holds {len(there):,} pictures; needed are {count // 2:,}")
            taken += there[: count // 2]
    return taken


def write_tree(files: Files, folder: Path) -> Path:
    """The pictures as files below `folder`: train|test / REAL|FAKE, as PARENT reads them."""
    for path, data in _contents(files):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def write_archive(files: Files, target: Path) -> Path:
    """The pictures as a zip, deflated as the official one is."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in _contents(files):
            archive.writestr(path, data)
    return target


def _contents(files: Files) -> Iterator[tuple[str, bytes]]:
    for path, file in files:
        split, label, name = path.split("/")
        yield f"{split.lower()}/{label.upper()}/{name}", file.read()


def need_room(folder: Path) -> None:
    """DataError where the disk has less than ROOM free."""
    if (free := shutil.disk_usage(folder).free) < ROOM:
        raise DataError(
            f"{folder}: {free / 1e9:.1f} GB free; expected {ROOM / 1e9:.0f} GB (TMPDIR names another place)"
        )
