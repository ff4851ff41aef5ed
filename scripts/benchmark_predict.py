"""How fast a finished run judges files, held against decoding them alone, in turn in one process."""

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/benchmark_predict.py cifake/test                   10,000 files, by the run that was finished last
  python scripts/benchmark_predict.py photos/ --run runs/cifake/cnn32/none/87ddb061cc-seed0 --rounds 3

Both begin with paths and end with the last file; what loads the run once is left out. Nothing else should be at work
on the machine meanwhile.
"""


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="files, folders or patterns")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="of a finished run (default: the last below --runs)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is done (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    arguments = parser.parse_args()
    shell.main("benchmark_predict", lambda: benchmark(arguments))


def benchmark(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    if arguments.rounds < 1:
        raise shell.Unusable(f"--rounds {arguments.rounds}: expected 1 or more")
    from datasets.decoding import decode_all
    from datasets.named import pictures_named
    from experiments import classifier, runs
    from experiments.material import choose_device

    locations = list(pictures_named(arguments.pictures)[0].values())
    judge = classifier.load(arguments.run or runs.newest(arguments.runs), choose_device(arguments.device))
    seconds(judge.judge(locations[:200]))  # what the first batch costs once
    decoding, judging = [], []
    for _ in range(arguments.rounds):
        decoding.append(seconds(decode_all(locations, judge.images)))
        judging.append(seconds(judge.judge(locations)))
    for what, times in (("decoding alone", decoding), ("judging", judging)):
        rates = sorted(len(locations) / each for each in times)
        print(f"{what:15} {median(rates):9,.0f} images/s  ({rates[0]:,.0f} to {rates[-1]:,.0f})")
    ratios = sorted(one / other for one, other in zip(decoding, judging, strict=True))
    span = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(
        f"judging is {median(ratios):.2f} of the speed of decoding ({span}, n = {len(ratios)}, "
        f"{len(locations):,} files)"
    )


def seconds(results: Iterator) -> float:
    """How long it takes to draw all of them, which are not kept."""
    start = time.perf_counter()
    deque(results, maxlen=0)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
