"""Optimisers and schedules are torch's, and leave torch's compiler alone."""

import subprocess
import sys

import pytest
import torch
from torch.optim import lr_scheduler

from detector.optimizers import OPTIMIZERS, build_optimizer, build_schedule
from detector.recipe import TrainSettings

RECIPES = {
    "adam": ({"weight_decay": 0.1}, lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1, fused=True)),
    "adamw": ({"weight_decay": 0.1}, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, fused=True)),
    "sgd": (
        {"momentum": 0.9, "nesterov": True},
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    ),
}


def ours(name):
    settings = TrainSettings(optimizer=name, **RECIPES[name][0])
    return lambda parameters: build_optimizer(parameters, settings, 0.1)


def trained(make, steps, *, state=None):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = make(model.parameters())
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
    if state:
        for part, saved in zip((model, optimizer, schedule), state, strict=True):
            part.load_state_dict(saved)
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        model(torch.full((5, 3), 0.1 * step)).square().sum().backward()
        optimizer.step()
        schedule.step()
    return model, optimizer, schedule


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_is_torchs_to_the_last_bit_taken_up_in_the_middle_too(name):
    expected = [weight.detach() for weight in trained(RECIPES[name][1], range(12))[0].parameters()]
    half = [part.state_dict() for part in trained(ours(name), range(6))]
    for model in (trained(ours(name), range(12))[0], trained(ours(name), range(6, 12), state=half)[0]):
        assert all(torch.equal(*pair) for pair in zip(model.parameters(), expected, strict=True))


def test_a_network_is_trained_without_importing_the_compiler():
    program = (
        "import sys, torch; from detector.optimizers import build_optimizer, build_schedule; "
        "from detector.recipe import TrainSettings; s = TrainSettings(schedule='one_cycle'); "
        "m = torch.nn.Linear(3, 1); "
        "o = build_optimizer(m.parameters(), s, 0.1); build_schedule(o, s, steps_an_epoch=5); o.zero_grad(); "
        "m(torch.ones(2, 3)).sum().backward(); o.step(); o.load_state_dict(o.state_dict()); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"schedule": "step", "decay": 0.5, "decay_every": 2}, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]),
        ({"schedule": "cosine"}, [(1 + torch.tensor(k * torch.pi / 8).cos().item()) / 2 for k in range(8)]),
    ],
)
def test_the_learning_rate_of_each_step_of_four_epochs_of_two(settings, expected):
    settings = TrainSettings(epochs=4, learning_rate=1.0, **settings)
    optimizer = build_optimizer([torch.nn.Parameter(torch.ones(1))], settings, 1.0)
    schedule, rates = build_schedule(optimizer, settings, steps_an_epoch=2), []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule:
            schedule.step()
    assert rates == pytest.approx(expected, abs=1e-6)


def test_one_cycle_gives_sgd_no_momentum_that_nobody_asked_for():
    settings = TrainSettings(optimizer="sgd", schedule="one_cycle")
    optimizer = build_optimizer([torch.nn.Parameter(torch.ones(1))], settings, 0.1)
    build_schedule(optimizer, settings, steps_an_epoch=3)
    assert optimizer.param_groups[0]["momentum"] == 0
