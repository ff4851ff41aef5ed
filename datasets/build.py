"""A source's settings in, one data set out: listed, packed, grouped, split, with its manifest on disk."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datasets import audit, built, cifake, duplicates, folder, manifest, partition, store, synthetic
from datasets.decoding import Location
from datasets.images import ImageSettings
from datasets.manifest import DataError, Row, whole_file

# Raise a number when datasets.duplicates or datasets.audit find something else: it is then looked for again.
NEAR_PAIRS = "near-pairs-3.npy"
AUDIT = "audit-2.json"


@dataclass(frozen=True)
class Source:
    """settings: the dataclass of its settings; rows: (settings, folder of the data set) -> its listing."""

    settings: type
    rows: Callable[[Any, Path], list]


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    images: uint8 (N, height, width, 3), memory-mapped; labels: uint8 (N,), REAL = 0, FAKE = 1; rows: N in the same
    order with their final split; digest: of the manifest; content: digest of the same before it was grouped and split,
    which seeds and folds of one study share; quarantined: how many files could not be used, listed in
    quarantine.csv beside the manifest; notes: lines for the user about what was found.
    first: int64 (files,), the first row of each file; thumbs: uint8 (files, 32, 32, 3); locations: of the files;
    audit: what separates the classes besides what they show, see datasets.audit.
    """

    rows: list[Row]
    images: np.ndarray
    labels: np.ndarray
    digest: str
    content: str
    manifest: Path
    quarantined: int
    first: np.ndarray
    thumbs: np.ndarray
    locations: list[Location]
    audit: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def indices(self, split: str) -> np.ndarray:
        """int64 (n,): which rows belong to a split."""
        return np.flatnonzero(np.array([row.split == split for row in self.rows]))


def prepare_or_look(settings: Any, *, data_root: Path) -> Dataset:
    """What `prepare` gives or, where the images are too few or too closely tied to be split, the same without a split
    and with a note that says so: enough to look at them."""
    try:
        return prepare(settings, data_root=data_root)
    except partition.TooFewGroups as error:
        data = prepare(settings, data_root=data_root, split=False)
        data.notes.append(f"not ready for training: {error}")
        return data


def prepare(settings: Any, *, data_root: Path, split: bool = True) -> Dataset:
    """List, pack (or find packed), group, split and write the manifest of one source.

    split: False leaves every row in the split that its source brings. Raises DataError where the data are not what they
    should be, partition.TooFewGroups where a split stays empty, OSError where the disk is full or forbidden.
    """
    home = data_root / settings.name
    listing = SOURCES[settings.source].rows(settings, home)
    packed = store.open_or_pack(listing, image_settings(settings), home)
    notes = _quarantine_notes(packed, settings)
    exact = duplicates.count_pairs([packed.rows[i] for i in packed.first])
    if any(exact.values()):
        notes.append(
            f"exact duplicates: {exact['REAL']} pairs in REAL, {exact['FAKE']} in FAKE, {exact['across']} across"
        )
    pairs = _near_pairs(packed)
    if note := _near_note(packed, pairs, folded=settings.fold is not None):
        notes.append(note)
    drop = getattr(settings, "leaks", "drop") == "drop"
    grouped = _grouped(packed, pairs)
    parts = (
        partition.Partition(grouped, 0)
        if not split
        else partition.assign(
            grouped,
            seed=settings.data_seed,
            val_share=getattr(settings, "val_share", 0.1),
            test_share=getattr(settings, "test_share", 0.1),
            drop_leaks=drop,
            fold=settings.fold,
            folds=settings.folds,
        )
    )
    if parts.leaks:
        fate = "left out" if drop else "kept, as data.leaks=keep asks"
        notes.append(f"leaks: {parts.leaks:,} images for training also stand in validation or test: {fate}")
    digest = manifest.digest(parts.rows)
    path = home / f"split-{digest[:16]}" / "manifest.csv"
    store.write_quarantine(path.with_name("quarantine.csv"), packed.quarantine)
    if not path.exists():
        manifest.write(path, parts.rows)
    counts = Counter(row.split for row in parts.rows)
    what = "images" if len(packed.first) == len(parts.rows) else f"patches of {len(packed.first):,} pictures"
    notes.append(f"{what}: " + ", ".join(f"{counts[name]:,} {name}" for name in ("train", "val", "test")))
    report = _audit(path.with_name(AUDIT), parts.rows, packed)
    bad = {name for name, _ in packed.quarantine}
    return Dataset(
        rows=parts.rows,
        images=packed.images,
        labels=np.array([row.label for row in parts.rows], dtype=np.uint8),
        digest=digest,
        content=hashlib.sha256((packed.folder / "files.csv").read_bytes()).hexdigest(),
        manifest=path,
        quarantined=len(packed.quarantine),
        first=packed.first,
        thumbs=packed.thumbs,
        locations=[place for row, place in listing if row.path not in bad],
        audit=report,
        notes=notes,
    )


