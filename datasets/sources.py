"""Where a data set may come from, by name: its settings, its listing, and what changes when the listing does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import built, cifake, folder, synthetic
from datasets.images import ImageSettings
from datasets.manifest import DataError


@dataclass(frozen=True)
class Source:
    """settings: the dataclass of its settings; rows: (settings, folder of the data set) -> its listing; stamp: of the
    same -> what changes whenever the listing may."""

    settings: type
    rows: Callable[[Any, Path], list]
    stamp: Callable[[Any, Path], str]


def image_settings(settings: Any) -> ImageSettings:
    """Size and fit of a source's pictures; data.image_size is a whole number or [height, width], else ValueError."""
    size = settings.image_size
    pair = [size, size] if isinstance(size, int) else size
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"data.image_size={size!r}: expected a whole number or [height, width]")
    fit, patches = getattr(settings, "fit", "stretch"), getattr(settings, "patches", 1)
    inpaint = getattr(settings, "repair", "") == "inpaint"
    return ImageSettings(size=(pair[0], pair[1]), fit=fit, patches=patches, inpaint=inpaint)


def settings_for(word: str, data_root: Path) -> Any:
    """Settings of a data set by its name, or of the folder of that path, for looking at it: small, whole pictures.

    DataError where there is neither.
    """
    if word == "cifake":
        return cifake.CifakeSettings()
    path = Path(word).expanduser()
    if (path / built.RECIPE).is_file() and path.resolve().parent == data_root.resolve():
        word = path.resolve().name
    if word and (data_root / word / built.RECIPE).is_file():
        return built.BuiltSettings(name=word, image_size=32, max_bad=1.0)
    if (path / built.RECIPE).is_file():
        raise DataError(f"{word}: a built set of another place; give --data-root {path.parent} and its name")
    if word and path.is_dir():
        return folder.FolderSettings(root=word, max_bad=1.0)
    known = sorted(file.parent.name for file in data_root.glob(f"*/{built.RECIPE}"))
    raise DataError(
        f"{word or repr(word)}: expected cifake, a built set in {data_root} ({', '.join(known) or 'there is none'}), "
        "or the path of a folder that holds real and fake"
    )


SOURCES = {
    "synthetic": Source(
        synthetic.SyntheticSettings, lambda settings, home: synthetic.rows(settings), lambda settings, home: "drawn"
    ),
    "cifake": Source(
        cifake.CifakeSettings, lambda settings, home: cifake.rows(home), lambda settings, home: cifake.stamp(home)
    ),
    "built": Source(built.BuiltSettings, built.rows, built.stamp),
    "folder": Source(folder.FolderSettings, folder.rows, folder.stamp),
}
