"""What a worker process of a sweep does. Imported once, in the process that all of them are forked from."""

import contextlib
import io
import os
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import connection, parent_process
from typing import Any

from omegaconf import OmegaConf
from tqdm import tqdm

from experiments import record, together
from experiments.config import Config, from_hydra, reseeded
from experiments.crew import Check, Checked, Said, Train
from experiments.jobs import Job
from experiments.material import choose_device
from experiments.shell import one_line
from experiments.single import what_went_wrong
from experiments.worker import Progress

record.code_version()  # of the files that were just imported, whatever becomes of them during the sweep


def serve(parent: Any) -> None:
    """Do the parent's tasks, one after the other, and end with it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own lock is shared between processes, and one that is killed would keep it
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            for said in perform(parent.recv()):
                parent.send(said)
            parent.send(None)


def perform(task: Check | Train) -> Iterator[Any]:
    """Check jobs: one list of Checked. Train jobs that may go together: what each has to say, as Said."""
    if isinstance(task, Check):
        yield check(task.jobs)
        return
    out, err = _Lines(), _Lines()
    configs = [from_hydra(OmegaConf.create(job.settings)) for job in task.jobs]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for place, event in together.train(configs):
            share = event.share if isinstance(event, Progress) else 1.0
            wrong = what_went_wrong(event, configs[place].folder) if isinstance(event, Exception) else ""
            done = not isinstance(event, Progress)
            yield Said(place, out.taken(), err.taken(), share, done, str(configs[place].folder), wrong)


def check(jobs: Sequence[Job]) -> list[Checked]:
    """What can be said of each job before any is begun."""
    arms: dict[str, Config] = {}  # what differs in its seed alone is typed once
    found = []
    for job in jobs:
        settings = {**job.settings, "seed": 0}
        if "seed}" in repr(settings):  # another setting follows it, such as data.fold=${seed}
            settings = job.settings
        try:
            if (arm := repr(settings)) not in arms:
                arms[arm] = from_hydra(OmegaConf.create(settings))
            config = reseeded(arms[arm], job.settings.get("seed"))
            cuda = choose_device(config.device).type == "cuda"
            found.append(Checked(cuda, together.family(config), config.train.together))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other jobs go on
            found.append(Checked(wrong=one_line(error)))
    return found


class _Lines(io.TextIOBase):
    """A stream that keeps what is written until it is asked for."""

    def __init__(self) -> None:
        self._kept = ""

    def write(self, text: str) -> int:
        self._kept += text
        return len(text)

    def taken(self) -> list[str]:
        """The whole lines since the last time."""
        *lines, self._kept = self._kept.split("\n")
        return [line for line in lines if line]


def _end_with_parent() -> None:
    """Whatever ends the parent ends this process too, in the middle of a step: a run is safe against that."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
