"""Runs that one process trains at once: they differ in nothing but seed and view, and each has its own folder."""

from collections import defaultdict, deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from detector.color import build_view
from experiments import single
from experiments.config import Config, ConfigError
from experiments.worker import Progress, Worker

# What there is to say of a run: how far it is; at its end the folder, or what went wrong.
Event = Progress | Path | Exception
Events = Generator[tuple[int, Event], None, None]


@dataclass(frozen=True)
class _Run:
    """A run that has begun: its place among the configurations, and what holds its folder."""

    place: int
    worker: Worker
    held: ExitStack

    def failed(self, error: Exception) -> tuple[int, Event]:
        """Let the folder go, with the error in it."""
        self.held.__exit__(type(error), error, error.__traceback__)
        return self.place, error


def family(config: Config) -> str | None:
    """Runs may be trained together where this is equal; None where a run has to be alone."""
    if config.aug.shuffle_labels or config.train.goes_alone:  # it sees labels of its own, or waits for validation
        return None
    channels = build_view(config.aug.train, where="aug.train").channels
    parts = (
        config.task,
        config.data,
        config.data_root,
        config.model,
        config.train,
        channels,
        config.device,
        config.threads,
    )
    return repr(parts)


def train(configs: Sequence[Config]) -> Events:
    """Train, test and record runs of one family, or what is missing of them; yields (place, what there is to say).

    The last of each place is its folder or its error; one that fails does not disturb the others. As many go together
    as train.together says and the device takes. What cannot be stacked goes one after the other, and a line says why.
    """
    missing = set(range(len(configs)))
    try:
        for place, event in _train(configs):
            if not isinstance(event, Progress):
                missing.discard(place)
            yield place, event
    except Exception as error:  # noqa: BLE001 - of the device or of the whole group: each of its runs names it
        for place in sorted(missing):
            yield place, error


def _train(configs: Sequence[Config]) -> Events:
    if len(configs) == 1:
        yield from ((0, progress) for progress in single.train(configs[0]))
        yield 0, configs[0].folder
        return
    waiting = deque(enumerate(configs))
    while waiting:
        yield from _train_as_many_as_fit(waiting)


def _train_as_many_as_fit(waiting: deque[tuple[int, Config]]) -> Events:
    """Nothing of them is left in memory when the next are counted."""
    with ExitStack() as stack:
        begun = yield from _begin(waiting, stack)
        epochs = defaultdict(list)
        for run in begun:
            epochs[run.worker.training.epoch].append(run)
        for alike in epochs.values():  # those that were interrupted elsewhere cannot go in step
            yield from _train_group(alike)


def _begin(waiting: deque[tuple[int, Config]], stack: ExitStack) -> Generator[tuple[int, Event], None, list[_Run]]:
    """Begin as many of the waiting runs as go together, all held by the stack; raises ConfigError where
    train.together asks for more than fit."""
    begun: list[_Run] = []
    most = len(waiting)
    while waiting and len(begun) < most:
        place, config = waiting.popleft()
        held = stack.enter_context(ExitStack())
        try:
            worker = held.enter_context(single.opened(config))
            if worker is None:
                yield place, config.folder
                continue
            worker.begin()
        except Exception as error:  # noqa: BLE001 - it is this run's alone
            held.__exit__(type(error), error, error.__traceback__)
            yield place, error
            continue
        begun.append(_Run(place, worker, held))
        if len(begun) == 1:
            most = _most(begun[0], 1 + len(waiting))
        yield place, worker.progress
    return begun


def _most(run: _Run, wanted: int) -> int:
    """How many runs go together of those that are wanted."""
    from detector.together import Member, how_many_fit

    worker, asked = run.worker, run.worker.config.train.together
    member = Member(worker.training, worker.material.views["train"], worker.material.seed)
    fitting = max(1, how_many_fit(member, worker.pictures))
    if asked != "auto" and fitting < min(asked, wanted):
        raise ConfigError(
            f"train.together={asked}: {fitting} of these runs fit into the memory of {worker.material.device} at once; "
            f"expected at most {fitting}, or auto"
        )
    return fitting if asked == "auto" else asked


def _train_group(group: Sequence[_Run]) -> Events:
    """From the epoch at which they all stand to their ends."""
    from detector.together import CannotStack, Member, fit_together

    workers = [run.worker for run in group]
    members = [Member(each.training, each.material.views["train"], each.material.seed) for each in workers]
    going, stacked = set(range(len(group))), True
    for worker in workers:
        worker.share(len(group))
    try:
        if workers[0].training.epoch < workers[0].config.train.epochs:
            for which, event in fit_together(members, workers[0].pictures, workers[0].material.rows["train"]):
                if which not in going:
                    continue
                try:
                    if isinstance(event, Exception):
                        raise event
                    workers[which].handle(event)
                    yield group[which].place, workers[which].progress
                except Exception as error:  # noqa: BLE001 - it is this run's alone
                    going.discard(which)
                    yield group[which].failed(error)
    except CannotStack as reason:
        print(f"{reason}: these {len(group)} runs are trained one after the other", flush=True)
        stacked = False
    for which in sorted(going):
        if not stacked:
            workers[which].share(1)
        yield from _finish(group[which])


def _finish(run: _Run) -> Events:
    """Train what is left, if anything is, and test."""
    try:
        for progress in run.worker.rest():
            yield run.place, progress
        run.held.close()
        yield run.place, run.worker.folder
    except Exception as error:  # noqa: BLE001 - it is this run's alone
        yield run.failed(error)
