"""Worker processes of a sweep: forked from one that has imported everything, given task after task, replaced at death.

This module is light: the process that has the sweep imports no torch, while the one that forks does so once for all.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver, resource_tracker
from typing import Any

from experiments.jobs import Job

IMPORTED = ["experiments.child"]


@dataclass(frozen=True)
class Check:
    """A task: see whether these jobs can be run, before any is."""

    jobs: list[Job]


@dataclass(frozen=True)
class Checked:
    """Of a job: whether it runs on CUDA, which jobs it may be trained with, how many at once; or what is wrong."""

    cuda: bool = False
    family: str | None = None
    together: int | str = 1
    wrong: str = ""


@dataclass(frozen=True)
class Train:
    """A task: train these jobs, together where they are several."""

    jobs: list[Job]


@dataclass(frozen=True)
class Said:
    """Of a job that is trained, by its place in the task: whole lines for stdout and stderr, the share of it that is
    done; whether this is the end of it, its folder, and what went wrong, empty where nothing did."""

    place: int
    out: list[str]
    err: list[str]
    share: float
    ended: bool
    folder: str
    wrong: str


@dataclass(frozen=True)
class Died:
    """What is said of a task whose process ended in the middle of it: by which signal or with which status."""

    how: str


def start() -> None:
    """Let the process that workers are forked from begin its imports, which take seconds; returns at once.

    Without this, it starts with the first worker.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    forkserver.set_forkserver_preload(IMPORTED)
    resource_tracker.ensure_running()  # else it comes up below, and unblocks the signal
    # Ctrl-C reaches every process of the terminal. It and the workers inherit that they do not hear it: they are ended.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(tasks: Sequence[Check | Train], size: int) -> Generator[tuple[int, Any], None, None]:
    """Do the tasks in worker processes, at most `size` of them side by side, each in turn where one is free.

    Yields (a task's place, what experiments.child.perform says of it), and as its last word Died where its process did
    not live to the end of it. However this ends, no process is left.
    """
    waiting = deque(range(len(tasks)))
    hands: dict[Any, _Hand] = {}  # by the connection to each
    try:
        while waiting or any(hand.place is not None for hand in hands.values()):
            for hand in hands.values():
                if waiting and hand.place is None:
                    hand.give(waiting, tasks)
            while waiting and len(hands) < size:
                hand = _Hand.start()
                hands[hand.connection] = hand
                hand.give(waiting, tasks)
            for ready in connection.wait([hand.connection for hand in hands.values() if hand.place is not None]):
                hand = hands[ready]
                assert hand.place is not None
                try:
                    said = hand.connection.recv()
                except (EOFError, OSError):  # OSError: it died in the middle of a word
                    yield hand.place, Died(hand.end())
                    del hands[ready]
                    continue
                if said is None:
                    hand.place = None
                else:
                    yield hand.place, said
    finally:
        for hand in hands.values():
            hand.process.kill()
        for hand in hands.values():
            hand.end()


@dataclass
class _Hand:
    """A worker process, and the place of the task that it is at."""

    process: Any
    connection: Any
    place: int | None = None

    @classmethod
    def start(cls) -> "_Hand":
        start()
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()  # so that ours ends where the process does
        return cls(process, ours)

    def give(self, waiting: deque[int], tasks: Sequence[Any]) -> None:
        """The next task; one that cannot be taken any more is heard of as a death."""
        self.place = waiting.popleft()
        with suppress(OSError):
            self.connection.send(tasks[self.place])

    def end(self) -> str:
        """Wait for its end; in words, how it ended."""
        self.connection.close()
        self.process.join()
        status = self.process.exitcode
        if status is not None and status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"


def _serve(theirs: Any) -> None:
    from experiments import child

    child.serve(theirs)
