"""The process that decodes for datasets.decoding: it may die of a hostile file, and imports no more than it needs.

A request is a pickled list of locations. The answer is a line of JSON, for each location the reason it is bad or the
number of its pieces and the plain fields of decoding.Decoded; then come the pixels of the good ones.
"""

import contextlib
import hashlib
import json
import os
import pickle
import signal
import sys
import traceback
from typing import Any

import numpy as np

from datasets import degrade, fitting, images

# A picture at the default pixel cap needs less than a third of it; what needs more fails alone.
MEMORY = 3 * 2**30


def serve() -> None:
    """Answer requests on stdin until it closes, which it does even where the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, and the parent ends us
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    settings, seconds = pickle.load(requests)
    decoder = images.Decoder(settings)
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
            heads, arrays = _decode_here(pickle.load(requests), decoder, seconds)
            answer: dict[str, Any] = {"heads": heads}
        except EOFError:
            return
        except Exception:  # noqa: BLE001 - a fault of the program, to be raised where somebody sees it
            answer = {"fault": traceback.format_exc()}
        answers.write(json.dumps(answer).encode() + b"\n")
        # in one piece: each write wakes the parent
        answers.write(b"".join(array.data for array in arrays))
        answers.flush()


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # a system without it, or a stricter limit already
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _decode_here(locations: list, decoder: images.Decoder, seconds: float) -> tuple[list[str | list], list[np.ndarray]]:
    """For each location its reason, or the number of its pieces and Decoded's plain fields; then the pieces of the good
    ones, then, unless they are the same, their thumbs."""
    settings = decoder.settings
    own_thumbs = fitting.are_thumbs(settings.size, settings.fit)
    heads: list[str | list] = []
    pixels, thumbs = [], []
    for location in locations:
        # Unheeded, the alarm ends the process, even within a C library and even where the parent is no more.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            data = location.read()
            image, facts, repair = _decode_or_repair(data, decoder)
            sha256 = hashlib.sha256(data).hexdigest()
            if settings.degradation:
                image = _degraded(image, settings.degradation, sha256)
            mine = images.pieces(image, settings)
            small = None if own_thumbs else fitting.thumb(image)
        except images.BadImage as error:
            heads.append(str(error))
        except MemoryError:
            heads.append(f"needs more than {MEMORY // 2**30} GiB of memory")
        except OSError as error:
            heads.append(f"cannot be read: {images.one_line(error)}")
        else:
            heads.append([len(mine), sha256, len(data), *facts, repair])
            pixels.append(np.ascontiguousarray(mine))
            if small is not None:
                thumbs.append(np.ascontiguousarray(small))
    signal.setitimer(signal.ITIMER_REAL, 0)
    return heads, pixels + thumbs


def _degraded(image: np.ndarray, degradation: degrade.Degradation, sha256: str) -> np.ndarray:
    try:
        return degrade.degraded(image, degradation, sha256)
    except (OSError, ValueError) as error:  # more pixels to a side than the codec takes
        raise images.BadImage(f"cannot be degraded: {images.one_line(error)}") from error


def _decode_or_repair(data: bytes, decoder: images.Decoder) -> tuple[np.ndarray, images.Facts, list[str]]:
    try:
        return *decoder.decode(data), []
    except images.BadImage as error:
        if not decoder.settings.inpaint:
            raise
        from datasets import inpaint  # only where something is damaged: it costs a child as much as its start

        return inpaint.inpainted(data, decoder.settings, error)


if __name__ == "__main__":
    serve()
