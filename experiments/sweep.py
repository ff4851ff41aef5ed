"""The jobs of a sweep, side by side: data packed once, one-thread runs on every core, on CUDA groups in one process."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from tqdm import tqdm

from datasets import build
from datasets.decoding import usable_cpus
from experiments import crew, runs
from experiments.config import ConfigError, data_settings, whole_or_auto
from experiments.jobs import Job
from experiments.shell import one_line

WHOLE_SWEEP = ("jobs", "allocator")  # settings that cannot be swept over
Checked = tuple[Job, crew.Checked]
BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total:.0f} runs [{elapsed}<{remaining}]"


@dataclass(frozen=True)
class Ended:
    """A job that is over: its folder, or its overrides where it has none; what went wrong, empty where nothing did."""

    name: str
    wrong: str = ""


def work(jobs: Sequence[Job]) -> list[Ended]:
    """Run all jobs, whatever becomes of each; what became of them, in their order.

    Raises ConfigError where a setting of the whole sweep is wrong or is swept over.
    """
    jobs = _distinct(jobs)
    for key in WHOLE_SWEEP:
        if len(values := {str(job.settings.get(key)) for job in jobs}) > 1:
            raise ConfigError(f"{key}={','.join(sorted(values))}: expected one value for the whole sweep")
    at_once = whole_or_auto("jobs", jobs[0].settings.get("jobs"))
    if len(jobs) == 1 or at_once == 1 or (at_once is None and usable_cpus() == 1):
        from experiments import child  # brings torch

        if all(len(task) == 1 for task in _tasks(list(zip(jobs, child.check(jobs), strict=True)))):
            return [here(job, len(jobs)) for job in jobs]
    with _Board(jobs) as board:
        _side_by_side(jobs, at_once, board)
        return [board.ended[job.number] for job in jobs]


def _distinct(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without those that are the same as an earlier one: two processes cannot be at one run."""
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(repr(job.settings), job)
    if len(first) < len(jobs):
        print(f"{len(jobs)} jobs, of which {len(first)} differ: each is run once")
    return [replace(job, number=number) for number, job in enumerate(first.values(), start=1)]


def here(job: Job, total: int) -> Ended:
    """Run one job of `total` in this process."""
    from experiments.config import from_hydra
    from experiments.single import train_one, what_went_wrong

    print(f"\n[{job.number} of {total}] {job.name}", flush=True)
    folder = None
    try:
        config = from_hydra(OmegaConf.create(job.settings))
        folder = config.folder
        train_one(config)
        return Ended(str(folder))
    except Exception as error:  # noqa: BLE001 - whatever it is, the rest of the sweep goes on and the end names it
        text = what_went_wrong(error, folder)
        print(f"failed: {text}", file=sys.stderr, flush=True)
        return Ended(str(folder or job.name), text)


def finish(ended: Sequence[Ended], seconds: float) -> int:
    """The last lines of a sweep: every condition's mean, then which jobs failed; the means and differences in
    TensorBoard, of all seeds that are there. Returns the exit status."""
    from experiments import aggregates

    finished = [Path(job.name) for job in ended if not job.wrong]
    networks = dict.fromkeys(folder.parents[1] for folder in finished)
    for place in networks:
        aggregates.refresh(place)
    for line in runs.summary([runs.read(folder) for folder in dict.fromkeys(finished)]):
        print(line)
    failed = [job for job in ended if job.wrong]
    for job in failed:
        print(f"failed: {job.name}: {job.wrong}", file=sys.stderr)
    again = "; the same command does only what is missing" if failed else ""
    print(f"{len(finished)} of {len(ended)} runs are done, {seconds:.0f} s{again}")
    for place in networks:
        print(f"next: python -m experiments.compare {shlex.quote(str(place))}", flush=True)
    return 1 if failed else 0


