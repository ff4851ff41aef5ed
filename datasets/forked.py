"""Work in forked processes: threads of Python wait for each other where each step of the work is short."""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from datasets.decoding import usable_cpus


def each(places: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
    """What `work` gives for each place, in order; a process for each CPU, where Linux forks them.

    They see what this process holds, and what they change is lost; what they give is pickled. RuntimeError where one
    fails or ends before its work. None outlives the call, nor this process: its next answer finds nobody.
    """
    processes = min(usable_cpus(), len(places)) if sys.platform == "linux" else 1
    if processes < 2:
        return [work(place) for place in places]
    hands: list[_Hand] = []
    try:
        for first in range(processes):
            hands.append(_Hand.start(places[first::processes], work))
        return [hands[number % processes].answer() for number in range(len(places))]
    finally:
        for hand in hands:
            hand.end()


def _tried(work: Callable[[Any], Any], place: Any) -> tuple[Any, str]:
    """Its answer, and an empty text; or nothing, and the traceback."""
    try:
        return work(place), ""
    except Exception:  # noqa: BLE001 - raised again where somebody sees it
        return None, traceback.format_exc()


@dataclass
class _Hand:
    """A forked process, and the pipe through which its answers come."""

    pid: int
    answers: BinaryIO

    @classmethod
    def start(cls, places: Sequence[Any], work: Callable[[Any], Any]) -> "_Hand":
        theirs, ours = os.pipe()
        # a signal in between would have the child go on as if it were the parent
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            pid = os.fork()
        except OSError:  # there may be no more processes
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(theirs)
            os.close(ours)
            raise
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(ours)
            return cls(pid, open(theirs, "rb"))
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, and the parent ends us
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(theirs)
            with open(ours, "wb") as out:
                for place in places:
                    pickle.dump(_tried(work, place), out)
                    out.flush()
        finally:  # nothing of the parent's may run here; where the pipe is broken, it is gone
            os._exit(0)

    def answer(self) -> Any:
        """The next one."""
        try:
            answer, fault = pickle.load(self.answers)
        except (EOFError, pickle.UnpicklingError):
            raise RuntimeError("a process that shared the work ended in the middle of it") from None
        if fault:
            raise RuntimeError(f"a process that shared the work failed:\n{fault}")
        return answer

    def end(self) -> None:
        """See to it that it is no more."""
        self.answers.close()
        os.kill(self.pid, signal.SIGKILL)  # a zombie until it is waited for, so that the number is its own
        os.waitpid(self.pid, 0)
