"""Run folders as training leaves them, made without training: accuracy, spread and near-duplicates as a test wants."""

import dataclasses
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml

from datasets.build import SOURCES
from datasets.manifest import Row
from detector.metrics import best_threshold, evaluate
from detector.models import MODELS
from detector.train import TrainSettings
from experiments import record
from experiments.comparison import Comparison, compare
from experiments.config import AugSettings, Config, PlanSettings
from experiments.outcomes import Outcome

RECIPES: dict[str, dict[str, Any]] = {
    "parent": {},
    "fast": {"batch_size": 256, "learning_rate": 4e-3, "schedule": "one_cycle", "log_every": 10},
}
EXPERIMENTS = Path(record.__file__).with_name("conf") / "experiment"
SATURATED = re.compile(r"(invert_)?saturate_(luma_|hsv_)?x([\d.]+)")
ARMS = {"none": 0.93, "saturate_x8": 0.90}


def make_tree(
    root: Path,
    *,
    arms: Mapping[str, float] = ARMS,
    seeds: Iterable[int] = range(6),
    folds: Iterable[int | None] = (None,),
    images: int = 200,
    epochs: int = 3,
    recipe: str = "parent",
    spread: float = 0.004,
    duplicates: int = 20,
    content: str = "content",
    code: str = "47a04c99aee4b804",
    torch: str = "2.15.0",
    **changes: Any,
) -> list[Path]:
    """Complete, finished run folders under `root`; returns them arm by arm, fold by fold, seed by seed.

    arms: name -> mean test accuracy; `none...` is plain (with a suffix: from other seeds), `invert_saturate_hsv_x8` and
    its like mean what they say, any other name is some saturation of its own. spread: sd of accuracy over seeds; the
    arms of one seed share half the variance. images: of the test part, half fake, `duplicates` pairs of them of one
    group each; half as many stand in val. folds: each tests other images.
    changes: settings by dotted name: `**{"train.batch_size": 64, "plan.margin": 1.0}`.
    """
    folders = []
    with mock.patch("os.fsync"):  # a test's runs need not outlive a power cut
        for name, mean in arms.items():
            for fold in folds:
                for seed in seeds:
                    config = make_config(root, name, seed, fold=fold, epochs=epochs, recipe=recipe, **changes)
                    shared, own = (drawn(text).normal() for text in (f"{seed} {fold}", f"{name} {seed} {fold}"))
                    accuracy = float(np.clip(mean + spread * (shared + own) / np.sqrt(2), 0, 1))
                    write_run(config, accuracy, images=images, duplicates=duplicates, content=content)
                    edit_provenance(config.folder, code=code, torch=torch)
                    folders.append(config.folder)
    return folders


def make_config(
    root: Path,
    name: str,
    seed: int,
    *,
    fold: int | None = None,
    epochs: int = 3,
    recipe: str = "parent",
    **changes: Any,
) -> Config:
    """The configuration of one such run."""
    parts: dict[str, dict[str, Any]] = {
        "data": {"fold": fold},
        "model": {},
        "aug": aug_of(name),
        "train": {"name": recipe, "epochs": epochs, **RECIPES[recipe]},
        "plan": yaml.safe_load((EXPERIMENTS / "ab_cifake.yaml").read_text())["plan"],
    }
    for key, value in changes.items():
        part, _, setting = key.partition(".")
        parts[part][setting] = value
    return Config(
        data=SOURCES["cifake"].settings(**parts["data"]),
        model=MODELS[parts["model"].get("name", "cnn32")](**parts["model"]),
        aug=AugSettings(**parts["aug"]),
        train=TrainSettings(**parts["train"]),
        plan=PlanSettings(**parts["plan"]),
        seed=seed,
        device="cpu",
        threads=1,
        runs_root=Path(root),
        data_root=Path("data"),
    )


def aug_of(name: str) -> dict[str, Any]:
    """The settings of an arm, from its name; every name is an arm of its own."""
    if name.startswith("none"):
        return {"name": name, "seed_offset": zlib.crc32(name.encode()) % 1000 + 1 if name != "none" else 0}
    if name in ("invert", "grayscale"):
        return {"name": name, "train": [{"op": name}], "eval": [{"op": name}]}
    found = SATURATED.fullmatch(name)
    inverted, space, factor = found.groups() if found else (None, None, 1 + zlib.crc32(name.encode()) / 1e6)
    space, factor = (space or "luma_")[:-1], float(factor)
    view = [*([{"op": "invert"}] if inverted else []), {"op": "saturate", "space": space, "factor": factor}]
    return {"name": name, "train": view, "eval": view, "space": space, "factor": factor}


