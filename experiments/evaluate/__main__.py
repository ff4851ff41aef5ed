"""Everything about one finished run, on a page.   python -m experiments.evaluate --help"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import shell

if TYPE_CHECKING:  # --help is instant
    import numpy as np

    from experiments.predictions import TestSet
    from experiments.report.blocks import Block
    from experiments.runs import Run

EXAMPLES = """written into the run's folder as evaluation/, or into --out:
  evaluation.html              classification report, confusion matrices, ROC and precision-recall curves, calibration,
                               scores, sources, CIFAKE's ten classes, learning, the surest right and wrong pictures
  evaluation.md, figures/      the same for a repository; figures as PNG and SVG
  evaluation.json              every number, with 95 % Wilson intervals of shares

examples:
  python -m experiments.evaluate                                              the run that was finished last
  python -m experiments.evaluate runs/cifake/cnn32/none/87ddb061cc-seed0      this one, or an ensemble
  python -m experiments.evaluate runs/cifake/cnn32/none                       the last that was finished below
  python -m experiments.evaluate runs/cifake/cnn32/none/87ddb061cc-seed0 --no-pictures --out evaluation

A picture is called fake from a score of 0.5 on and, once more, from the threshold that was best on validation. Only the
example pictures need the data, the weights and a few seconds; where these are not here, a sentence says so.
One run is no comparison: python -m experiments.compare tells what another seed would change.

Exit status: 0; 2 where there is no finished run.
"""


def main() -> int:
    """Read, measure, draw, write."""
    arguments = _arguments()
    from datasets.manifest import whole_file
    from experiments import runs, tables
    from experiments.evaluate import document, measuring
    from experiments.predictions import parse
    from experiments.report import files, origin

    folder = arguments.run
    if not folder.is_dir():
        raise shell.Unusable(f"{folder}: no such folder; expected that of a finished run, or one that holds runs")
    if not ((folder / "config.yaml").exists() or runs.NAME.fullmatch(folder.name)):
        folder = runs.newest(folder)
    run, predictions = runs.finished(folder)
    print(f"run:    {folder}")
    found = measuring.evaluation(run, predictions)
    test, scores = parse(predictions, {})
    made = document.document(
        found,
        test,
        scores,
        epochs=[line for line in run.metrics[:-1] if "val/accuracy" in line],
        facts=origin.merged([folder]),
        examples=_examples(run, test, scores, wanted=arguments.pictures),
    )
    for key, by_split in found["called"].items():
        print(f"\ntest images, {document.how(found, key)}\n{measuring.report(by_split['test'])}")
    print(document.answer(found))
    out = arguments.out or folder / "evaluation"
    files.write(made, out, name="evaluation")
    with whole_file(out / "evaluation.json") as file:
        file.write(tables.json_text(found))
    print(f"result: {out / 'evaluation.html'}\nnext:   open it in a browser; every number: {out / 'evaluation.json'}")
    return 0


def _examples(run: "Run", test: "TestSet", scores: "np.ndarray", *, wanted: bool) -> "Sequence[Block]":
    from experiments import condition
    from experiments.report.blocks import Text

    if not wanted:
        return [Text("None: they were left out when this page was made.")]
    if run.task != condition.DETECTION:
        return [Text("None: right and wrong ones are sorted here for real against fake alone.")]
    from experiments.evaluate import pictures  # brings torch
    from experiments.report.examples import Missing

    try:
        return pictures.blocks(run.folder, test, scores)
    except Missing as error:
        cause = f" ({shell.one_line(error.__cause__)})" if error.__cause__ else ""  # may name places of this machine
        print(f"no example pictures: {error}{cause}", file=sys.stderr)
        return [Text(f"No pictures are shown: {error}.")]


def _arguments() -> argparse.Namespace:
    parser = shell.parser((__doc__ or "").partition("  ")[0], EXAMPLES)
    parser.prog = "python -m experiments.evaluate"
    add = parser.add_argument
    add(
        "run",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        default=Path("runs"),
        help="of a run (default: the last below runs)",
    )
    add("--out", metavar="FOLDER", type=Path, help="where the report goes (default: evaluation/ in the run's folder)")
    add(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="leave out the example pictures, and do not read data",
    )
    arguments = parser.parse_args()
    if arguments.out:
        shell.check_folder("--out", arguments.out)
    return arguments


if __name__ == "__main__":
    shell.main("experiments.evaluate", main)
