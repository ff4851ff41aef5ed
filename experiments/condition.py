"""Those settings of a run that make its result, and their digest; plain values, which are read without torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PARTS = ("data", "model", "aug", "train")
DETECTION = "detection"  # the task of the first run folders
# Settings younger than the first run folders, which keep their digest: left out where they stand at these values.
YOUNGER: dict[str, dict[str, Any]] = {
    "data": {"repair": "quarantine", "repair_test": False},
    "model": {"weights_sha256": ""},
    "aug": {"seed_offset": 0, "shuffle_labels": False},
    "train": {
        **{"optimizer": "adam", "weight_decay": 0.0, "momentum": 0.0, "nesterov": False},
        **{"decay": 0.1, "decay_every": 1, "decay_patience": 2, "label_smoothing": 0.0, "ema": 0.0},
        **{"patience": None, "augment": [], "phases": []},
    },
}


def condition_of(
    parts: Mapping[str, Mapping[str, Any]], image_size: Sequence[int], task: str = DETECTION
) -> dict[str, Any]:
    """Every setting that makes the result, as plain values; what means the same is the same: 8 and 8.0, one folder by
    two ways. parts: the settings of PARTS, by name; image_size: what that of the data means, [32, 32] for 32; task: a
    part of its own where it is not detection."""
    settings = {part: dict(parts[part]) for part in PARTS}
    for key in ("name", "space", "factor", "strength"):  # what the operations already say
        settings["aug"].pop(key, None)
    for part, values in YOUNGER.items():
        for key, value in values.items():
            if settings[part].get(key, value) == value:
                settings[part].pop(key, None)
    if "weights_sha256" in settings["model"]:
        settings["model"].pop("weights")  # a file is known by what is in it
    for key in ("name", "together"):  # runs trained together are what each is alone
        settings["train"].pop(key, None)
    if settings["data"].pop("fold", None) is None:
        settings["data"].pop("folds", None)
    settings["data"]["image_size"] = list(image_size)
    if "root" in settings["data"]:
        settings["data"]["root"] = str(Path(settings["data"]["root"]).expanduser().resolve())
    if task != DETECTION:
        settings["task"] = {"name": task}
    return _plain(settings)


def run_name(digest: str, fold: int | None, seed: int) -> str:
    """Of a run's folder; experiments.runs.NAME reads it."""
    return f"{digest}{'' if fold is None else f'-fold{fold}'}-seed{seed}"


def digest_of(condition: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits, those of a run folder's name."""
    return hashlib.sha256(json.dumps(condition, sort_keys=True).encode()).hexdigest()[:10]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