def _side_by_side(jobs: Sequence[Job], at_once: int | None, board: "_Board") -> None:
    crew.start()
    good = list(_checked(list(_with_data(jobs, board)), board))
    if not good:
        return
    tasks, cuda = _tasks(good), any(check.cuda for _, check in good)
    threads = max(whole_or_auto("threads", job.settings.get("threads")) or 1 for job, _ in good)
    size = min(len(tasks), at_once or (1 if cuda else max(1, usable_cpus() // threads)))
    if not cuda:
        tasks = [[_one_thread(job) for job in task] for task in tasks]
        each = "one thread" if threads == 1 else f"{threads} threads"
        print(f"{len(good)} runs, {size} at a time, {each} each", flush=True)
        if size * threads > usable_cpus():
            print(f"warning: {size * threads} threads for {usable_cpus()} cores slow each other", file=sys.stderr)
    with closing(crew.work([crew.Train(task) for task in tasks], size)) as work:
        for place, said in work:
            board.take(tasks[place], said)


def _with_data(jobs: Sequence[Job], board: "_Board") -> Iterator[Job]:
    """The jobs whose data can be had, packed before several processes want them; the others are over."""
    known: dict[str, str] = {}  # what is wrong with data, empty where nothing is
    for job in jobs:
        composed = OmegaConf.create(job.settings)
        try:
            settings = data_settings(composed)
            store = repr((replace(settings, fold=None), composed.data_root))  # folds share it
            if store not in known:
                known[store] = _packed(settings, Path(str(composed.data_root)).expanduser())
            wrong = known[store]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other jobs go on
            wrong = one_line(error)
        if wrong:
            board.end(job, Ended(job.name, wrong))
        else:
            yield job


def _packed(settings: Any, data_root: Path) -> str:
    """Pack a data set where it is not yet; what went wrong, empty where nothing did."""
    try:
        build.prepare(settings, data_root=data_root)
    except Exception as error:  # noqa: BLE001 - every run on these data ends with it
        return one_line(error)
    return ""


def _checked(jobs: Sequence[Job], board: "_Board") -> Iterator[Checked]:
    """The jobs that can be run, with what is known of them beforehand; the others are over."""
    with closing(crew.work([crew.Check(list(jobs))], 1)) as work:
        said = [said for _, said in work][-1]
    if isinstance(said, crew.Died):
        said = [crew.Checked(wrong=f"the process that checks settings was {said.how}")] * len(jobs)
    for job, check in zip(jobs, said, strict=True):
        if check.wrong:
            board.end(job, Ended(job.name, check.wrong))
        else:
            yield job, check


def _tasks(checked: Sequence[Checked]) -> list[list[Job]]:
    """The jobs one by one, or in groups that are trained together; those on the same data follow each other, as a
    process holds one data set at a time."""
    groups: dict[str, list[Job]] = {}
    most: dict[str, int] = {}
    for job, check in checked:
        alone = check.family is None or check.together == 1 or (check.together == "auto" and not check.cuda)
        key = str(job.number) if alone or check.family is None else check.family
        groups.setdefault(key, []).append(job)
        most[key] = len(checked) if check.together == "auto" else int(check.together)
    tasks = [
        members[start : start + most[key]]
        for key, members in groups.items()
        for start in range(0, len(members), most[key])
    ]
    data = list(dict.fromkeys(str(job.settings["data"]) for job, _ in checked))
    return sorted(tasks, key=lambda task: data.index(str(task[0].settings["data"])))


def _one_thread(job: Job) -> Job:
    """The job with one thread, where it does not ask for a number of them."""
    threads = whole_or_auto("threads", job.settings.get("threads")) or 1
    return replace(job, settings={**job.settings, "threads": threads})


class _Board:
    """What the user sees of a sweep: the lines of all runs, each with its job's number, above one bar for all."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.ended: dict[int, Ended] = {}
        self._shares: dict[int, float] = {}  # of the runs that have begun, how much of each is done
        self._folders: dict[int, str] = {}
        self._total = len(jobs)

    def __enter__(self) -> "_Board":
        self._bar = tqdm(total=self._total, bar_format=BAR, smoothing=0, disable=None, leave=False)
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def take(self, task: Sequence[Job], said: crew.Said | crew.Died) -> None:
        """What a task's process said."""
        if isinstance(said, crew.Died):
            for job in task:
                if job.number not in self.ended:
                    name = self._folders.get(job.number, job.name)
                    self.end(job, Ended(name, f"its process was {said.how}; the same command goes on from there"))
            return
        job = task[said.place]
        self._begin(job, said.share)
        self._folders[job.number] = said.folder
        for lines, stream in ((said.out, sys.stdout), (said.err, sys.stderr)):
            for line in lines:
                self._write(f"[{job.number}] {line}", stream)
        self._bar.update(said.share - self._shares[job.number])
        self._shares[job.number] = said.share
        if said.ended:
            self.end(job, Ended(said.folder, said.wrong))

    def end(self, job: Job, ended: Ended) -> None:
        """A job is over."""
        self._begin(job, 1.0)
        if ended.wrong:
            self._write(f"[{job.number}] failed: {ended.wrong}", sys.stderr)
        self.ended[job.number] = ended

    def _begin(self, job: Job, share: float) -> None:
        """Say that a job has begun; what was done of it before is no work of this sweep."""
        if job.number in self._shares:
            return
        self._shares[job.number] = share
        if not self._bar.disable:
            self._bar.initial += share
            self._bar.n += share
        self._write(f"[{job.number} of {self._total}] {job.name}", sys.stdout)

    @staticmethod
    def _write(line: str, stream: Any) -> None:
        tqdm.write(line, file=stream)
        stream.flush()
