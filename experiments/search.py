"""A search for settings: trials are ordinary runs, the best is trained anew.   python -m experiments.search --help"""

import argparse
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import shell

if TYPE_CHECKING:  # --help is instant
    from optuna.trial import FrozenTrial

    from experiments.space import Space
    from experiments.trials import Trials

EXAMPLES = """examples:
  python -m experiments.search data=cifake model=flexible --trials 25 --epochs 4 --storage sqlite:///study.db
  python -m experiments.search data=cifake model=cnn32 --space recipe --arms none,saturate_x8 --pruner median
  python -m experiments.search data=cifake model=flexible --objectives accuracy num_parameters --jobs 2

Settings such as data=cifake are those of experiments.run, and hold in every trial. A trial is an ordinary run: its
folder lies below runs/, TensorBoard and compare see it. Only validation decides; what the test split says of a trial is
never asked. At the end the best settings are trained anew with seeds that the search has not seen: their mean on the
test split is the result, not the best trial, which was chosen for its luck too. The same command goes on with a study,
also where a process was killed; several processes may share one storage. Each arm has a study and a budget of its own.
A trial fails by itself where its loss is not finite or memory is too small; whatever else is wrong ends the search. A
choice that makes no run is told and passed over. In compare, trials stand back where their arm has other runs.

Needs the extra: .venv/bin/pip install -e '.[search]'
Exit status: as experiments.run.
"""
ONE_THREAD = ["threads=1"]
TRIED_OUT = 20  # choices of a space, of which one at least must make a run


def _parser() -> argparse.ArgumentParser:
    parser = shell.parser(__doc__.partition("  ")[0] if __doc__ else "", EXAMPLES)
    parser.prog = "python -m experiments.search"
    add = parser.add_argument
    add("settings", nargs="*", metavar="KEY=VALUE", help="of every trial, as for experiments.run")
    add("--trials", type=int, default=25, help="how many, of each arm (default: %(default)s)")
    add("--epochs", type=int, help="of a trial (default: 4)")
    add("--storage", default="sqlite:///study.db", help="sqlite:///FILE, journal:FILE, a URL (default: %(default)s)")
    add("--name", help="of the study, a plain one (default: data and model); an arm's name is added")
    add("--space", metavar="NAME", help="a yaml in conf/search, or a file (default: the model's)")
    add(
        "--objectives",
        nargs="+",
        default=["accuracy"],
        metavar="NAME",
        help="one or two, of validation; or num_parameters",
    )
    add("--arms", help="aug of each study, with commas between (default: none)")
    add("--sampler", default="tpe", help="tpe, random, nsgaii (default: %(default)s)")
    add("--pruner", default="none", help="none, median, hyperband (default: %(default)s)")
    add("--seeds", type=int, help="fresh ones, for the best settings; 0: none (default: 3; 0 of two objectives)")
    add("--seed", type=int, default=0, help="of the sampler (default: %(default)s)")
    add("--jobs", type=int, default=1, help="processes side by side, one thread each (default: %(default)s)")
    add("--out", type=Path, default=Path("runs"), help="where tables and pictures go (default: %(default)s/.search)")
    return parser


