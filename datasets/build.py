"""A source's settings in, one data set out: listed, packed, grouped, split, with its manifest on disk."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datasets import cifake, duplicates, folder, manifest, partition, store, synthetic
from datasets.images import ImageSettings
from datasets.manifest import DataError, Row


@dataclass(frozen=True)
class Source:
    """settings: the dataclass of its settings; rows: (settings, folder of the data set) -> its listing."""

    settings: type
    rows: Callable[[Any, Path], list]


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    images: uint8 (N, height, width, 3), memory-mapped; labels: uint8 (N,), REAL = 0, FAKE = 1; rows: N in the same
    order with their final split; digest: of the manifest; quarantined: how many files could not be used, listed in
    quarantine.csv beside the manifest; notes: lines for the user about what was found.
    """

    rows: list[Row]
    images: np.ndarray
    labels: np.ndarray
    digest: str
    manifest: Path
    quarantined: int
    notes: list[str] = field(default_factory=list)

    def indices(self, split: str) -> np.ndarray:
        """int64 (n,): which rows belong to a split."""
        return np.flatnonzero(np.array([row.split == split for row in self.rows]))


def prepare(settings: Any, *, data_root: Path) -> Dataset:
    """List, pack (or find packed), group, split and write the manifest of one source.

    Raises DataError where the data are not what they should be, OSError where the disk is full or forbidden.
    """
    home = data_root / settings.name
    listing = SOURCES[settings.source].rows(settings, home)
    packed = store.open_or_pack(listing, image_settings(settings), home)
    notes = _quarantine_notes(packed, settings)
    pairs = duplicates.count_pairs(packed.rows)
    if any(pairs.values()):
        notes.append(
            f"exact duplicates: {pairs['REAL']} pairs in REAL, {pairs['FAKE']} in FAKE, {pairs['across']} across"
        )
    drop = getattr(settings, "leaks", "drop") == "drop"
    parts = partition.assign(
        packed.rows,
        seed=settings.data_seed,
        val_share=getattr(settings, "val_share", 0.0),  # the drawn pictures bring every split
        test_share=getattr(settings, "test_share", 0.0),
        drop_leaks=drop,
    )
    if parts.leaks:
        fate = "left out" if drop else "kept, as data.leaks=keep asks"
        notes.append(f"leaks: {parts.leaks} images for training also stand in validation or test: {fate}")
    digest = manifest.digest(parts.rows)
    path = home / f"split-{digest[:16]}" / "manifest.csv"
    if not path.exists():
        store.write_quarantine(path.with_name("quarantine.csv"), packed.quarantine)
        manifest.write(path, parts.rows)
    counts = Counter(row.split for row in parts.rows)
    notes.append("images: " + ", ".join(f"{counts[split]:,} {split}" for split in ("train", "val", "test")))
    return Dataset(parts.rows, packed.images, packed.labels, digest, path, len(packed.quarantine), notes)


def image_settings(settings: Any) -> ImageSettings:
    """Size and fit of a source's pictures; data.image_size is a whole number or [height, width], else ValueError."""
    size = settings.image_size
    pair = [size, size] if isinstance(size, int) else size
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"data.image_size={size!r}: expected a whole number or [height, width]")
    return ImageSettings(size=(pair[0], pair[1]), fit=getattr(settings, "fit", "stretch"))


def _quarantine_notes(packed: store.Packed, settings: Any) -> list[str]:
    bad, total = len(packed.quarantine), len(packed.quarantine) + len(packed.rows)
    if not bad:
        return []
    path = packed.folder / "quarantine.csv"
    allowed = getattr(settings, "max_bad", 0.0)
    if bad > allowed * total:
        name, reason = packed.quarantine[0]
        raise DataError(
            f"{bad} of {total} files cannot be used, more than data.max_bad={allowed} allows; "
            f"the first is {name}: {reason}; all are listed in {path}"
        )
    return [f"quarantined: {bad} of {total} files, listed with their reasons in {path}"]


SOURCES = {
    "synthetic": Source(synthetic.SyntheticSettings, lambda settings, home: synthetic.rows(settings)),
    "cifake": Source(cifake.CifakeSettings, lambda settings, home: cifake.rows(home)),
    "folder": Source(folder.FolderSettings, folder.rows),
}
