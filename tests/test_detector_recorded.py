"""Steps recorded and replayed. Where there is no CUDA device, a recorder of our own stands in for its graphs."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from detector import degrade
from detector.augment import build_augment
from detector.batches import Pictures
from detector.color import OPS, build_view, saturation
from detector.dropout import Dropout
from detector.models import MODELS
from detector.recorded import WARM_UP
from detector.together import Member, Stacked, Views, fit_together
from detector.train import Training, TrainSettings, fit, gradients, new_keys
from tests.test_detector_augment import EVERY

IMAGES, BATCH, EPOCHS = 26, 4, 2  # six whole batches and one of two in an epoch
ROWS = torch.arange(IMAGES)
JITTER = build_view([{"op": "jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}])
ARMS = [(JITTER, 0), (build_view([{"op": "invert"}]), 0), (JITTER, 1)]


class Graph(TorchDispatchMode):
    """What a CUDA graph is to its user: every operation again, on the tensors that were there and with the numbers
    that were given."""

    replays = 0

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self):
        Graph.replays += 1
        with torch.no_grad():
            for func, args, kwargs, result in self.calls:
                for old, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@contextmanager
def recording(graph, stream):
    with graph:
        yield


@contextmanager
def refusing(graph, stream):
    yield
    raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be ...")


@pytest.fixture
def recorder(monkeypatch):
    """Our recorder in place of CUDA's; recorder.graph is the context that records."""
    Graph.replays = 0
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr("detector.train.can_record", lambda device: True)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "graph", recording)


def drawn(device="cpu"):
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (IMAGES, 32, 32, 3)).astype(np.uint8)
    return Pictures(images, np.arange(IMAGES) % 2, torch.device(device), resident=True)


def begin(seed, device="cpu"):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 4, 5, stride=3), nn.MaxPool2d(2), nn.ReLU(inplace=True), nn.Flatten()
    model = nn.Sequential(*layers, Dropout(0.5, 0), nn.Linear(100, 8), nn.ReLU(), Dropout(0.5, 1), nn.Linear(8, 1))
    settings = TrainSettings(epochs=EPOCHS, batch_size=BATCH, log_every=3, schedule="one_cycle")
    return Training.begin(model.double(), settings, num_images=IMAGES, device=torch.device(device))


def weights(training):
    return torch.cat([p.detach().flatten() for p in training.model.parameters()]).cpu()


def trained(arms, device="cpu"):
    """The weights that runs end with, alone and together."""
    pictures, alone = drawn(device), []
    for view, seed in arms:
        training = begin(seed, device)
        list(fit(training, pictures, ROWS, view, seed=seed))
        alone.append(weights(training))
    members = [Member(begin(seed, device), view, seed) for view, seed in arms]
    list(fit_together(members, pictures, ROWS))
    return torch.stack(alone), torch.stack([weights(member.training) for member in members])


def test_replayed_steps_are_the_steps_and_the_last_smaller_batch_is_one_too(recorder, monkeypatch):
    replayed = trained(ARMS)
    assert Graph.replays == (len(ARMS) + 1) * (6 * EPOCHS - WARM_UP)
    monkeypatch.setattr("detector.train.can_record", lambda device: False)
    for ours, theirs in zip(replayed, trained(ARMS), strict=True):
        assert torch.equal(ours, theirs)


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is_and_one_line_says_so(recorder, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "graph", refusing)
    training, expected = begin(0), begin(0)
    list(fit(training, drawn(), ROWS, JITTER, seed=0))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not recorded as a CUDA graph" in said
    assert "operation not permitted when stream is capturing" in said
    monkeypatch.setattr("detector.train.can_record", lambda device: False)
    list(fit(expected, drawn(), ROWS, JITTER, seed=0))
    assert torch.equal(weights(training), weights(expected))


class Asked(TorchFunctionMode):
    """Notes calls that make a tensor from the host's numbers, whatever the device."""

    def __init__(self, noted):
        super().__init__()
        self.noted = noted

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy):
            self.noted.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Watch(TorchDispatchMode):
    """Notes operations that touch a tensor of the host, or fetch a number from the device."""

    def __init__(self, noted):
        super().__init__()
        self.noted = noted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device.type == "cpu" for tensor in tensors) or "local_scalar" in str(func):
            self.noted.append(str(func))
        return result


