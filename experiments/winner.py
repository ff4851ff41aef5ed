"""What a search comes to: the best settings trained anew, and its trials as a table and pictures."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import NullFormatter
from optuna.trial import FrozenTrial, TrialState

from datasets.manifest import whole_file
from detector.metrics import METRICS
from experiments import jobs, runs, single
from experiments.trials import Trials, as_json

FRESH = 1000  # the first seed of the winner's runs, unless trials had such seeds


def completed(study: Trials) -> list[FrozenTrial]:
    """The trials that have values."""
    return [trial for trial in study.ended() if trial.state == TrialState.COMPLETE]


def fresh_seed(found: Sequence[Trials]) -> int:
    """The first of those that no trial of these studies has seen; one for all arms, whose runs are to pair."""
    folders = [trial.user_attrs.get("folder", "") for study in found for trial in study.study.get_trials()]
    used = [int(name[3]) for folder in folders if (name := runs.NAME.fullmatch(Path(folder).name))]
    return max(FRESH, 1 + max(used, default=0))


def train_anew(study: Trials, seeds: range) -> None:
    """The best settings with seeds that the search has not seen, and what they come to on the test split."""
    done = completed(study)
    if not done:
        print(f"{study.name}: no trial has finished", file=sys.stderr)
        return
    best, objective = study.study.best_trial, study.objectives[0]
    metric = objective if objective in METRICS else "accuracy"
    values = []
    with study.alone("winner"):  # whoever else ends with this study waits, and finds the runs done
        for seed in seeds:
            config = jobs.configured([*study.words, *best.user_attrs["overrides"], f"seed={seed}"])
            values.append(runs.read(single.train_one(config)).metrics[-1][f"test/{metric}"])
    spread = f" +- {stdev(values):.4f}" if len(values) > 1 else ""
    print(
        f"{study.name}: test {metric} {mean(values):.4f}{spread} of the best settings with fresh seeds (n = "
        f"{len(values)}); the best trial itself: validation {objective} {best.value:,.4f} of "
        f"{len(done)}, chosen for its luck too\n{study.name}: {' '.join(best.user_attrs['overrides'])}",
        flush=True,
    )


def written(study: Trials, out: Path) -> Path:
    """Every trial as a line of JSON, and Optuna's pictures, in a folder of the study."""
    folder = out / ".search" / study.name
    with whole_file(folder / "trials.jsonl") as file:
        file.write(as_json(study.told()))
    for name, figure in _pictures(study).items():
        figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
    return folder


def _pictures(study: Trials) -> dict[str, Any]:
    """Optuna's: those that there are enough trials for."""
    if not (done := len(completed(study))):
        return {}
    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as pictures

    several = len(study.objectives) > 1
    target: dict[str, Any] = {"target_name": study.objectives[0]}
    if several:
        target["target"] = lambda trial: trial.values[0]
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls them experimental
        if several:
            found["pareto_front"] = front = pictures.plot_pareto_front(study.study, target_names=study.objectives)
            for name, scale in zip(study.objectives, (front.set_xscale, front.set_yscale), strict=True):
                if name == "num_parameters":  # over several orders of magnitude
                    scale("log")
        found["history"] = pictures.plot_optimization_history(study.study, **target)
        found["slice"] = slices = pictures.plot_slice(study.study, **target)
        for axes in np.ravel(np.asarray(slices)):  # labels between the powers of ten would lie on one another
            axes.xaxis.set_minor_formatter(NullFormatter())
        found["parallel_coordinates"] = pictures.plot_parallel_coordinate(study.study, **target)
        if done > 1:
            found["importances"] = pictures.plot_param_importances(study.study, **target)
    figures = {name: _figure(axes) for name, axes in found.items()}
    dimensions = {name for trial in completed(study) for name in trial.params}
    figures["parallel_coordinates"].set_size_inches(4 + 1.3 * len(dimensions), 5)  # their axes' labels need room
    return figures


def _figure(axes: Any) -> Any:
    return axes.figure if hasattr(axes, "figure") else axes.flat[0].figure
