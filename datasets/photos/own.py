"""A folder of photographs one has already, offered for a collection; a CSV may say whose they are."""

import csv
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.folder import files_below
from datasets.manifest import DataError
from datasets.photos.candidates import Candidate
from datasets.web import Refused

COLUMNS = ("file", "license", "author", "page", "title")
MAX_BYTES = 100_000_000


def candidates(folder: Path, licenses: Path | None) -> list[Candidate]:
    """Every file below the folder, sorted; whether it is a picture is for the decoder to say.

    licenses: a CSV with COLUMNS, file being a path inside the folder; files it does not name have no licence.
    Raises DataError, for a mistake in the CSV with its line.
    """
    if not folder.is_dir():
        raise DataError(f"--from-dir {folder}: no such folder; expected one that holds photographs")
    paths = {name: folder / name for name in files_below(folder)}
    if licenses is not None:
        paths = {name: path for name, path in paths.items() if path.absolute() != licenses.absolute()}
    if not paths:
        raise DataError(f"--from-dir {folder}: holds no file; expected photographs")
    known = {} if licenses is None else dict(_known(licenses, folder, set(paths)))
    return [Candidate(source="folder", origin=name, file=paths[name], **known.get(name, {})) for name in sorted(paths)]


def read(candidate: Candidate) -> bytes:
    """The bytes of a candidate's file; Refused where it is no file that can be read, or far too large."""
    assert candidate.file is not None
    try:
        status = candidate.file.stat()
        if not stat.S_ISREG(status.st_mode):  # a named pipe would be waited for without end
            raise Refused("no file")
        if status.st_size > MAX_BYTES:
            raise Refused(f"larger than {MAX_BYTES / 1e6:g} MB")
        return candidate.file.read_bytes()
    except OSError as error:
        raise Refused("cannot be read") from error


def _known(licenses: Path, folder: Path, names: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with licenses.open(encoding="utf-8-sig", newline="") as handle:
            lines = csv.reader(handle)
            header = next(lines, [])
            if header != list(COLUMNS):
                raise DataError(
                    f"--licenses {licenses}:1: columns are {','.join(header)}; expected {','.join(COLUMNS)}"
                )
            seen: set[str] = set()
            for values in lines:
                where = f"--licenses {licenses}:{lines.line_num}"
                if not values:
                    continue
                if len(values) != len(COLUMNS):
                    raise DataError(f"{where}: {len(values)} columns; expected {len(COLUMNS)}")
                entry = {column: " ".join(value.split()) for column, value in zip(COLUMNS, values, strict=True)}
                name = entry.pop("file")
                if name not in names:
                    raise DataError(f"{where}: file is {name!r}; expected the path of a file inside {folder}")
                if name in seen:
                    raise DataError(f"{where}: file {name!r} stands there twice; one line a file")
                if entry["page"] and not entry["page"].startswith(("https://", "http://")):
                    raise DataError(
                        f"{where}: page is {entry['page']!r}; expected an address that begins with https://"
                    )
                seen.add(name)
                yield name, entry
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"--licenses {licenses}: not a CSV in UTF-8 ({error})") from error
