"""Which test images a run has been trained or validated on: the same bytes, or the same picture in other bytes."""

import numpy as np

from datasets import duplicates
from datasets.build import Dataset
from experiments.transfer.targets import Prepared

CLEAN, NEAR, EXACT = range(3)


def overlap(training: Dataset, test: Prepared) -> np.ndarray:
    """For each row that is tested on CLEAN, NEAR or EXACT, int8 (n,).

    EXACT: its file is one of training or validation, byte for byte. NEAR: a chain of near-duplicates, or of shared
    prompts, pages and authors, joins it to one: in one data set they would be one group, which no split tears apart.
    """
    seen = training.first[[training.rows[row].split in ("train", "val") for row in training.first.tolist()]]
    files = np.searchsorted(test.data.first, test.rows, side="right") - 1  # of each row
    shown, place = np.unique(files, return_inverse=True)
    rows = [training.rows[row] for row in seen.tolist()]
    hashes = {row.sha256 for row in rows}
    known = len(rows)
    rows += [test.data.rows[row] for row in test.data.first[shown].tolist()]
    thumbs = [training.thumbs[np.searchsorted(training.first, seen)], test.data.thumbs[shown]]
    grouped = duplicates.group(rows, duplicates.near_pairs(np.concatenate(thumbs)))
    groups = {row.group for row in grouped[:known]}
    found = [EXACT if row.sha256 in hashes else NEAR if row.group in groups else CLEAN for row in grouped[known:]]
    return np.array(found, dtype=np.int8)[place]
