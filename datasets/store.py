"""The packed store: every image of a listing decoded once, as memory-mapped uint8 arrays, found again by digest."""

import csv
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
import PIL

from datasets import manifest, repair
from datasets.decoding import Bad, Decoded, Location, decode_all
from datasets.fitting import THUMB, are_thumbs
from datasets.images import ImageSettings
from datasets.manifest import Row, whole_file
from datasets.repair import Repair

FIRST_FACT, LAST_FACT = manifest.COLUMNS.index("sha256"), manifest.COLUMNS.index("bytes")
FACTS = tuple(manifest.COLUMNS[FIRST_FACT : LAST_FACT + 1])
facts_of = attrgetter(*FACTS)
LAYOUT = 3  # raise it when the meaning of a store's files changes: older ones are then packed again
BUFFER = 2**20


@dataclass(frozen=True)
class Packed:
    """images: uint8 (N, height, width, 3), memory-mapped; rows: N, in the same order, with the facts of their files.

    files: int64 (N,), which file a row comes from, of those that could be decoded: its own, unless there are several
    patches a file; thumbs: uint8 (files, 32, 32, 3), memory-mapped; first: int64 (files,), the first row of each.
    quarantine: (path, reason) of what could not be decoded; inpainted: what was completed; patches: whether
    rows are patches, with the number of each behind its file's path; folder: of it all.
    """

    rows: list[Row]
    images: np.ndarray
    files: np.ndarray
    first: np.ndarray
    thumbs: np.ndarray
    quarantine: list[tuple[str, str]]
    inpainted: list[Repair]
    patches: bool
    folder: Path

    def name(self, row: Row) -> str:
        """The path of the file that a row comes from."""
        return row.path.rpartition("#")[0] if self.patches else row.path

    def rows_of(self, paths: Sequence[str]) -> np.ndarray:
        """int64 (n,): the rows of files, by their paths, in the order given; those of one that comes twice, twice."""
        if not paths:
            return np.empty(0, np.int64)
        names = {self.name(self.rows[row]): file for file, row in enumerate(self.first.tolist())}
        return np.concatenate([np.flatnonzero(self.files == names[path]) for path in paths])


