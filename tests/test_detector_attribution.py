"""Integrated gradients in two parts: captum's in sum, luma and chroma each where it alone is looked at."""

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from detector import attribution
from detector.attribution import NoGradient, attribute
from detector.color import build_view
from detector.models import MODELS

ROWS = torch.arange(3)


def pictures(spread=1.0):
    return 0.5 + spread * (torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5)


def network():
    torch.manual_seed(0)
    model = MODELS["cnn32"]().build(image_size=(32, 32)).eval()
    for weights in model.parameters():
        weights.data *= 3  # logits of some nats
    return model


@pytest.mark.parametrize(
    "operations",
    [[], [{"op": "saturate", "space": "luma", "factor": 8}], [{"op": "jitter", "brightness": 0.4, "hue": 0.1}]],
    ids=["plain", "saturated", "drawn"],
)
def test_luma_and_chroma_together_are_captums_integrated_gradients(operations):
    model, view, images = network(), build_view(operations), pictures()
    found = attribute(model, view, images, ROWS, key=7)

    def logit(x):  # captum stacks the steps of all pictures
        return model(view(x, 7, ROWS.repeat(len(x) // len(ROWS))))[:, 0]

    steps = IntegratedGradients(logit).attribute(images, baselines=torch.full_like(images, 0.5), n_steps=200).sum(1)
    together = found.luma + found.chroma
    assert found.complete.all() and found.change.abs().min() > 0.2
    assert torch.nn.functional.cosine_similarity(together.flatten(1), steps.flatten(1)).min() > 0.97
    assert torch.allclose(together.sum((1, 2)), steps.sum((1, 2)), rtol=0.1)


def test_what_sees_only_luma_has_no_chroma_and_what_sees_only_chroma_has_no_luma():
    model, images = network(), pictures(spread=0.2)  # no colour is cut off
    grey = attribute(model, build_view([{"op": "grayscale"}]), images, ROWS, key=0)
    assert grey.luma.abs().sum() > 0.1 and grey.chroma.abs().max() < 1e-5 * grey.luma.abs().max()
    colour = attribute(model, build_view([{"op": "chroma_only"}]), images, ROWS, key=0)
    assert colour.chroma.abs().sum() > 0.1
    assert colour.luma.abs().max() < 5e-3 * colour.chroma.abs().max()  # Kornia's weights have three digits


def test_the_parts_of_a_linear_network_are_those_of_a_pixels_luma_and_the_rest():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False))
    model[1].weight.data = torch.tensor([[1.0, 2.0, 4.0]])
    images = torch.tensor([0.9, 0.1, 0.4]).view(1, 3, 1, 1)
    found = attribute(model, build_view([]), images, ROWS[:1], key=0)
    luma = 0.299 * 0.4 - 0.587 * 0.4 - 0.114 * 0.1
    assert found.luma.item() == pytest.approx(7 * luma, abs=1e-6)
    assert found.chroma.item() == pytest.approx(0.4 - 0.8 - 0.4 - 7 * luma, abs=1e-6)


def test_a_picture_whose_parts_miss_the_whole_is_said_to_be_not_complete():
    jump = build_view([{"op": "solarize", "threshold": 0.6}])  # from .6 to .4
    found = attribute(network(), jump, pictures(), ROWS, key=0)
    luma, chroma = found.luma.sum((1, 2)), found.chroma.sum((1, 2))
    missing = (luma + chroma - found.change).abs()
    assert (found.complete == (missing <= 0.05 * (luma.abs() + chroma.abs()))).all() and not found.complete.all()


def test_more_steps_are_taken_for_the_pictures_that_need_them(monkeypatch):
    asked = []
    real = attribution._mean_gradient
    monkeypatch.setattr(
        attribution, "_mean_gradient", lambda *given: asked.append((len(given[1]), given[3])) or real(*given)
    )
    monkeypatch.setattr(attribution, "STEPS", (1, 2, 64))
    images = pictures()
    images[1] = 0.5  # the baseline itself
    found = attribute(network(), build_view([]), images, ROWS, key=0)
    assert asked[0] == (3, 1) and all(count < 3 for count, _ in asked[1:]) and len(asked) > 1
    assert found.complete.all() and found.change[1] == 0


@pytest.mark.parametrize("operation", [{"op": "posterize", "bits": 3}, {"op": "jpeg", "quality": 80}])
def test_a_view_that_rounds_is_refused_also_inside_of_both(operation):
    for view in ([operation], [{"op": "both", "view": [operation]}]):
        with pytest.raises(NoGradient, match="rounds: its gradient does not say what it does"):
            attribute(network(), build_view(view), pictures(), ROWS, key=0)
