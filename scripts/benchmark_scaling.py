"""How the cost of a study grows with the number of images, with models trained together, and with image size."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/benchmark_scaling.py --out results/performance                  some ten minutes, 4 GB for a while
  python scripts/benchmark_scaling.py --quick --out /tmp/performance             the lower end of each curve
  python scripts/benchmark_scaling.py --device cuda --out results/performance

Pictures are uint8 noise. Writes PREFIX_scaling_cpu.json and .png (or _cuda), and PREFIX.md, which shows them.
"""


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="fewer points and repetitions")
    parser.add_argument("--out", type=Path, metavar="PREFIX", required=True, help="such as results/performance")
    arguments = parser.parse_args()
    shell.main("benchmark_scaling", lambda: benchmark(arguments))


def benchmark(arguments: argparse.Namespace) -> None:
    """Measure, draw, write."""
    if not arguments.out.parent.is_dir():
        raise shell.Unusable(
            f"--out {arguments.out}: {arguments.out.parent} is no folder; expected a prefix inside of one"
        )
    from datasets.manifest import whole_file
    from experiments.benchmark import drawing, machines, page, pictures, scaling

    machine = machines.with_device(arguments.device)
    with tempfile.TemporaryDirectory() as place:
        pictures.need_room(Path(place))
        start = machines.seconds_to_first_step(Path(place), arguments.device)
        print(f"start to first step: {start:.1f} s", file=sys.stderr, flush=True)
        curves: dict[str, list[tuple[float, float]]] = {}
        for name, x, seconds in scaling.curves(Path(place), arguments.device, start, quick=arguments.quick):
            curves.setdefault(name, []).append((x, seconds))
            print(f"{name} {x:,}: {seconds:.4g} s", file=sys.stderr, flush=True)
    report: dict[str, Any] = {"machine": machine, "quick": arguments.quick, "start": start, "curves": curves}
    part = f"scaling_{arguments.device}"
    with whole_file(page.beside(arguments.out, f"{part}.json")) as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    drawing.save(curves, page.machine_words(machine), page.beside(arguments.out, f"{part}.png"))
    print(page.write(arguments.out))


if __name__ == "__main__":
    main()
