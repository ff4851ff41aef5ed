"""PARENT: a colour-space detector as its author would write it, from the description of that project; what our speed
is held against. It is meant to be fair: a plain script without deliberate waste and without tuning.

Described: ImageFolder, Pillow, ToTensor, no normalisation; DataLoader; the transform `1 - x`, then torchvision's
adjust_saturation, in forward, for training and testing alike; convolution, ReLU, pooling in this order; BCE; Adam at
its defaults; batch 32, a fifth of the official training images as validation (A32); batch 16, large pictures (A720).

Assumed: one process, torch's own number of threads, float32, contiguous tensors, no seed. Pictures of another size than
the network's are resized (torchvision's default, bilinear). BCEWithLogitsLoss rather than a sigmoid and BCELoss. Loss
and right answers are read with .item() after every step, for the running figures such scripts print. Validation after
every epoch and a test at the end, in eval mode without gradients. On a GPU memory is pinned. ImageFolder numbers the
classes by alphabet; here FAKE is 1, by the name of its folder.
"""

import operator
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, random_split
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import adjust_saturation

from experiments.benchmark import child


class ColourDetector(nn.Module):
    """Float RGB (B, 3, H, W) in [0, 1] -> logits (B, 1); above 0 means FAKE."""

    def __init__(self, layers: nn.Module, *, invert: bool = False, factor: float | None = None):
        super().__init__()
        self.layers, self.invert, self.factor = layers, invert, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.transform(x))

    def transform(self, x: Tensor) -> Tensor:
        if self.invert:
            x = 1 - x
        if self.factor is not None:
            x = adjust_saturation(x, self.factor)
        return x


def a32() -> nn.Sequential:
    """The network for CIFAKE: 634,305 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(2048, 256), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(256, 64), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(64, 1),
    )


def a720() -> nn.Sequential:
    """The network for photographs of any size from 32 pixels."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)),
        *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)),
        *(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(128, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(256, 512, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        nn.Flatten(),
        *(nn.Linear(512, 1024), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(1024, 256), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(256, 1),
    )


NETWORKS = {"a32": a32, "a720": a720}


def pictures(folder: Path, resize: int | None = None) -> ImageFolder:
    """The pictures below real and fake; label 1 is FAKE. resize: their side in pixels, None leaves them as they are."""
    steps = [transforms.ToTensor()] if resize is None else [transforms.Resize((resize, resize)), transforms.ToTensor()]
    found = ImageFolder(folder, transforms.Compose(steps))
    found.target_transform = partial(operator.eq, found.class_to_idx["FAKE"])
    return found


def train(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, device: str, ends: list) -> float:
    """One epoch; returns its accuracy. ends: gets the time (seconds since 1970) at which each step ended."""
    loss_of = nn.BCEWithLogitsLoss()
    model.train()
    total, right, seen = 0.0, 0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.float().to(device)
        optimizer.zero_grad()
        logits = model(images).squeeze(1)
        loss = loss_of(logits, labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        right += ((logits > 0) == (labels > 0)).sum().item()
        seen += len(labels)
        ends.append(time.time())
    return right / seen


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader, device: str) -> float:
    """Accuracy on all pictures of a loader."""
    model.eval()
    right, seen = 0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        right += ((model(images).squeeze(1) > 0) == labels).sum().item()
        seen += len(labels)
    return right / seen


def whole_run(
    root: str,
    network: str,
    resize: int | None,
    batch_size: int,
    workers: int,
    device: str,
    invert: bool = False,
    factor: float | None = None,
    also_evaluate: int | None = None,
) -> dict[str, Any]:
    """Train for one epoch, validate, test: the whole script. also_evaluate: test once more with so many workers.

    The epoch's time counts from the end of its first step, which pays for what happens once, to the end of validation;
    its images likewise.
    """
    place = Path(root)
    official = pictures(place / "train", resize)
    training, validation = random_split(official, [0.8, 0.2])

    def loader(dataset: Any, workers: int, shuffle: bool = False) -> DataLoader:
        return DataLoader(dataset, batch_size, shuffle=shuffle, num_workers=workers, pin_memory=device != "cpu")

    model = ColourDetector(NETWORKS[network](), invert=invert, factor=factor).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    ends: list[float] = []
    accuracy = train(model, loader(training, workers, shuffle=True), optimizer, device, ends)
    evaluate(model, loader(validation, workers), device)
    validated = time.time()
    testing = pictures(place / "test", resize)
    evaluations = {}
    for count in [workers] if also_evaluate is None else [workers, also_evaluate]:
        began = time.time()
        evaluate(model, loader(testing, count), device)
        evaluations[count] = len(testing) / (time.time() - began)
    later = len(training) - batch_size
    return {
        "images": len(training),
        "first_step": ends[0],
        "epoch": later / (validated - ends[0]),
        "training": later / (ends[-1] - ends[0]),
        "evaluations": evaluations,
        "accuracy": accuracy,
        "threads": torch.get_num_threads(),
    }


def loading(root: str, resize: int | None, batch_size: int) -> dict[str, float]:
    """Every picture below `root` loaded once, 0 workers, shuffled as for training."""
    began, images = time.perf_counter(), 0
    for split in ("train", "test"):
        for batch, _ in DataLoader(pictures(Path(root) / split, resize), batch_size, shuffle=True):
            images += len(batch)
    return {"images": images, "seconds": time.perf_counter() - began}


def steps(batch_size: int, repetitions: int, device: str) -> dict[str, list[float]]:
    """Seconds of a training step of A32 alone, on one batch that is there already; and of the transform alone."""
    model = ColourDetector(a32(), invert=True, factor=8.0).to(device)
    images = torch.rand(batch_size, 3, 32, 32).to(device)
    labels = torch.arange(batch_size) % 2 == 0
    batches = [(images, labels)] * repetitions
    transforming = []
    with torch.no_grad():
        for _ in range(repetitions):
            began = time.perf_counter()
            model.transform(images)[0, 0, 0, 0].item()
            transforming.append(time.perf_counter() - began)
    model.invert, model.factor = False, None
    ends: list[float] = []
    train(model, batches, torch.optim.Adam(model.parameters()), device, ends)  # type: ignore[arg-type]
    return {"step": [after - before for before, after in pairwise(ends)], "transform": transforming}


TASKS: child.Tasks = {"whole_run": whole_run, "loading": loading, "steps": steps}

if __name__ == "__main__":
    child.answer(TASKS)
