"""A source's settings in, one data set out: listed, packed, grouped, split, with its manifest on disk."""

import gc
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets import audit, duplicates, inpaint, manifest, partition, prepared, repair, store
from datasets.decoding import Location
from datasets.manifest import DataError, Row, whole_file
from datasets.repair import Repair
from datasets.sources import SOURCES, image_settings

# Raise a number when datasets.duplicates or datasets.audit find something else: it is then looked for again.
NEAR_PAIRS = "near-pairs-4.npy"
AUDIT = "audit-2.json"


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    images: uint8 (N, height, width, 3), memory-mapped; labels: uint8 (N,), REAL = 0, FAKE = 1; rows: N in the same
    order with their final split; digest: of the manifest; content: digest of the same before it was grouped and split,
    which seeds and folds of one study share; quarantined: how many files could not be used, listed in
    quarantine.csv beside the manifest; repairs: what was repaired, listed in repaired.csv there; notes: lines for the
    user about what was found.
    copies: int64 (K,), the rows that training sees once more, in the place of damaged files.
    first: int64 (files,), the first row of each file; thumbs: uint8 (files, 32, 32, 3); audit: what separates the
    classes besides what they show, see datasets.audit; locate: lists the files anew.
    """

    rows: list[Row]
    images: np.ndarray
    labels: np.ndarray
    digest: str
    content: str
    manifest: Path
    quarantined: int
    repairs: list[Repair]
    copies: np.ndarray
    first: np.ndarray
    thumbs: np.ndarray
    audit: dict[str, Any]
    locate: Callable[[], list[Location]]
    notes: list[str] = field(default_factory=list)

    def indices(self, split: str) -> np.ndarray:
        """int64 (n,): which rows belong to a split; some of them twice in training, see `copies`."""
        inside = np.flatnonzero(np.array([row.split == split for row in self.rows]))
        return np.concatenate([inside, self.copies]) if split == "train" else inside

    @cached_property
    def locations(self) -> list[Location]:
        """Of the files, in their order; listed only where it is asked for."""
        return self.locate()


def prepare_or_look(settings: Any, *, data_root: Path) -> Dataset:
    """What `prepare` gives or, where the images are too few or too closely tied to be split, the same without a split
    and with a note that says so: enough to look at them."""
    try:
        return prepare(settings, data_root=data_root)
    except partition.TooFewGroups as error:
        data = prepare(settings, data_root=data_root, split=False)
        data.notes.append(f"not ready for training: {error}")
        return data


@contextmanager
def _without_garbage_collector() -> Iterator[None]:
    """Rows by the hundred thousand stand in no cycle, and it would go through all of them again and again: a tenth of
    the time that CIFAKE takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_garbage_collector()
def prepare(settings: Any, *, data_root: Path, split: bool = True) -> Dataset:
    """List, pack (or find packed), group, split and write the manifest of one source; or find all of this again, as
    long as no file of it changed.

    split: False leaves every row in the split that its source brings. Raises DataError where the data are not what they
    should be, partition.TooFewGroups where a split stays empty, OSError where the disk is full or forbidden.
    """
    home = data_root / settings.name
    place, stamp = prepared.place(home, settings, split=split), _stamp(settings, home)
    known = prepared.read(place, stamp)
    if known and (data := _found(known, settings, home)):
        return data
    images = image_settings(settings)
    if images.inpaint:
        inpaint.check_library()
    listing = SOURCES[settings.source].rows(settings, home)
    packed = store.open_or_pack(listing, images, home)
    _check_damaged(packed, settings)
    files = [packed.rows[i] for i in packed.first.tolist()]
    notes = []
    exact = duplicates.count_pairs(files)
    if any(exact.values()):
        notes.append(
            f"exact duplicates: {exact['REAL']} pairs in REAL, {exact['FAKE']} in FAKE, {exact['across']} across"
        )
    pairs = _near_pairs(packed)
    if note := _near_note(files, pairs, folded=settings.fold is not None):
        notes.append(note)
    grouped = _grouped(packed, duplicates.group(files, pairs))
    parts, repairs = partition.Partition(grouped, 0), packed.inpainted
    if split:
        parts, repairs = _parts(grouped, packed, listing, settings)
    if parts.leaks:
        fate = "kept, as data.leaks=keep asks" if getattr(settings, "leaks", "drop") == "keep" else "left out"
        notes.append(f"leaks: {parts.leaks:,} images for training also stand in validation or test: {fate}")
    counts = Counter(row.split for row in parts.rows)
    what = "images" if len(files) == len(parts.rows) else f"patches of {len(files):,} pictures"
    notes.append(f"{what}: " + ", ".join(f"{counts[name]:,} {name}" for name in ("train", "val", "test")))
    text = manifest.encoded(parts.rows)
    digest = hashlib.sha256(text + repair.encoded(repairs)).hexdigest()
    path = home / f"split-{digest[:16]}" / "manifest.csv"
    _keep(path, text)
    repair.write(path.with_name(repair.FILE), repairs)
    notes = [*_damage_notes(packed, repairs, path.parent), *notes]
    content = hashlib.sha256((packed.folder / "files.csv").read_bytes()).hexdigest()
    known = prepared.Prepared(stamp, packed.folder.name, path.parent.name, digest, content, notes)
    data = _dataset(known, packed, parts.rows, repairs, settings, home)
    if stamp:
        prepared.write(place, known)
    return data


