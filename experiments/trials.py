"""One Optuna study: its trials as ordinary runs, told what validation came to, whichever process dies in between."""

import fcntl
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from detector.metrics import METRICS
from experiments import jobs, runs, shell, single
from experiments.config import Config
from experiments.space import Space

SMALLER = {"nll", "brier", "ece", "eer", "num_parameters"}  # objectives of which less is better
OBJECTIVES = (*METRICS, "num_parameters")
SAMPLERS = ("tpe", "random", "cmaes", "nsgaii")
PRUNERS = ("none", "median", "hyperband")
MOST_REPEATED = 200  # choices in a row that were tried before
PASSING = ("threads", "jobs", "device", "allocator", "runs_root", "data_root")  # how and where, which may change
AWAKE = 0.5  # seconds between two looks at what others do
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Pruned(Exception):
    """A trial that is not worth its end."""


class Trials:
    """A study by name in a storage. asked: what must be the same whenever it goes on; words: overrides of all its runs.

    seed: of the sampler; drawn anew for every trial, as a resumed sampler would repeat its choices.
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
        self.sampler, self.seed, self.place = sampler, seed, place
        place.mkdir(parents=True, exist_ok=True)
        with self._deciding():  # two that begin at once would make it twice
            self.study = optuna.create_study(
                study_name=name,
                storage=open_storage(storage),
                pruner=_pruner(pruner if len(objectives) == 1 else "none"),
                directions=["minimize" if name in SMALLER else "maximize" for name in objectives],
                load_if_exists=True,
            )
            lasting = sorted(word for word in self.words if word.partition("=")[0] not in PASSING)
            asked = {"space": space.digest, "objectives": self.objectives, "words": lasting}
            before = self.study.user_attrs.get("asked")
            if before is None and not self.study.trials:
                self.study.set_user_attr("asked", asked)
            elif before != asked:
                differs = next(key for key in asked if (before or {}).get(key) != asked[key])
                raise shell.Unusable(
                    f"--storage {storage}: holds a study {name} of another {differs} ({(before or {}).get(differs)}, "
                    f"now {asked[differs]}); give another --name or storage"
                )

    def ended(self) -> list[FrozenTrial]:
        """Those that count: finished, pruned, or failed by themselves."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if _counts(trial)]

    def run(self, budget: int) -> Iterator[FrozenTrial]:
        """Trials until `budget` of them have ended, those of other processes included, which it waits for; yields each
        of its own when it has."""
        while True:
            with ExitStack() as held:
                with self._deciding():
                    self._give_up_the_dead()
                    ended = len(self.ended())
                    if ended >= budget:
                        return
                    chosen = self._next(held) if ended + len(self._running()) < budget else None
                if chosen:
                    yield self._try(*chosen)
            if not chosen:
                time.sleep(AWAKE)  # others are at the last ones; should they die, these are ours

    def _next(self, held: ExitStack) -> tuple[Trial, Config]:
        """A choice that was not tried before, held by this process."""
        for _ in range(MOST_REPEATED):
            self.study.sampler = _sampler(self.sampler, self.seed + len(self.study.trials))
            trial = self.study.ask()
            overrides = self.space.suggest(trial)
            if any(other.params == trial.params for other in self.ended()):
                self.study.tell(trial, state=TrialState.FAIL)
                continue
            config = jobs.configured([*self.words, *overrides])
            trial.set_user_attr("overrides", overrides)
            trial.set_user_attr("folder", str(config.folder))
            lock = held.enter_context(self._lock(trial.number).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return trial, config
        raise shell.Unusable(f"--space {self.space.name}: spent: {MOST_REPEATED} choices in a row were tried before")

    def _try(self, trial: Trial, config: Config) -> FrozenTrial:
        """Train it, and tell the study what came of it."""
        try:
            with redirect_stdout(io.StringIO()):  # a line a trial is enough; what a run says lies in its folder
                values = self._values(trial, config)
        except Pruned:
            return self.study.tell(trial, state=TrialState.PRUNED)
        except Exception as error:  # noqa: BLE001 - whatever it is, the search goes on and its table says so
            trial.set_user_attr("failed", single.what_went_wrong(error, config.folder))
            return self.study.tell(trial, state=TrialState.FAIL)
        return self.study.tell(trial, values)

    def _values(self, trial: Trial, config: Config) -> list[float]:
        with single.opened(config) as worker:
            if worker:
                told = 0
                with closing(worker.complete()) as steps:  # type: ignore[type-var]
                    for _ in steps:
                        if len(self.objectives) == 1 and len(worker.history) > told:
                            told = len(worker.history)
                            trial.report(worker.history[-1][_measured(self.objectives[0])], told)
                            if trial.should_prune():
                                raise Pruned
        last = runs.read(config.folder).metrics[-1]
        return [float(last[_measured(name)]) for name in self.objectives]

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]

    def _give_up_the_dead(self) -> None:
        """Trials whose process is no more are tried again: the same settings, so the same run folder, from where it
        stands."""
        for trial in self._running():
            with self._lock(trial.number).open("w") as file, suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.study.tell(trial.number, state=TrialState.FAIL)
                if trial.params:
                    self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    def _lock(self, number: int) -> Path:
        return self.place / f".{self.name}-{number}.lock"

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        """Only one process at a time decides what is tried next."""
        with (self.place / f".{self.name}.lock").open("w") as file:
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
        said = " ".join(str(error).split())[:200]
        raise shell.Unusable(
            f"--storage {text}: cannot be opened ({said}); expected sqlite:///FILE, journal:FILE or a database's URL"
        ) from error


def described(trial: FrozenTrial) -> Mapping[str, Any]:
    """What a table shows of a trial."""
    overrides = trial.user_attrs.get("overrides", [])
    return {"number": trial.number, "state": trial.state.name.lower(), "values": trial.values, "overrides": overrides}


def _counts(trial: FrozenTrial) -> bool:
    return trial.state in ENDED or (trial.state == TrialState.FAIL and "failed" in trial.user_attrs)


def _measured(objective: str) -> str:
    return "model/num_parameters" if objective == "num_parameters" else f"val/{objective}"


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    kinds = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
        "cmaes": optuna.samplers.CmaEsSampler,
        "nsgaii": optuna.samplers.NSGAIISampler,
    }
    return kinds[name](seed=seed)


def _pruner(name: str) -> optuna.pruners.BasePruner:
    return {
        "none": optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
    }[name]()


def as_json(trials: Sequence[FrozenTrial]) -> str:
    """All of them, a line each."""
    return "".join(json.dumps(described(trial)) + "\n" for trial in trials)
