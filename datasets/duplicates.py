"""Which images are the same: exact and near duplicates, and the groups that a split must not tear apart."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from datasets.likeness import SIDE, detailed, each_part, grey_of, same_picture
from datasets.manifest import COLUMNS, NAME_OF_LABEL, Row

# (first, width) in half pixels: all of a side, a twentieth less on one end or the other, or on both
WINDOWS = ((0, 64), (3, 61), (0, 61), (3, 58))
NUM_BANDS = 4  # of 16 bits each; two images with one band alike are compared
WEAK_BITS = 3  # of a band: those of the smallest differences, looked up as 0 and as 1
REACH = 8  # images compared to each side within one band's bucket, next in brightness
FARTHEST_HASH = 12  # bits of 64
FARTHEST_VIEW = 16  # through one view that brings an image there, where another may be nearer
LEAST_COSINE = 0.7  # of the 64 differences themselves
GROUP = COLUMNS.index("group")
MOST_CANDIDATES = 32  # that one image brings to the comparison by pixels


def difference_hash(thumbs: np.ndarray) -> np.ndarray:
    """The 64-bit difference hash of thumbnails uint8 (N, 32, 32, 3): uint64 (N,).

    Grey is averaged over 8 rows of 9 cells; a bit is set where the cell to the right is brighter, row by row, the first
    in the highest place: N. Krawetz, "Kind of Like That", hackerfactor.com, 2013. Unlike his, "brighter" means by more
    than in the mean of the 8 rows: a light from one side, common to thousands of pictures, is no likeness.
    Whole numbers throughout: the same bits on any machine.
    """
    hashes = each_part(len(thumbs), lambda part: _bits(_differences(grey_of(thumbs[part]), 1)[:, 0]))
    return np.concatenate([np.empty(0, np.uint64), *hashes])


def near_pairs(thumbs: np.ndarray) -> np.ndarray:
    """Pairs that join the same picture among thumbnails uint8 (N, 32, 32, 3): int64 (M, 2), i < j, in ascending order.

    Found are exact copies, and copies that were coded again (JPEG from quality 50), scaled by half to two, cropped by
    up to a twentieth on every side, or changed in brightness, contrast or tint. Each image is hashed as seen
    through 16 windows and looked up among the whole images by each quarter of its hash, the quarter's least certain
    bits both ways (after Lv et al., "Multi-probe LSH", VLDB 2007); who is near is compared by pixels.
    The work grows as N log N, whatever the images are: where thousands share a quarter, an image meets the 16 next in
    brightness only, and it brings at most 32 of those it meets to the comparison. A picture without detail, such as
    clear sky, pairs with its exact copies only.
    Not every two of the same picture stand in a pair, but a chain of pairs joins them: exact copies pair with the next
    one, and only the first of them pairs with what is like them. What is joined does not depend on the order of the
    images. The thumbnails are read in parts: they may be mapped from a file that memory does not hold.
    """
    firsts, copies = _copies(thumbs)
    met = _candidates(thumbs, firsts)
    pairs = np.sort(np.concatenate([copies, met[same_picture(thumbs, met)]]), axis=1)
    return pairs[np.lexsort(pairs.T[::-1])]


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
            if (first := first_with.setdefault(key, index)) != index:
                parents[root(index)] = root(first)
    for one, other in pairs.tolist():
        parents[root(one)] = root(other)
    names: dict[int, str] = {}
    for index, row in enumerate(rows):
        home = root(index)
        names[home] = min(names.get(home, row.sha256), row.sha256)
    return [
        Row._make((*row[:GROUP], names[root(index)][:20], *row[GROUP + 1 :]))  # _replace() takes three times as long
        for index, row in enumerate(rows)
    ]


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
    """Of the pairs of `near_pairs`: how many are within REAL, within FAKE, across the classes; and, of all these, how
    many join train to test ("splits") and how many join different bytes ("alike": 0 where all are exact copies).

    Pairs are counted, not every two images of the same picture: of exact copies only one pairs with what is like them.
    """
    counts = Counter(REAL=0, FAKE=0, across=0, splits=0, alike=0)
    for one, other in ((rows[i], rows[j]) for i, j in pairs.tolist()):
        counts[NAME_OF_LABEL[one.label] if one.label == other.label else "across"] += 1
        counts["splits"] += {one.split, other.split} == {"train", "test"}
        counts["alike"] += one.sha256 != other.sha256
    return dict(counts)


def _copies(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each set of identical thumbnails int64 (K,), and each other one with the one before it (M, 2)."""

    def of_part(part: slice) -> bytes:
        # of a memmap as one array: each picture by itself would take longer than its hash
        return b"".join(hashlib.sha256(thumb.tobytes()).digest() for thumb in np.asarray(thumbs[part]))

    # sorted by content: all that follows is blind to the order in which the images came
    digests = np.frombuffer(b"".join(each_part(len(thumbs), of_part)), dtype="V32")
    order = np.argsort(digests, kind="stable")
    digests = digests[order]
    again = np.flatnonzero(digests[1:] == digests[:-1])
    return np.delete(order, again + 1), np.stack([order[again], order[again + 1]], axis=1)