def image_settings(settings: Any) -> ImageSettings:
    """Size and fit of a source's pictures; data.image_size is a whole number or [height, width], else ValueError."""
    size = settings.image_size
    pair = [size, size] if isinstance(size, int) else size
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"data.image_size={size!r}: expected a whole number or [height, width]")
    fit, patches = getattr(settings, "fit", "stretch"), getattr(settings, "patches", 1)
    return ImageSettings(size=(pair[0], pair[1]), fit=fit, patches=patches)


def _near_pairs(packed: store.Packed) -> np.ndarray:
    """Near-duplicates among the files of a store, int64 (M, 2); searched once and kept beside the pixels."""
    path = packed.folder / NEAR_PAIRS
    with suppress(FileNotFoundError, ValueError, EOFError):  # the last two: a damaged one is made anew
        return np.load(path, allow_pickle=False)
    pairs = duplicates.near_pairs(packed.thumbs)
    with whole_file(path, "wb") as handle:
        np.save(handle, pairs)
    return pairs


def _near_note(packed: store.Packed, pairs: np.ndarray, *, folded: bool) -> str:
    """How many pairs of which kind, and how many stand across the splits that the source brings; empty without any."""
    count = duplicates.count_near([packed.rows[i] for i in packed.first], pairs)
    if not count["alike"]:
        return ""
    kinds = f"{count['REAL']:,} in REAL, {count['FAKE']:,} in FAKE, {count['across']:,} across the classes"
    splits = f"; {count['splits']:,} stand across train and test" if count["splits"] and not folded else ""
    return f"near duplicates, exact ones among them: {kinds}{splits}"


def _grouped(packed: store.Packed, pairs: np.ndarray) -> list[Row]:
    """The rows with the group of their file."""
    grouped = duplicates.group([packed.rows[i] for i in packed.first], pairs)
    if len(grouped) == len(packed.rows):
        return grouped
    groups = [row.group for row in grouped]
    return [row._replace(group=groups[file]) for row, file in zip(packed.rows, packed.files, strict=True)]


def _audit(path: Path, rows: list[Row], packed: store.Packed) -> dict[str, Any]:
    """The short audit of a split set; made once and kept beside its manifest."""
    with suppress(FileNotFoundError, ValueError):  # ValueError: a damaged one is made anew
        return json.loads(path.read_text(encoding="utf-8"))
    report = audit.short([rows[i] for i in packed.first], packed.thumbs)
    with whole_file(path) as handle:
        json.dump(report, handle, indent=1)
    return report


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


def _quarantine_notes(packed: store.Packed, settings: Any) -> list[str]:
    bad, total = len(packed.quarantine), len(packed.quarantine) + len(packed.first)
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
    "built": Source(built.BuiltSettings, built.rows),
    "folder": Source(folder.FolderSettings, folder.rows),
}
