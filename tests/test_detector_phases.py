"""Phases, early stopping, averaged weights and smoothed labels: what moves when, and what is begun with."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from detector.batches import Pictures
from detector.color import View
from detector.dropout import drawing
from detector.models import MODELS
from detector.phases import freeze, set_training
from detector.train import Epoch, Training, TrainSettings, fit, gradients, new_keys

CPU = torch.device("cpu")
PHASES = [
    {"train": "head", "learning_rate": 1e-2, "epochs": 2},
    {"train": "last 3", "learning_rate": 1e-3, "epochs": 2},
]


class Small(nn.Module):
    """A body with batch normalisation and a head, as networks for transfer have them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1))

    def forward(self, x):
        return self.head(self.body(x))


def pictures(count=24, size=8):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, size, size, 3), np.uint8)
    images[::2] //= 2
    return Pictures(images, np.arange(count) % 2, CPU)


def begun(**settings):
    if rate := settings.get("phases", [{}])[0].get("learning_rate"):
        settings = {"learning_rate": rate} | settings
    torch.manual_seed(0)
    return Training.begin(Small(), TrainSettings(batch_size=8, **settings), num_images=24, device=CPU)


def epochs(training, accuracies):
    """Train to the end, or as far as there are accuracies; the state of the network after each epoch, judged."""
    states, said = [], iter(accuracies)
    for event in fit(training, pictures(), torch.arange(24), View(), seed=0):
        if isinstance(event, Epoch):
            training.judged(next(said))
            states.append(copy.deepcopy(training.state_dict()))
            if len(states) == len(accuracies):
                break
    return states


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_in_each_phase_only_what_it_names_moves_and_frozen_statistics_stay():
    training = begun(epochs=4, phases=PHASES)
    start = copy.deepcopy(training.model.state_dict())
    states = epochs(training, [0.5, 0.6, 0.7, 0.8])
    first, last = states[1]["model"], states[3]["model"]
    assert moved(start, first) == {"head.2.weight", "head.2.bias"}
    third = {"body.3.weight", "body.3.bias", "body.4.weight", "body.4.bias"}
    statistics = {"body.4.running_mean", "body.4.running_var", "body.4.num_batches_tracked"}
    assert moved(first, last) == {"head.2.weight", "head.2.bias"} | third | statistics


def test_a_phase_begins_with_the_best_weights_its_own_rate_and_a_fresh_optimiser():
    training = begun(epochs=4, phases=PHASES)
    states = epochs(training, [0.7, 0.6])  # the first epoch was the better one
    assert moved(states[0]["model"], states[1]["model"]) == set()
    assert training.phase == 1 and training.optimizer.param_groups[0]["lr"] == 1e-3
    assert not training.optimizer.state


@pytest.mark.parametrize("settings", [{"phases": PHASES}, {"schedule": "plateau", "decay_patience": 0}, {"ema": 0.9}])
def test_taken_up_after_any_epoch_it_ends_with_the_same_bytes(settings):
    accuracies = [0.5, 0.7, 0.6, 0.65]
    whole = epochs(begun(epochs=4, **settings), accuracies)
    for after in (1, 2, 3):
        training = begun(epochs=4, **settings)
        training.load_state_dict(copy.deepcopy(whole[after - 1]))
        rest = epochs(training, accuracies[after:])
        for part in ("model", "averaged"):
            ours, theirs = rest[-1][part] or {}, whole[-1][part] or {}
            assert ours.keys() == theirs.keys() and not moved(ours, theirs)


def test_plateau_lowers_the_rate_once_nothing_gets_better():
    training = begun(epochs=5, schedule="plateau", decay=0.5, decay_patience=1)
    rates = []
    for accuracy in (0.5, 0.6, 0.6, 0.6, 0.7):
        training.judged(accuracy)
        rates.append(training.optimizer.param_groups[0]["lr"] / 1e-3)
    assert rates == [1, 1, 1, 0.5, 0.5]


def test_patience_ends_it_and_survives_a_resume():
    training = begun(epochs=9, keep="best", patience=2)
    states = epochs(training, [0.5, 0.6, 0.6, 0.55, 0.9])
    assert len(states) == 4 and training.ended
    again = begun(epochs=9, keep="best", patience=2)
    again.load_state_dict(states[2])
    assert not again.ended and again.judge.since == 1
    assert len(epochs(again, [0.5, 0.9])) == 1


