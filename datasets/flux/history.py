"""The events of a collection of generated pictures, each with the facts that are read of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import ledger
from datasets.manifest import DataError

KIND = "flux"
PICTURE = {"file": str, "prompt": str, "page": str, "sha256": str, "record": dict}  # for those who only look at it
IMAGE = {"key": str, "seed": int, **PICTURE}
NEEDED: dict[str, dict[str, type]] = {
    "asking": {"input": dict},
    "created": {"request": int, "id": str},
    "unanswered": {"request": int},
    "outcome": {"request": int, "fault": str},
    "refused": {"request": int},
    "lost": {"request": int},
    "possibly billed": {"request": int},
    "fetched": IMAGE,
    "saved": IMAGE,
}


def read(folder: Path, needed: Mapping[str, Mapping[str, type]] = NEEDED) -> list[dict[str, Any]]:
    """What happened, in order; DataError where there is no such collection, or a line lacks what it must hold.

    needed: the facts of each kind of event that the caller is going to read; others are not looked at.
    """
    kind, events = ledger.read(folder)
    if kind != KIND:
        raise DataError(f"{folder}: a collection of {kind}; expected one of generated pictures, or another --name")
    asked = 0
    for line, event in enumerate(events, start=2):
        where = f"{folder / ledger.FILE}:{line}: the event {event['event']}"
        ledger.check_facts(event, needed.get(event["event"], {}), where)
        if event["event"] == "asking" and "asking" in needed:
            ledger.check_facts(event["input"], {"prompt": str, "seed": int}, where)
            asked += 1
        elif "request" in needed.get(event["event"], {}) and not 0 <= event["request"] < asked:
            raise DataError(f"{where} is about request {event['request']} of {asked}; was it edited by hand?")
    return events


def read_or_begin(folder: Path) -> list[dict[str, Any]]:
    """The same, and nothing where no collection is, or one was stopped before its first line was written."""
    path = folder / ledger.FILE
    if not path.exists() or b"\n" not in path.read_bytes():
        return []
    return read(folder)
