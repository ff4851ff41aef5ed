"""EfficientNet-B0 in two phases on pictures of 224x224: what moves in which, and what stays; slow."""

import pytest
import torch
from torch import nn

from detector import checkpoint
from detector.models import MODELS
from detector.randomness import derive
from experiments import runs

pytestmark = pytest.mark.slow


def test_both_phases_train_what_they_name_and_leave_the_rest_as_it_was(train, tmp_path):
    phases = "[{train: head, learning_rate: 1e-3, epochs: 1}, {train: last 30, learning_rate: 1e-4, epochs: 1}]"
    settings = ["experiment=efficientnet_transfer", "model.weights=none"]
    status, _, err = train(*settings, f"train.phases={phases}", "train.epochs=2", "train.learning_rate=1e-3")
    assert status == 0, err
    [folder] = [path.parent for path in tmp_path.rglob("done")]
    assert [line["epoch"] for line in runs.read(folder).metrics[:-1]] == [1, 2]
    torch.manual_seed(derive(0, "weights"))
    model = MODELS["efficientnet_b0"](weights="none").build(image_size=(224, 224), channels=3)
    drawn = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layers = [name for name, module in model.named_modules() if [*module.parameters(recurse=False)]]
    frozen, last = layers[:-30], layers[-30:]
    after = checkpoint.load(folder / "last.pt")["model"]
    assert sum(isinstance(model.get_submodule(name), nn.BatchNorm2d) for name in frozen) > 20
    same = {name: torch.equal(tensor, drawn[name]) for name, tensor in after.items()}
    assert all(same[name] for name in same if name.rpartition(".")[0] in frozen)  # statistics too
    weights = [f"{name}.weight" for name in last]
    assert not any(same[name] for name in weights)
