"""The pictures that a user names: files, folders and patterns; or hands over as bytes."""

import glob
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.folder import PICTURES, FileLocation, files_below
from datasets.images import BadImage
from datasets.manifest import DataError

LARGEST_UPLOAD = 20 * 2**20  # bytes


class Upload(NamedTuple):
    """A file that somebody handed over, held in memory."""

    data: bytes

    @property
    def stamp(self) -> str:
        """Of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def read(self) -> bytes:
        """They; BadImage beyond LARGEST_UPLOAD."""
        if len(self.data) > LARGEST_UPLOAD:
            raise BadImage(f"{len(self.data)} bytes; accepted are at most {LARGEST_UPLOAD}")
        return self.data


def pictures_named(words: Sequence[str]) -> tuple[dict[str, FileLocation], int]:
    """Each file once, by its path, in the order named, those of a folder or pattern sorted; and how many files of
    other kinds lay in the folders.

    A file that is named itself is taken whatever its suffix. Raises DataError where a word names nothing, or a folder
    without a picture.
    """
    found: dict[str, FileLocation] = {}
    others = 0
    for word in words:
        path = Path(word)
        if not path.exists() and word.startswith("~/"):
            path = path.expanduser()
        if path.is_dir():
            below = {str(path / name): location for name, location in files_below(path).items()}
            chosen = sorted(name for name in below if Path(name).suffix.lower() in ("", *PICTURES))
            if not chosen:
                raise DataError(f"{word}: no picture there; expected files such as {', '.join(sorted(PICTURES))}")
            found |= {name: below[name] for name in chosen}
            others += len(below) - len(chosen)
        elif path.is_file() or (path.is_symlink() and not path.exists()):  # a pipe would be waited for
            found[str(path)] = FileLocation.of(path, None)
        elif matches := sorted(name for name in glob.glob(str(path), recursive=True) if Path(name).is_file()):  # noqa: PTH207
            found |= {name: FileLocation.of(Path(name), None) for name in matches}
        else:
            raise DataError(f"{word}: no such file; expected a picture, a folder or a pattern such as 'photos/*.jpg'")
    return found, others
