"""How fast this is, held against the plain way of doing it (PARENT), in turn in one run: a table with verdicts."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/benchmark.py --quick                       fewer images, one round: under three minutes
  python scripts/benchmark.py --archive archive.zip         everything, three rounds: some half an hour
  python scripts/benchmark.py --rows epoch transform        some rows; a wrong name lists them
  python scripts/benchmark.py --out results/performance     keeps the figures, and writes results/performance.md
  python scripts/benchmark.py --device cuda --out results/performance

Nothing else should be at work on the machine meanwhile. Without CIFAKE the pictures are drawn, and the table says so.
Exit status 0 whether a figure is reached or not, as this is a measurement and no test; 1 where a row has no figure.
"""
ROUNDS = {False: 3, True: 1}  # quick or not


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="fewer images, one round")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default: 3, with --quick 1)")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some rows (default: all)")
    images = "so many of CIFAKE's training files to pack and to train on, and a fifth as many test files (default: all)"
    parser.add_argument("--images", type=int, metavar="N", help=images)
    parser.add_argument("--archive", type=Path, metavar="FILE", help="CIFAKE's zip (default: where --data-root says)")
    data_root = "where scripts/fetch_cifake.py noted CIFAKE (default: %(default)s)"
    parser.add_argument("--data-root", type=Path, default=Path("data"), help=data_root)
    out = "write PREFIX_cpu.json or PREFIX_cuda.json after every round, and PREFIX.md"
    parser.add_argument("--out", type=Path, metavar="PREFIX", help=out)
    parser.add_argument("--page", action="store_true", help="measure nothing: write PREFIX.md from what is there")
    arguments = parser.parse_args()
    shell.main("benchmark", lambda: benchmark(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure, write and print; 1 where a row has no figure."""
    check(arguments)
    from experiments.benchmark import machines, material, measuring, page, pictures, rows

    if arguments.page:
        print(page.write(arguments.out))
        return 0
    chosen = rows.choose(arguments.rows, arguments.device)
    machine = machines.with_device(arguments.device)
    found = pictures.found(arguments.archive, arguments.data_root)
    number = arguments.rounds or ROUNDS[arguments.quick]
    report: dict[str, Any] = {"machine": machine, "data": found.words, "quick": arguments.quick, "rounds": number}
    say(f"{page.machine_words(machine)}. {found.words}.")

    def keep(results: dict[str, measuring.Result]) -> None:
        report["rows"] = {name: result.as_dict() for name, result in results.items()}
        write(report, arguments)

    sizes = material.sizes_of(arguments.images, quick=arguments.quick)
    with tempfile.TemporaryDirectory() as place:
        pictures.need_room(Path(place))
        files = material.Material(found, Path(place), sizes)
        measuring.measure(chosen, files, device=arguments.device, rounds=number, say=say, keep=keep)
    if not arguments.quick and not arguments.rows:
        report["limits"] = machines.limits(arguments.device)
        write(report, arguments)
    print(page.section(report))
    return int(any(row["failure"] for row in report["rows"].values()))


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be measured before anything is."""
    if arguments.rounds is not None and arguments.rounds < 1:
        raise shell.Unusable(f"--rounds {arguments.rounds}: expected 1 or more")
    if arguments.images is not None and arguments.images < 200:
        raise shell.Unusable(f"--images {arguments.images}: expected 200 or more")
    if arguments.out is None:
        if arguments.page:
            raise shell.Unusable("--page: expected --out PREFIX with it, such as results/performance")
    elif not (folder := arguments.out.parent).is_dir():
        raise shell.Unusable(f"--out {arguments.out}: {folder} is no folder; expected a prefix inside of one")
    elif (arguments.quick or arguments.rows) and _holds_all(arguments):
        raise shell.Unusable(
            f"--out {arguments.out}: holds a whole benchmark, which a part would replace; choose another prefix"
        )


def _holds_all(arguments: argparse.Namespace) -> bool:
    """Whether all rows were measured with full sizes where the result is to be kept."""
    from experiments.benchmark import page

    file = page.beside(arguments.out, f"{arguments.device}.json")
    return file.exists() and "limits" in json.loads(file.read_text())


def write(report: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Keep what is measured so far, where it is asked for."""
    from datasets.manifest import whole_file
    from experiments.benchmark import page

    if arguments.out is None:
        return
    with whole_file(page.beside(arguments.out, f"{arguments.device}.json")) as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    page.write(arguments.out)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