def test_averaged_weights_follow_the_formula_and_are_those_that_count():
    training, decay = begun(epochs=2, ema=0.9), 0.9
    expected = None
    batch = next(pictures().batches(torch.arange(8), 8))
    for _ in range(5):
        gradients(training, batch, View(), new_keys(1, CPU))
        training.advance()
        now = training.model.head[2].weight.detach().clone()
        expected = now if expected is None else decay * expected + (1 - decay) * now
    torch.testing.assert_close(training.tested.head[2].weight, expected)
    assert not torch.equal(training.tested.head[2].weight, training.model.head[2].weight)
    assert begun(epochs=2).tested is not None and begun(epochs=2).averaged is None


def test_smoothed_labels_give_the_loss_by_hand():
    training = begun(epochs=1, label_smoothing=0.2)
    batch = next(pictures().batches(torch.arange(8), 8))
    logits, loss = gradients(training, batch, View(), new_keys(1, CPU))
    p = torch.sigmoid(logits.squeeze())
    target = torch.where(batch.labels == 1, 0.9, 0.1)
    assert loss.item() == pytest.approx(-(target * p.log() + (1 - target) * (1 - p).log()).mean().item(), abs=1e-6)


def test_the_last_layers_of_a_real_network_are_counted_from_its_end():
    model = MODELS["efficientnet_b0"](weights="none").build(image_size=(32, 32))
    freeze(model, "last 30", where="x")
    set_training(model)
    layers = [m for m in model.modules() if [*m.parameters(recurse=False)]]
    assert [all(p.requires_grad for p in m.parameters(recurse=False)) for m in layers] == [False] * (
        len(layers) - 30
    ) + [True] * 30
    frozen = [m for m in layers[:-30] if isinstance(m, nn.BatchNorm2d)]
    assert frozen and not any(m.training for m in frozen)
    before = [m.running_mean.clone() for m in frozen]
    with drawing(torch.arange(2)):
        model(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(torch.equal(m.running_mean, mean) for m, mean in zip(frozen, before, strict=True))
    assert [p.grad is not None for p in layers[0].parameters()] == [False] and model.head[1].weight.grad is not None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"phases": [{"train": "tail", "learning_rate": 1, "epochs": 5}]}, "train.phases[0].train='tail': no part"),
        ({"phases": [{"train": "last 9", "learning_rate": 1, "epochs": 5}]}, "train.phases[0].train='last 9': this"),
        ({"phases": [{"train": "all", "learning_rate": 1, "epochs": 4}]}, "train.epochs=5: expected 4"),
        ({"phases": [{"train": "all", "epochs": 5}]}, "train.phases[0]={'train': 'all', 'epochs': 5}: expected"),
        ({"phases": [{"train": "all", "learning_rate": 0, "epochs": 5}]}, "train.phases[0].learning_rate=0: expected"),
        (
            {"learning_rate": 1e-3, "phases": [{"train": "all", "learning_rate": 1, "epochs": 5}]},
            "train.learning_rate=0.001: expected 1",
        ),
        (
            {"patience": 2, "keep": "best", "phases": [{"train": "all", "learning_rate": 1e-3, "epochs": 5}]},
            "train.patience=2: expected null",
        ),
        ({"patience": 2}, "train.patience=2: expected train.keep=best"),
        ({"nesterov": True}, "train.nesterov=True: expected train.optimizer=sgd"),
        ({"momentum": 0.5}, "train.momentum=0.5: expected train.optimizer=sgd"),
        ({"label_smoothing": 1.0}, "train.label_smoothing=1.0: expected"),
        ({"optimizer": "lion"}, "train.optimizer='lion': expected adam or adamw or sgd"),
        ({"schedule": "step", "decay_every": 0}, "train.decay_every=0: expected"),
    ],
)
def test_a_recipe_that_cannot_be_is_named(settings, said):
    with pytest.raises(ValueError) as error:
        begun(**settings)
    assert str(error.value).startswith(said)
