"""torch's Adam without torch's compiler."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

_step: Callable[..., Any] = inspect.unwrap(torch.optim.Adam.step)


class Adam(torch.optim.Adam):
    """torch.optim.Adam to the last bit. What torch wraps its methods in tells torch.compile not to look into them, and
    imports that compiler with the first optimiser: 1.2 s, a third of the start of a process that never compiles."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)

    def step(self, closure: Any = None) -> Any:
        """One step by the gradients that lie in the parameters."""
        with torch.no_grad():
            return _step(self, closure)