def _cells(count: int, window: tuple[int, int]) -> np.ndarray:
    """How much of each pixel lies in each of `count` cells of a window, in 1 / (2 count) pixels: (count, 32)."""
    edges = window[0] * count + window[1] * np.arange(count + 1)
    pixels = 2 * count * np.arange(SIDE + 1)
    overlap = np.minimum(edges[1:, None], pixels[1:]) - np.maximum(edges[:-1, None], pixels[:-1])
    return np.maximum(overlap, 0).astype(np.float32)


DOWN = np.concatenate([_cells(8, window) for window in WINDOWS])  # (cells of all windows, 32)
ACROSS = np.concatenate([np.diff(_cells(9, window), axis=0) for window in WINDOWS]).T  # (32, differences of all)


def _differences(grey: np.ndarray, windows: int) -> np.ndarray:
    """Through each pair of the first `windows` windows, of rows and of columns: each cell less its left neighbour, less
    what this comes to in the mean of its column: int32 (N, windows ** 2, 64)."""
    down, across = DOWN[: 8 * windows], ACROSS[:, : 8 * windows]
    # whole numbers below 2 ** 24, hence exact in whatever order they are added
    differences = (down @ (grey.astype(np.float32) @ across)).astype(np.int32)
    each = differences.reshape(-1, windows, 8, windows, 8).transpose(0, 1, 3, 2, 4)
    return (8 * each - each.sum(3, dtype=np.int32, keepdims=True)).reshape(-1, windows**2, 64)


def _bits(differences: np.ndarray) -> np.ndarray:
    """(..., 64) -> uint64 (...)"""
    return np.packbits(differences > 0, axis=-1).view(">u8").astype(np.uint64)[..., 0]


