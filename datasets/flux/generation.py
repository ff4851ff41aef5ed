"""The images a collection is to hold, and the loop that makes those it lacks."""

import hashlib
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datasets import ledger
from datasets.flux.generators import ImageGenerator, ModelFault
from datasets.flux.prompts import Prompts, image_seed
from datasets.flux.service import ServiceError
from datasets.ledger import Ledger
from datasets.manifest import DataError, whole_file

KIND = "flux"
SEEDS_AN_IMAGE = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """One image. key: its name in the collection; seeds: the first that gives a picture is taken; page: of the
    photograph it is made for, else empty."""

    key: str
    prompt: str
    seeds: tuple[int, ...]
    page: str = ""


def wishes(prompts: Prompts, *, n: int, seed: int) -> list[Wish]:
    """The first `n` images of the list without end that prompts and seed are: a larger `n` goes on with it."""
    return [_wish(f"{index:06d}", prompts.draw(seed, index), seed) for index in range(n)]


def wishes_for_photographs(titles: Sequence[tuple[str, str]], *, n: int, seed: int) -> list[Wish]:
    """One image for each of the first `n` photographs, given as (page key, title); its prompt is the title."""
    return [_wish(page, title, seed, page) for page, title in titles[:n]]


def _wish(key: str, prompt: str, seed: int, page: str = "") -> Wish:
    return Wish(key, prompt, tuple(image_seed(seed, key, attempt) for attempt in range(SEEDS_AN_IMAGE)), page)


def events_of(folder: Path) -> list[dict[str, Any]]:
    """What the collection's ledger holds, empty where there is none yet; DataError where it is of another kind."""
    if not (folder / ledger.FILE).exists():
        return []
    kind, events = ledger.read(folder)
    if kind != KIND:
        raise DataError(f"{folder}: a collection of {kind}; give another --name")
    return events


def missing(wanted: Iterable[Wish], events: Iterable[dict[str, Any]], record: dict[str, Any]) -> list[Wish]:
    """The images that are not saved yet, those first that an earlier process ordered.

    A name stands for one image: DataError where one that is wanted was saved, or ordered, with another prompt, seed or
    `record` (the generator's). Images that are not wanted now are left alone.
    """
    saved: dict[str, dict[str, Any]] = {}
    orders: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["event"] == "saved":
            saved[event["key"]] = {**event, **_flat(event["record"])}
        elif event["event"] == "asking":
            orders[event["input"]["seed"]] = _flat(event)
    ordered: list[Wish] = []
    fresh: list[Wish] = []
    for wish in wanted:
        here = saved.get(wish.key)
        if here:
            _agree(wish, here, record)
            continue
        under_way = [orders[seed] for seed in wish.seeds if seed in orders]
        for order in under_way:
            _agree(wish, order, record)
        (ordered if under_way else fresh).append(wish)
    return ordered + fresh


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    # Versions are kept for the record; an update is no reason to begin anew.
    return {**record, **record.get("input", {}), "input": None, "versions": None}


def _agree(wish: Wish, was: dict[str, Any], record: dict[str, Any]) -> None:
    seed = was["seed"] if was["seed"] in wish.seeds else wish.seeds[0]
    for name, value in {**_flat(record), "prompt": wish.prompt, "seed": seed}.items():
        if was.get(name) != value:
            raise DataError(
                f"image {wish.key} has the {name} {str(was.get(name))[:80]!r} and this call asks for "
                f"{str(value)[:80]!r}; ask for the same as before, or give another --name"
            )


def collect(
    wanted: Sequence[Wish], generator: ImageGenerator, book: Ledger, *, workers: int, stop: threading.Event
) -> None:
    """Make what is missing; every image is on disk before the ledger says so, and none is asked for again.

    A fault of the model is answered with the image's next seed. ServiceError where one has no seed left, at the end.
    Whatever else a worker raises ends the collection: no image is begun any more, those under way are brought home,
    unless it is the user who stops, which sets `stop`.
    """
    lacking = missing(wanted, book.events, generator.record)
    images = book.folder / "images"
    images.mkdir(exist_ok=True)
    for litter in images.glob(".*.part"):  # of a process that was killed
        litter.unlink()
    have = len(wanted) - len(lacking)
    faults = []
    with (
        tqdm(total=len(wanted), initial=have, unit="image", disable=None) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        futures = [pool.submit(_make, wish, generator, book) for wish in lacking]
        try:
            for future in as_completed(futures):
                fault = future.result()
                if fault:
                    faults.append(fault)
                bar.update(not fault)
        except (ServiceError, DataError) as error:
            pool.shutdown(cancel_futures=True)
            have = len(wanted) - len(missing(wanted, book.events, generator.record))
            raise type(error)(f"{error}; {have} of {len(wanted)} images are there, {GO_ON}") from error
        except BaseException as error:
            if not isinstance(error, Exception):
                stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if faults:
        raise ServiceError(
            f"{len(faults)} of {len(wanted)} images cannot be made, each of their {SEEDS_AN_IMAGE} seeds gave a fault, "
            f"the first: {faults[0]}; the others are there, and another call will not try these again"
        )


GO_ON = "and the same command goes on from there"


def _make(wish: Wish, generator: ImageGenerator, book: Ledger) -> str:
    """Make one image; the last fault of the model, where it made none."""
    for seed in wish.seeds:
        try:
            data = generator.generate(wish.prompt, seed)
        except ModelFault as fault:
            reason = f"{wish.key}: {fault}"
            continue
        file = f"images/{wish.key}.png"
        with whole_file(book.folder / file, "wb") as out:
            out.write(data)
        ledger.sync_folder(book.folder / "images")
        facts = {"key": wish.key, "file": file, "prompt": wish.prompt, "seed": seed, "page": wish.page}
        sha256 = hashlib.sha256(data).hexdigest()
        book.append("saved", **facts, sha256=sha256, bytes=len(data), record=generator.record)
        return ""
    return reason
