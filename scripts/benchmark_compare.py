"""Time and peak memory of reading many finished runs and comparing them: a generated run tree of CIFAKE's size."""

import dataclasses
import hashlib
import json
import multiprocessing
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

if TYPE_CHECKING:  # it brings torch, and --help must not wait for that
    from experiments.config import Config

EXAMPLES = """examples:
  python scripts/benchmark_compare.py               2,000 runs: 4.4 GB for some minutes, then removed
  python scripts/benchmark_compare.py --runs 120    fewer

The runs are made by another process; the peak is that of the one which reads and compares them.
"""
SEEDS = 6
IMAGES = {"val": 15_914, "test": 9_932}  # of data=cifake, as it comes from the archive of 89,949 images
BYTES = 85  # of a row of predictions.csv
METRICS = ["accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc", "average_precision"]
METRICS += ["eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10", "nll", "brier", "ece"]
CODE = {"digest": "0" * 16, "commit": "0" * 40, "dirty": False}


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    runs = f"how many, in arms of {SEEDS} seeds (default: %(default)s)"
    parser.add_argument("--runs", type=int, default=2000, help=runs)
    place = "where the runs are made, in a folder that is removed (default: %(default)s)"
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help=place)
    arguments = parser.parse_args()
    shell.main("benchmark_compare", lambda: benchmark(arguments.runs, arguments.folder))


def benchmark(number: int, place: Path) -> None:
    """Make the runs, read them, compare them; one line says what it took."""
    from experiments import comparison, outcomes

    if number < 2 * SEEDS:
        raise shell.Unusable(f"--runs {number}: expected {2 * SEEDS} or more, two arms of {SEEDS} seeds")
    needed = number * sum(IMAGES.values()) * BYTES
    if not place.is_dir() or (free := shutil.disk_usage(place).free) < 1.1 * needed:
        said = f"{free / 1e9:.1f} GB free" if place.is_dir() else "no such folder"
        raise shell.Unusable(f"--folder {place}: {said}; expected a folder with {1.1 * needed / 1e9:.1f} GB")
    with tempfile.TemporaryDirectory(dir=place) as name:
        making = multiprocessing.get_context("spawn").Process(target=write_runs, args=(Path(name), number))
        making.start()
        making.join()
        assert making.exitcode == 0, "the runs could not be made"
        before = time.perf_counter(), time.process_time()
        found = outcomes.find(Path(name))
        read = time.perf_counter() - before[0]
    comparisons, refused = comparison.compare(found.outcomes)
    wall, processor = time.perf_counter() - before[0], time.process_time() - before[1]
    lost = [*found.unfinished, *found.refused, *refused]
    assert not lost and len(comparisons) == 1, lost[:3]
    print(
        f"{len(found.outcomes):,} runs of {sum(IMAGES.values()):,} predictions, {len(comparisons[0].arms):,} arms "
        f"against a baseline: read in {read:.1f} s, compared in {wall - read:.1f} s ({processor:.1f} s of processor "
        f"time), peak {peak_gib():.2f} GiB"
    )


def write_runs(root: Path, number: int) -> None:
    """Finished run folders, whose contents are drawn; plain writes, as nothing here must outlive a power cut."""
    from experiments import jobs

    base = dataclasses.replace(jobs.configured(["data=cifake", "device=cpu", "threads=1"]), runs_root=root)
    drawn = random.Random(0)
    rows = {split: row_heads(split, count, drawn) for split, count in IMAGES.items()}
    val = "row,split,path,label,source,group,score\n" + "".join(f"{head}{drawn.random()!r}\n" for head in rows["val"])
    begun = hashlib.sha256(val.encode())  # the same val rows in every run: they are hashed when read, and passed over
    labels = [",1,cifake," in head for head in rows["test"]]
    scores = [drawn.betavariate(6, 1) for _ in range(2**16)]
    for done in range(number):
        config = variant(base, arm=done // SEEDS, seed=done % SEEDS)
        certain = drawn.choices(scores, k=len(labels))  # of the true label
        right = sum(score >= 0.5 for score in certain)
        said = [score if label else 1 - score for score, label in zip(certain, labels, strict=True)]
        test = "".join([f"{head}{score!r}\n" for head, score in zip(rows["test"], said, strict=True)])
        digest = begun.copy()
        digest.update(test.encode())
        write_run(config, val + test, digest.hexdigest(), right / len(labels), drawn)
        if sys.stderr.isatty():
            print(f"\rmaking runs: {done + 1:,} of {number:,}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)


def row_heads(split: str, count: int, drawn: random.Random) -> list[str]:
    """Lines of predictions.csv up to the score; one image in fifty has a near-duplicate."""
    heads, group = [], ""
    for index in range(count):
        group = group if index % 50 == 49 else f"{drawn.getrandbits(80):020x}"
        label = index * 2 // count
        heads.append(
            f"{index},{split},{split}/{('REAL', 'FAKE')[label]}/{index} ({index % 9}).jpg,{label},cifake,{group},"
        )
    return heads


def variant(config: "Config", *, arm: int, seed: int) -> "Config":
    """Arm 0 is the baseline, every other one a saturation of its own."""
    view = [{"op": "saturate", "space": "luma", "factor": 1 + arm / 10}] if arm else []
    name = f"saturate_x{1 + arm / 10:g}" if arm else "none"
    return dataclasses.replace(config, aug=dataclasses.replace(config.aug, name=name, train=view, eval=view), seed=seed)


def write_run(config: "Config", predictions: str, digest: str, accuracy: float, drawn: random.Random) -> None:
    """digest: sha256 of the predictions; accuracy: what they give."""
    folder = config.folder
    folder.mkdir(parents=True)

    def measured(*splits: str) -> dict[str, float]:
        return {f"{split}/{metric}": drawn.random() for split in splits for metric in METRICS}

    epochs = [{"epoch": epoch, "step": 1989 * epoch} | measured("train", "val") for epoch in range(1, 6)]
    last = {"epoch": 5, "step": 9945} | measured("val", "test") | {"test/accuracy": accuracy, "view/clipped": 0.02}
    metrics = "".join(json.dumps(line) + "\n" for line in [*epochs, last])
    settings = json.dumps(dataclasses.asdict(config), default=str)  # which is yaml, too
    process = {"device": "cpu", "threads": 1, "images_per_second": 1000.0, "code": CODE, "versions": {"torch": "2"}}
    facts = {"seed": config.seed, "digest": config.digest, "data_digest": "a", "content_digest": "b", "quarantined": 0}
    digests = {
        "config.yaml": hashlib.sha256(settings.encode()).hexdigest(),
        "metrics.jsonl": hashlib.sha256(metrics.encode()).hexdigest(),
        "predictions.csv": digest,
    }
    for name, text in (
        ("config.yaml", settings),
        ("metrics.jsonl", metrics),
        ("predictions.csv", predictions),
        ("provenance.json", json.dumps(facts | {"processes": [process]})),
        ("done", json.dumps(digests)),
    ):
        (folder / name).write_text(text)


def peak_gib() -> float:
    """The most memory this program has held, in GiB; getrusage would count what its parent held before it started."""
    import resource

    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


if __name__ == "__main__":
    main()
