"""Origins in, one built set out: equalised images, a manifest, a recipe, a quarantine, all whole or not at all."""

import fcntl
import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from datasets import built, duplicates, manifest, origins, store
from datasets.decoding import Bad, Decoded, Location, decode_all, usable_cpus
from datasets.equalize import EqualizeSettings, equalize
from datasets.fitting import THUMB
from datasets.images import BadImage, ImageSettings, decode
from datasets.manifest import DataError, Row, whole_file
from datasets.origins import Origin

FACTS = store.FACTS
LOCK = ".build.lock"
OUR_FILE = re.compile(r"[0-9a-f]{20}\.jpg|\.[0-9a-f]{20}\.jpg\..+\.part")
MOST_THREADS = 8  # one may hold a picture of 50 megapixels, 300 MB at its largest
SAMPLE = ImageSettings(size=(8, 8))  # the pixels are not needed yet, only whether they can be had


class BuilderBusy(Exception):
    """Another process is building the same set."""

    exit_status = 3


@dataclass(frozen=True)
class Assembled:
    """home: folder of the set; rows: of its manifest; quarantine: (path, reason) of what was left out."""

    home: Path
    rows: list[Row]
    quarantine: list[tuple[str, str]]


def assemble(name: str, found: Sequence[Origin], law: EqualizeSettings | None, *, data_root: Path) -> Assembled:
    """Build the set `data_root`/`name`; the same origins and law make the same bytes, however often it is started.

    law: what brings both classes to one size and codec; CIFAKE, whose classes have one already, passes as it is. None:
    everything passes as it is. What passes is not copied: its files must stay where they are.
    DataError where a name is taken or a class is missing, BuilderBusy where another process builds the set, OSError
    where the disk does not take it.
    """
    home = data_root / name
    _check(name, found, home)
    with _alone(home), tempfile.TemporaryFile(dir=home) as scratch:
        passing: list[Row] = []
        originals: list[tuple[Row, Location]] = []
        quarantine: list[tuple[str, str]] = []
        for origin in found:
            listing = origins.listing(origin, data_root)
            for (row, place), result in _read(listing, origin.name):
                if isinstance(result, Bad):
                    quarantine.append((row.path, result.reason))
                elif law and origin.kind != "cifake":
                    originals.append((store.with_facts(row, result), place))
                    scratch.write(result.thumb.data)
                else:
                    passing.append(store.with_facts(row, result))
        _check_copies([*passing, *(row for row, _ in originals)])
        made, bad = _equalized(_tied(originals, scratch), law, home) if law else ([], [])
        quarantine += bad
        rows = sorted([*passing, *made], key=lambda row: row.path)
        _check_left(found, rows, quarantine)
        recipe = built.Recipe(list(found), asdict(law) if law else None, finished=False)
        built.write_recipe(home, recipe)
        store.write_quarantine(home / "quarantine.csv", quarantine)
        manifest.write(home / built.MANIFEST, rows)
        _remove_others(home, rows)
        built.write_recipe(home, replace(recipe, finished=True))
    return Assembled(home, rows, quarantine)


def _check(name: str, found: Sequence[Origin], home: Path) -> None:
    taken = ("cifake", "folder", "synthetic", origins.COLLECTIONS)
    if not re.fullmatch(r"\w[\w.-]*", name) or name in taken:
        raise DataError(f"--name {name!r}: expected a plain name, it becomes a folder; not one of {', '.join(taken)}")
    ours = (home / built.RECIPE).exists() or (home / LOCK).exists()
    if home.exists() and any(home.iterdir()) and not ours:
        raise DataError(f"{home}: holds something else; give another --name, or remove it")
    for root in (Path(origin.root) for origin in found if origin.root):
        if root.is_relative_to(home.resolve()) or home.resolve().is_relative_to(root):
            raise DataError(f"{root}: the set would be built into {home}, which is no place apart; give another --name")
    names = [origin.name for origin in found]
    for twice in sorted({word for word in names if names.count(word) > 1}):
        raise DataError(f"{twice}: two sources of this name; give a folder another with NAME=PATH")


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuilderBusy(f"{home}: another process is building it; wait until it is done") from None
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(home)  # a write to a full disk does not say where
            raise


