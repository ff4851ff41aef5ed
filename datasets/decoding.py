"""Many images decoded at once and in order, in child processes that a hostile file may kill or hang without harm."""

import contextlib
import json
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from datasets import fitting
from datasets.images import ImageSettings

IMAGES_PER_CHUNK = 256
BYTES_PER_CHUNK = 4 * 2**20
# Below this a second child costs more to start than it saves.
IMAGES_PER_CHILD = 200


class Location(Protocol):
    """Where an image lies: small and picklable. `stamp` changes when the bytes do."""

    @property
    def stamp(self) -> str: ...

    def read(self) -> bytes:
        """The file's bytes; raises BadImage or OSError."""


class Decoded(NamedTuple):
    """An image read whole, or repaired: sha256 of its file and its size in bytes; images.Facts of it, before `fit`.

    repair: of an image that datasets.inpaint completed: why, what was done, with what; else empty.
    pixels: RGB uint8 (pieces, height, width, 3) after `fit`, one piece unless it is `patches`; thumb: (32, 32, 3), the
    same memory where they are the same.
    They are read-only views of a few MB shared with the neighbours: copy what is to be kept.
    """

    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    mode: str
    quality: int
    sampling: str
    repair: list[str]
    pixels: np.ndarray
    thumb: np.ndarray


@dataclass(frozen=True, slots=True)
class Bad:
    """An image that could not be read whole; the reason is one line."""

    reason: str


def decode_all(
    locations: Sequence[Location],
    settings: ImageSettings,
    *,
    workers: int | None = None,
    seconds: float = 20.0,
    description: str = "decoding",
) -> Generator[Decoded | Bad]:
    """What became of each location, in their order.

    workers: child processes, by default one a CPU. seconds: by the clock on the wall, what one image may take.
    Only a few chunks are held at a time. The children end with the iterator, however it ends. RuntimeError where a
    child does not start or `read` raises what it must not: that is a fault of the program, not of an image.
    """
    from tqdm import tqdm  # costs a child half of its start, and no child needs it

    if workers is None:
        workers = max(1, min(usable_cpus(), len(locations) // IMAGES_PER_CHILD))
    height, width = settings.size
    # At least eight chunks for each child, that all end at about the same time.
    image_bytes = settings.patches * height * width * 3
    step = min(IMAGES_PER_CHUNK, BYTES_PER_CHUNK // image_bytes, len(locations) // (8 * workers))
    step = max(1, step)
    children = [_Child(settings, seconds) for _ in range(workers)]
    idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
    for child in children:
        idle.put(child)

    def decode_chunk(start: int) -> list[Decoded | Bad]:
        child = idle.get()
        try:
            return child.decode(locations[start : start + step])
        finally:
            idle.put(child)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="decoding")
    starts = iter(range(0, len(locations), step))
    try:
        with tqdm(total=len(locations), desc=description, unit=" images", disable=None) as bar:
            pending = deque(pool.submit(decode_chunk, start) for start in islice(starts, 2 * workers))
            while pending:
                results = pending.popleft().result()
                pending.extend(pool.submit(decode_chunk, start) for start in islice(starts, 1))
                yield from results
                bar.update(len(results))
    finally:
        for child in children:
            child.end()
        pool.shutdown(cancel_futures=True)
        for child in children:
            child.reap()


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Died(Exception):
    """The child is gone; the text says how."""


class _Child:
    """One child process and its successors; used by one thread at a time, ended by any.

    What is asked and answered: see datasets/decoding_process.py. What a damaged process writes is never unpickled.
    """

    def __init__(self, settings: ImageSettings, seconds: float) -> None:
        self.settings = settings
        self.seconds = seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = False
        self.lock = threading.Lock()

    def decode(self, locations: Sequence[Location]) -> list[Decoded | Bad]:
        """After a death the images go one at a time. Bad is what kills a child that has read nothing else."""
        results: list[Decoded | Bad] = []
        step = len(locations)
        while len(results) < len(locations):
            fresh = self.process is None
            if fresh:
                self._start()
            try:
                results += self._ask(locations[len(results) : len(results) + step])
            except _Died as death:
                if fresh and step == 1:
                    results.append(Bad(str(death)))
                step = 1
        return results

    def end(self) -> None:
        with self.lock:
            self.ended = True
            if self.process:
                self.process.kill()

    def reap(self) -> int:
        """Wait for the process, killed where it still lives; its exit status, minus the signal for a violent death."""
        with self.lock:
            process, self.process = self.process, None
        if process is None:
            return 0
        process.kill()
        status = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was not sent has nobody to go to
                pipe.close()  # type: ignore[union-attr]
        return status

    def _start(self) -> None:
        # All folders of this process, so that what could be pickled here can be unpickled there; ours first.
        folders = [str(Path(__file__).resolve().parents[1]), *(folder or str(Path.cwd()) for folder in sys.path)]
        with self.lock:
            if self.ended:
                raise RuntimeError("the decoding has ended")
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "datasets.decoding_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OPENBLAS_NUM_THREADS": "1"},
            )
        if self._send((self.settings, self.seconds)) != b"ready\n":
            raise RuntimeError(f"the decoding process does not start; it ends with status {self.reap()}")

    def _send(self, message: object) -> bytes:
        """The first line of the answer; not a whole line where the child died."""
        assert self.process and self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()
        return self.process.stdout.readline()

    def _ask(self, locations: Sequence[Location]) -> list[Decoded | Bad]:
        shape = (*self.settings.size, 3)
        try:
            answer = json.loads(self._send(list(locations)))
            if "fault" in answer:
                raise RuntimeError(f"the decoding process failed:\n{answer['fault']}")
            heads = answer["heads"]
            numbers = [0 if isinstance(head, str) else head[0] for head in heads]
            pixels = self._read(sum(numbers), *shape)
            thumbs = pixels
            if not fitting.are_thumbs(self.settings.size, self.settings.fit):
                thumbs = self._read(sum(number > 0 for number in numbers), fitting.THUMB, fitting.THUMB, 3)
        except ValueError:  # half a line, or too few pixels
            status = self.reap()
            how = f"signal {-status}" if status < 0 else f"exit {status}"
            late = status == -signal.SIGALRM
            raise _Died(f"took longer than {self.seconds:g} s" if late else f"the decoder died ({how})") from None
        each, ends = iter(thumbs), accumulate(numbers)
        return [
            Bad(head) if isinstance(head, str) else Decoded._make([*head[1:], pixels[end - head[0] : end], next(each)])
            for head, end in zip(heads, ends, strict=True)
        ]

    def _read(self, *shape: int) -> np.ndarray:
        """uint8 of this shape from the answer; ValueError where it ends too early."""
        assert self.process and self.process.stdout
        return np.frombuffer(self.process.stdout.read(math.prod(shape)), np.uint8).reshape(shape)
