"""Packed uint8 pictures as batches on the device: resident where they fit, else streamed ahead of the step."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

AHEAD = 4  # batches that the streaming thread prepares before they are asked for


@dataclass(frozen=True)
class Batch:
    """images: float32 RGB (B, 3, H, W) in [0, 1], channels last; labels: float32 (B,), 1 for FAKE or the number
    of a class; rows: int64 (B,)."""

    images: Tensor
    labels: Tensor
    rows: Tensor


class Pictures:
    """All pictures of a data set, uint8 (N, H, W, 3), with their labels, ready to be gathered by row.

    resident: True where the pictures lie on the device. On the CPU the memory map is the device's memory; on CUDA they
    are copied once if they take at most half of the free memory, else each batch is sent ahead of its step.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, device: torch.device, *, resident: bool | None = None):
        self.device = device
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.float32)).to(device)
        if resident is None:
            resident = device.type != "cuda" or images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2
        self.resident = resident
        self.images = torch.from_numpy(images)
        if resident:
            self.images = self.images.to(device)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.images.shape[1], self.images.shape[2]

    def batches(self, rows: Tensor, batch_size: int | list[int]) -> Iterator[Batch]:
        """The pictures of `rows` (int64, CPU) in that order, batch_size in each and what is left in the last, or
        as many as a list says."""
        if self.resident:
            yield from map(self.at, rows.to(self.device).split(batch_size))
        else:
            yield from self._streamed(rows, batch_size)

    def at(self, rows: Tensor) -> Batch:
        """The resident pictures of `rows` (int64, on the device)."""
        return self._batch(self.images.index_select(0, rows), rows)

    def _batch(self, images_u8: Tensor, rows: Tensor) -> Batch:
        # (B, H, W, 3) permuted is a channels-last tensor as it lies; no copy
        images = images_u8.permute(0, 3, 1, 2).float().div_(255)
        return Batch(images, self.labels.index_select(0, rows), rows)

    def _streamed(self, rows: Tensor, batch_size: int | list[int]) -> Iterator[Batch]:
        ready: queue.Queue = queue.Queue(AHEAD)
        stopped = threading.Event()

        def gather() -> None:
            try:
                for part in rows.split(batch_size):
                    images = self.images.index_select(0, part)
                    if self.device.type == "cuda":
                        images, part = images.pin_memory(), part.pin_memory()
                    _put(ready, (images, part), stopped)
                _put(ready, None, stopped)
            except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
                _put(ready, error, stopped)

        thread = threading.Thread(target=gather, name="batches", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                images, part = (tensor.to(self.device, non_blocking=True) for tensor in item)
                yield self._batch(images, part)
        finally:
            stopped.set()
            thread.join()


def _put(ready: queue.Queue, item: object, stopped: threading.Event) -> None:
    """Put, unless the consumer has gone."""
    while not stopped.is_set():
        try:
            ready.put(item, timeout=0.1)
            return
        except queue.Full:
            continue