def _read(listing: list[tuple[Row, Location]], name: str) -> Iterator[tuple[tuple[Row, Location], Decoded | Bad]]:
    """Every image decoded once in a guarded process."""
    with closing(decode_all([place for _, place in listing], SAMPLE, description=f"reading {name}")) as results:
        for pair, result in zip(listing, results, strict=True):
            if isinstance(result, Decoded) and pair[0].sha256 not in ("", result.sha256):
                result = Bad("its bytes are not those that were noted when it was collected")
            yield pair, result


def _check_copies(rows: Sequence[Row]) -> None:
    """DataError where one file stands in both classes: one of them is wrong."""
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row.sha256, row)
        if other.label != row.label:
            raise DataError(f"{other.path} and {row.path}: the same file as REAL and as FAKE; remove one")


def _tied(originals: list[tuple[Row, Location]], scratch: IO[bytes]) -> list[tuple[Row, Location]]:
    """The originals, near-duplicates tied to one another: equalising may crop twins differently. scratch: their
    thumbs one after another, on disk because there may be 600 MB of them."""
    if not originals:
        return []
    scratch.flush()
    thumbs = np.memmap(scratch, np.uint8, mode="r", shape=(len(originals), THUMB, THUMB, 3))
    rows = [row for row, _ in originals]
    grouped = duplicates.group([row._replace(ties="") for row in rows], duplicates.near_pairs(thumbs))
    members = Counter(row.group for row in grouped)
    return [
        (row._replace(ties=f"{row.ties} like:{alike.group}".strip()) if members[alike.group] > 1 else row, place)
        for (row, place), alike in zip(originals, grouped, strict=True)
    ]


def _equalized(
    listing: list[tuple[Row, Location]], law: EqualizeSettings, home: Path
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Both classes under one law, in threads: these images have been read whole before, and Pillow frees the lock."""
    rows, bad = [], []

    def make(pair: tuple[Row, Location]) -> Row | tuple[str, str]:
        try:
            return _make(*pair, law, home)
        except BadImage as error:
            return pair[0].path, str(error)

    pool = ThreadPoolExecutor(min(usable_cpus(), MOST_THREADS))
    try:
        outcomes = tqdm(pool.map(make, listing), "equalising", len(listing), unit=" images", disable=None)
        for outcome in outcomes:
            if isinstance(outcome, Row):
                rows.append(outcome)
            else:
                bad.append(outcome)
    finally:
        pool.shutdown(cancel_futures=True)
    return rows, bad


def _make(row: Row, place: Location, law: EqualizeSettings, home: Path) -> Row:
    """Equalise one image into the set's folder; a file that is there already with the same bytes stays."""
    original = place.read()
    if hashlib.sha256(original).hexdigest() != row.sha256:
        raise BadImage("changed while the set was being built")
    result = equalize(original, law)
    key = hashlib.sha256(f"{row.path}\0{row.sha256}\0{json.dumps(asdict(law))}".encode()).hexdigest()[:20]
    path = f"{built.IMAGES}/{row.source}/{key}.jpg"
    file = home / path
    if not file.is_file() or file.read_bytes() != result.data:
        with whole_file(file, "wb") as handle:
            handle.write(result.data)
    _, facts = decode(result.data, ImageSettings())
    was = {"path": row.path} | {key: getattr(row, key) for key in FACTS} | {"made": result.facts}
    return row._replace(
        path=path,
        sha256=hashlib.sha256(result.data).hexdigest(),
        bytes=len(result.data),
        was=json.dumps(was),
        **facts._asdict(),
    )


def _remove_others(home: Path, rows: Sequence[Row]) -> None:
    """Images of an earlier law, and halves that a killed process left, go; only below the set's own folder."""
    named = {row.path for row in rows}
    for file in (home / built.IMAGES).glob("*/*"):
        if OUR_FILE.fullmatch(file.name) and file.relative_to(home).as_posix() not in named:
            file.unlink()


def _check_left(found: Sequence[Origin], rows: Sequence[Row], quarantine: Sequence[tuple[str, str]]) -> None:
    """DataError where all images of an origin were left out, or a class is missing."""
    left = {row.source for row in rows}
    for origin in found:
        if origin.name not in left:
            reasons = [reason for path, reason in quarantine if path.startswith(f"{origin.name}/")]
            raise DataError(f"{origin.name}: none of its {len(reasons):,} images can be used; the first: {reasons[0]}")
    labels = {row.label for row in rows}
    for name, label in manifest.LABELS.items():
        if label not in labels:
            raise DataError(f"{', '.join(sorted(left))}: no {name} image among them; a set needs both classes")
