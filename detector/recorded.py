"""A training step recorded as a CUDA graph: some hundred small kernels started by one call instead of one by one."""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

WARM_UP = 3  # steps before recording, in which libraries choose their kernels and set up their memory


def can_record(device: torch.device) -> bool:
    """Whether steps on this kind of device are recorded."""
    return device.type == "cuda"


class Recorded:
    """`step` (rows, int64 (n,) on the device -> two tensors, and gradients in the parameters of `model`), replayed.

    As many rows as in the first call are what is recorded; with another number, as in the last batch of an epoch, the
    step is taken kernel by kernel. So is every step, and one line says so, where it cannot be recorded. Whatever else
    `step` reads must stay where it is on the device, and may be changed there from call to call.

    The optimiser's step is not part of it: a schedule changes Adam's rate and betas, plain numbers that a graph would
    repeat as they were. Fused, it is two kernels.
    """

    def __init__(self, step: Callable[[Tensor], tuple[Tensor, Tensor]], model: nn.Module):
        self.step = step
        self.parameters = list(model.parameters())
        self.rows: Tensor | None = None
        self.steps_before = WARM_UP
        self.stream: torch.cuda.Stream | None = None
        self.replay: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self.rows is None:
            self.rows = rows.clone()
        if rows.shape != self.rows.shape:
            return self.step(rows)
        if self.steps_before:
            self.steps_before -= 1
            return self._beside(rows)
        if self.replay is None:
            self.replay = self._record()
        return self.replay(rows)

    def _beside(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The step on the stream on which it will be recorded, as libraries set up their memory for each stream."""
        self.stream = self.stream or torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True  # the fastest kernels are kept
        try:
            with torch.cuda.stream(self.stream):
                result = self.step(rows)
        finally:
            torch.backends.cudnn.benchmark = before
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def _record(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """What to do from now on."""
        rows, parameters, graph = self.rows, self.parameters, torch.cuda.CUDAGraph()
        assert rows is not None
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                logits, losses = self.step(rows)
        except RuntimeError as error:
            reason = " ".join(str(error.__context__ or error).split())
            sys.stderr.write(f"steps are not recorded as a CUDA graph and take longer, with equal results: {reason}\n")
            return self.step
        gradients = [parameter.grad for parameter in parameters]

        def replay(new: Tensor) -> tuple[Tensor, Tensor]:
            rows.copy_(new)
            graph.replay()
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient  # a step kernel by kernel in between leaves others there
            return logits.clone(), losses.clone()

        return replay