def write_run(config: Config, accuracy: float, *, images: int, duplicates: int, content: str) -> None:
    """One finished run folder by the functions that write the real ones; `accuracy` of test as near as images allow."""
    folder, fold = config.folder, config.data.fold
    folder.mkdir(parents=True)
    record.write_config(folder, config.as_dict())
    facts = {
        "seed": config.seed,
        "digest": config.digest,
        "data_digest": f"{content} {fold}",
        "content_digest": content,
        "manifest": "data/cifake/manifest.csv",
        "quarantined": 0,
        "notes": ["images: made for a test"],
    }
    process = {"after_epoch": 0, "device": "cpu", "threads": 1, "seconds": 1.0, "images_per_second": 1000.0}
    record.write_provenance(folder, facts, process, number=0)
    record.write_audit(folder, {"verdict": "clean", "seed": 0, "lines": []})
    splits = {"val": images // 2, "test": images}
    rows, indices = rows_of(splits, (fold or 0) * sum(splits.values()), duplicates=duplicates, content=content)
    labels = {split: np.array([rows[i].label for i in indices[split]]) for split in splits}
    key = f"{config.aug.name} {config.seed} {fold}"
    scores = {split: drawn_scores(split, content, key, labels[split], accuracy) for split in splits}
    threshold = best_threshold(scores["val"], labels["val"])
    last: dict[str, float] = {"val/threshold": threshold}
    for split in splits:
        measured = evaluate(scores[split], labels[split], threshold=threshold)
        last |= {f"{split}/{metric}": value for metric, value in measured.items()}
    history = []
    for epoch in range(1, config.train.epochs + 1):
        gap = 0.3 * (0.4**epoch - 0.4**config.train.epochs)  # what is not yet learned
        line: dict[str, float] = {"epoch": epoch, "step": 100 * epoch}
        for split in ("train", "val"):
            line |= {f"{split}/{m}": last[f"val/{m}"] * (1 - gap) for m in measured if m != "accuracy_at_threshold"}
        history.append(line)
    factor = config.aug.factor or 1.0
    last |= {"view/clipped": 1 - 1 / factor if factor > 1 else 0.02, "view/colors": 828.5 / factor}
    record.write_metrics(folder, [*history, {"epoch": config.train.epochs, "step": history[-1]["step"], **last}])
    record.write_predictions(folder, rows, {split: (indices[split], scores[split]) for split in splits})
    record.mark_done(folder)


def rows_of(
    splits: Mapping[str, int], start: int, *, duplicates: int, content: str
) -> tuple[list[Row], dict[str, np.ndarray]]:
    """The manifest and the rows of each split from `start` on, REAL and FAKE in turn; the first are pairs."""
    rows = [Row("elsewhere", 0)] * start
    indices = {}
    for split, number in splits.items():
        indices[split] = np.arange(start, start + number)
        for place, index in enumerate(range(start, start + number)):
            twin = place - 2 if place % 4 > 1 and place < 2 * duplicates else place  # of the same class
            name = f"{split}/{('REAL', 'FAKE')[index % 2]}/{index} (1).jpg"
            row = Row(name, index % 2, split=split, source="cifake", group=f"{content}-{start}-{split}-{twin}")
            rows.append(row)
        start += number
    return rows, indices


def drawn_scores(split: str, content: str, key: str, labels: np.ndarray, accuracy: float) -> np.ndarray:
    """Scores of which a share `accuracy` is right; some images are harder than others for every run."""
    ease = drawn(f"{content} {split}").random(len(labels)) + 0.4 * drawn(f"{split} {key}").random(len(labels))
    right = np.zeros(len(labels), dtype=bool)
    right[np.argsort(-ease, kind="stable")[: round(accuracy * len(labels))]] = True
    certainty = 0.5 + 0.499 * drawn(f"{key} certainty").random(len(labels))
    return np.where(right == (labels == 1), certainty, 1 - certainty - 1e-6)


def edit_provenance(folder: Path, *, code: str, torch: str) -> None:
    """The code and the torch that made a run, as a test wants them; committed, by a fixed commit."""
    path = folder / "provenance.json"
    facts = json.loads(path.read_text())
    for process in facts["processes"]:
        process["code"] = {"digest": code, "commit": "c0ffee" * 6, "dirty": False}
        process["versions"]["torch"] = torch
    path.write_text(json.dumps(facts, indent=1))


def drawn(text: str) -> np.random.Generator:
    """Random numbers that only a text decides."""
    return np.random.default_rng(zlib.crc32(text.encode()))


def changed(outcome: Outcome, **facts) -> Outcome:
    """The same run with other facts about where it comes from."""
    return dataclasses.replace(outcome, facts=outcome.facts | facts)


def one(listed: Sequence[Outcome], **asked) -> Comparison:
    """The only comparison of these runs, of which none is refused."""
    [found], refused = compare(listed, **asked)
    assert refused == []
    return found