def _candidates(thumbs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Pairs among some images that may be the same picture: int64 (M, 2).

    Images of one key and brightness stand in their tables in the order of `indices`; they are read as they lie.
    """
    looks = _looks(thumbs, indices)
    indices, looks = indices[looks["detailed"]], looks[looks["detailed"]]
    count, order = len(indices), np.argsort(indices)
    tables = [_Table(keys, looks["brightness"], looks["hash"]) for keys in _bands(looks["hash"])]

    def of_part(part: slice) -> np.ndarray:
        mine = order[part]
        views = _differences(grey_of(thumbs[indices[mine]]), len(WINDOWS))
        hashes, brightness = _bits(views), looks["brightness"][mine]
        met = []
        for table, probes in zip(tables, _probes(hashes, views), strict=True):
            image, view, keys = _different(probes)
            looked, other = table.neighbours(keys, brightness[image], hashes[image, view])
            one = image[looked]
            met.append((one * count + other)[mine[one] != other])
        one, other = np.divmod(np.unique(np.concatenate(met)), count)
        pair, view = np.nonzero(np.bitwise_count(hashes[one] ^ looks["hash"][other, None]) <= FARTHEST_HASH)
        directions = _directions(views[one[pair], view])
        alike = np.unique(pair[np.einsum("nd,nd->n", directions, looks["direction"][other[pair]]) >= LEAST_COSINE])
        one, other = one[alike], other[alike]
        rank = np.arange(len(one)) - np.searchsorted(one, one)  # among the pairs of the same image
        return np.stack([mine[one], other], axis=1)[rank < MOST_CANDIDATES]

    pairs = np.concatenate([np.empty((0, 2), np.int64), *each_part(count, of_part)])
    return indices[np.unique(np.sort(pairs, axis=1), axis=0)]


def _looks(thumbs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """What stands in the tables of each of some images: a record array (n,)."""
    fields = [("detailed", bool), ("brightness", np.uint32), ("hash", np.uint64), ("direction", np.float32, 64)]
    order = np.argsort(indices)

    def of_part(part: slice) -> np.ndarray:
        grey = grey_of(thumbs[indices[order[part]]])
        differences = _differences(grey, 1)[:, 0]
        looks = np.empty(len(grey), fields)
        looks["detailed"] = detailed(grey)
        looks["brightness"] = grey.sum((1, 2), dtype=np.int64) >> 6  # below 2 ** 16
        looks["hash"] = _bits(differences)
        looks["direction"] = _directions(differences)
        return looks

    looks = np.empty(len(indices), fields)
    looks[order] = np.concatenate([np.empty(0, fields), *each_part(len(indices), of_part)])
    return looks


def _directions(differences: np.ndarray) -> np.ndarray:
    """The differences as vectors of length 1: float32 (N, 64)."""
    vectors = differences.astype(np.float32)
    return vectors / np.sqrt(np.einsum("nd,nd->n", vectors, vectors) + 1)[:, None]


def _bands(hashes: np.ndarray) -> np.ndarray:
    """The hashes in four parts, the highest first: (...) to uint32 (4, ...), each below 2 ** 16."""
    parts = hashes.astype(">u8").view(">u2").reshape(*hashes.shape, NUM_BANDS)
    return np.moveaxis(parts, -1, 0).astype(np.uint32)


def _probes(hashes: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Where to look for hashes (n, views), made of their differences (n, views, 64): each band as it is, and as it
    would be with any of its weak bits the other way: uint32 (4, n, 2 ** WEAK_BITS, views)."""
    # the place stands in the value, so that equal differences rank alike on any machine
    ranked = np.abs(differences).view(np.uint32) << 4  # differences are below 14 * 2 ** 24
    ranked = ranked.reshape(*hashes.shape, NUM_BANDS, 16) | np.arange(15, -1, -1, dtype=np.uint32)
    weak = np.uint32(1) << (np.partition(ranked, WEAK_BITS - 1)[..., :WEAK_BITS] & 15).transpose(3, 2, 0, 1)
    probes = np.empty((NUM_BANDS, len(hashes), 2**WEAK_BITS, hashes.shape[1]), np.uint32)
    probes[:, :, 0] = _bands(hashes)
    for bit in range(WEAK_BITS):
        probes[:, :, 2**bit : 2 ** (bit + 1)] = probes[:, :, : 2**bit] ^ weak[bit][:, :, None]
    return probes


def _different(probes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each key once of those that an image looks for through any view, of uint32 (n, probes, 16 views): the image's
    place, the last such view, and the key. Half of the keys are another view's, too."""
    keys = np.sort((probes << 4 | np.arange(probes.shape[2], dtype=np.uint32)).reshape(len(probes), -1))
    last = np.ones(keys.shape, bool)
    last[:, :-1] = (keys[:, 1:] ^ keys[:, :-1]) >= 1 << 4
    keys = keys[last]
    return np.repeat(np.arange(len(probes)), last.sum(1)), keys & 15, keys >> 4


class _Table:
    """Images by one band of their hash, those of one value in order of their brightness; both uint32 (N,), 16 bits."""

    def __init__(self, keys: np.ndarray, brightness: np.ndarray, hashes: np.ndarray) -> None:
        entries = keys << 16 | brightness
        self.members = np.argsort(entries, kind="stable")
        self.entries, self.hashes = entries[self.members], hashes[self.members]
        # of key k: from k to k + 1
        self.bounds = np.searchsorted(self.entries, np.arange(2**16 + 1) << 16)

    def neighbours(self, keys: np.ndarray, brightness: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places in `keys`, and of each the members with that key and a hash not far from its own, among the REACH next
        in brightness to either side."""
        # take() gives what [] gives in half the time
        begin, end = self.bounds.take(keys), self.bounds.take(keys + 1)
        crowded = np.flatnonzero(end - begin > REACH)
        middle = np.searchsorted(self.entries, keys[crowded] << 16 | brightness[crowded])
        begin[crowded] = np.maximum(begin[crowded], middle - REACH)
        end[crowded] = np.minimum(end[crowded], middle + REACH)
        number = end - begin
        one = np.repeat(np.arange(len(keys)), number)
        place = np.arange(len(one)) + (end - np.cumsum(number)).take(one)
        near = np.bitwise_count(hashes.take(one) ^ self.hashes.take(place)) <= FARTHEST_VIEW
        return one[near], self.members[place[near]]
