"""A collection of photographs as a source: what was taken, under which licence, by whom, from which page."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import ledger
from datasets.folder import FileLocation
from datasets.manifest import REAL, DataError, Row, whole_file
from datasets.photos.candidates import page_key, plain_title

KIND = "photos"
ATTRIBUTION = ("file", "title", "author", "license", "license_url", "page", "source")
# Who has no name has no works in common with others who have none.
NOBODY = re.compile(r"|unknown|unknown author|anonymous|see below|own work|various|n/?a", re.IGNORECASE)
CAMERA_NAME = re.compile(r"(img|dsc|dsc[fn]|mg|p|pxl|pict?|photo|image|untitled)?", re.IGNORECASE)


def rows(folder: Path) -> list[tuple[Row, FileLocation]]:
    """Every photograph of a collection, sorted by path; pictures of one page or one author are tied.

    Raises DataError where there is no such collection, or a picture of it is missing.
    """
    found = []
    for event in _saved(folder, "file", "key", "page", "author", "license", "sha256"):
        path = folder / event["file"]
        if not path.is_file():
            raise DataError(f"{path}: missing, but {folder} lists it; the command that collected it brings it again")
        pages = sorted({event["key"], page_key(event["page"]) if event["page"] else event["key"]})
        ties = [f"page:{key}" for key in pages]
        if not NOBODY.fullmatch(event["author"]):
            ties.append(f"author:{page_key(event['author'].lower())}")
        row = Row(
            path=event["file"],
            label=REAL,
            source=folder.name,
            sha256=event["sha256"],
            ties=" ".join(ties),
            license=event["license"],
        )
        found.append((row, FileLocation.of(path, path.stat())))
    return sorted(found, key=lambda pair: pair[0].path)


def titles(folder: Path) -> list[tuple[str, str]]:
    """(page key, what the photograph shows in words) of every photograph, sorted by key.

    The words are the title without "File:", extension, underscores and trailing numbers; where a camera gave the title
    (IMG 2041), the words it was searched with.
    """
    return sorted(
        (event["key"], _words(event["title"]) or event["query"] or event["title"])
        for event in _saved(folder, "file", "key", "title", "query")
    )


def describe(folder: Path) -> list[str]:
    """Where the photographs come from, a line each search."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for event in _saved(folder, "file", "source", "query", "author", "uploaded"):
        found[event["source"], event["query"]].append(event)
    lines = []
    for (source, query), events in sorted(found.items()):
        authors = len({event["author"].lower() for event in events})
        days = sorted(event["uploaded"] for event in events if event["uploaded"])
        since = f", made public from {days[0]} to {days[-1]}" if days else ""
        lines.append(f"{len(events):,} photographs by {authors:,} authors; {source}: {query}{since}")
    return lines


def write_attribution(folder: Path, events: Iterable[dict[str, Any]]) -> None:
    """ATTRIBUTION.csv from the events of a collection: whom to name for which file, sorted by file."""
    with whole_file(folder / "ATTRIBUTION.csv") as handle:
        writer = csv.DictWriter(handle, ATTRIBUTION, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_by_file(events))


def _words(title: str) -> str:
    words = re.sub(r"[\W_]*\d[\d\W_]*$", "", plain_title(title))
    return "" if CAMERA_NAME.fullmatch(words) else words


def _saved(folder: Path, *facts: str) -> list[dict[str, Any]]:
    """The photographs of a collection by file; DataError where one lacks a fact that is going to be read."""
    kind, events = ledger.read(folder)
    if kind != KIND:
        raise DataError(f"{folder}: a collection of the kind {kind}; expected {KIND}")
    for line, event in enumerate(events, start=2):
        if event["event"] == "saved":
            ledger.check_facts(event, dict.fromkeys(facts, str), f"{folder / ledger.FILE}:{line}: the event saved")
    return _by_file(events)


def _by_file(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    saved = {event["file"]: event for event in events if event["event"] == "saved"}
    return [saved[file] for file in sorted(saved)]