def _stamp(settings: Any, home: Path) -> str:
    """Changes whenever `prepare` may give something else; empty where listing the files will say what is wrong."""
    with suppress(OSError, DataError):
        return prepared.stamp_of(SOURCES[settings.source].stamp(settings, home))
    return ""


def _found(known: prepared.Prepared, settings: Any, home: Path) -> Dataset | None:
    """What was prepared earlier; None where some of it is gone or damaged, and must be made anew."""
    with suppress(OSError, ValueError, EOFError):
        path = home / known.split / "manifest.csv"
        text, repaired = path.read_bytes(), repair.read(path.with_name(repair.FILE))
        if hashlib.sha256(text + repaired).hexdigest() == known.digest:
            rows = manifest.decoded(text, path)
            if packed := store.open_whole(home / known.packed, image_settings(settings), rows):
                return _dataset(known, packed, rows, repair.decoded(repaired), settings, home)
    return None


def _dataset(
    known: prepared.Prepared, packed: store.Packed, rows: list[Row], repairs: list[Repair], settings: Any, home: Path
) -> Dataset:
    """The data set of these rows, with quarantine and audit beside its manifest."""
    path = home / known.split / "manifest.csv"
    left_out = repair.left_out(packed.quarantine, packed.inpainted, repairs)
    _keep(path.with_name("quarantine.csv"), store.encoded_quarantine(left_out))
    return Dataset(
        rows=rows,
        images=packed.images,
        labels=np.array([row.label for row in rows], dtype=np.uint8),
        digest=known.digest,
        content=known.content,
        manifest=path,
        quarantined=len(left_out),
        repairs=repairs,
        copies=packed.rows_of([each.by for each in repairs if each.repair == repair.REPLACED]),
        first=packed.first,
        thumbs=packed.thumbs,
        audit=_audit(path.with_name(AUDIT), rows, packed),
        locate=partial(_locations, settings, home, {name for name, _ in packed.quarantine}),
        notes=list(known.notes),
    )


def _locations(settings: Any, home: Path, bad: set[str]) -> list[Location]:
    return [place for row, place in SOURCES[settings.source].rows(settings, home) if row.path not in bad]


