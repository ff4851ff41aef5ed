"""Networks stacked into one: the same function of each one's pictures, in the same arithmetic."""

import copy

import pytest
import torch
from torch import nn

from detector.dropout import drawing
from detector.stacked import WAYS, Stacked


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", [{"padding": 1}, {"stride": (2, 3), "padding": (0, 2), "dilation": (2, 1)}])
@pytest.mark.parametrize("bias", [True, False])
def test_all_ways_of_stacking_are_the_same_function(way, how, bias):
    models = [nn.Sequential(nn.Conv2d(3, 4, (3, 2), bias=bias, **how), nn.Flatten()).double() for _ in range(3)]
    stacked, images = Stacked(models, way), torch.rand(6, 3, 9, 11, dtype=torch.float64)
    with drawing(torch.arange(6)):
        maps = stacked(images)
    expected = torch.cat([model(piece) for model, piece in zip(models, images.split(2), strict=True)])
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-9)
    (maps**2).sum().backward()
    (expected**2).sum().backward()
    for i, model in enumerate(models):
        for ours, theirs in zip(stacked.weights, model.parameters(), strict=True):
            torch.testing.assert_close(ours.grad[i], theirs.grad, rtol=0, atol=1e-9)


class Probe(nn.Module):
    """Notes what arithmetic the network is in at its place."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.dtype)
        return x


def test_bf16_is_the_bf16_of_single_runs():
    layers = nn.Conv2d(3, 4, 3), Probe(), nn.Flatten(), nn.Linear(144, 8), Probe(), nn.ReLU(), nn.Linear(8, 1)
    models = [nn.Sequential(*copy.deepcopy(layers)) for _ in range(2)]
    stacked, images = Stacked(models), torch.rand(10, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16), drawing(torch.arange(10)):
        logits = stacked(images)
        expected = torch.cat([model(piece) for model, piece in zip(models, images.split(5), strict=True)])
    assert logits.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(logits, expected, rtol=0.02, atol=0.01)
    assert {dtype for layer in stacked.kind[0] if isinstance(layer, Probe) for dtype in layer.seen} == {torch.bfloat16}
    logits.sum().backward()
    assert all(weight.grad.dtype == torch.float32 for weight in stacked.weights)
