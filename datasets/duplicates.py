"""Which images are the same: exact and near duplicates, and the groups that a split must not tear apart."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np

from datasets.likeness import SIDE, grey_of, has_detail, same_picture
from datasets.manifest import NAME_OF_LABEL, Row

# (first, width) in half pixels: all of a side, a twentieth less on one end or the other, or on both
WINDOWS = ((0, 64), (3, 61), (0, 61), (3, 58))
NUM_BANDS = 4  # of 16 bits each; two images with one band alike are compared
WEAK_BITS = 3  # of a band: those of the smallest differences, looked up as 0 and as 1
REACH = 8  # images compared to each side within one band's bucket, next in brightness
FARTHEST_HASH = 12  # bits of 64
LEAST_COSINE = 0.7  # of the 64 differences themselves
MOST_CANDIDATES = 64  # of one image that are compared by pixels
MOST_COPIES = 32  # of one thumbnail that stand in pairs with one another; the others form a chain


def difference_hash(thumbs: np.ndarray) -> np.ndarray:
    """The 64-bit difference hash of thumbnails uint8 (N, 32, 32, 3): uint64 (N,).

    Grey is averaged over 8 rows of 9 cells; a bit is set where the cell to the right is brighter, row by row, the first
    in the highest place: N. Krawetz, "Kind of Like That", hackerfactor.com, 2013. Unlike his, "brighter" means by more
    than in the mean of the 8 rows: a light from one side, common to thousands of pictures, is no likeness.
    Whole numbers throughout: the same bits on any machine.
    """
    return _bits(_differences(grey_of(thumbs, np.arange(len(thumbs))), WINDOWS[0], WINDOWS[0]))


def near_pairs(thumbs: np.ndarray) -> np.ndarray:
    """Pairs of the same picture among thumbnails uint8 (N, 32, 32, 3): int64 (M, 2), i < j, in ascending order.

    Found are exact copies, and copies that were coded again (JPEG from quality 50), scaled by half to two, cropped by
    up to a twentieth on every side, or changed in brightness, contrast or tint. Each image is hashed as seen
    through 16 windows and looked up among the whole images by each quarter of its hash, the quarter's least certain
    bits both ways (after Lv et al., "Multi-probe LSH", VLDB 2007); who is near is compared by pixels.
    The work grows as N log N, whatever the images are: where thousands share a quarter, an image meets the 16 next in
    brightness only, and at most 64 of those it meets are compared by pixels. A picture without detail, such as clear
    sky, pairs with its exact copies only. Of more than 32 exact copies of one thumbnail, 32 pair with each other and
    the rest form a chain, which joins them as well. The order of the images makes no difference.
    """
    copies: dict[bytes, list[int]] = defaultdict(list)
    for index, thumb in enumerate(thumbs):
        copies[hashlib.sha256(thumb.tobytes()).digest()].append(index)
    # sorted by content: all that follows is blind to the order in which the images came
    alike = [copies[digest] for digest in sorted(copies)]
    pairs: list[tuple[int, int]] = []
    for same in alike:
        pairs += combinations(same[:MOST_COPIES], 2)
        pairs += zip(same[MOST_COPIES - 1 :], same[MOST_COPIES:], strict=False)
    firsts = np.array([same[0] for same in alike], dtype=np.int64)
    grey = grey_of(thumbs, firsts)
    detailed = np.flatnonzero(has_detail(grey))
    met = detailed[_candidates(grey[detailed])]
    for one, other in met[same_picture(grey, met)].tolist():
        pairs += product(alike[one][:MOST_COPIES], alike[other][:MOST_COPIES])
    return np.unique(np.sort(np.array(pairs, dtype=np.int64).reshape(-1, 2), axis=1), axis=0)


def group(rows: Sequence[Row], pairs: np.ndarray) -> list[Row]:
    """The rows with `group` set: one for all that equal bytes, a pair of `pairs` (M, 2) or a shared tie join, however
    long the chain. Its name comes from the smallest sha256 among them: independent of order and of file names."""
    parents = list(range(len(rows)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = index = parents[parents[index]]
        return index

    first_with: dict[str, int] = {}
    for index, row in enumerate(rows):
        assert row.sha256, "rows are read before they are grouped"
        for key in (row.sha256, *row.ties.split()):
            parents[root(index)] = root(first_with.setdefault(key, index))
    for one, other in pairs.tolist():
        parents[root(one)] = root(other)
    names: dict[int, str] = {}
    for index, row in enumerate(rows):
        home = root(index)
        names[home] = min(names.get(home, row.sha256), row.sha256)
    return [replace(row, group=names[root(index)][:20]) for index, row in enumerate(rows)]


def count_pairs(rows: Sequence[Row]) -> dict[str, int]:
    """Pairs of images of equal bytes: within REAL, within FAKE, and across the classes."""
    members: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        members[row.sha256][row.label] += 1
    counts = {"REAL": 0, "FAKE": 0, "across": 0}
    for real, fake in members.values():
        counts["REAL"] += real * (real - 1) // 2
        counts["FAKE"] += fake * (fake - 1) // 2
        counts["across"] += real * fake
    return counts


def count_near(rows: Sequence[Row], pairs: np.ndarray) -> dict[str, int]:
    """Pairs of `near_pairs`, exact copies included: within REAL, within FAKE, across the classes, and, of all these,
    with the two images in different splits."""
    counts = Counter(REAL=0, FAKE=0, across=0, splits=0)
    for one, other in ((rows[i], rows[j]) for i, j in pairs.tolist()):
        counts[NAME_OF_LABEL[one.label] if one.label == other.label else "across"] += 1
        counts["splits"] += one.split != other.split
    return dict(counts)


def _cells(count: int, window: tuple[int, int]) -> np.ndarray:
    """How much of each pixel lies in each of `count` cells of a window, in 1 / (2 count) pixels: (count, 32)."""
    edges = window[0] * count + window[1] * np.arange(count + 1)
    pixels = 2 * count * np.arange(SIDE + 1)
    overlap = np.minimum(edges[1:, None], pixels[1:]) - np.maximum(edges[:-1, None], pixels[:-1])
    return np.maximum(overlap, 0).astype(np.float32)


def _differences(grey: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """Each cell less its left neighbour, less what this comes to in the mean of its column: int32 (N, 64)."""
    down, across = _cells(8, rows), _cells(9, columns).T
    differences = np.empty((len(grey), 8, 8), np.int32)
    for start in range(0, len(grey), 4096):
        # whole numbers below 2 ** 24, hence exact in whatever order they are added
        sums = down @ (grey[start : start + 4096].astype(np.float32) @ across)
        differences[start : start + 4096] = np.diff(sums, axis=2)
    return (8 * differences - differences.sum(1, dtype=np.int32, keepdims=True)).reshape(-1, 64)


def _bits(differences: np.ndarray) -> np.ndarray:
    return np.packbits(differences > 0, axis=1).view(">u8").astype(np.uint64).ravel()


def _candidates(grey: np.ndarray) -> np.ndarray:
    """Pairs that may be the same picture: int64 (M, 2), i < j."""
    count = len(grey)
    brightness = (grey.sum((1, 2), dtype=np.int64) >> 6).astype(np.uint32)  # below 2 ** 16
    whole = _differences(grey, WINDOWS[0], WINDOWS[0])
    directions, hashes = _directions(whole), _bits(whole)
    tables = [_Table(keys, brightness) for keys in _bands(hashes)]
    found = np.empty(0, np.int64)
    for rows, columns in product(WINDOWS, WINDOWS):
        differences = _differences(grey, rows, columns)
        seen_directions, seen = _directions(differences), _bits(differences)
        for band, table in enumerate(tables):
            pairs = [found]
            for keys in _probes(_bands(seen)[band], differences[:, 16 * band : 16 * band + 16]):
                for one, other in table.neighbours(keys, brightness):
                    near = (np.bitwise_count(seen[one] ^ hashes[other]) <= FARTHEST_HASH) & (one != other)
                    one, other = one[near], other[near]
                    alike = np.einsum("nd,nd->n", seen_directions[one], directions[other]) >= LEAST_COSINE
                    one, other = one[alike], other[alike]
                    pairs.append(np.minimum(one, other) * count + np.maximum(one, other))
            found = np.unique(np.concatenate(pairs))
    first, second = np.divmod(found, max(count, 1))
    rank = np.arange(len(first)) - np.searchsorted(first, first)  # among the pairs of the same first image
    return np.stack([first, second], axis=1)[rank < MOST_CANDIDATES]


def _directions(differences: np.ndarray) -> np.ndarray:
    """The differences as vectors of length 1: float32 (N, 64)."""
    vectors = differences.astype(np.float32)
    return vectors / np.sqrt(np.einsum("nd,nd->n", vectors, vectors) + 1)[:, None]


def _bands(hashes: np.ndarray) -> np.ndarray:
    """The hashes in four parts, the highest first: uint32 (4, N), each below 2 ** 16."""
    return hashes.astype(">u8").view(">u2").reshape(-1, NUM_BANDS).T.astype(np.uint32)


def _probes(keys: np.ndarray, differences: np.ndarray) -> Iterator[np.ndarray]:
    """A band of each hash, and as it would be with any of its weak bits the other way: 2 ** WEAK_BITS times (N,)."""
    # the place stands in the value, so that equal differences rank alike on any machine
    ranked = np.abs(differences.astype(np.int64)) << 4 | np.arange(15, -1, -1)
    weak = np.uint32(1) << (np.partition(ranked, WEAK_BITS, axis=1)[:, :WEAK_BITS] & 15).astype(np.uint32)
    for turned in product((False, True), repeat=WEAK_BITS):
        yield keys ^ np.bitwise_xor.reduce(np.where(turned, weak, np.uint32(0)), axis=1)


class _Table:
    """Images by one band of their hash, those of one value in order of their brightness; both uint32 (N,), 16 bits."""

    def __init__(self, keys: np.ndarray, brightness: np.ndarray) -> None:
        entries = keys << 16 | brightness
        self.members = np.argsort(entries, kind="stable")
        self.entries = entries[self.members]
        self.bounds = np.searchsorted(self.entries, np.arange(2**16 + 1) << 16)  # of key k: from k to k + 1

    def neighbours(self, keys: np.ndarray, brightness: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions in `keys`, members with that key), the REACH next in brightness to either side."""
        asking = np.flatnonzero(self.bounds[keys] < self.bounds[keys + 1])
        keys = keys[asking]
        middle = np.searchsorted(self.entries, keys << 16 | brightness[asking])
        begin, end = self.bounds[keys], self.bounds[keys + 1]
        for step in range(-REACH, REACH):
            place = middle + step
            inside = np.flatnonzero((place >= begin) & (place < end))
            yield asking[inside], self.members[place[inside]]
