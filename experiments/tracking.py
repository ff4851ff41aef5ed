"""The TensorBoard page of a run: what was measured, written so that it can be cut back and resumed.

TensorBoard is a view; the record of a run is its metrics.jsonl. So a disk that fills costs the page and nothing else.

Events are written here, in the calling thread, and not by torch's SummaryWriter: on a full disk its thread prints a
traceback of its own and the caller may learn of it one call late; and it names files by the clock, which may be set
back, while TensorBoard reads them in the order of their names.
"""

import io
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from experiments import events, figures
from experiments.events import EVENTS

SMALLEST_VIEW = 96


class Tracker:
    """Writes one run's page into its folder.

    resume: what `mark` gave at the checkpoint that training goes on from. Event files are cut to those sizes and
    younger ones deleted, so every step stands there once however the last process ended. None: a fresh page.
    An OSError ends the page with one line on stderr, never the training.
    """

    def __init__(self, folder: Path, *, resume: Mapping[str, int] | None = None):
        self._folder = Path(folder)
        self._file: BinaryIO | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            newest = _cut(self._folder, resume or {})
            path = self._folder / f"{EVENTS}{max(int(time.time()), newest + 1):010d}"
            self._file = path.open("xb")
        except OSError as error:
            self._lose(error)
        self._write([Event(wall_time=time.time(), file_version="brain.Event:2")])

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Everything is on its way to the disk after each call; this gives the file back."""
        if self._file:
            self._file.close()
            self._file = None

    def mark(self) -> dict[str, int]:
        """The size of every event file, safely on disk: to be kept in the checkpoint and given back as `resume`."""
        if self._file:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                self._lose(error)
        return {path.name: path.stat().st_size for path in events.files(self._folder)}

    def losses(self, steps: Sequence[int], values: Sequence[float], learning_rates: Sequence[float]) -> None:
        """train/loss and train/learning_rate along optimiser steps."""
        self._add(
            (step, _scalars({"train/loss": loss, "train/learning_rate": rate}))
            for step, loss, rate in zip(steps, values, learning_rates, strict=True)
        )

    def epoch(self, epoch: int, metrics: Mapping[str, float], *, images_per_second: float | None = None) -> None:
        """Metrics named `split/metric` along epochs."""
        speed = {} if images_per_second is None else {"train/images_per_second": images_per_second}
        self._add([(epoch, _scalars({**metrics, **speed}))])

    def views(
        self, epoch: int, *, before: np.ndarray, after: np.ndarray, labels: np.ndarray, scores: np.ndarray
    ) -> None:
        """Pictures, uint8 (N, H, W, 3), before and after the transform: one grid for each class."""
        labels, scores = np.asarray(labels), np.asarray(scores)
        scale = max(1, SMALLEST_VIEW // max(before.shape[1:3]))
        for label, name in enumerate(figures.NAMES):
            chosen = np.flatnonzero(labels == label)
            if len(chosen):
                grid = figures.view_grid(before[chosen], after[chosen], labels[chosen], scores[chosen], scale)
                self._add([(epoch, _picture(f"before_after/{name}", grid))])

    def overlays(self, epoch: int, sheets: Mapping[str, Image.Image]) -> None:
        """A sheet of pictures for each kind of them, such as false positives."""
        self._add((epoch, _picture(f"grad_cam/{kind.replace(' ', '_')}", sheet)) for kind, sheet in sheets.items())

    def scores(self, epoch: int, split: str, labels: np.ndarray, scores: np.ndarray) -> None:
        """The precision-recall curve and one histogram for each class; scores of fake, in [0, 1]."""
        labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
        self._add([(epoch, summary.pr_curve(f"precision_recall/{split}", labels, scores))])
        for label, name in enumerate(figures.NAMES):
            if (labels == label).any():
                histogram = summary.histogram(f"scores/{split}/{name}", scores[labels == label], np.linspace(0, 1, 51))
                self._add([(epoch, histogram)])

    def figures(self, epoch: int, split: str, labels: np.ndarray, scores: np.ndarray, threshold: float) -> None:
        """ROC curve, and confusion matrix at `threshold`."""
        self._add([(epoch, _picture(f"figures/{split}/roc", figures.drawn(figures.roc(labels, scores))))])
        self._add(
            [
                (
                    epoch,
                    _picture(f"figures/{split}/confusion", figures.drawn(figures.confusion(labels, scores, threshold))),
                )
            ]
        )

    def generators(self, epoch: int, split: str, counts: np.ndarray, names: Sequence[str]) -> None:
        """The confusion matrix of several classes: counts (K, K), row = what a picture is."""
        picture = figures.drawn(figures.confusion_by_class(counts, names))
        self._add([(epoch, _picture(f"figures/{split}/confusion", picture))])

    def text(self, name: str, text: str) -> None:
        """Markdown, on the Text page."""
        self._add([(0, summary.text(name, text))])

    def hyperparameters(
        self, settings: Mapping[str, str | float | int | bool], metrics: Mapping[str, float], group: str
    ) -> None:
        """Put the run on the HParams page; once, when it has finished, as the page averages whatever stands there.

        Runs of one `group` are one row: give a group that leaves the seed out, and leave it out of `settings` too.
        metrics: what the run came to; named final/..., as the page shows the last value of a tag, whatever its epoch.
        No Experiment message is written: it would come from a single run and hide the settings that only others have,
        while without it TensorBoard gathers the columns from all runs.
        """
        self.epoch(0, {f"final/{name}": value for name, value in metrics.items()})
        start = plugin_data_pb2.SessionStartInfo(group_name=group, start_time_secs=time.time())
        for name, value in settings.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, str):
                start.hparams[name].string_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            else:
                raise ValueError(f"{name} is {value!r}; expected a string, a number, true or false")
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        for tag, data in (
            (metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)),
            (metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)),
        ):
            described = metadata.create_summary_metadata(data)
            self._add([(0, Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)]))])

    def _add(self, summaries: Iterable[tuple[int, Summary]]) -> None:
        self._write(Event(wall_time=time.time(), step=int(step), summary=found) for step, found in summaries)

    def _write(self, found: Iterable[Event]) -> None:
        if not self._file:
            return
        records = RecordWriter(self._file)
        try:
            for event in found:
                records.write(event.SerializeToString())
            records.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        sys.stderr.write(f"{self._folder}: no more TensorBoard events of this run ({error}); training goes on\n")
        if self._file:
            # Closing writes what is left and fails again. Half an event at the end of a file is no harm to its readers.
            with suppress(OSError):
                self._file.close()
            self._file = None


def _cut(folder: Path, sizes: Mapping[str, int]) -> int:
    """Take the event files back to `sizes`, and return the largest number that any of them had in its name."""
    found = events.files(folder)
    newest = events.newest_number(found)
    for path in found:
        size = sizes.get(path.name)
        if size is None:
            path.unlink()
        elif path.stat().st_size > size:
            os.truncate(path, size)
    for path in (folder / name for name in sizes):
        if not path.exists() or path.stat().st_size < sizes[path.name]:
            sys.stderr.write(f"{path}: shorter than at the checkpoint; TensorBoard will miss steps of this run\n")
    return newest


def _scalars(values: Mapping[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()])


def _picture(tag: str, picture: Image.Image) -> Summary:
    png = io.BytesIO()
    picture.save(png, format="PNG", compress_level=1)  # twice as fast as the default, a tenth larger
    return events.picture(tag, png.getvalue())
