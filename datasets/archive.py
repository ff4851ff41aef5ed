"""A zip as a read-only folder: every entry is checked before the first is used, and nothing is ever unpacked."""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from datasets.images import BadImage
from datasets.manifest import DataError

MAX_ENTRY_BYTES = 100_000_000
MAX_TOTAL_BYTES = 20_000_000_000
MAX_RATIO = 200  # pictures hardly shrink; deflate can reach 1,030
RATIO_COUNTS_FROM = 1_000_000  # bytes; a small flat picture may shrink a lot

LOCAL_HEADER = struct.Struct("<4s5H3L2H")
ENCRYPTED = 0x1 | 0x40 | 0x2000
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
MALFORMED = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")
ELSEWHERE = {"", ".", ".."}


class Entry(NamedTuple):
    """One file of an archive. offset: where its data begin in the archive; method: STORED or DEFLATED."""

    archive: str
    name: str
    offset: int
    compressed_size: int
    size: int
    method: int
    crc: int

    @property
    def stamp(self) -> str:
        return f"{self.crc:08x}:{self.size}"

    def read(self) -> bytes:
        """The file's bytes; BadImage where they are not those that were packed, OSError where the archive is gone."""
        # opening each time costs 2 us; an open handle kept would have to be told when the archive is replaced
        handle = os.open(self.archive, os.O_RDONLY)
        try:
            data = os.pread(handle, self.compressed_size, self.offset)
        finally:
            os.close(handle)
        if self.method == DEFLATED:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflater.decompress(data, self.size + 1)
            except zlib.error as error:
                raise BadImage(f"broken inside the archive ({error})") from error
        if len(data) != self.size:
            raise BadImage(f"broken inside the archive (not the {self.size} bytes it should have)")
        if zlib.crc32(data) != self.crc:
            raise BadImage("broken inside the archive (wrong checksum)")
        return data


def entries(path: Path) -> list[Entry]:
    """Every file of a zip, in the order of its directory; folders are left out.

    Raises DataError, one line, for a file that is no whole zip and for a zip that holds anything which a set of
    pictures does not need and an attack does: names that lead elsewhere, names that fall together, links, encryption,
    rare compression, absurd sizes, entries that share bytes (CVE-2024-0450) or lie outside the file.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a zip archive")
    with path.open("rb", buffering=0) as handle:
        directory, end = _directory(path, handle)
        _check_names(path, directory)
        _check_sizes(path, directory)
        offsets = dict(_data_offsets(path, handle, directory, end))
    return [
        Entry(str(path), info.filename, offsets[info], info.compress_size, info.file_size, info.compress_type, info.CRC)
        for info in directory
        if not info.is_dir()
    ]


def _directory(path: Path, handle: IO[bytes]) -> tuple[list[zipfile.ZipInfo], int]:
    """What zipfile lists, and where the data must have ended."""
    try:
        with zipfile.ZipFile(handle) as archive:
            return archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error) as error:
        handle.seek(0)
        if handle.read(4) == b"PK\x03\x04":
            raise DataError(f"{path}: the zip is cut off or broken ({error}); download or copy it again") from error
        raise DataError(f"{path}: not a zip archive; expected a .zip file of pictures") from error


def _check_names(path: Path, directory: list[zipfile.ZipInfo]) -> None:
    seen: dict[str, str] = {}
    for info in directory:
        name = info.orig_filename  # as written; `filename` is already cleaned
        parts = name.removesuffix("/").split("/")
        if MALFORMED.search(name) or not ELSEWHERE.isdisjoint(parts):
            raise _refused(path, name, "the name leads elsewhere or is malformed; expected plain relative/names")
        folded = "/".join(parts).casefold()
        if folded in seen:
            raise _refused(path, name, f"the name stands there twice (also as {seen[folded]!r}, capitals apart)")
        seen[folded] = name
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(path, name, "a link or a device; expected files and folders only")


def _check_sizes(path: Path, directory: list[zipfile.ZipInfo]) -> None:
    total = 0
    for info in directory:
        name, size, compressed = info.orig_filename, info.file_size, info.compress_size
        if info.flag_bits & ENCRYPTED:
            raise _refused(path, name, "encrypted; expected a zip without a password")
        if info.compress_type not in (STORED, DEFLATED):
            raise _refused(path, name, f"compression method {info.compress_type}; expected stored or deflate")
        if size > MAX_ENTRY_BYTES:
            raise _refused(path, name, f"{size:,} bytes unpacked; expected at most {MAX_ENTRY_BYTES:,}")
        if size > RATIO_COUNTS_FROM and size > MAX_RATIO * compressed:
            raise _refused(path, name, f"{compressed:,} bytes would become {size:,}; expected at most x{MAX_RATIO}")
        if info.compress_type == STORED and size != compressed:
            raise _refused(path, name, f"stored, yet {size:,} bytes in {compressed:,}; expected the same number")
        total += size
    if total > MAX_TOTAL_BYTES:
        raise DataError(f"{path}: {total:,} bytes unpacked; expected at most {MAX_TOTAL_BYTES:,}")


def _data_offsets(
    path: Path, handle: IO[bytes], directory: list[zipfile.ZipInfo], end: int
) -> Iterator[tuple[zipfile.ZipInfo, int]]:
    """Where each entry's data begins, read from its own header; no two may share a byte, headers included."""
    free_from = 0
    for info in sorted(directory, key=lambda info: info.header_offset):
        if info.header_offset < free_from:
            raise _refused(path, info.orig_filename, "shares bytes with another entry; expected entries side by side")
        header = b""
        if info.header_offset + LOCAL_HEADER.size <= end:
            header = os.pread(handle.fileno(), LOCAL_HEADER.size, info.header_offset)
        if not header.startswith(b"PK\x03\x04"):
            raise _refused(
                path, info.orig_filename, "no entry where the directory says; download or copy the zip again"
            )
        *_, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
        offset = info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
        free_from = offset + info.compress_size
        if free_from > end:
            raise _refused(path, info.orig_filename, "reaches beyond the data; download or copy the zip again")
        yield info, offset


def _refused(path: Path, name: str, reason: str) -> DataError:
    return DataError(f"{path}: refused because of {name!r}: {reason}")
