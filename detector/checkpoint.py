"""Everything a resumed run needs, written whole or not at all and checked when it is read back."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint that cannot be believed; its text is one line."""

    exit_status = 2


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; a kill at any moment leaves the old file or the new one, never a torn one."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except RuntimeError as error:
        # on a full disk torch's writer raises RuntimeError; the operating system's own error says it better
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    finally:
        part.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Read back on the CPU, running no code from the file.

    torch ignores the checksums inside its own files, so a flipped bit would load silently: they are checked here.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (broken := archive.testzip()) is not None:
                raise CheckpointError(f"{path}: damaged at {broken}; delete it to start the run afresh")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (CheckpointError, FileNotFoundError):
        raise
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: not a checkpoint that can be read ({type(error).__name__})") from error
