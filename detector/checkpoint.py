"""Everything a resumed run needs, written whole or not at all and checked when it is read back."""

import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint that cannot be believed; its text is one line."""

    exit_status = 2


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; a kill at any moment leaves the old file or the new one, never a torn one.

    Equal states are equal bytes, also when one of them was loaded from a file before.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save(_canonical(state), file)
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
                raise CheckpointError(f"{path}: damaged at {broken}; delete its folder to start the run afresh")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (CheckpointError, FileNotFoundError):
        raise
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint that can be read ({type(error).__name__}); "
            "delete its folder to start the run afresh"
        ) from error


def _canonical(value: Any) -> Any:
    """The same values, every string one object: pickle writes a string that it has seen before as a reference."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_canonical(inner) for inner in value)
    return value
