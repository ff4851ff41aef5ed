"""One Optuna study: its trials as ordinary runs, told what validation came to, whichever process dies in between."""

import fcntl
import io
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from detector.metrics import METRICS
from experiments import jobs, runs, shell, single
from experiments.config import Config, ConfigError
from experiments.space import Space

SMALLER = {"nll", "brier", "ece", "eer", "num_parameters"}  # objectives of which less is better
OBJECTIVES = (*METRICS, "num_parameters")
MOST_REPEATED = 200  # choices in a row that were tried before
MOST_INVALID = 20  # choices in a row that make no run
PASSING = ("threads", "jobs", "device", "allocator", "runs_root", "data_root")  # how and where, which may change
AWAKE = 0.5  # seconds between two looks at what others do
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
OWN = (5, 6)  # exit statuses of what is a trial's own failure: a loss that is not finite, memory that is too small


class Trials:
    """A study by name in a storage. asked: what must be the same whenever it goes on; words: overrides of all its runs.

    seed: of the sampler; drawn anew for every trial, as a resumed sampler would repeat its choices. place: a folder for
    the locks of a study on a server; those of one in a file lie beside it, as whoever opens it must see them.
    """

    def __init__(
        self,
        name: str,
        storage: str,
        space: Space,
        *,
        objectives: Sequence[str],
        words: Sequence[str],
        sampler: str,
        pruner: str,
        seed: int,
        place: Path,
    ):
        self.name, self.space, self.objectives, self.words = name, space, list(objectives), list(words)
        self.sampler, self.seed = sampler, seed
        file = _file(storage)
        self.locks = (file.with_name(f"{file.name}.locks") if file else place).resolve()
        self.locks.mkdir(parents=True, exist_ok=True)
        self.held = "" if file else f"{socket.gethostname()}:{self.locks}"
        with self.alone("deciding"):  # two that begin at once would make it twice
            self.study = optuna.create_study(
                study_name=name,
                storage=open_storage(storage),
                pruner=PRUNERS[pruner](),
                directions=["minimize" if name in SMALLER else "maximize" for name in objectives],
                load_if_exists=True,
            )
            lasting = sorted(word for word in self.words if word.partition("=")[0] not in PASSING)
            asked = {"space": space.digest, "objectives": self.objectives, "words": lasting}
            before = self.study.user_attrs.get("asked")
            begun = any(trial.state != TrialState.FAIL or _known(trial) for trial in self.study.trials)
            mended = before and self.study.trials and not begun and before["objectives"] == self.objectives
            if mended or (before is None and not self.study.trials):
                self.study.set_user_attr("asked", asked)
            elif before != asked:
                differs = next(key for key in asked if (before or {}).get(key) != asked[key])
                then = (before or {}).get(differs)
                raise shell.Unusable(
                    f"--storage {_public(storage)}: holds a study {name} of another {differs} ({then}, now "
                    f"{asked[differs]}); give another --name or storage"
                )

    def told(self) -> list[FrozenTrial]:
        """Those of which there is something to tell: ended, or no run at all."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if _known(trial)]

    def ended(self) -> list[FrozenTrial]:
        """Those that count: finished, pruned, or failed by themselves."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if _counts(trial)]

    def run(self, budget: int) -> Iterator[FrozenTrial]:
        """Trials until `budget` of them have ended, those of other processes included, which it waits for; yields each
        of its own when it has."""
        self._say_what_cannot_be_judged()
        spent_with: set[int] | None = None  # trials that ran when nothing else was left to try
        while True:
            with ExitStack() as held:
                with self.alone("deciding"):
                    self._give_up_the_dead()
                    ended, running = len(self.ended()), {trial.number for trial in self._running()}
                    if ended >= budget:
                        return
                    chosen = None
                    if ended + len(running) < budget and running != spent_with:
                        chosen = self._next(held)
                        spent_with = None if chosen else running
                if chosen:
                    yield self._try(*chosen)
            if not chosen:
                time.sleep(AWAKE)  # others are at the last ones; should they die, these are ours

    def _next(self, held: ExitStack) -> tuple[Trial, Config] | None:
        """A choice that was not tried before and makes a run, held by this process; None where others are at the last.

        Raises Unusable where there is none.
        """
        invalid = 0
        for _ in range(MOST_REPEATED):
            self.study.sampler = SAMPLERS[self.sampler](seed=self.seed + len(self.study.trials))
            trial = self.study.ask()
            try:
                overrides = self.space.suggest(trial)
                if self._tried(trial):
                    self.study.tell(trial, state=TrialState.FAIL)
                    continue
                trial.set_user_attr("overrides", overrides)
                config = jobs.configured([*self.words, *overrides, f"plan.study={self.name}"])
                trial.set_user_attr("folder", str(config.folder))
                lock = held.enter_context(self._lock(trial.number).open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                trial.set_user_attr("held", self.held)
                return trial, config
            except ConfigError as error:
                trial.set_user_attr("invalid", str(error))
                print(f"{self.name}: trial {trial.number} makes no run: {error}", flush=True)
                self.study.tell(trial, state=TrialState.FAIL)
                invalid += 1
                if invalid == MOST_INVALID:
                    said = f"{invalid} choices in a row make no run, the last as {error}"
                    raise shell.Unusable(f"--space {self.space.name}: {said}") from error
            except BaseException:
                self.study.tell(trial, state=TrialState.FAIL)
                raise
        if self._running():
            return None
        said = f"{MOST_REPEATED} choices in a row were tried before; expected --trials {len(self.ended())} or fewer"
        raise shell.Unusable(f"--space {self.space.name}: spent: {said}")

    def _tried(self, trial: Trial) -> bool:
        """Whether another trial has ended with, is at, or found no run in the same choice."""
        return any(
            other.params == trial.params for other in [*self.told(), *self._running()] if other.number != trial.number
        )

    def _try(self, trial: Trial, config: Config) -> FrozenTrial:
        """Train it, and tell the study what came of it; raises what is no failure of the trial's own."""
        try:
            with redirect_stdout(io.StringIO()):  # a line a trial is enough; what a run says lies in its folder
                values = self._values(trial, config)
        except Exception as error:
            own = (shell.explain(error) or (None,))[0] in OWN
            if own:
                trial.set_user_attr("failed", single.what_went_wrong(error, config.folder))
            told = self.study.tell(trial, state=TrialState.FAIL)
            if not own:
                raise
            return told
        return self.study.tell(trial, values, state=None if values else TrialState.PRUNED)

    def _values(self, trial: Trial, config: Config) -> list[float] | None:
        """Of the objectives; None where it is not worth its end."""
        watched = _measured(self.objectives[0]) if prunable(self.objectives) else None
        with single.opened(config) as worker:
            if worker:
                told = 0
                with closing(single.shown(worker.complete(), f"trial {trial.number}, ")) as steps:
                    for _ in steps:
                        if watched and len(worker.history) > told:
                            told = len(worker.history)
                            trial.report(worker.history[-1][watched], told)
                            if trial.should_prune():
                                return None
        last = runs.read(config.folder).metrics[-1]
        if without := [name for name in self.objectives if last[_measured(name)] is None]:
            raise shell.Unusable(f"--objectives {without[0]}: is not a number in {config.folder}; expected another")
        return [float(last[_measured(name)]) for name in self.objectives]

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]

    def _give_up_the_dead(self) -> None:
        """Trials whose process is no more are tried again: the same settings, so the same run folder, from where it
        stands. Those of another machine, or with locks elsewhere, cannot be judged."""
        for trial in self._running():
            if trial.user_attrs.get("held", "") != self.held:
                continue
            with self._lock(trial.number).open("w") as file, suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.study.tell(trial.number, state=TrialState.FAIL)
                if trial.params:
                    self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    def _say_what_cannot_be_judged(self) -> None:
        if elsewhere := [trial.number for trial in self._running() if trial.user_attrs.get("held", "") != self.held]:
            said = "counted as running; mark them as failed in the storage if they are not"
            print(f"{self.name}: trials {elsewhere} of other machines or --out: {said}", file=sys.stderr)

    def _lock(self, number: int) -> Path:
        return self.locks / f"{self.name}.{number}"

    @contextmanager
    def alone(self, doing: str) -> Iterator[None]:
        """Only one process at a time does this to the study; the others wait."""
        with (self.locks / f"{self.name}.{doing}").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def open_storage(text: str) -> Any:
    """sqlite:///FILE and other URLs of SQLAlchemy, or journal:FILE; Unusable where it cannot be opened."""
    try:
        if text.startswith("journal:"):
            from optuna.storages.journal import JournalFileBackend

            return optuna.storages.JournalStorage(JournalFileBackend(text.removeprefix("journal:")))
        return optuna.storages.RDBStorage(text)
    except Exception as error:
        said = _public(" ".join(str(error).split())[:200])
        raise shell.Unusable(
            f"--storage {_public(text)}: cannot be opened ({said}); expected sqlite:///FILE, journal:FILE or a "
            "database's URL"
        ) from error


