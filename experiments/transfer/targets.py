"""The data sets that runs are tested on: words of the command line as settings, prepared at a run's own resolution."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets import build
from datasets.built import RECIPE
from datasets.folder import FolderSettings
from datasets.manifest import NAME_OF_LABEL, DataError

CONF = Path(__file__).parents[1] / "conf" / "data"
FOLDER = "folder:"  # how a word begins that names a folder of pictures
MATCHED = ("image_size", "fit", "patches")  # settings that a run brings its own test pictures to its network's size by


@dataclass(frozen=True)
class Target:
    """A data set to test on. name: of its column; settings: as those of a run on it; whole: all its images serve where
    it has no test split of its own, since no run was trained on it."""

    name: str
    settings: Any
    whole: bool


@dataclass(frozen=True)
class Prepared:
    """A data set at one resolution and its rows that are tested on, int64 (n,), ascending."""

    data: build.Dataset
    rows: np.ndarray


def same_pictures(settings: Any, others: Any) -> bool:
    """Whether two settings name the same data set, whatever the size and the split of its pictures."""
    return _origin(settings) == _origin(others)


def find(words: Sequence[str], trained: Sequence[Any], data_root: Path) -> list[Target]:
    """A target for each word: the name of a data group or of a built set, `folder:PATH`, or what runs call their data.

    trained: the data settings of the runs; a target that is the data of one of them has its split. Raises DataError.
    """
    found: dict[str, Target] = {}
    for word in words:
        settings = _settings(word, trained, data_root)
        name = settings.name if word.startswith(FOLDER) else word
        owners = [each for each in trained if same_pictures(each, settings)]
        if owners:
            settings = replace(owners[0], fold=None)
        for before in found.values():
            if same_pictures(before.settings, settings):
                raise DataError(f"--on {word}: the same pictures as {before.name}; expected every data set once")
        if name in found:
            raise DataError(f"--on {word}: another data set is called {name} already; expected sets of different names")
        found[name] = Target(name, settings, whole=settings.source == "folder" and not owners)
    return list(found.values())


def called(settings: Any, found: Sequence[Target]) -> str:
    """The name of a run's own data, as that of the column they have, where they have one."""
    return next((target.name for target in found if same_pictures(settings, target.settings)), settings.name)


def prepare(target: Target, like: Any, data_root: Path) -> Prepared:
    """The target with its pictures brought to their size as those of the run whose data settings are `like`.

    A few files that cannot be read are left out. Raises DataError where it is not what it should be, or its test images
    are of one class.
    """
    known = {field.name for field in fields(target.settings)}
    matched: dict[str, Any] = {"image_size": like.image_size, "fit": "stretch", "patches": 1, "max_bad": 1.0}
    matched |= {key: getattr(like, key) for key in MATCHED if hasattr(like, key)}
    settings = replace(target.settings, **{key: value for key, value in matched.items() if key in known})
    data = build.prepare(settings, data_root=data_root, split=not target.whole)
    rows = data.indices("test")
    if target.whole and not len(rows):
        rows = np.arange(len(data.rows))
    for label, name in NAME_OF_LABEL.items():
        if not (data.labels[rows] == label).any():
            raise DataError(f"--on {target.name}: no {name} image to test on; expected images of both classes")
    return Prepared(data, rows)


def _settings(word: str, trained: Sequence[Any], data_root: Path) -> Any:
    from experiments import config, jobs  # bring Hydra

    if word.startswith(FOLDER):
        path = Path(word.removeprefix(FOLDER)).expanduser()
        if word == FOLDER or not path.is_dir():
            raise DataError(f"--on {word}: no such folder; expected one that holds real and fake, or train and test")
        return FolderSettings(root=str(path), name=path.resolve().name)
    groups = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "folder")
    if word in groups:
        return config.data_settings(jobs.settings([f"data={word}"]))
    if word and word == Path(word).name and (data_root / word / RECIPE).is_file():
        return replace(config.data_settings(jobs.settings(["data=flux"])), name=word)
    named = {_origin(settings): settings for settings in trained if settings.name == word}
    if len(named) > 1:
        raise DataError(
            f"--on {word}: runs of {len(named)} data sets call theirs that; expected a name of one, or {FOLDER}PATH"
        )
    for settings in named.values():
        return settings
    built = {path.parent.name for path in data_root.glob(f"*/{RECIPE}")}
    theirs = {settings.name for settings in trained if settings.source != "folder"}
    known = ", ".join(sorted({*groups, *built, *theirs}))
    raise DataError(f"--on {word}: no such data set; expected one of {known}, or {FOLDER}PATH")


def _origin(settings: Any) -> tuple:
    if settings.source == "built":
        return "built", settings.name
    root = getattr(settings, "root", "")
    drawn = getattr(settings, "evidence", None), getattr(settings, "strength", None)
    return (settings.source, str(Path(root).expanduser().resolve()) if root else "", *drawn)
