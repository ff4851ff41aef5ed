"""A collection of generated pictures as a source: every image whose file is saved."""

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from datasets.flux import history
from datasets.folder import FileLocation
from datasets.manifest import FAKE, DataError, Row

LICENSE = "FLUX.1-schnell output"


def rows(folder: Path) -> list[tuple[Row, FileLocation]]:
    """List the images of a collection of generated pictures, sorted by path, each tied to its prompt.

    An image made for a photograph is tied to the photograph's page too, unless its prompt was made of several titles:
    all their photographs would hang together. DataError where there is no such collection or where a file is missing
    that the ledger says was saved.
    """
    saved = _saved(folder)
    uses = Counter(event["prompt"] for event in saved)
    found = []
    for event in saved:
        path = folder / event["file"]
        try:
            location = FileLocation.of(path, path.stat())
        except FileNotFoundError as error:
            raise DataError(
                f"{path}: missing, though the ledger says it was saved; put it back, or make it again"
            ) from error
        ties = f"prompt:{hashlib.sha256(event['prompt'].encode()).hexdigest()[:12]}"
        if event["page"] and uses[event["prompt"]] == 1:
            ties += f" page:{event['page']}"
        row = Row(
            path=event["file"], label=FAKE, source=folder.name, sha256=event["sha256"], ties=ties, license=LICENSE
        )
        found.append((row, location))
    return sorted(found, key=lambda pair: pair[0].path)


def describe(folder: Path) -> list[str]:
    """How the images were made, a line each way: generator, settings, number of images and of prompts."""
    lines = []
    made: dict[str, list[str]] = defaultdict(list)
    for event in _saved(folder):
        made[json.dumps(event["record"], sort_keys=True)].append(event["prompt"])
    for record, prompts in sorted(made.items()):
        settings = " ".join(record.translate(str.maketrans("", "", '{}"')).split())
        lines.append(f"{len(prompts):,} images of {len(set(prompts)):,} prompts; {settings}")
    return lines


def _saved(folder: Path) -> list[dict[str, Any]]:
    """The last word on each image: one whose file was removed may have been made again."""
    events = history.read(folder, {"saved": history.PICTURE})
    return list({event["file"]: event for event in events if event["event"] == "saved"}.values())
