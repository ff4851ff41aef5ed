"""Grad-CAM of every network, held against captum's."""

import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from torch import nn
from torch.nn.functional import interpolate

from detector.dropout import drawing
from detector.explain import grad_cam, last_map
from detector.models import MODELS
from detector.models.parts import GlobalAveragePool


@pytest.mark.parametrize("name", MODELS)
def test_grad_cam_is_captums(name):
    torch.manual_seed(0)
    settings = MODELS[name](weights="none") if name == "efficientnet_b0" else MODELS[name]()
    size = (32, 32) if name == "cnn32" else (64, 96)
    model = settings.build(image_size=size, outputs=2)
    images = torch.rand(3, 3, *size)
    with torch.no_grad(), drawing(torch.arange(3)):  # statistics of batch normalisation, or features vanish
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        model.train()(images)
    found = grad_cam(model, images, output=1)
    assert found.any() and model.training and found.shape == (3, *size) and not images.requires_grad
    model.eval()
    raw = LayerGradCam(model, last_map(model)).attribute(
        images, target=1, attribute_to_layer_input=True, relu_attributions=True
    )
    assert torch.allclose(found, interpolate(raw, size, mode="bilinear").squeeze(1), atol=1e-6 * max(1, raw.max()))
    by_place = grad_cam(model, images, output=1, by_place=True)
    layer = LayerGradientXActivation(model, last_map(model))
    raw = layer.attribute(images, target=1, attribute_to_layer_input=True).sum(1, keepdim=True).relu()
    assert torch.allclose(by_place, interpolate(raw, size, mode="bilinear").squeeze(1), atol=1e-6 * max(1, raw.max()))
    pooled = isinstance(last_map(model), GlobalAveragePool)
    assert torch.allclose(by_place, found, rtol=1e-4, atol=1e-6 * max(1, raw.max())) == pooled
    assert not last_map(model)._forward_pre_hooks


def test_the_heat_of_a_call_is_that_of_the_logit_or_of_its_negative():
    torch.manual_seed(0)
    model = MODELS["cnn32"]().build(image_size=(32, 32))
    images = torch.rand(8, 3, 32, 32)
    logits = model.eval()(images)[:, 0]
    model[-1].bias.data -= logits.mean()  # some are called FAKE
    called = grad_cam(model, images, of_call=True)
    for_fake = grad_cam(model, images)
    model[-1].weight.data *= -1
    for_real = grad_cam(model, images)
    fake = (logits > logits.mean())[:, None, None]
    assert 0 < fake.sum() < 8 and not torch.equal(for_fake, for_real)
    assert torch.equal(called, torch.where(fake, for_fake, for_real))


def test_the_heat_lies_where_the_evidence_is():
    """A network whose logit is what is bright in one corner."""
    model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Linear(64, 1))
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].bias.zero_()
        model[2].weight.fill_(0.1)
    images = torch.zeros(1, 3, 8, 8)
    images[..., :4, :4] = 1
    [heat] = grad_cam(model, images)
    assert heat[:4, :4].min() > 0 and heat[5:, 5:].max() == 0


def test_where_each_place_has_weights_of_its_own_evidence_is_found_by_place_alone():
    """A network whose logit falls with what is bright in one corner, and rises more with what is bright elsewhere."""
    model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Linear(64, 1))
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].bias.zero_()
        model[2].weight.fill_(1)
        model[2].weight.view(8, 8)[:4, :4] = -1
        model[2].bias.zero_()
    images = torch.zeros(1, 3, 8, 8)
    images[..., :4, :4] = 1
    assert model(images).item() < 0
    assert not grad_cam(model, images, of_call=True).any()
    [heat] = grad_cam(model, images, of_call=True, by_place=True)
    assert heat[:4, :4].min() > 0 and not heat[4:].any() and not heat[:, 4:].any()
