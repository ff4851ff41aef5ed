"""A search for settings: trials are ordinary runs, the best is trained anew.   python -m experiments.search --help"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
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

Needs the extra: .venv/bin/pip install -e '.[search]'
Exit status: as experiments.run.
"""
ONE_THREAD = ["threads=1"]
FRESH = 1000  # the first seed of the winner's runs


def _parser() -> argparse.ArgumentParser:
    parser = shell.parser(__doc__.partition("  ")[0] if __doc__ else "", EXAMPLES)
    parser.prog = "python -m experiments.search"
    add = parser.add_argument
    add("settings", nargs="*", metavar="KEY=VALUE", help="of every trial, as for experiments.run")
    add("--trials", type=int, default=25, help="how many, of each arm (default: %(default)s)")
    add("--epochs", type=int, default=4, help="of a trial (default: %(default)s)")
    add("--storage", default="sqlite:///study.db", help="sqlite:///FILE, journal:FILE, a URL (default: %(default)s)")
    add("--name", help="of the study (default: data and model); an arm's name is added")
    add("--space", metavar="NAME", help="a yaml in conf/search, or a file (default: the model's)")
    add("--objectives", nargs="+", default=["accuracy"], metavar="NAME", help="of validation; or num_parameters")
    add("--arms", default="none", help="aug of each study, with commas between (default: %(default)s)")
    add("--sampler", default="tpe", help="tpe, random, cmaes, nsgaii (default: %(default)s)")
    add("--pruner", default="none", help="none, median, hyperband (default: %(default)s)")
    add("--seeds", type=int, default=3, help="fresh ones, for the best settings; 0: none (default: %(default)s)")
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
    from experiments import space as spaces
    from experiments.trials import OBJECTIVES, PRUNERS, SAMPLERS

    for key, accepted in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        if getattr(arguments, key) not in accepted:
            raise shell.Unusable(f"--{key} {getattr(arguments, key)}: expected one of {', '.join(accepted)}")
    for name in arguments.objectives:
        if name not in OBJECTIVES:
            raise shell.Unusable(f"--objectives {name}: is not logged; expected of {', '.join(OBJECTIVES)}")
    for key, least in (("trials", 1), ("epochs", 1), ("seeds", 0), ("jobs", 1)):
        if getattr(arguments, key) < least:
            raise shell.Unusable(f"--{key} {getattr(arguments, key)}: expected {least} or more")
    chosen = dict(word.partition("=")[::2] for word in arguments.settings)
    space = spaces.read(arguments.space or chosen.get("model", "cnn32"))
    helpers = _helpers(arguments)
    try:
        found = [_one_arm(arm, arguments, space, chosen) for arm in arguments.arms.split(",")]
    finally:
        for helper in helpers:
            helper.wait()
    if arguments.seeds and len(arguments.objectives) == 1:
        for study in found:
            _train_anew(study, arguments)
    for study in found:
        print(f"next: {_written(study, arguments.out)} has every trial and the pictures", flush=True)
    return 0


def _helpers(arguments: argparse.Namespace) -> list[subprocess.Popen]:
    """The other processes of --jobs, which do trials alone."""
    command = [sys.executable, "-m", "experiments.search", *sys.argv[1:], "--jobs", "1", "--seeds", "0"]
    if not any(word.startswith("threads=") for word in arguments.settings):
        command += ONE_THREAD
    return [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(arguments.jobs - 1)]


def _one_arm(arm: str, arguments: argparse.Namespace, space: "Space", chosen: dict[str, str]) -> "Trials":
    """All trials of one arm."""
    from experiments.trials import Trials

    threads = ONE_THREAD if arguments.jobs > 1 and "threads" not in chosen else []
    words = [*threads, *arguments.settings, f"aug={arm}", f"train.epochs={arguments.epochs}"]
    name = "-".join((arguments.name or f"{chosen.get('data', 'synthetic')}-{chosen.get('model', 'cnn32')}", arm))
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
    for trial in study.run(arguments.trials):
        print(f"{name}: {_line(trial, arguments.objectives)}", flush=True)
    print(f"{name}: {len(study.ended())} trials", flush=True)
    return study


def _line(trial: "FrozenTrial", objectives: list[str]) -> str:
    overrides = " ".join(trial.user_attrs.get("overrides", []))
    if trial.values is None:
        return f"trial {trial.number} {trial.user_attrs.get('failed', trial.state.name.lower())}: {overrides}"
    values = ", ".join(f"{name} {value:,.4g}" for name, value in zip(objectives, trial.values, strict=True))
    return f"trial {trial.number}: {values}: {overrides}"


def _train_anew(study: "Trials", arguments: argparse.Namespace) -> None:
    """The best settings with seeds that the search has not seen, and what they come to on the test split."""
    from optuna.trial import TrialState

    from experiments import jobs, runs, single

    done = [trial for trial in study.ended() if trial.state == TrialState.COMPLETE]
    if not done:
        print(f"{study.name}: no trial has finished", file=sys.stderr)
        return
    best = study.study.best_trial
    accuracies = []
    for seed in range(FRESH, FRESH + arguments.seeds):
        config = jobs.configured([*study.words, *best.user_attrs["overrides"], f"seed={seed}"])
        folder = single.train_one(config)
        accuracies.append(runs.read(folder).metrics[-1]["test/accuracy"])
    spread = f" +- {stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
    print(
        f"{study.name}: test accuracy {mean(accuracies):.4f}{spread} of the best settings with fresh seeds (n = "
        f"{len(accuracies)}); the best trial itself: validation {arguments.objectives[0]} {best.value:.4f} of "
        f"{len(done)}, chosen for its luck too\n{study.name}: {' '.join(best.user_attrs['overrides'])}",
        flush=True,
    )


def _written(study: "Trials", out: Path) -> Path:
    """Every trial as a line of JSON, and Optuna's pictures, in a folder of the study."""
    from datasets.manifest import whole_file
    from experiments.trials import as_json

    folder = out / ".search" / study.name
    with whole_file(folder / "trials.jsonl") as file:
        file.write(as_json(study.ended()))
    for name, figure in _pictures(study).items():
        figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
    return folder


def _pictures(study: "Trials") -> dict[str, Any]:
    """Optuna's: those that there are enough trials for."""
    import warnings

    import matplotlib

    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as pictures

    several = len(study.objectives) > 1
    target: dict[str, Any] = (
        {"target": lambda trial: trial.values[0], "target_name": study.objectives[0]} if several else {}
    )
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls them experimental
        if several:
            found["pareto_front"] = pictures.plot_pareto_front(study.study, target_names=study.objectives)
        found["history"] = pictures.plot_optimization_history(study.study, **target)
        found["slice"] = pictures.plot_slice(study.study, **target)
        found["parallel_coordinates"] = pictures.plot_parallel_coordinate(study.study, **target)
        if len(study.ended()) > 1:
            found["importances"] = pictures.plot_param_importances(study.study, **target)
    return {name: _figure(axes) for name, axes in found.items()}


def _figure(axes: Any) -> Any:
    return axes.figure if hasattr(axes, "figure") else axes.flat[0].figure


if __name__ == "__main__":
    shell.main("experiments.search", _main)
