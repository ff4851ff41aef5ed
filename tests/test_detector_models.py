from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d
from torchvision.models import efficientnet_b0, resnet18

from detector.dropout import Dropout, drawing
from detector.models import MODELS
from detector.models.backbones import NoNetwork

every_network = pytest.mark.parametrize("name", sorted(MODELS))


def test_cnn32_has_the_published_number_of_parameters():
    model = MODELS["cnn32"]().build(image_size=(32, 32))
    assert sum(p.numel() for p in model.parameters()) == 634_305


@pytest.mark.parametrize("size", [(32, 32), (33, 61), (72, 128)])
def test_cnn720_takes_any_size_from_32(size):
    model = MODELS["cnn720"]().build(image_size=size).eval()
    assert model(torch.rand(2, 3, *size)).shape == (2, 1)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cnn32", (4, 4)),
        ("cnn32", (64, 64)),
        ("cnn720", (31, 200)),
        ("university_2", (32, 31)),
        ("efficientnet_b0", (31, 64)),
    ],
)
def test_another_size_is_refused_naming_what_is_accepted(name, size):
    with pytest.raises(ValueError, match=rf"data.image_size is {size[0]}x{size[1]}: model={name} takes .*32x32"):
        MODELS[name]().build(image_size=size)


def test_pooling_before_relu_is_the_published_order_forward_and_backward():
    torch.manual_seed(0)
    model = MODELS["cnn32"]().build(image_size=(32, 32)).eval()
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


@every_network
def test_no_network_draws_from_a_generator_in_training(name):
    # what a run draws would then depend on what is trained beside it, and on where it was resumed
    model = MODELS[name]().build(image_size=(32, 32)).train()
    before, x = torch.get_rng_state(), torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with drawing(torch.arange(4)):
        first, second = model(x), model(x)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    places = [layer.place for layer in model.modules() if isinstance(layer, Dropout)]
    assert len(set(places)) == len(places)
    drops = "dropout" in {field.name for field in fields(MODELS[name])}
    assert drops == bool(places) and not [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]


@every_network
def test_every_network_overfits_eight_pictures_and_every_weight_moves(name):
    torch.manual_seed(0)
    settings = MODELS[name](**({"dropout": 0.0} if "dropout" in {field.name for field in fields(MODELS[name])} else {}))
    model = settings.build(image_size=(32, 32)).to(memory_format=torch.channels_last)
    x, y = torch.rand(8, 3, 32, 32), torch.arange(8) % 2 * 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    before = [weight.detach().clone() for weight in model.parameters()]
    for _ in range(150):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.05:
            break
    assert loss.item() < 0.05
    assert not any(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("size", [(16, 16), (33, 50)])
def test_flexible_has_the_size_that_its_settings_say(blocks, size):
    filters, kernels = [8, 24, 64][:blocks], [5, 3, 5][:blocks]
    model = MODELS["flexible"](filters=filters, kernels=kernels, fc_size=64).build(image_size=size).eval()
    convolutions = sum(
        (inputs * kernel**2 + 1) * outputs + 2 * outputs  # and batch normalisation's two
        for inputs, outputs, kernel in zip([3, *filters], filters, kernels, strict=False)
    )
    flat = filters[-1] * (size[0] >> blocks) * (size[1] >> blocks)
    assert sum(p.numel() for p in model.parameters()) == convolutions + (flat + 1) * 64 + 65
    assert model(torch.rand(2, 3, *size)).shape == (2, 1)


def test_the_skip_connection_is_projected_resized_and_added():
    model = MODELS["university_2"]().build(image_size=(64, 64)).eval()
    x = torch.rand(2, 3, 64, 64)
    early = model.first(x)
    assert early.shape == (2, 64, 16, 16) and model.rest(early).shape == (2, 512, 2, 2)
    projected = torch.einsum("oi,bihw->bohw", model.projection.weight[:, :, 0, 0], early[:, :, ::8, ::8])
    added = model.rest(early) + projected + model.projection.bias[:, None, None]
    torch.testing.assert_close(model(x), model.head[1](added.mean((2, 3))))


def test_backbones_are_torchvisions():
    model, theirs = (
        MODELS["resnet18"](stem="imagenet").build(image_size=(64, 64)).eval(),
        resnet18(num_classes=1).eval(),
    )
    theirs.load_state_dict(model.state_dict())
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model(x), theirs(x))
    small = MODELS["resnet18"](stem="small").build(image_size=(32, 32), channels=6)
    assert sum(p.numel() for p in small.parameters()) == 11_689_512 - 512_000 - 1000 + 513 - 64 * 147 + 64 * 54


def test_imagenets_weights_are_taken_from_a_file_whatever_its_head(tmp_path):
    torch.manual_seed(1)
    theirs = efficientnet_b0().eval()
    torch.save(theirs.state_dict(), file := tmp_path / "b0.pth")
    settings = MODELS["efficientnet_b0"](weights=str(file))
    model = settings.build(image_size=(64, 64)).eval()
    settings.load(model)
    x = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    torch.testing.assert_close(model.backbone((x - mean) / std), theirs.features((x - mean) / std))
    torch.testing.assert_close(model(x), model.head(theirs.features((x - mean) / std)))
    torch.save(model.state_dict(), file)
    with pytest.raises(ValueError, match="the file changed; expected sha256"):
        settings.load(model)
    settings = MODELS["efficientnet_b0"](weights=str(file))
    again = settings.build(image_size=(64, 64)).eval()
    settings.load(again)
    assert torch.equal(again(x), model(x))  # with its head, which is ours


@pytest.mark.parametrize("kind", ["another network", "a pickle", "no dictionary", "missing"])
def test_a_file_of_other_weights_is_refused_in_one_line(kind, tmp_path):
    file = tmp_path / "w.pth"
    if kind != "missing":
        torch.save(
            {
                "another network": resnet18().state_dict(),
                "a pickle": {"x": range(3)},
                "no dictionary": [torch.ones(1)],
            }[kind],
            file,
        )
    with pytest.raises(ValueError) as error:
        settings = MODELS["efficientnet_b0"](weights=str(file))
        settings.load(settings.build(image_size=(32, 32)))
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_without_a_network_imagenets_weights_are_no_silent_random_start(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    settings = MODELS["efficientnet_b0"]()
    with pytest.raises(NoNetwork, match=r"model\.weights=imagenet: cannot be downloaded") as error:
        settings.load(settings.build(image_size=(32, 32)))
    assert error.value.exit_status == 7
    (kept := tmp_path / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
    (kept / "efficientnet_b0_rwightman-7f5810bc.pth").write_bytes(b"half of it")
    with pytest.raises(ValueError, match=r"model\.weights=imagenet: what was downloaded to .* is damaged"):
        settings.load(settings.build(image_size=(32, 32)))
