"""An append-only record of everything that was asked for and got: on disk before anything depends on it."""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from datasets.manifest import DataError

FILE = "ledger.jsonl"
LOCK = "collection.lock"
VERSION = 1


class LedgerBusy(Exception):
    """Another process writes into this collection."""

    exit_status = 3


class Ledger:
    """The ledger of one collection, held by one process at a time; close it, or use it in a `with`.

    folder: the collection's, made where it is missing. kind: what it collects, such as "flux" or "photos". Raises
    LedgerBusy while another process holds it, DataError where the ledger there is of another kind or unreadable.
    events: what happened, in order; every event has "event", "time" (UTC, ISO, seconds) and its own facts.
    """

    def __init__(self, folder: Path, *, kind: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._guard = threading.Lock()
        with contextlib.ExitStack() as opened:
            lock = opened.enter_context((folder / LOCK).open("a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LedgerBusy(f"{folder}: another process collects into it; wait until it is done") from error
            self._file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o644)
            opened.callback(os.close, self._file)
            data = (folder / FILE).read_bytes()
            header = {"event": "collection", "kind": kind, "version": VERSION}
            self._size = data.rfind(b"\n") + 1  # behind it stands a line that was cut off by a kill
            if self._size:
                found, self.events = _parse(data[: self._size], folder / FILE)
                if found != kind:
                    raise DataError(f"{folder}: a collection of {found}; expected one of {kind}, or another --name")
                os.ftruncate(self._file, self._size)
            elif not json.dumps(header).encode().startswith(data):
                raise DataError(f"{folder / FILE}: expected a ledger, not {data[:60]!r}; move it away")
            else:
                self.events = []
                os.ftruncate(self._file, 0)
                self._write(header)
                sync_folder(folder)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes in."""
        with self._guard:
            self._opened.close()
            self._file = -1  # the number may become another file's

    def append(self, event: str, **facts: Any) -> dict[str, Any]:
        """Write one line and give it back; it is on disk when this returns. Threads may call it at once.

        Facts must fit in JSON, and never be secret. OSError where the disk does not take the line: then none of it
        stays there.
        """
        line = {"event": event, "time": now().isoformat().replace("+00:00", "Z"), **facts}
        with self._guard:
            self._write(line)
            self.events.append(line)
        return line

    def _write(self, line: dict[str, Any]) -> None:
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._size + written)
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            error.filename = error.filename or str(self.folder / FILE)
            raise
        self._size += len(data)


def read(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Kind and events of a collection, whoever may be writing into it; DataError where there is none."""
    path = folder / FILE
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{folder}: no collection there ({FILE} is missing)") from error
    whole = data[: data.rfind(b"\n") + 1]
    if not whole:
        raise DataError(f"{path}: empty; a collection was begun there and holds nothing yet")
    return _parse(whole, path)


def check_facts(facts: Mapping[str, Any], needed: Mapping[str, type], where: str) -> None:
    """DataError, beginning with `where`, unless `facts` holds everything that is needed, each of its kind."""
    for name, kind in needed.items():
        if not isinstance(facts.get(name), kind):
            raise DataError(f"{where} has no {name} that can be one: {facts.get(name)!r}; was it edited by hand?")


def now() -> datetime:
    """The time as a ledger writes it: UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def sync_folder(folder: Path) -> None:
    """Put a folder's list of names on disk: without it a power cut may lose a file that is itself on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(data: bytes, path: Path) -> tuple[str, list[dict[str, Any]]]:
    lines = []
    for number, text in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not isinstance(line.get("event"), str):
            raise DataError(f"{path}:{number}: not a line of a ledger: {text[:40]!r}; was it edited by hand?")
        lines.append(line)
    header = lines[0]
    if header["event"] != "collection" or header.get("version") != VERSION:
        raise DataError(f"{path}:1: expected the first line of a ledger of version {VERSION}, not {data[:60]!r}")
    return str(header.get("kind")), lines[1:]
