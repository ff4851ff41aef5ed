"""The images a collection is to hold, and the loop that makes those it lacks."""

import hashlib
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datasets import ledger
from datasets.flux.generators import ImageGenerator, ModelFault, Stopped
from datasets.flux.prompts import Prompts, image_seed
from datasets.flux.service import ServiceError
from datasets.ledger import Ledger
from datasets.manifest import DataError, whole_file

SEEDS_AN_IMAGE = 5
GO_ON = "and the same command goes on from there"


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


def missing(
    wanted: Iterable[Wish], events: Iterable[dict[str, Any]], record: dict[str, Any], folder: Path
) -> list[Wish]:
    """The images whose file is not in the collection at `folder`, those first that an earlier process ordered.

    A name stands for one image: DataError where one that is wanted was saved with another prompt, seed or `record` (the
    generator's), or its prompt and seed were ordered with another record. Images that are not wanted now are left
    alone. One that was saved and whose file was removed is missing like any other.
    """
    saved: dict[str, dict[str, Any]] = {}
    orders: dict[tuple[str, int], dict[str, Any]] = {}  # among thousands of images, two have a seed in common
    for event in events:
        if event["event"] == "saved":
            saved[event["key"]] = {**event, **_flat(event["record"])}
        elif event["event"] == "asking":
            orders[event["input"]["prompt"], event["input"]["seed"]] = _flat(event)
    ordered: list[Wish] = []
    fresh: list[Wish] = []
    for wish in wanted:
        here = saved.get(wish.key)
        if here:
            _agree(wish, here, record)
            if (folder / here["file"]).is_file():
                continue
        under_way = [orders[wish.prompt, seed] for seed in wish.seeds if (wish.prompt, seed) in orders]
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
    wanted: Sequence[Wish],
    generator: ImageGenerator,
    book: Ledger,
    *,
    workers: int,
    ending: threading.Event,
    home: float = 5.0,
) -> None:
    """Make what is missing; every image is on disk before the ledger says so, and none is asked for again.

    A fault of the model is answered with the image's next seed. ServiceError where one has no seed left, at the end.
    Whatever else a worker raises ends the collection: `ending` is set, after which the generator begins nothing, and
    those under way are brought home. Where it is the user who stops, they have `home` seconds for that.
    """
    images = book.folder / "images"
    images.mkdir(exist_ok=True)
    for litter in images.glob(".*.part"):  # of a process that was killed
        litter.unlink()
    _adopt(book)
    lacking = missing(wanted, book.events, generator.record, book.folder)
    faults: list[str] = []
    failure: BaseException | None = None
    todo: queue.SimpleQueue[Wish] = queue.SimpleQueue()
    done: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
    for wish in lacking:
        todo.put(wish)

    def work() -> None:
        while not ending.is_set():
            try:
                done.put(_make(todo.get_nowait(), generator, book))
            except (queue.Empty, Stopped):
                break
            except BaseException as error:  # noqa: BLE001 - it is raised below
                ending.set()
                done.put(error)
        done.put(None)

    # A program that is stopped does not wait for such threads.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(lacking)))]
    with tqdm(total=len(wanted), initial=len(wanted) - len(lacking), unit="image", disable=None) as bar:
        try:
            for thread in threads:
                thread.start()
            for _ in threads:
                while (result := done.get()) is not None:
                    if isinstance(result, BaseException):
                        failure = failure or result
                    elif result:
                        faults.append(result)
                    else:
                        bar.update()
        except BaseException:
            ending.set()
            deadline = time.monotonic() + home
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join(max(0.0, deadline - time.monotonic()))
            raise
    if isinstance(failure, (ServiceError, DataError)):
        have = len(wanted) - len(missing(wanted, book.events, generator.record, book.folder))
        raise type(failure)(f"{failure}; {have} of {len(wanted)} images are there, {GO_ON}") from failure
    if failure:
        raise failure
    if faults:
        raise ServiceError(
            f"{len(faults)} of {len(wanted)} images cannot be made, each of their {SEEDS_AN_IMAGE} seeds gave a fault, "
            f"the first: {faults[0]}; the others are there, and another call will not try these again"
        )


def _adopt(book: Ledger) -> None:
    """Take in every file that was whole on disk when its process was killed, before the ledger called it saved."""
    waiting: dict[str, dict[str, Any]] = {}
    for event in book.events:
        if event["event"] == "fetched":
            waiting[event["key"]] = event
        elif event["event"] == "saved":
            waiting.pop(event["key"], None)
    for event in waiting.values():
        path = book.folder / event["file"]
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == event["sha256"]:
            book.append("saved", **{name: event[name] for name in event if name not in ("event", "time")})


def _make(wish: Wish, generator: ImageGenerator, book: Ledger) -> str:
    """Make one image; the last fault of the model, where it made none."""
    for seed in wish.seeds:
        try:
            data = generator.generate(wish.prompt, seed)
        except ModelFault as fault:
            reason = f"{wish.key}: {fault}"
            continue
        file = f"images/{wish.key}.png"
        facts = {"key": wish.key, "file": file, "prompt": wish.prompt, "seed": seed, "page": wish.page}
        facts |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "record": generator.record}
        book.append("fetched", **facts)
        with whole_file(book.folder / file, "wb") as out:
            out.write(data)
        ledger.sync_folder(book.folder / "images")
        book.append("saved", **facts)
        return ""
    return reason
