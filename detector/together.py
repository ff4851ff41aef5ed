"""Several trainings as one: networks that differ in their weights alone, stacked, and stepped by the same kernels."""

import copy
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from detector.batches import Pictures
from detector.color import View
from detector.recorded import WARM_UP, Recorded, can_record
from detector.stacked import WAYS, Stacked
from detector.train import Epoch, NotFinite, Steps, Training, fit_all, gradients, new_keys

TIMED = 5  # steps of each way of stacking
LEAST_FREE = 0.1  # of the free memory, left to everything that is not counted


@dataclass(frozen=True)
class Member:
    """One run of several that are trained together: where it stands, what it sees, what it is drawn by."""

    training: Training
    view: View
    seed: int


class CannotStack(ValueError):
    """Trainings that cannot be one; its text is the reason, in one line."""


def fit_together(
    members: Sequence[Member], pictures: Pictures, rows: Tensor
) -> Iterator[tuple[int, Steps | Epoch | NotFinite]]:
    """`fit` for all of them at once: each has its own weights, optimiser state, order, view and dropout.

    They share settings, kind of network and epoch; each ends where it would alone but for rounding. Yields (a member's
    place, its event). With Epoch, that member's training is at the end of it: it can be saved, resumed alone or with
    others, and its network used. NotFinite ends that member and no other. Raises CannotStack before any step.
    """
    if len(members) == 1:
        return fit_all(members[0].training, pictures, rows, members[0].view, [members[0].seed])
    # side by side where they share a view, so that it is applied to a piece of the batch
    alike = [next(i for i, other in enumerate(members) if other.view == member.view) for member in members]
    places = sorted(range(len(members)), key=alike.__getitem__)
    members = [members[place] for place in places]
    views = Views([member.view for member in members])
    way = _fastest_way(_trial(members, views, pictures, rows), len(members), views, pictures, rows)
    group = _stacked(members, way, num_images=len(rows))
    return _events(group, members, places, views, pictures, rows)


def _events(
    group: Training, members: Sequence[Member], places: Sequence[int], views: "Views", pictures: Pictures, rows: Tensor
) -> Iterator[tuple[int, Steps | Epoch | NotFinite]]:
    for number, event in fit_all(group, pictures, rows, views, [member.seed for member in members]):
        if isinstance(event, Epoch):
            _hand_back(group, number, members[number].training)
        yield places[number], event


