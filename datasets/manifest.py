"""The manifest: one row per image, written whole or not at all, read back with checks.

Everything downstream believes what stands here, so nothing that could be wrong passes silently.
"""

import csv
import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

REAL = 0
FAKE = 1
LABELS = {"REAL": REAL, "FAKE": FAKE}
SPLITS = ("train", "val", "test", "unused", "")


class DataError(ValueError):
    """Something about the user's data that the user can mend; its text is one line."""

    exit_status = 2


class Row(NamedTuple):
    """One image; a tuple, as there may be a million of them.

    path: where it lies, relative to the root of its data set, with forward slashes.
    label: REAL = 0 or FAKE = 1, from the name of its folder.
    split: train, val or test; unused (left out on purpose); empty (not yet split).
    source: the collection it comes from; category: its class or subject where known, else empty.
    sha256: of the file's bytes; width, height: in pixels, as stored, after EXIF orientation;
    format: Pillow's name (JPEG, PNG, ...); mode: Pillow's name of the stored pixels (RGB, L, ...);
    quality: of a JPEG, 1 to 100 as estimated from its tables, else 0; sampling: its chroma subsampling (4:2:0), else
    empty; bytes: the file's size.
    group: images of one group never stand on both sides of a split.
    ties: keys, with spaces between, that images of one group share for another reason than being alike: the prompt,
    the page or the author they come from. license: its short name, where known.
    was: the picture before it was equalised, as JSON, else empty.
    """

    path: str
    label: int
    split: str = ""
    source: str = ""
    category: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    quality: int = 0
    sampling: str = ""
    bytes: int = 0
    group: str = ""
    ties: str = ""
    license: str = ""
    was: str = ""


COLUMNS = list(Row._fields)
LABEL, SPLIT = COLUMNS.index("label"), COLUMNS.index("split")
WHOLE_NUMBERS = [COLUMNS.index(name) for name in ("width", "height", "quality", "bytes")]
# Thousands of rows say the same there, and share what they say.
WORDS = [COLUMNS.index(name) for name in ("split", "source", "category", "format", "mode", "sampling", "license")]
ROWS_AT_ONCE = 4096
NAME_OF_LABEL = {label: name for name, label in LABELS.items()}


@contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file that appears under `path` whole, on disk, or not at all.

    Text is UTF-8 with plain newlines. An exception inside the block removes what was written; an
    OSError that names no file gets the name of this one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with open(descriptor, mode, **text) as handle:  # type: ignore[call-overload]
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        # a disk that is full tells it to a descriptor, which has no name
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def encoded(rows: Iterable[Row]) -> bytes:
    """The manifest as CSV text in UTF-8; labels are written by name."""
    named = ((row[0], NAME_OF_LABEL[row[1]], *row[2:]) for row in rows)
    parts: list[bytes] = []
    lines: list[tuple] = [tuple(COLUMNS)]
    while lines:  # a few at a time: text that is being written takes four bytes a letter
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(lines)
        parts.append(out.getvalue().encode())
        lines = list(islice(named, ROWS_AT_ONCE))
    return b"".join(parts)


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest, whole or not at all."""
    with whole_file(path, "wb") as handle:
        handle.write(encoded(rows))


def digest(rows: Iterable[Row]) -> str:
    """sha256 of the manifest's text: the same rows in the same order, on any machine."""
    return hashlib.sha256(encoded(rows)).hexdigest()


def read(path: Path) -> list[Row]:
    """Read a manifest.

    Raises DataError naming file, line, column and value where a row is not what `write` could have written.
    """
    return decoded(path.read_bytes(), path)


def decoded(data: bytes, path: Path) -> list[Row]:
    """The rows of what `encoded` gave and is said to stand in `path`; see `read`."""
    try:
        # a table calculation may have put a mark in front
        reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""), strict=True)
        header = next(reader, [])
        if header != COLUMNS:
            raise DataError(f"{path}: columns are {','.join(header)}; expected {','.join(COLUMNS)}")
        rows = [_row(values, path, reader.line_num) for values in reader]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text; was it saved by another program?") from error
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a row of a CSV file: {error}") from error
    seen: set[str] = set()
    for row in rows:
        if row.path in seen:
            raise DataError(f"{path}: {row.path} stands there twice; one row an image")
        seen.add(row.path)
    return rows


def _row(values: list[Any], path: Path, line: int) -> Row:
    if len(values) != len(COLUMNS):
        raise DataError(f"{path}:{line}: {len(values)} columns; expected {len(COLUMNS)}")
    if values[LABEL] not in LABELS:
        raise DataError(f"{path}:{line}: label is {values[LABEL]!r}; expected REAL or FAKE")
    if values[SPLIT] not in SPLITS:
        known = f"{', '.join(SPLITS[:-1])} or nothing"
        raise DataError(f"{path}:{line}: split is {values[SPLIT]!r}; expected one of {known}")
    if not values[0]:
        raise DataError(f"{path}:{line}: path is empty")
    values[LABEL] = LABELS[values[LABEL]]
    for place in WHOLE_NUMBERS:
        if not values[place].isdecimal():
            raise DataError(f"{path}:{line}: {COLUMNS[place]} is {values[place]!r}; expected a whole number")
        values[place] = int(values[place])
    for place in WORDS:
        values[place] = sys.intern(values[place])
    return Row._make(values)
