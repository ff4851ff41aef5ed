"""What of a logit comes from luma and what from chroma: integrated gradients from mid grey, split pixel by pixel."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from detector.color.tones import EqualizeHistogram, Posterize
from detector.color.view import Both, View
from detector.degrade import Jpeg
from detector.operation import Operation

GREY = 0.5  # the baseline: without content, without colour, and of no class
LUMA = (0.299, 0.587, 0.114)  # as `saturate` with space luma has it
DENSER = 2  # the path is walked as t ** DENSER: views that amplify colour do most of their work close to grey
STEPS = (16, 64, 256)  # of the path; the next for the pictures for which the one before was too coarse
TOLERANCE = 0.05  # of |luma| + |chroma| of a picture: by how much they may miss the logit's change
FLAT = (EqualizeHistogram, Jpeg, Posterize)  # they round: where they have a gradient, it is 0

Logit = Callable[[Tensor, Tensor], Tensor]  # RGB (B, 3, H, W) in [0, 1] and rows int64 (B,) -> (B,)


class NoGradient(ValueError):
    """A view through which no gradient passes; its text is one line."""

    exit_status = 2


@dataclass(frozen=True)
class Parts:
    """Of B pictures, on the device.

    luma, chroma: float32 (B, H, W), what each pixel adds to the logit by its luma and by its chroma; change: float32
    (B,), the picture's logit minus the baseline's, to which both sum; complete: bool (B,), whether they do within
    TOLERANCE.
    """

    luma: Tensor
    chroma: Tensor
    change: Tensor
    complete: Tensor


def attribute(network: nn.Module, view: View, images: Tensor, rows: Tensor, *, key: int) -> Parts:
    """Integrated gradients (Sundararajan et al. 2017, ICML) of the logit of a network of one output, split in two.

    images: float32 RGB (B, 3, H, W) in [0, 1], before the view, which is a part of the function; rows (int64, on the
    device) and key: for a view that draws. The path goes straight from GREY to the picture, whose contrast and colours
    rise together from nothing. The way d from grey to a pixel is split into its luma (w . d) (1, 1, 1), w = LUMA, and
    the rest, whose luma is 0. With g the mean gradient along the path luma's part is g . (w . d) (1, 1, 1), chroma's
    g . (d - (w . d) (1, 1, 1)): together g . d, the pixel's integrated gradient. In float32, whatever the network was
    trained in. Raises NoGradient where an operation of the view rounds.
    """
    for operation in _operations(view):
        if isinstance(operation, FLAT):
            raise NoGradient(f"{type(operation).__name__} rounds: its gradient does not say what it does")

    def logit(images: Tensor, rows: Tensor) -> Tensor:
        return network(view(images, key, rows))[:, 0]

    with torch.no_grad():
        change = logit(images, rows) - logit(torch.full_like(images, GREY), rows)
    way, mean = images - GREY, torch.zeros_like(images)
    brightness = sum(weight * way[:, channel] for channel, weight in enumerate(LUMA))
    left = torch.arange(len(images), device=images.device)
    for steps in STEPS:
        mean[left] = _mean_gradient(logit, way[left], rows[left], steps)
        luma = brightness * mean.sum(1)
        chroma = (mean * way).sum(1) - luma
        sums = torch.stack((luma, chroma)).sum((2, 3))
        complete = (sums.sum(0) - change).abs() <= TOLERANCE * sums.abs().sum(0)
        left = (~complete).nonzero().squeeze(1)
        if not len(left):
            break
    return Parts(luma, chroma, change, complete)


def _mean_gradient(logit: Logit, way: Tensor, rows: Tensor, steps: int) -> Tensor:
    """That along the path from GREY, by the midpoint rule."""
    ends = torch.linspace(0, 1, steps + 1, dtype=torch.float64).pow(DENSER).tolist()
    mean = torch.zeros_like(way)
    for low, high in pairwise(ends):
        with torch.enable_grad():
            place = (GREY + way * ((low + high) / 2)).requires_grad_()
            mean += torch.autograd.grad(logit(place, rows).sum(), place)[0] * (high - low)
    return mean


def _operations(view: View) -> Iterator[Operation]:
    for operation, _ in view.steps:
        yield operation
        if isinstance(operation, Both):
            yield from _operations(operation.inner)