class Views:
    """The views of members, equal ones side by side: each applied once to the pictures of all that share it."""

    def __init__(self, views: Sequence[View]):
        self.shared = [(view, len(list(equal))) for view, equal in itertools.groupby(views)]

    def __call__(self, images: Tensor, keys: Tensor, indices: Tensor) -> Tensor:
        """As a View's, for the pictures of one member after those of another."""
        counts = [count for _, count in self.shared]
        sizes = [len(images) // sum(counts) * count for count in counts]
        pieces = zip(*(tensor.split(sizes) for tensor in (images, keys, indices)), strict=True)
        return torch.cat([view(*piece) for (view, _), piece in zip(self.shared, pieces, strict=True)])


def _trial(members: Sequence[Member], views: Views, pictures: Pictures, rows: Tensor) -> Training:
    """Copies of their networks, stacked and tried on two pictures each.

    CannotStack where they differ in what they must share, or their network is not the same stacked as alone.
    """
    first, last = members[0].training, _copy(members[-1].training, num_images=len(rows))
    for other in (member.training for member in members):
        if other.settings != first.settings:
            raise CannotStack(f"their settings differ: {first.settings} and {other.settings}")
        if other.settings.goes_alone:
            raise CannotStack("they wait for validation, or average their weights, each for itself")
        if (other.epoch, other.step) != (first.epoch, first.step):
            raise CannotStack(f"they stand at different epochs: {first.epoch} and {other.epoch}")
    few, keys = rows[:2], new_keys(len(members), pictures.device)
    batch = next(pictures.batches(few.repeat(len(members)), len(few) * len(members)))
    try:
        stacked = Stacked([member.training.model for member in members])
        trial = Training.of(stacked, first.settings, num_images=len(rows))
        together, _ = gradients(trial, batch, views, keys)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise CannotStack(" ".join(str(error).split())) from error
    alone, _ = gradients(last, next(pictures.batches(few, len(few))), members[-1].view, keys[:, -1:])
    tolerance = 5e-2 if first.settings.precision == "bf16" else 1e-2
    scale = max(1.0, alone.abs().max().item())
    if not torch.allclose(together[-1], alone[0], rtol=0, atol=tolerance * scale, equal_nan=True):
        raise CannotStack("this network gives other logits when it is stacked")
    return trial


def _fastest_way(trial: Training, members: int, views: Views, pictures: Pictures, rows: Tensor) -> str:
    """Of stacking, measured where steps are recorded; elsewhere always the same one, as results are then."""
    model, seconds = trial.model, {}
    assert isinstance(model, Stacked)
    if not (can_record(pictures.device) and pictures.resident):
        return model.way
    batch = rows[torch.arange(trial.settings.batch_size * members) % len(rows)].to(pictures.device)
    keys = new_keys(members, pictures.device)
    for model.way in WAYS:
        step = Recorded(lambda rows: gradients(trial, pictures.at(rows), views, keys), model)
        seconds[model.way] = _seconds(partial(step, batch))
    return min(seconds, key=seconds.__getitem__)


def _seconds(step: Callable[[], object]) -> float:
    """Of TIMED steps on the CUDA device; endless where they fail."""
    try:
        for _ in range(WARM_UP + 1):
            step()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(TIMED):
            step()
        torch.cuda.synchronize()
        return time.perf_counter() - started
    except RuntimeError:  # out of memory, or an operation that it has not
        return math.inf


def _stacked(members: Sequence[Member], way: str, *, num_images: int) -> Training:
    """One training whose network and optimiser state are theirs."""
    states = [member.training.state_dict() for member in members]
    model = Stacked([member.training.model for member in members], way)
    group = Training.of(model, members[0].training.settings, num_images=num_images)
    moments = {
        index: {
            name: value if name == "step" else torch.stack([s["optimizer"]["state"][index][name] for s in states])
            for name, value in state.items()
        }
        for index, state in states[0]["optimizer"]["state"].items()
    }
    optimizer = states[0]["optimizer"] | {"state": moments}
    group.load_state_dict(states[0] | {"model": model.state_dict(), "optimizer": optimizer})
    return group


def _hand_back(group: Training, place: int, training: Training) -> None:
    """Bring a member's own training to where it stands in the group."""
    model, state = group.model, group.state_dict()
    assert isinstance(model, Stacked)
    mine = {name: tensor[place] for name, tensor in (model.tensors() | model.state).items()}
    moments = {
        index: {name: value.clone() if name == "step" else value[place] for name, value in moment.items()}
        for index, moment in state["optimizer"]["state"].items()
    }
    training.load_state_dict(
        {
            **state,
            "model": {name: mine[name] for name in training.model.state_dict()},
            "optimizer": state["optimizer"] | {"state": moments},
            "judge": training.judge.state_dict(),
        }
    )


def how_many_fit(member: Member, pictures: Pictures) -> int:
    """How many like this one can be trained together in the memory that is free on the device, at least 1."""
    return max(1, int((1 - LEAST_FREE) * _free(pictures.device) / memory_of(member, pictures)))


def memory_of(member: Member, pictures: Pictures) -> int:
    """Bytes that one more member takes, counted in a step of a copy.

    Weights, gradients and Adam's two moments, all but the gradients once in the group and once in its own training;
    what the step keeps for the backward pass, and as much again for the backward pass itself; the batch.
    """
    training = _copy(member.training, num_images=len(pictures))
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    rows = torch.arange(training.settings.batch_size) % len(pictures)
    batch = next(pictures.batches(rows, len(rows)))
    keys = new_keys(1, pictures.device)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        gradients(training, batch, member.view, keys)
    weights = sum(parameter.nbytes for parameter in training.model.parameters())
    return 7 * weights + 2 * sum(kept.values()) + 3 * batch.images.nbytes


def _copy(training: Training, *, num_images: int) -> Training:
    """Its network once more, to take a step with that leaves no trace."""
    return Training.of(copy.deepcopy(training.model).train(), training.settings, num_images=num_images)


def _free(device: torch.device) -> int:
    """Bytes that can be had: on CUDA also those that torch holds ready."""
    if device.type == "cuda":
        ready = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + ready
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # no Linux: half of what the machine has
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
