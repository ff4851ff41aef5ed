"""The arithmetic of a device: what the network may save of float32, and that colours never lose any of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

PRODUCTS: Any = torch.backends.cuda.matmul
CONVOLUTIONS: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]


def of_network(device: torch.device, precision: str) -> torch.autocast:
    """A context for the network's forward pass. bf16: autocast. fp32: float32; CUDA multiplies in TF32.

    TF32 stays allowed in this process for the backward pass, which runs outside of the context.
    """
    if device.type == "cuda":
        _set_cuda("tf32", "tf32")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def of_colour(device: torch.device) -> Iterator[None]:
    """A context in which float32 is float32: neither autocast nor TF32, which are visibly wrong at large factors."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        before = PRODUCTS.fp32_precision, CONVOLUTIONS.fp32_precision
        _set_cuda("ieee", "ieee")
        try:
            yield
        finally:
            _set_cuda(*before)


def _set_cuda(products: str, convolutions: str) -> None:
    PRODUCTS.fp32_precision = products
    CONVOLUTIONS.fp32_precision = convolutions
