"""Time and peak memory of the search for near duplicates, and of many rows through manifest, groups and splits."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/benchmark_data.py                          200,000 rows, then as many drawn thumbnails
  python scripts/benchmark_data.py --images 20000 --rows 0  the search alone, on fewer
  python scripts/benchmark_data.py --cifake archive.zip     the search on CIFAKE, and what it finds there

The peak is that of the whole process up to then. Drawn thumbnails hold altered copies of a tenth of them; the table
says how many of each kind are found.
"""
PLANTED = 10  # one picture in so many is copied


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    images = "thumbnails to search (default: %(default)s; CIFAKE holds 120000)"
    parser.add_argument("--images", type=int, default=200_000, help=images)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the manifest (default: %(default)s)")
    parser.add_argument("--cifake", type=Path, metavar="FILE", help="search CIFAKE's zip instead of drawn thumbnails")
    arguments = parser.parse_args()
    shell.main("benchmark_data", lambda: benchmark(arguments))


def benchmark(arguments: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    from datasets.manifest import DataError

    for name, least in (("images", 100), ("rows", 1000)):
        number = getattr(arguments, name)
        if number < 0 or 0 < number < least:
            raise DataError(f"--{name} {number}: expected 0, which leaves it out, or {least} or more")
    spent: list[float] = []
    if arguments.rows:
        through_manifest(arguments.rows, spent)
    if arguments.cifake:
        search_cifake(arguments.cifake, spent)
    elif arguments.images:
        search_drawn(arguments.images, spent)
    print_step("altogether, drawing left out", sum(spent))


def through_manifest(count: int, spent: list[float]) -> None:
    """Drawn rows, one in fifty a copy of another, five to a prompt or a page: written, read, grouped, split."""
    import hashlib

    from datasets import duplicates, manifest, partition, planted

    print(f"{count:,} rows")
    rows = [
        manifest.Row(
            path=f"images/{index:07}.jpg",
            label=index % 2,
            source="ab"[index // 2 % 2],
            sha256=hashlib.sha256(b"%d" % (index - index % 50 // 49)).hexdigest(),
            ties=f"page:{index // 5:012x}",
            was='{"width": 1344, "height": 768, "quality": 100}',
            width=512,
            height=512,
            format="JPEG",
            mode="RGB",
            quality=85,
            sampling="4:2:0",
            bytes=60_000,
        )
        for index in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "manifest.csv"
        with timed("manifest written", spent):
            manifest.write(file, rows)
        with timed("manifest read", spent):
            rows = manifest.read(file)
    with timed("grouped by bytes, pairs and ties", spent):
        rows = duplicates.group(rows, planted.index_pairs(count, count // 50))
    with timed("split by group", spent):
        rows = partition.assign(rows, seed=0, val_share=0.1, test_share=0.1, drop_leaks=True).rows


def search_drawn(count: int, spent: list[float]) -> None:
    """Drawn thumbnails with planted copies, and how many of these are found."""
    from datasets import duplicates, planted

    print(f"{count:,} drawn thumbnails, {count // PLANTED:,} of them altered copies")
    with timed("drawn", []):
        thumbs, copies = planted.with_copies(count, count // PLANTED)
    with timed("near duplicates searched", spent):
        pairs = duplicates.near_pairs(thumbs)
    found = {(one, other) for one, other in pairs.tolist()}
    for kind in planted.KINDS:
        hits = [pair in found for pair, how in copies.items() if how == kind]
        print(f"  {kind:36}{sum(hits):6,} of {len(hits):,} found")
    print(f"  {'pairs that nobody planted':36}{len(found - set(copies)):6,}")


def search_cifake(file: Path, spent: list[float]) -> None:
    """What the search finds in CIFAKE, and what it means for the split."""
    from collections import Counter

    from datasets import cifake, duplicates, partition, store
    from datasets.images import ImageSettings

    with tempfile.TemporaryDirectory() as folder:
        with timed("packed", spent):
            packed = store.open_or_pack(cifake.listing(file), ImageSettings(), Path(folder))
        with timed(f"near duplicates searched among {len(packed.rows):,}", spent):
            pairs = duplicates.near_pairs(packed.thumbs)
    for name, counts in (
        ("pairs of equal bytes", duplicates.count_pairs(packed.rows)),
        ("pairs that join near duplicates", duplicates.count_near(packed.rows, pairs)),
    ):
        print(f"  {name}: " + ", ".join(f"{number:,} {kind}" for kind, number in counts.items()))
    rows = duplicates.group(packed.rows, pairs)
    sizes = [size for size in Counter(row.group for row in rows).values() if size > 1]
    print(f"  groups of more than one: {len(sizes):,}, the largest of {max(sizes, default=0)}")
    leaks = partition.assign(rows, seed=0, val_share=0.2, test_share=0.1, drop_leaks=True).leaks
    print(f"  training images with a copy in the test part: {leaks:,}")


@contextmanager
def timed(what: str, spent: list[float]) -> Iterator[None]:
    """Print what was done and its time, which is added to those spent."""
    start = time.perf_counter()
    yield
    spent.append(time.perf_counter() - start)
    print_step(what, spent[-1])


def print_step(what: str, seconds: float) -> None:
    """Print what took so long, and the most memory that the process has ever held."""
    print(f"  {what:36}{seconds:6.1f} s{peak_gib():8.2f} GiB peak", flush=True)


def peak_gib() -> float:
    """The most memory this program has held, in GiB; getrusage would count what its parent held before it started."""
    import re
    import resource

    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


if __name__ == "__main__":
    main()
