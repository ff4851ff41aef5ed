"""What this machine could do at best for one training step of A32: its own rates of convolution and of memory, and the
step's arithmetic and traffic; all measured in one process."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmark import child, ours

CHANNELS = (32, 64, 128, 256)  # of the convolutions among which the machine's rate is the best
SECONDS = 0.5  # that each thing is repeated for
COPIED = 256 * 2**20  # bytes of the tensor whose copy tells the rate of memory
ADAM_VALUES = 8  # moved for each parameter: the gradient written, then read with value and two moments, these written


def limits(precision: str, device: str, batch_size: int = ours.BATCH) -> dict[str, Any]:
    """Rates in GFLOP/s and GB/s, the step's GFLOP and MB, and milliseconds a step: as it is, of its convolutions and
    linear layers alone at the speed that they reach one by one, and by the roofline.

    The roofline is the longer of two times: of the arithmetic at the machine's best rate of convolution, and of the
    traffic at the rate of memory, as if no cache were there.
    """
    ours.as_a_run()
    where, kind = torch.device(device), torch.bfloat16 if precision == "bf16" else torch.float32
    model = ours.new_model().to(where, memory_format=torch.channels_last).eval()  # without dropout
    images = torch.rand(batch_size, 3, 32, 32, device=where).contiguous(memory_format=torch.channels_last)
    layers = _layers(model, images)
    flops = _flops(model, images)
    convolution = max(_convolution_rate(channels, kind, where, batch_size) for channels in CHANNELS)
    memory = _memory_rate(where)
    moved = sum(_values_moved(inputs, outputs) for _, inputs, outputs in layers) * kind.itemsize
    moved += ADAM_VALUES * 4 * sum(parameter.numel() for parameter in model.parameters())
    seconds_by_roofline = max(flops / convolution, moved / memory)
    return {
        "precision": precision,
        "threads": torch.get_num_threads(),
        "convolution_gflops": convolution / 1e9,
        "memory_gbytes": memory / 1e9,
        "step_gflop": flops / 1e9,
        "step_mbytes": moved / 1e6,
        "step_ms": 1000 * _step_seconds(model, images, precision),
        "layers_ms": 1000
        * sum(_alone(*layer, kind) for layer in layers if isinstance(layer[0], nn.Conv2d | nn.Linear)),
        "roofline_ms": 1000 * seconds_by_roofline,
        "bound": "arithmetic" if flops / convolution > moved / memory else "memory",
    }


def _layers(model: nn.Module, images: Tensor) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """Every layer with what goes in and what comes out."""
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []
    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [
        leaf.register_forward_hook(
            lambda layer, inputs, output: seen.append((layer, inputs[0].detach(), output.detach()))
        )
        for leaf in leaves
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    return seen


def _flops(model: nn.Module, images: Tensor) -> int:
    """Of forward and backward; a multiply-add counts as two."""
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return counter.get_total_flops()


def _values_moved(inputs: Tensor, outputs: Tensor) -> int:
    """Both forward, and in backward the inputs again and both gradients."""
    return 3 * inputs.numel() + 2 * outputs.numel()


def _convolution_rate(channels: int, kind: torch.dtype, device: torch.device, batch_size: int) -> float:
    """FLOP/s of a 3x3 convolution over 16x16 pixels."""
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(device, kind).to(memory_format=torch.channels_last)
    images = torch.rand(batch_size, channels, 16, 16, device=device, dtype=kind)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        seconds = _best_seconds(lambda: layer(images), device)
    return 2 * batch_size * 16 * 16 * 9 * channels**2 / seconds


def _memory_rate(device: torch.device) -> float:
    """Bytes/s of a copy, read and written."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / _best_seconds(lambda: target.copy_(source), device)


def _alone(layer: nn.Module, inputs: Tensor, outputs: Tensor, kind: torch.dtype) -> float:
    """Seconds of a layer's forward and backward, repeated by itself; the first layer needs no gradient of its input."""
    layer = layer.to(kind)
    inputs = inputs.to(kind).requires_grad_(inputs.shape[1] != 3)
    wanted = [*layer.parameters(), *([inputs] if inputs.requires_grad else [])]
    gradient = torch.ones_like(outputs, dtype=kind)
    return _best_seconds(lambda: torch.autograd.grad(layer(inputs), wanted, gradient), inputs.device)


def _step_seconds(model: nn.Module, images: Tensor, precision: str) -> float:
    """Seconds of a whole step on a batch that is there."""
    labels = torch.arange(len(images), device=images.device) % 2 * 1.0
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(images).squeeze(1).float()
        optimizer.zero_grad(set_to_none=True)
        nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        optimizer.step()

    return _best_seconds(step, images.device)


def _best_seconds(act: Callable[[], Any], device: torch.device) -> float:
    """The shortest time of many; the first calls, which choose kernels, do not count."""
    for _ in range(3):
        act()
    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        _wait(device)
        began = time.perf_counter()
        act()
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


TASKS: child.Tasks = {"limits": limits}

if __name__ == "__main__":
    child.answer(TASKS)