def open_or_pack(
    listing: Sequence[tuple[Row, Location]],
    settings: ImageSettings,
    folder: Path,
    *,
    description: str = "packing",
    others: bool = True,
) -> Packed:
    """Find the store of this listing under these image settings, or make it, whole or not at all.

    The digest covers names, labels and stamps of all files: a changed, added or missing file leads to another store.
    Two processes that want the same one do the work once. description: of the bar; others: whether a line tells of the
    stores that lie beside a new one. OSError where the disk does not take it.
    """
    target = folder / f"packed-{digest(listing, settings)}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = None
    with (folder / f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"{target}: another process is packing it; waiting\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(target):
            part = folder / f".{target.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            try:
                rows = _pack(listing, settings, part, description)
                shutil.rmtree(target, ignore_errors=True)
                part.rename(target)
            except BaseException as error:
                shutil.rmtree(part, ignore_errors=True)
                if isinstance(error, OSError) and error.filename is None:
                    error.filename = str(folder)  # a write to a full disk does not say where
                raise
            if others:
                _say_others(target)
    return _open(target, settings, rows)


def open_whole(target: Path, settings: ImageSettings, rows: list[Row]) -> Packed | None:
    """A store whose rows are known already, where it is there and whole."""
    return _open(target, settings, rows) if _is_whole(target) else None


def _say_others(target: Path) -> None:
    """One line about the stores that lie beside a new one; which of them are needed, only the user knows."""
    others = sorted(folder for folder in target.parent.glob("packed-*") if folder != target and folder.is_dir())
    size = 0.0
    with suppress(OSError):  # another process deletes one of them
        size = sum(file.stat().st_size for folder in others for file in folder.iterdir()) / 1e9
    if others:
        beside = "1 other store" if len(others) == 1 else f"{len(others)} other stores"
        names = ", ".join(folder.name for folder in others[:5]) + (", ..." if len(others) > 5 else "")
        sys.stderr.write(
            f"{target.parent}: {beside} of this data set, of other settings or earlier files, {size:.1f} GB in all; "
            f"delete what you no longer need of {names}\n"
        )


def digest(listing: Sequence[tuple[Row, Location]], settings: ImageSettings) -> str:
    """Of the store that `open_or_pack` finds or makes: sixteen hexadecimal digits."""
    known = asdict(settings)
    for key in ("inpaint", "degradation"):  # younger than stores that are to be found again
        if not known[key]:
            del known[key]
    digest = hashlib.sha256(json.dumps([LAYOUT, PIL.__version__, known]).encode())
    for row, location in listing:
        digest.update(
            f"{row.path}\0{row.label}\0{row.split}\0{row.source}\0{row.category}\0{location.stamp}\0"
            f"{row.sha256}\0{row.ties}\0{row.license}\0{row.was}\n".encode("utf-8", "surrogatepass")
        )
    return digest.hexdigest()[:16]


def _pack(listing: Sequence[tuple[Row, Location]], settings: ImageSettings, part: Path, description: str) -> list[Row]:
    part.mkdir()
    rows: list[Row] = []
    files: list[int] = []
    quarantine: list[tuple[str, str]] = []
    inpainted: list[Repair] = []
    shape, small = (*settings.size, 3), (THUMB, THUMB, 3)
    own_thumbs = are_thumbs(settings.size, settings.fit)
    pixels_sha256, block = hashlib.sha256(), bytearray()
    with (part / "images.npy").open("wb", BUFFER) as images, (part / "thumbs.npy").open("wb", BUFFER) as thumbs:
        # numpy pads the header so that the first axis may be corrected in place once the bad files are known
        _write_header(images, (len(listing) * settings.patches, *shape))
        _write_header(thumbs, (len(listing), *small))
        number = 0
        with closing(decode_all([place for _, place in listing], settings, description=description)) as results:
            for (row, _), result in zip(listing, results, strict=True):
                if isinstance(result, Bad):
                    quarantine.append((row.path, result.reason))
                    continue
                if row.sha256 not in ("", result.sha256):
                    quarantine.append((row.path, "its bytes are not those that were noted when the data set was built"))
                    continue
                if result.repair:
                    inpainted.append(Repair(row.path, *result.repair))
                block += result.pixels.data
                if len(block) >= BUFFER:  # many images at once: each call lets the threads of the decoding in between
                    images.write(block)
                    pixels_sha256.update(block)
                    block.clear()
                if not own_thumbs:
                    thumbs.write(result.thumb.data)
                known = with_facts(row, result)
                if settings.fit == "patches":
                    rows += [known._replace(path=f"{row.path}#{patch}") for patch in range(len(result.pixels))]
                else:
                    rows.append(known)
                files += [number] * len(result.pixels)
                number += 1
        images.write(block)
        pixels_sha256.update(block)
        for file, header in ((images, (len(rows), *shape)), (thumbs, (number, *small))):
            file.seek(0)
            _write_header(file, header)
            file.flush()
            os.fsync(file.fileno())
    if own_thumbs:
        (part / "thumbs.npy").unlink()
    np.save(part / "files.npy", np.array(files, dtype=np.int64))
    manifest.write(part / "files.csv", rows)
    write_quarantine(part / "quarantine.csv", quarantine)
    repair.write(part / repair.FILE, inpainted)
    facts = {
        "settings": asdict(settings),
        "count": len(rows),
        "bytes": {file.name: file.stat().st_size for file in sorted(part.iterdir())},
        "mtime_ns": (part / "images.npy").stat().st_mtime_ns,
        "pixels_sha256": pixels_sha256.hexdigest(),
    }
    with whole_file(part / "store.json") as handle:
        json.dump(facts, handle, indent=1)
    return rows


def with_facts(row: Row, result: Decoded) -> Row:
    """The row with what its file turned out to be."""
    return Row._make((*row[:FIRST_FACT], *facts_of(result), *row[LAST_FACT + 1 :]))  # a third of _replace()'s time


def write_quarantine(path: Path, quarantine: Sequence[tuple[str, str]]) -> None:
    """What could not be decoded, as `encoded_quarantine` gives it."""
    with whole_file(path, "wb") as handle:
        handle.write(encoded_quarantine(quarantine))


def encoded_quarantine(quarantine: Sequence[tuple[str, str]]) -> bytes:
    """As CSV: path, reason."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *quarantine])
    return text.getvalue().encode()


def _write_header(file, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _is_whole(target: Path) -> bool:
    """Whether a store is there and its pixels are those that were packed; re-read only when its time has changed."""
    try:
        facts = json.loads((target / "store.json").read_text())
        if any((target / name).stat().st_size != size for name, size in facts["bytes"].items()):
            return False
        unchanged = (target / "images.npy").stat().st_mtime_ns == facts["mtime_ns"]
    except (FileNotFoundError, ValueError, KeyError, AttributeError):
        return False
    if unchanged:
        return True
    images = np.load(target / "images.npy", mmap_mode="r", allow_pickle=False)
    digest = hashlib.sha256()
    for start in range(0, len(images), 4096):
        digest.update(images[start : start + 4096].tobytes())
    return digest.hexdigest() == facts["pixels_sha256"]


def _open(target: Path, settings: ImageSettings, rows: list[Row] | None = None) -> Packed:
    """rows: those of files.csv, where they are known."""
    with (target / "quarantine.csv").open(encoding="utf-8", newline="") as handle:
        quarantine = [(path, reason) for path, reason in csv.reader(handle)][1:]
    # copy-on-write only so that torch can wrap it without a warning; nobody writes to it
    images = np.load(target / "images.npy", mmap_mode="c", allow_pickle=False)
    files, thumbs = np.load(target / "files.npy", allow_pickle=False), images
    if not are_thumbs(settings.size, settings.fit):
        thumbs = np.load(target / "thumbs.npy", mmap_mode="r", allow_pickle=False)
    return Packed(
        rows=manifest.read(target / "files.csv") if rows is None else rows,
        images=images,
        files=files,
        first=np.unique(files, return_index=True)[1],
        thumbs=thumbs,
        quarantine=quarantine,
        inpainted=repair.decoded(repair.read(target / repair.FILE)),
        patches=settings.fit == "patches",
        folder=target,
    )