def _keep(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, or holds something else."""
    if not path.is_file() or path.read_bytes() != data:
        with whole_file(path, "wb") as handle:
            handle.write(data)


def _parts(
    rows: list[Row], packed: store.Packed, listing: list, settings: Any
) -> tuple[partition.Partition, list[Repair]]:
    """The rows with their split, and what is repaired of the damaged files.

    These get their split with all others: one that was completed as any other; one that another is to replace as a
    group of its own, since nothing is known of what it shows. So as many are repaired as would have been trained on.
    """
    bad = dict(packed.quarantine) if getattr(settings, "repair", "") == "replace" else {}
    lost = [row._replace(group=f"damaged {row.path}") for row, _ in listing if row.path in bad] if bad else []
    only_train = list(range(len(rows), len(rows) + len(lost)))
    if not getattr(settings, "repair_test", False):
        only_train += packed.rows_of([each.path for each in packed.inpainted]).tolist()
    parts = partition.assign(
        [*rows, *lost],
        seed=settings.data_seed,
        val_share=getattr(settings, "val_share", 0.1),
        test_share=getattr(settings, "test_share", 0.1),
        drop_leaks=getattr(settings, "leaks", "drop") == "drop",
        fold=settings.fold,
        folds=settings.folds,
        only_train=only_train,
    )
    if not lost and not packed.inpainted:
        return parts, []
    kept, lost = parts.rows[: len(rows)], parts.rows[len(rows) :]
    files = [kept[i]._replace(path=packed.name(kept[i])) for i in packed.first.tolist()]
    used = {row.path for row in files if row.split != "unused"}
    repairs = [each for each in packed.inpainted if each.path in used]
    repairs += repair.replace([(row, bad[row.path]) for row in lost], files, settings.data_seed)
    return partition.Partition(kept, parts.leaks), repairs


def _near_pairs(packed: store.Packed) -> np.ndarray:
    """Near-duplicates among the files of a store, int64 (M, 2); searched once and kept beside the pixels."""
    path = packed.folder / NEAR_PAIRS
    with suppress(FileNotFoundError, ValueError, EOFError):  # the last two: a damaged one is made anew
        return np.load(path, allow_pickle=False)
    pairs = duplicates.near_pairs(packed.thumbs)
    with whole_file(path, "wb") as handle:
        np.save(handle, pairs)
    return pairs


def _near_note(files: list[Row], pairs: np.ndarray, *, folded: bool) -> str:
    """How many pairs of which kind, and how many stand across the splits that the source brings; empty without any."""
    count = duplicates.count_near(files, pairs)
    if not count["alike"]:
        return ""
    kinds = f"{count['REAL']:,} in REAL, {count['FAKE']:,} in FAKE, {count['across']:,} across the classes"
    splits = f"; {count['splits']:,} stand across train and test" if count["splits"] and not folded else ""
    return f"near duplicates, exact ones among them: {kinds}{splits}"


def _grouped(packed: store.Packed, grouped: list[Row]) -> list[Row]:
    """The rows with the group of their file."""
    if len(grouped) == len(packed.rows):
        return grouped
    groups = [row.group for row in grouped]
    return [row._replace(group=groups[file]) for row, file in zip(packed.rows, packed.files, strict=True)]


def _audit(path: Path, rows: list[Row], packed: store.Packed) -> dict[str, Any]:
    """The short audit of a split set; made once and kept beside its manifest."""
    with suppress(FileNotFoundError, ValueError):  # ValueError: a damaged one is made anew
        return json.loads(path.read_text(encoding="utf-8"))
    report = audit.short([rows[i] for i in packed.first.tolist()], packed.thumbs)
    with whole_file(path) as handle:
        json.dump(report, handle, indent=1)
    return report


def _check_damaged(packed: store.Packed, settings: Any) -> None:
    """DataError where more files are damaged, repaired or not, than the settings allow."""
    damaged = [*packed.quarantine, *((each.path, each.reason) for each in packed.inpainted)]
    total = len(packed.quarantine) + len(packed.first)
    allowed = getattr(settings, "max_bad", 0.0)
    if len(damaged) > allowed * total:
        name, reason = damaged[0]
        what = "are damaged" if packed.inpainted else "cannot be used"
        lists = " and ".join(["quarantine.csv", *([repair.FILE] if packed.inpainted else [])])
        raise DataError(
            f"{len(damaged)} of {total} files {what}, more than data.max_bad={allowed} allows; "
            f"the first is {name}: {reason}; all are listed in {packed.folder}/{lists}"
        )


def _damage_notes(packed: store.Packed, repairs: list[Repair], folder: Path) -> list[str]:
    total = len(packed.quarantine) + len(packed.first)
    left_out = repair.left_out(packed.quarantine, packed.inpainted, repairs)
    notes = []
    if repairs:
        notes.append(f"repaired: {len(repairs)} of {total} files, listed with what was done in {folder / repair.FILE}")
    if left_out:
        path = folder / "quarantine.csv"
        notes.append(f"quarantined: {len(left_out)} of {total} files, listed with their reasons in {path}")
    return notes
