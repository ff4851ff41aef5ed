"""One run, or a sweep of them: a configuration in, a run folder out.   python -m experiments.run --help"""

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments import crew, jobs, shell
from experiments.jobs import Job

if TYPE_CHECKING:
    from experiments.sweep import Ended

OURS = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"  # in whose place experiments.sweep stands
_gathered: list[Job] = []  # of a sweep that Hydra composes
_ended: "list[Ended]" = []  # of a sweep under another launcher
_raised: list[BaseException] = []  # by a single run
_counted: list[int] = []  # jobs of each line of the sweep


def _job(composed: DictConfig) -> None:
    """One job as Hydra calls it: a single run is trained here, and so is one that a launcher of the user's choice has
    brought here; those of other sweeps are gathered.

    Errors are kept: Hydra would print lines of its own about them, and end the sweep.
    """
    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN:
        try:
            _train(composed)
        except Exception as error:  # noqa: BLE001 - raised again as soon as Hydra has returned
            _raised.append(error)
        return
    number = len(_gathered) + len(_ended) + 1
    job = Job(number, " ".join(settings.overrides.task), jobs.plain(composed))
    if settings.launcher._target_ == OURS:
        _gathered.append(job)
        return
    from experiments import sweep

    _ended.append(sweep.here(job, sum(_counted)))


def _train(composed: DictConfig) -> None:
    from experiments.config import from_hydra  # these bring torch, which takes seconds: --help must not wait for it
    from experiments.single import train_one

    folder = train_one(from_hydra(composed))
    print(
        f"\nresult: {folder}\nnext:   tensorboard --logdir {composed.runs_root} (in .venv/bin; or: make board)",
        flush=True,
    )


def _compose(lines: Sequence[Sequence[str]]) -> list[Job]:
    """The jobs of a sweep, of which none is begun; or none, where Hydra itself has run, shown or launched what there
    is."""
    if all(map(jobs.only_overrides, lines)):
        return jobs.composed(lines)
    words = sys.argv
    command = hydra.main(version_base="1.3", config_path="conf", config_name="config")(_job)
    try:
        for line in lines:
            sys.argv = [words[0], *line]
            command()
    finally:
        sys.argv = words
    return _gathered


def _main() -> int:
    # else Hydra prints its errors itself, over several lines, and exits with 1 whatever they are
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for left in (_gathered, _ended, _raised):
        left.clear()
    started = time.perf_counter()
    try:
        lines = jobs.command_lines(sys.argv[1:])
        _counted[:] = map(jobs.count, lines)
        if jobs.may_go_side_by_side(lines):
            crew.start()  # what takes seconds is imported while the jobs are composed
        composed = _compose(lines)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        print(f"experiments.run: {jobs.composition_error(error)}", file=sys.stderr)
        return 2
    if _raised:
        raise _raised[0]
    if not composed and not _ended:
        return 0
    from experiments import sweep

    return sweep.finish(_ended or sweep.work(composed), time.perf_counter() - started)


if __name__ == "__main__":
    shell.main("experiments.run", _main)