def _main() -> int:
    arguments = _parser().parse_intermixed_args()
    try:
        import optuna
    except ImportError:
        raise shell.Unusable("experiments.search needs Optuna: .venv/bin/pip install -e '.[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    from experiments import jobs
    from experiments import space as spaces

    _check(arguments)
    words = _words(arguments)
    settings = jobs.settings(words[0])
    space = spaces.read(arguments.space or str(settings.model.name))
    for one in words:
        _try_out(one, space)
    name = arguments.name or f"{settings.data.name}-{settings.model.name}"
    helpers = _helpers(arguments)
    try:
        found = [
            _one_arm(f"{name}-{arm}", one, arguments, space) for arm, one in zip(arguments.arms, words, strict=True)
        ]
    except BaseException:
        for helper in helpers:
            helper.terminate()
        raise
    finally:
        statuses = [helper.wait() for helper in helpers]
    for number, status in enumerate(statuses, start=1):
        if status:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            said = f"helper {number} of {len(helpers)}: {how}; the others did its trials"
            print(f"experiments.search: {said}", file=sys.stderr)
    from experiments import winner

    first = winner.fresh_seed(found)
    for study in found:
        if arguments.seeds:
            winner.train_anew(study, range(first, first + arguments.seeds))
    for study in found:
        print(f"next: {winner.written(study, arguments.out)} has every trial and the pictures", flush=True)
    return 0 if all(map(winner.completed, found)) else 1


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that cannot be meant; fill in those that depend on others."""
    from experiments.trials import OBJECTIVES, PRUNERS, SAMPLERS, prunable

    for key, accepted in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        if getattr(arguments, key) not in accepted:
            raise shell.Unusable(f"--{key} {getattr(arguments, key)}: expected one of {', '.join(accepted)}")
    objectives = arguments.objectives
    for name in objectives:
        if name not in OBJECTIVES:
            raise shell.Unusable(f"--objectives {name}: is not logged; expected of {', '.join(OBJECTIVES)}")
    if len(objectives) > 2 or len({*objectives}) < len(objectives):
        raise shell.Unusable(f"--objectives {' '.join(objectives)}: expected one, or two different ones")
    if arguments.pruner != "none" and not prunable(objectives):
        raise shell.Unusable(f"--pruner {arguments.pruner}: expected none, or one objective of validation")
    if arguments.seeds and len(objectives) > 1:
        raise shell.Unusable(f"--seeds {arguments.seeds}: expected 0, as two objectives have no single best trial")
    if arguments.name is not None and not re.fullmatch(r"\w[\w.-]*", arguments.name):
        raise shell.Unusable(f"--name {arguments.name}: expected a plain name, it becomes a folder")
    if arguments.seeds is None:
        arguments.seeds = 3 if len(objectives) == 1 else 0
    for word in arguments.settings:
        if not re.match(r"[^=]+=", word):
            raise shell.Unusable(f"{word}: expected key=value, a setting of experiments.run")
    arguments.arms = str(_given(arguments, "arms", "aug", "none")).split(",")
    epochs = str(_given(arguments, "epochs", "train.epochs", 4))
    if not epochs.isdecimal():
        raise shell.Unusable(f"--epochs {epochs}: expected a whole number of at least 1")
    arguments.epochs = int(epochs)
    for key, least in (("trials", 1), ("epochs", 1), ("seeds", 0), ("jobs", 1)):
        if getattr(arguments, key) < least:
            raise shell.Unusable(f"--{key} {getattr(arguments, key)}: expected {least} or more")


def _given(arguments: argparse.Namespace, option: str, key: str, default: Any) -> Any:
    """An option's value, or that of the setting which says the same and is taken out of the others."""
    said = [word for word in arguments.settings if word.partition("=")[0] == key]
    value = getattr(arguments, option)
    if said and value is not None:
        raise shell.Unusable(f"{said[-1]}: --{option} {value} says otherwise; give one of them")
    arguments.settings = [word for word in arguments.settings if word not in said]
    return said[-1].partition("=")[2] if said else default if value is None else value


def _words(arguments: argparse.Namespace) -> list[list[str]]:
    """The overrides of every trial, of each arm."""
    threads = any(word.startswith("threads=") for word in arguments.settings)
    common = [*([] if threads or arguments.jobs == 1 else ONE_THREAD), *arguments.settings]
    return [[*common, f"aug={arm}", f"train.epochs={arguments.epochs}"] for arm in arguments.arms]


def _try_out(words: list[str], space: "Space") -> None:
    """Raise what is wrong with every choice of an arm's settings, before its study is made."""
    import optuna

    from experiments import jobs
    from experiments.config import ConfigError

    for word in words:
        if (key := word.partition("=")[0]) in space.dimensions:
            raise shell.Unusable(f"{word}: --space {space.name} varies {key}; leave one of them out")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    wrong: ConfigError | None = None
    for _ in range(TRIED_OUT):
        try:
            jobs.configured([*words, *space.suggest(study.ask())])
            return
        except ConfigError as error:
            wrong = error
    assert wrong is not None
    raise wrong


def _helpers(arguments: argparse.Namespace) -> list[subprocess.Popen]:
    """The other processes of --jobs, which do trials alone."""
    command = [sys.executable, "-m", "experiments.search", *sys.argv[1:], "--jobs", "1", "--seeds", "0"]
    if not any(word.startswith("threads=") for word in arguments.settings):
        command += ONE_THREAD
    return [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(arguments.jobs - 1)]


def _one_arm(name: str, words: list[str], arguments: argparse.Namespace, space: "Space") -> "Trials":
    """All trials of one arm."""
    from experiments.trials import Trials

    study = Trials(
        name,
        arguments.storage,
        space,
        objectives=arguments.objectives,
        words=words,
        sampler=arguments.sampler,
        pruner=arguments.pruner,
        seed=arguments.seed,
        place=arguments.out / ".search",
    )
    print(f"{name}: {len(study.ended())} of {arguments.trials} trials done", flush=True)
    for trial in study.run(arguments.trials):
        print(f"{name}: {_line(trial, arguments.objectives)}", flush=True)
    print(f"{name}: {len(study.ended())} trials", flush=True)
    if len(arguments.objectives) > 1:
        front = sorted(study.study.best_trials, key=lambda trial: trial.values)
        print(f"{name}: {len(front)} that no other beats in both:", flush=True)
        for trial in front:
            print(f"  {_line(trial, arguments.objectives)}", flush=True)
    return study


def _line(trial: "FrozenTrial", objectives: list[str]) -> str:
    overrides = " ".join(trial.user_attrs.get("overrides", []))
    if trial.values is None:
        return f"trial {trial.number} {trial.user_attrs.get('failed', trial.state.name.lower())}: {overrides}"
    values = ", ".join(f"{name} {value:,.4g}" for name, value in zip(objectives, trial.values, strict=True))
    return f"trial {trial.number}: {values}: {overrides}"


if __name__ == "__main__":
    shell.main("experiments.search", _main)