def _public(text: str) -> str:
    """A URL without its password."""
    return re.sub(r"(//[^:/@]*):.*@", r"\1:***@", text)


def prunable(objectives: Sequence[str]) -> bool:
    """Whether every epoch tells how a trial stands."""
    return len(objectives) == 1 and objectives[0] in METRICS


def _file(storage: str) -> Path | None:
    """Where a study in a file lies; None for one on a server."""
    if not storage.startswith(("sqlite", "journal:")):
        return None
    name = storage.removeprefix("journal:") if storage.startswith("journal:") else storage.partition(":///")[2]
    file = Path(name.partition("?")[0])
    if not file.name or file.name == ":memory:" or not file.parent.is_dir():
        raise shell.Unusable(f"--storage {storage}: cannot be opened; expected a file in a folder that is there")
    return file.resolve()


def described(trial: FrozenTrial) -> Mapping[str, Any]:
    """What a table shows of a trial."""
    attrs = trial.user_attrs
    reason = attrs.get("failed", attrs.get("invalid"))
    facts = {"number": trial.number, "state": trial.state.name.lower(), "values": trial.values}
    return facts | {"overrides": attrs.get("overrides", [])} | ({"reason": reason} if reason else {})


def _counts(trial: FrozenTrial) -> bool:
    return trial.state in ENDED or (trial.state == TrialState.FAIL and "failed" in trial.user_attrs)


def _known(trial: FrozenTrial) -> bool:
    """Whether what becomes of its choice is known."""
    return _counts(trial) or "invalid" in trial.user_attrs


def _measured(objective: str) -> str:
    return "model/num_parameters" if objective == "num_parameters" else f"val/{objective}"


def as_json(trials: Sequence[FrozenTrial]) -> str:
    """All of them, a line each."""
    return "".join(json.dumps(described(trial)) + "\n" for trial in trials)


SAMPLERS: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
    "nsgaii": optuna.samplers.NSGAIISampler,
}
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}
