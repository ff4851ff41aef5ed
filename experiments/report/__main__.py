"""The verdict as a page, its Markdown and figures, and the tables behind.   python -m experiments.report --help"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from datasets.manifest import whole_file
from experiments import shell

HELP = """written into FOLDER:
  report.html           everything on one page, pictures inside; for a browser, a phone, a printer
  report.md, figures/   the same for a repository; figures as PNG and SVG
  runs.csv, images.csv  the numbers behind: compare and report read such a folder as they read runs
  provenance.json       commits, versions, devices and commands of the runs, without paths of this machine
Only the example pictures need the data; where they are not here, a sentence says so.

examples:
  python -m experiments.report runs/cifake --experiment ab_cifake --out results/ab_cifake
  python -m experiments.report results/ab_cifake --metric auc --out again
"""


def main() -> int:
    """Read, compare, draw, write."""
    arguments = _arguments()
    from experiments import comparison, outcomes, studies  # --help is instant
    from experiments.report import document, examples, files, origin, survival

    if outcomes.hides(arguments.out, arguments.root):
        raise shell.Unusable(f"--out {arguments.out}: holds the runs, and tables there would be read in their place")
    with tqdm(total=4, desc="reading", unit=" steps", disable=None, leave=False, delay=2) as bar:
        found = outcomes.find(arguments.root)
        if arguments.experiment:
            found = studies.only(found, arguments.experiment)
        for line in found.refused:  # before a baseline is sought, which may be among them
            tqdm.write(f"refused: {line}", file=sys.stderr)
        _next(bar, "comparing")
        margin = None if arguments.margin is None else arguments.margin / 100
        given = {"baseline": arguments.baseline, "metric": arguments.metric, "margin": margin}
        every, left_out = comparison.compare(found.outcomes, **given)
        for line in left_out:
            tqdm.write(f"refused: {line}", file=sys.stderr)
        compared = [one for one in every if one.arms]
        _next(bar, "drawing")
        facts = origin.gather(found.outcomes, arguments.root)
        refused = [*found.refused, *left_out]
        if not compared:
            reasons = f"{len(found.outcomes)} finished, {len(found.unfinished)} unfinished, {len(refused)} refused"
            raise shell.Unusable(f"{arguments.root}: nothing to compare; of its runs {reasons}")
        lost = _placeless([*found.unfinished, *refused], arguments.root)
        compared = [replace(one, notes=_placeless(one.notes, arguments.root)) for one in compared]
        again = _again(arguments)
        degraded = survival.sections(arguments.root)
        made = document.report(
            compared, facts=facts, left_out=lost, examples=examples.blocks, again=again, further=degraded
        )
        _next(bar, "writing")
        files.write(made, arguments.out, name="report")
        outcomes.export(found.outcomes, arguments.out)
        if facts:
            with whole_file(arguments.out / origin.NAME) as file:
                json.dump(facts, file, indent=1)
                file.write("\n")
        bar.update()
    place = arguments.out / "report.html"
    print(
        f"result: {place}\nnext:   open it in a browser; for a repository: {arguments.out / 'report.md'} and figures/"
    )
    return 1 if refused else 0


def _next(bar: tqdm, doing: str) -> None:
    bar.update()
    bar.set_description(doing)


def _placeless(lines: Sequence[str], root: Path) -> list[str]:
    """Lines that name runs from `root` on: a report may go elsewhere."""
    return [line.replace(f"{root}/", "") for line in lines]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description="A report of runs: question, verdicts, figures, checks, provenance.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("root", metavar="ROOT", type=Path, help="of runs, or a folder that this verb made")
    add("--experiment", metavar="NAME", help="only the runs of an experiment's plan (default: all below ROOT)")
    add("--baseline", metavar="AUG", help="the arm that the others are held against (default: as the runs recorded)")
    add("--metric", help="of the test images (default: as the runs recorded)")
    add("--margin", type=float, metavar="POINTS", help="a difference nobody acts upon (default: as the runs recorded)")
    add("--out", metavar="FOLDER", type=Path, required=True, help="where the report goes")
    arguments = parser.parse_args()
    if arguments.margin is not None and not 0 < arguments.margin < 100:
        raise shell.Unusable(f"--margin {arguments.margin:g}: expected a number of points between 0 and 100")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise shell.Unusable(f"--out {arguments.out}: is a file; expected a folder")
    return arguments


def _again(arguments: argparse.Namespace) -> list[str]:
    """Commands that read what is written: no path of this machine stands in them."""
    folder = arguments.out.name if arguments.out.is_absolute() else str(arguments.out)
    options: list[str] = []
    for name in ("baseline", "metric", "margin"):
        value = getattr(arguments, name)
        options += [] if value is None else [f"--{name}", f"{value:g}" if name == "margin" else value]
    commands = (["compare", folder, *options], ["report", folder, *options, "--out", "report"])
    return [shlex.join(["python", "-m", f"experiments.{verb}", *words]) for verb, *words in commands]


if __name__ == "__main__":
    shell.main("experiments.report", main)
