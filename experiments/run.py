"""One run, or a sweep of them: a configuration in, a run folder out.   python -m experiments.run --help"""

import os
import re
import shlex
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments import record, runs, shell, studies

if TYPE_CHECKING:  # torch takes seconds to import, and --help must not wait for it
    from experiments.config import Config

MULTIRUN = {"-m", "--multirun"}
_jobs: list[tuple[str, str | None]] = []  # of a sweep: (folder or overrides, what went wrong or None)
_raised: list[BaseException] = []  # by a single run
_counted: list[int] = []  # jobs of each line of the sweep


def train_one(config: "Config") -> Path:
    """Train, test and record one run, or what is missing of it; returns its folder.

    Raises ConfigError, DataError, Busy, Altered, NotFinite, CheckpointError or OSError, each with an exit status.
    """
    from experiments.worker import Worker, check_data

    folder = config.folder
    record.code_version()  # of the code as it is now, when this process starts to work with it
    if record.is_done(folder):
        check_data(config, runs.read(folder).provenance["data_digest"])
        accuracy = runs.read(folder).metrics[-1]["test/accuracy"]
        print(f"done before, skipped: {folder} (test accuracy {accuracy:.4f})", flush=True)
        return folder
    worker = Worker(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with record.lock(folder):
            if not record.is_done(folder):  # another process may have held it until now
                worker.complete()
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(folder)  # a write to a full disk does not say where
        _leave_traceback(folder, error)
        raise
    return folder


def _leave_traceback(folder: Path, error: Exception) -> None:
    if folder.is_dir() and not isinstance(error, record.Busy):
        with suppress(OSError):  # the folder's own trouble is what is being reported
            (folder / "error.txt").write_text("".join(traceback.format_exception(error)))


def _job(composed: DictConfig) -> None:
    """One job as Hydra calls it. Errors are kept: Hydra would print lines of its own about them, and end the sweep."""
    from experiments.config import from_hydra

    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN:
        try:
            folder = train_one(from_hydra(composed))
            print(
                f"\nresult: {folder}\nnext:   tensorboard --logdir {composed.runs_root} (in .venv/bin; or: make board)",
                flush=True,
            )
        except Exception as error:  # noqa: BLE001 - raised again as soon as Hydra has returned
            _raised.append(error)
        return
    name = " ".join(settings.overrides.task)
    print(f"\n[{len(_jobs) + 1} of {sum(_counted)}] {name}", flush=True)
    try:
        config = from_hydra(composed)
        name = str(config.folder)
        train_one(config)
        _jobs.append((name, None))
    except Exception as error:  # noqa: BLE001 - whatever it is, the rest of the sweep goes on and the end names it
        explained = shell.explain(error)
        text = explained[1] if explained else f"{type(error).__name__}: {error}"
        if (Path(name) / "error.txt").exists():
            text += f" (see {Path(name) / 'error.txt'})"
        print(f"failed: {text}", file=sys.stderr, flush=True)
        _jobs.append((name, text))


def _finish_sweep(seconds: float) -> int:
    """The last lines of a sweep: every condition's mean, then which jobs failed; the means and differences in
    TensorBoard, of all seeds that are there."""
    from experiments import aggregates

    finished = [Path(name) for name, wrong in _jobs if wrong is None]
    networks = dict.fromkeys(folder.parents[1] for folder in finished)
    for place in networks:
        aggregates.refresh(place)
    for line in runs.summary([runs.read(folder) for folder in dict.fromkeys(finished)]):
        print(line)
    failed = [(name, wrong) for name, wrong in _jobs if wrong is not None]
    for name, wrong in failed:
        print(f"failed: {name}: {wrong}", file=sys.stderr)
    again = "; the same command does only what is missing" if failed else ""
    print(f"{len(finished)} of {len(_jobs)} runs are done, {seconds:.0f} s{again}")
    for place in networks:
        print(f"next: python -m experiments.compare {shlex.quote(str(place))}", flush=True)
    return 1 if failed else 0


def _composition_error(error: Exception) -> str:
    """Hydra's and OmegaConf's message as one line, without its advice about files that users do not have."""
    text = " ".join(str(error).split("Config search path")[0].split())
    if found := re.search(r"Could not find '(.+)/(.*?)' Available options in '.+?': (.+)", text):
        return f"{found[1]}={found[2]}: no such choice; there are {', '.join(found[3].split())}"
    if "To append to your config" in text:
        from hydra import compose, initialize_config_module
        from hydra.core.global_hydra import GlobalHydra

        key = text.split("'")[1]
        group = key.rpartition(".")[0]
        GlobalHydra.instance().clear()
        with initialize_config_module("experiments.conf", version_base="1.3"):
            groups = ("data", "model", "aug", "train", "experiment")
            chosen = [word for word in sys.argv[1:] if word.split("=")[0] in groups and "," not in word]
            node: Any = compose("config", overrides=chosen)
        for part in filter(None, group.split(".")):
            node = node.get(part) if isinstance(node, DictConfig) else None
        accepted = ", ".join(str(k) for k in node) if isinstance(node, DictConfig) else ""
        text = f"{key}: no such setting" + (f"; {group or 'the root'} takes {accepted}" if accepted else "")
    return text


def _command_lines() -> list[list[str]]:
    """What Hydra is called with, one after the other: the user's words, once for each line of the experiment's sweep.

    A key that the user gives replaces the line's, and a group given replaces the line's settings of it. Counts the jobs
    of all lines. Raises Unusable where a word cannot be read, or there is no job.
    """
    words = sorted(sys.argv[1:], key=lambda word: word not in MULTIRUN)  # argparse takes no flag between other words
    chosen = [word.partition("=")[2] for word in words if word.startswith("experiment=")]
    sweep = studies.sweep(chosen[-1]) if chosen else []
    if not sweep or {"--help", "-h", "--cfg", "-c", "--info", "-i"} & set(words):
        lines = [words]
    else:
        given = {word.partition("=")[0] for word in words}
        flag = [] if MULTIRUN & given else ["--multirun"]
        grids = (tuple(word for word in line if not _replaced(word, given)) for line in sweep)
        lines = [[*flag, *words, *grid] for grid in dict.fromkeys(grids)]
    overrides = [[word for word in line if "=" in word and not word.startswith("-")] for line in lines]
    _counted[:] = [len(studies.jobs(words)) for words in overrides]
    if not sum(_counted):
        raise studies.Unusable(f"{' '.join(sys.argv[1:])}: a sweep of no runs; one of its ranges is empty")
    return lines


def _replaced(word: str, given: set[str]) -> bool:
    key = word.partition("=")[0]
    return key in given or key.partition(".")[0] in given


def _main() -> int:
    # else Hydra prints its errors itself, over several lines, and exits with 1 whatever they are
    os.environ["HYDRA_FULL_ERROR"] = "1"
    _jobs.clear()
    _raised.clear()
    started = time.perf_counter()
    command = hydra.main(version_base="1.3", config_path="conf", config_name="config")(_job)
    program = sys.argv[0]
    try:
        for line in _command_lines():
            sys.argv = [program, *line]
            command()
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        print(f"experiments.run: {_composition_error(error)}", file=sys.stderr)
        return 2
    if _raised:
        raise _raised[0]
    if not _jobs:
        return 0
    return _finish_sweep(time.perf_counter() - started)


if __name__ == "__main__":
    shell.main("experiments.run", _main)
