"""Adam is torch's, and leaves torch's compiler alone."""

import subprocess
import sys

import pytest
import torch

from detector.adam import Adam


def trained(kind, steps, *, state=None):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
    if state:
        for part, saved in zip((model, optimizer, schedule), state, strict=True):
            part.load_state_dict(saved)
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        model(torch.full((5, 3), float(step))).square().sum().backward()
        optimizer.step()
        schedule.step()
    return model, optimizer, schedule


@pytest.mark.filterwarnings("error")
def test_it_is_torchs_adam_to_the_last_bit_taken_up_in_the_middle_too():
    expected = [weight.detach() for weight in trained(torch.optim.Adam, range(12))[0].parameters()]
    half = [part.state_dict() for part in trained(Adam, range(6))]
    for model in (trained(Adam, range(12))[0], trained(Adam, range(6, 12), state=half)[0]):
        assert all(torch.equal(*pair) for pair in zip(model.parameters(), expected, strict=True))


def test_a_network_is_trained_without_importing_the_compiler():
    program = (
        "import sys, torch; from detector.adam import Adam; m = torch.nn.Linear(3, 1); o = Adam(m.parameters(), "
        "fused=True); torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=5); o.zero_grad(); "
        "m(torch.ones(2, 3)).sum().backward(); o.step(); o.load_state_dict(o.state_dict()); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
