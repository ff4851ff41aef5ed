"""A built set as a source: the manifest that scripts/build_dataset.py left, every image of it found again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import manifest, origins
from datasets.decoding import Location
from datasets.folder import FileLocation, stamp_below
from datasets.manifest import DataError, Row, whole_file
from datasets.origins import Origin
from datasets.partition import check_settings

MANIFEST = "manifest.csv"
RECIPE = "recipe.json"
IMAGES = "images"
VERSION = 1


@dataclass
class BuiltSettings:
    """Settings of a set that scripts/build_dataset.py made; name: as given to it.

    val_share, test_share: shares cut by seed from every source that brings no such split, whole groups at a time.
    leaks: drop leaves out training images whose like also stands in validation or test; keep trains on them.
    fold: 0 to folds - 1 makes that part of all images the test split; none: no folds.
    max_bad: share of files that may be damaged, replaced or not, before it is an error.
    image_size: an int or [height, width]; fit: stretch, center_crop, pad, or patches: up to `patches` a picture.
    repair: what becomes of a damaged training image: quarantine or replace, see folder.FolderSettings. A file that is
    no longer what was built is not to be trusted with the rest of its rows, so none is completed.
    """

    source: str = "built"
    name: str = "built"
    val_share: float = 0.1
    test_share: float = 0.1
    leaks: str = "drop"
    fold: int | None = None
    folds: int = 5
    data_seed: int = 0
    image_size: Any = 256
    fit: str = "stretch"
    patches: int = 1
    max_bad: float = 0.01
    repair: str = "quarantine"

    def __post_init__(self) -> None:
        check_settings(self)
        if self.repair == "inpaint":
            raise ValueError("data.repair=inpaint: expected quarantine or replace, as a built set holds whole pictures")


@dataclass(frozen=True)
class Recipe:
    """How a set was built. equalize: EqualizeSettings as plain values, None where nothing was equalised. finished: the
    manifest is that of this recipe; while a build is under way, or after it was killed, it may be another's."""

    origins: list[Origin]
    equalize: dict[str, Any] | None
    finished: bool


def write_recipe(home: Path, recipe: Recipe) -> None:
    """Write it whole or not at all."""
    with whole_file(home / RECIPE) as handle:
        json.dump({"version": VERSION, **asdict(recipe)}, handle, indent=1)
        handle.write("\n")


def read_recipe(home: Path) -> Recipe:
    """DataError where the set is not built, or its recipe is not one."""
    path = home / RECIPE
    again = f"build it with: python scripts/build_dataset.py --name {home.name} (--help shows how)"
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["version"] != VERSION:
            raise ValueError(plain["version"])
        return Recipe([Origin(**origin) for origin in plain["origins"]], plain["equalize"], plain["finished"])
    except FileNotFoundError:
        raise DataError(f"{home}: no such built set; {again}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a recipe of this program; {again}") from error


def rows(settings: BuiltSettings, home: Path) -> list[tuple[Row, Location]]:
    """Every image of the manifest, equalised ones from the set's own folder, others from where they came from.

    DataError where the manifest was damaged or names an image that is gone.
    """
    recipe = read_recipe(home)
    if not recipe.finished:
        raise DataError(f"{home}: its build was interrupted, or is under way; start the same command again, or wait")
    path = home / MANIFEST
    if not path.is_file():
        raise DataError(f"{path}: missing; build it again with: python scripts/build_dataset.py --name {home.name}")
    known = manifest.read(path)
    elsewhere: dict[str, Location] = {}
    passed = {row.path.split("/")[0] for row in known if not row.was}
    for origin in recipe.origins:
        if origin.name in passed:
            elsewhere |= origins.places(origin, home.parent)
    found: list[tuple[Row, Location]] = []
    for row in known:
        try:
            place = _own(home, row.path) if row.was else elsewhere[row.path]
        except (FileNotFoundError, KeyError):
            raise DataError(
                f"{path}: names {row.path}, which is not there; put it back, or build the set again"
            ) from None
        found.append((row, place))
    return found


def stamp(settings: BuiltSettings, home: Path) -> str:
    """Changes when what `rows` gives may have changed. Of a set that was equalised, only CIFAKE's lie elsewhere."""
    recipe = read_recipe(home)
    passed = [origin for origin in recipe.origins if not recipe.equalize or origin.kind == "cifake"]
    own = [FileLocation.of(file, file.stat()).stamp for file in (home / RECIPE, home / MANIFEST)]
    images = [stamp_below(home / IMAGES)] if (home / IMAGES).is_dir() else []
    return "\n".join([*own, *images, *(origins.stamp(origin, home.parent) for origin in passed)])


def _own(home: Path, path: str) -> FileLocation:
    if not path.startswith(f"{IMAGES}/") or ".." in Path(path).parts:
        raise FileNotFoundError(path)
    return FileLocation.of(home / path, (home / path).stat())
