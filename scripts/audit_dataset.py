"""What separates the classes of a data set besides what the pictures show: size, codec, colour, copies."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/audit_dataset.py flux                     a set that scripts/build_dataset.py made
  python scripts/audit_dataset.py cifake                   after scripts/fetch_cifake.py
  python scripts/audit_dataset.py path/to/folder           any folder that holds real and fake
  python scripts/audit_dataset.py cifake --explore         a page with what each class looks like
  python scripts/audit_dataset.py flux --strict            exit with 1 where it is confounded, for a Makefile

Prints a table and writes audit.json and audit.png into data/NAME, or into --out; --explore adds exploration.html:
brightness, saturation, R, G, B, sharpness, noise and the rest of audit.png per class, with medians and quartiles, what
each of them is, and pictures by lot. A verdict goes by the 95 % interval
of the AUC with which the facts of a line tell the classes apart on images not fitted on:
  confounded       0.60 lies below it: a network may learn this and nothing else
  suspicious       an effect, but small, or one that generation itself may have
  clean            no effect, or one too small to matter (below 0.55)
  too few to say   nothing shown, and too few images to exclude 0.65
  not judged       counted only
The exit status is 0 whatever the verdict, but for --strict.
"""


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    parser.add_argument("what", metavar="NAME", help="of a data set, or the path of a folder")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the report goes (default: data/NAME)")
    parser.add_argument("--explore", action="store_true", help="a page as well: distributions, quartiles, pictures")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where the verdict is confounded")
    parser.add_argument("--seed", type=int, default=0, help="of samples and folds (default: %(default)s)")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="where data sets lie (default: %(default)s)"
    )
    arguments = parser.parse_args()
    shell.main("audit_dataset", lambda: audit(arguments))


def audit(arguments: argparse.Namespace) -> int:
    """Prepare the data set, audit it, print and write the report."""
    import json

    from datasets import audit, build, sources
    from datasets.manifest import DataError, whole_file

    if arguments.seed < 0:
        raise DataError(f"--seed {arguments.seed}: expected 0 or a larger whole number")
    settings = sources.settings_for(arguments.what, arguments.data_root)
    data = build.prepare_or_look(settings, data_root=arguments.data_root)
    for note in data.notes:
        print(note)
    files = [data.rows[row] for row in data.first]
    report = audit.audit(files, data.thumbs, lambda file: data.locations[file].read(), seed=arguments.seed)
    home = arguments.out or arguments.data_root / settings.name
    with whole_file(home / "audit.json") as handle:
        json.dump(report, handle, indent=1)
        handle.write("\n")

    from experiments import audit_figure  # after the table's work is safe: matplotlib takes a second to come

    audit_figure.save(report, home / "audit.png")
    for line in audit.lines(report):
        print(line)
    if arguments.explore:
        from experiments import exploration

        print(f"page: {exploration.write(settings.name, report, data, home)}")
    print(f"{report['verdict']}: {home / 'audit.json'} and {home / 'audit.png'}")
    return int(arguments.strict and report["verdict"] == "confounded")


if __name__ == "__main__":
    main()