SETTINGS = {
    "saturate": {"factor": [1, 8], "space": "hsv"},
    "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "hue_rotate": {"degrees": 60},
    "channel_shuffle": {"order": "gbr"},
    "solarize": {"threshold": 0.5},
    "posterize": {"bits": 3},
    "gamma": {"gamma": 2.0},
    "jpeg": {"quality": [10, 90]},
    "blur": {"sigma": [0.5, 2]},
    "resample": {"size": 16},
    "both": {"view": [{"op": "invert"}]},
}


@pytest.fixture
def meta(monkeypatch):
    """The device without memory, where a tensor of the host stands out; it has no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    kept = degrade._constants, saturation._blend  # on the device once
    for constants in kept:
        constants.cache_clear()
    yield torch.device("meta")
    for constants in kept:
        constants.cache_clear()


def host_operations(view, model, members, device):
    training = Training.of(model, TrainSettings(), num_images=IMAGES)
    rows = torch.zeros(2 * members, dtype=torch.int64, device=device)
    keys = new_keys(members, device)
    pictures = drawn(device)
    gradients(training, pictures.at(rows), view, keys)  # what is copied once is copied here
    noted: list[str] = []
    with Asked(noted), Watch(noted):
        gradients(training, pictures.at(rows), view, keys)
    assert all(parameter.grad is not None for parameter in training.model.parameters())
    return noted


VIEWS = [*([{"op": op, **SETTINGS.get(op, {})}] for op in OPS), [{"op": "saturate", "space": "luma", "factor": 8}]]


@pytest.mark.parametrize("operations", VIEWS, ids=lambda operations: operations[0]["op"])
def test_with_any_view_a_step_takes_nothing_from_the_host_and_waits_for_nothing(operations, meta):
    view = build_view(operations)
    model = MODELS["cnn32"]().build(image_size=(32, 32), channels=view.channels).to(meta)
    assert host_operations(view, model, 1, meta) == []


@pytest.mark.parametrize("operation", EVERY, ids=lambda operation: operation["op"])
def test_so_does_whatever_varies_the_pictures_of_training(operation, meta):
    model = MODELS["cnn32"]().build(image_size=(32, 32)).to(meta)
    assert host_operations(build_augment([operation]), model, 1, meta) == []


@pytest.mark.parametrize("name", MODELS)
def test_with_any_network_alone_or_stacked_too(name, meta):
    models = [MODELS[name]().build(image_size=(32, 32)).to(meta) for _ in range(2)]
    assert host_operations(JITTER, models[0], 1, meta) == []
    assert host_operations(Views([JITTER, ARMS[1][0]]), Stacked(models), 2, meta) == []


@pytest.mark.parametrize("lapse", [lambda x: x * torch.tensor(2.0, device=x.device), lambda x: x + torch.zeros(1)[0]])
def test_the_watch_notes_a_number_made_on_the_host(lapse, meta):
    class Lapse(nn.Module):
        def forward(self, x):
            return lapse(x)

    model = nn.Sequential(MODELS["cnn32"]().build(image_size=(32, 32)), Lapse()).to(meta)
    assert host_operations(JITTER, model, 1, meta) != []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_gpu_graphs_and_single_kernels_and_the_cpu_end_alike(monkeypatch, capsys):
    graphs = trained(ARMS, "cuda")
    assert capsys.readouterr().err == ""  # nothing was refused
    monkeypatch.setattr("detector.train.can_record", lambda device: False)
    for ours, eager, cpu in zip(graphs, trained(ARMS, "cuda"), trained(ARMS), strict=True):
        torch.testing.assert_close(ours, eager, rtol=0, atol=1e-9)
        torch.testing.assert_close(ours, cpu, rtol=0, atol=1e-4)  # colours are float32 there too, rounded elsewhere


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("operations", VIEWS, ids=lambda operations: operations[0]["op"])
def test_on_the_gpu_every_view_is_recorded(operations, capsys):
    view = build_view(operations)
    model = MODELS["cnn32"]().build(image_size=(32, 32), channels=view.channels)
    settings = TrainSettings(epochs=1, batch_size=BATCH, precision="bf16")
    training = Training.begin(model, settings, num_images=IMAGES, device=torch.device("cuda"))
    list(fit(training, drawn("cuda"), ROWS, view, seed=0))
    assert capsys.readouterr().err == ""
