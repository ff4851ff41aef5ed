"""Programs in processes of their own, as a user starts them: how long they took, what they said when, their memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 1800  # seconds for one program
GRACE = 10  # seconds between asking a program to end and ending it
LONGEST = 80  # characters of a command that are told
GLANCE = 0.02  # seconds between two looks at what a program has written

Tasks = Mapping[str, Callable[..., Any]]  # functions that `answer` can call by name


class Failed(RuntimeError):
    """A program that was to be measured did not get through; its text is one line."""

    exit_status = 1


@dataclass(frozen=True)
class Finished:
    """started: seconds since 1970; seconds: from start to end; lines: (seconds after the start, line of stdout).

    peak_mib: the most memory that the largest of its processes has held.
    """

    started: float
    seconds: float
    peak_mib: float
    lines: list[tuple[float, str]]

    @property
    def answer(self) -> Any:
        """The JSON of its last line."""
        return json.loads(self.lines[-1][1])


def module(name: str, *words: object) -> list[str]:
    """The command of `python -m name words`."""
    return [sys.executable, "-m", name, *map(str, words)]


def task(module_name: str, name: str, **settings: Any) -> Finished:
    """Run a function of a module's TASKS in a process; its answer is JSON."""
    return run(module(module_name, name, json.dumps(settings)))


def answer(tasks: Tasks) -> None:
    """The other end of `task`: call what the command line names, print its answer as the last line."""
    print(json.dumps(tasks[sys.argv[1]](**json.loads(sys.argv[2]))), flush=True)


def run(command: Sequence[str]) -> Finished:
    """Run a program to its end; raises Failed where it ends badly or not at all.

    What this process itself holds counts in the child's peak, as the child is born from it: keep it small.
    """
    lines: list[tuple[float, str]] = []
    began, started = time.perf_counter(), time.time()
    with _program(command) as (process, errors):

        def read() -> None:
            for line in process.stdout:
                lines.append((time.perf_counter() - began, line.rstrip("\n")))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        timer = threading.Timer(PATIENCE, _end, (process, signal.SIGKILL))
        timer.daemon = True
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        reader.join(GRACE)
        if process.returncode != 0:
            raise _failure(command, process.returncode, errors)
    return Finished(started, seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), lines)


def until(command: Sequence[str], seen: Callable[[], float | None]) -> float:
    """Run a program until `seen` gives a time (seconds since 1970), then end it; seconds from its start to then."""
    started = time.time()
    with _program(command) as (process, errors):
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        while (moment := seen()) is None:
            if process.poll() is not None and seen() is None:
                raise _failure(command, process.returncode, errors)
            if time.time() - started > PATIENCE:
                raise Failed(f"{_said(command)}: nothing to be seen of it after {PATIENCE} s")
            time.sleep(GLANCE)
        _end(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    return moment - started


@contextmanager
def _program(command: Sequence[str]):
    """A program at work in the repository, with the file of its stderr; it and its children end with the block."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # so that it can be ended with all its children
        )
        try:
            yield process, errors
        finally:
            _end(process, signal.SIGKILL)
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


def _end(process: subprocess.Popen, how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)


def _failure(command: Sequence[str], status: int, errors: Any) -> Failed:
    errors.seek(0)
    said = [line.strip() for line in errors if line.strip()]
    return Failed(f"{_said(command)}: exit status {status}: {said[-1] if said else 'nothing on stderr'}")


def _said(command: Sequence[str]) -> str:
    """The beginning of the command without the interpreter's place, as one line."""
    words = " ".join(["python", *command[1:]])
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} ..."
