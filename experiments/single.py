"""One run from its configuration to its folder: skipped where it is done, held alone while a process is at it."""

import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from experiments import record, runs, shell
from experiments.config import Config
from experiments.material import check_data
from experiments.worker import Progress, Worker


def train_one(config: Config) -> Path:
    """Train, test and record one run, or what is missing of it, with a bar for each epoch; returns its folder.

    Raises what `train` raises.
    """
    for _ in shown(train(config)):
        pass
    return config.folder


def shown(steps: Generator[Progress, None, None], name: str = "") -> Generator[Progress, None, None]:
    """The same steps, with a bar for each epoch on a terminal, and `name` before it."""
    with closing(steps), ExitStack() as stack:
        bar, epoch = None, 0
        for progress in steps:
            if bar is None:
                opened = tqdm(total=progress.total, unit=" images", unit_scale=True, disable=None, leave=False)
                bar = stack.enter_context(opened)
            elif progress.epoch != epoch:
                bar.reset()
            epoch = progress.epoch
            bar.set_description(f"{name}epoch {epoch}/{progress.epochs}", refresh=False)
            bar.update(progress.images - bar.n)
            yield progress


def train(config: Config) -> Generator[Progress, None, None]:
    """The same without a bar: yields how far the run is, and nothing where it was done before.

    Raises ConfigError, DataError, Busy, Altered, NotFinite, CheckpointError or OSError, each with an exit status.
    """
    with opened(config) as worker:
        if worker:
            yield from worker.complete()


@contextmanager
def opened(config: Config) -> Iterator[Worker | None]:
    """A worker that holds its run's folder alone, or None where the run is done; an error leaves error.txt there."""
    folder = config.folder
    record.code_version()  # of the code as it is now, when this process starts to work with it
    if record.is_done(folder):
        check_data(config, runs.read(folder).provenance["data_digest"])
        accuracy = runs.read(folder).metrics[-1]["test/accuracy"]
        print(f"done before, skipped: {folder} (test accuracy {accuracy:.4f})", flush=True)
        yield None
        return
    worker = Worker(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with record.lock(folder), closing(worker):
            yield None if record.is_done(folder) else worker  # another process may have held it until now
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(folder)  # a write to a full disk does not say where
        _leave_traceback(folder, error)
        raise


def what_went_wrong(error: Exception, folder: Path | None = None) -> str:
    """One line about what kept a run from its end, with where its traceback lies."""
    text = shell.one_line(error)
    return f"{text} (see {folder / 'error.txt'})" if folder and (folder / "error.txt").exists() else text


def _leave_traceback(folder: Path, error: Exception) -> None:
    if folder.is_dir() and not isinstance(error, record.Busy):
        with suppress(OSError):  # the folder's own trouble is what is being reported
            (folder / "error.txt").write_text("".join(traceback.format_exception(error)))
