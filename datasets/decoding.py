"""Many images decoded at once and in order, in child processes that a hostile file may kill or hang without harm."""

import contextlib
import hashlib
import json
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datasets import images
from datasets.images import ImageSettings

IMAGES_PER_CHUNK = 256
BYTES_PER_CHUNK = 4 * 2**20
# Below this a second child costs more to start than it saves.
IMAGES_PER_CHILD = 200
# A picture at the default pixel cap needs less than a third of it; what needs more fails alone.
MEMORY_OF_A_CHILD = 3 * 2**30


class Location(Protocol):
    """Where an image lies: small and picklable. `stamp` changes when the bytes do."""

    @property
    def stamp(self) -> str: ...

    def read(self) -> bytes:
        """The file's bytes; raises BadImage or OSError."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """An image read whole: sha256 of its file and its size in bytes; images.Facts of it, before `fit`.

    pixels: RGB uint8 (pieces, height, width, 3) after `fit`, one piece unless it is `patches`; thumb: (32, 32, 3).
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

    A request is a pickled list of locations. The answer is a line of JSON, for each location the reason it is bad or
    its facts, and then the pixels of the good ones: what a damaged process writes is never unpickled.
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
                [sys.executable, "-P", "-m", "datasets.decoding"],
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
            assert self.process and self.process.stdout
            numbers = [0 if isinstance(head, str) else head.pop("pieces") for head in heads]
            pixels = np.frombuffer(self.process.stdout.read(sum(numbers) * math.prod(shape)), np.uint8)
            each = np.split(pixels.reshape(sum(numbers), *shape), np.cumsum(numbers)[:-1])
            good = sum(number > 0 for number in numbers)
            small = (good, images.THUMB, images.THUMB, 3)
            thumbs = iter(np.frombuffer(self.process.stdout.read(math.prod(small)), np.uint8).reshape(small))
        except ValueError:  # half a line, or too few pixels
            status = self.reap()
            how = f"signal {-status}" if status < 0 else f"exit {status}"
            late = status == -signal.SIGALRM
            raise _Died(f"took longer than {self.seconds:g} s" if late else f"the decoder died ({how})") from None
        return [
            Bad(head) if isinstance(head, str) else Decoded(**head, pixels=mine, thumb=next(thumbs))
            for head, mine in zip(heads, each, strict=True)
        ]


def serve() -> None:
    """The child: answer requests on stdin until it closes, which it does even where the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, and the parent ends us
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    settings, seconds = pickle.load(requests)
    _limit_memory()
    answers.write(b"ready\n")
    answers.flush()
    # The C libraries complain about every damaged file, on whatever stands under these numbers.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    while True:
        arrays: list[np.ndarray] = []
        try:
            heads, arrays = _decode_here(pickle.load(requests), settings, seconds)
            answer: dict[str, Any] = {"heads": heads}
        except EOFError:
            return
        except Exception:  # noqa: BLE001 - a fault of the program, to be raised where somebody sees it
            answer = {"fault": traceback.format_exc()}
        answers.write(json.dumps(answer).encode() + b"\n")
        for array in arrays:
            answers.write(array.data)
        answers.flush()


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # a system without it, or a stricter limit already
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_OF_A_CHILD, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _decode_here(locations: list[Location], settings: ImageSettings, seconds: float) -> tuple[list, list[np.ndarray]]:
    """For each location its reason or Decoded's plain fields; then the pieces of the good ones, then their thumbs."""
    heads: list[str | dict] = []
    pixels, thumbs = [], []
    for location in locations:
        # Unheeded, the alarm ends the process, even within a C library and even where the parent is no more.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            data = location.read()
            image, facts = images.decode(data, settings)
            mine, small = images.pieces(image, settings), images.thumb(image)
        except images.BadImage as error:
            heads.append(str(error))
        except MemoryError:
            heads.append(f"needs more than {MEMORY_OF_A_CHILD // 2**30} GiB of memory")
        except OSError as error:
            heads.append(f"cannot be read: {images.one_line(error)}")
        else:
            plain = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **asdict(facts)}
            heads.append(plain | {"pieces": len(mine)})
            pixels.append(np.ascontiguousarray(mine))
            thumbs.append(np.ascontiguousarray(small))
    signal.setitimer(signal.ITIMER_REAL, 0)
    return heads, pixels + thumbs


if __name__ == "__main__":
    serve()
