import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d

from detector.dropout import Dropout, drawing
from detector.models import MODELS, ModelSettings, build_model


def test_cnn32_has_the_published_number_of_parameters():
    model = build_model(ModelSettings("cnn32"), image_size=(32, 32))
    assert sum(p.numel() for p in model.parameters()) == 634_305


@pytest.mark.parametrize("size", [(32, 32), (33, 61), (72, 128)])
def test_cnn720_takes_any_size_from_32(size):
    model = build_model(ModelSettings("cnn720"), image_size=size).eval()
    assert model(torch.rand(2, 3, *size)).shape == (2, 1)


@pytest.mark.parametrize(("name", "size"), [("cnn32", (4, 4)), ("cnn32", (64, 64)), ("cnn720", (31, 200))])
def test_another_size_is_refused_naming_what_is_accepted(name, size):
    with pytest.raises(ValueError, match=rf"data.image_size is {size[0]}x{size[1]}: model={name} takes .*32x32"):
        build_model(ModelSettings(name), image_size=size)


def test_pooling_before_relu_is_the_published_order_forward_and_backward():
    torch.manual_seed(0)
    model = build_model(ModelSettings("cnn32"), image_size=(32, 32)).eval()
    x = torch.rand(4, 3, 32, 32)
    model(x).sum().backward()
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    convolutions = [m for m in model if isinstance(m, nn.Conv2d)]
    y = x
    for convolution in convolutions:
        y = max_pool2d(torch.relu(convolution(y)), 2)
    rest = list(model)[list(model).index(convolutions[-1]) + 3 :]
    logits = nn.Sequential(*rest)(y)
    torch.testing.assert_close(logits, model(x))
    logits.sum().backward()
    for gradient, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_network_draws_from_a_generator_in_training(name):
    # what a run draws would then depend on what is trained beside it, and on where it was resumed
    model = build_model(ModelSettings(name), image_size=(32, 32)).train()
    before, x = torch.get_rng_state(), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with drawing(torch.arange(2)):
        first, second = model(x), model(x)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    places = [layer.place for layer in model.modules() if isinstance(layer, Dropout)]
    assert len(set(places)) == len(places) > 0


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_overfits_eight_pictures(name):
    torch.manual_seed(0)
    model = build_model(ModelSettings(name, dropout=0.0), image_size=(32, 32))
    x, y = torch.rand(8, 3, 32, 32), torch.arange(8) % 2 * 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(120):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
