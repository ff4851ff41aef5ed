"""Every finished run on every data set.   python -m experiments.transfer --help"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import shell

if TYPE_CHECKING:  # --help is instant
    from experiments.transfer.matrix import Row
    from experiments.transfer.scores import Subject

HELP = """examples:
  python -m experiments.transfer runs --on cifake synthetic
  python -m experiments.transfer runs --on cifake flux folder:pictures
  python -m experiments.transfer runs/cifake/cnn32/none runs/cifake/cnn32/invert --on folder:pictures --out transfer

A data set is one of
  cifake, synthetic, flux, cifake_flux    as data=NAME trains on it
  NAME                                    a set that scripts/build_dataset.py made, or what runs below ROOT call theirs
  folder:PATH                             real|fake, or train|test / real|fake
and its test split is what counts: of a run on that very data its own, the same for the others. A folder without a split
that no run was trained on is tested on whole. Pictures come to a network's size as those of its own data did; synthetic
ones are drawn at it. A file that cannot be read is left out.

What a run has seen in training or validation is left out of its test and counted: equal files, and pictures that look
alike or share a prompt, page or author. For that the data it was trained on must be here, but not for its own column.
Accuracy is called at the threshold that the run chose on its own validation images; accuracy at .5 stands in the files.
Differences are paired by seed and judged as experiments.compare does, corrected for all arms of a column, not for the
columns. Scores are kept in FOLDER: a second call does only what is missing.

Written into FOLDER: transfer.json, transfer.csv, auc and accuracy_at_threshold as .png and .svg
Exit status: 0; 1 where runs were refused; 2 where there is nothing to test, or a word is wrong.
"""
NO_TERMINAL = (160, 24)  # columns, lines


def main() -> int:
    """Find, test, compare, draw, write."""
    arguments = _arguments()
    from experiments import outcomes
    from experiments.material import choose_device
    from experiments.transfer import tables, targets
    from experiments.transfer.matrix import matrix
    from experiments.transfer.scores import Bench

    out = arguments.out or arguments.roots[0] / "transfer"
    device = choose_device(arguments.device)
    founds = [outcomes.find(root) for root in arguments.roots]
    refused = [line for found in founds for line in found.refused]
    each = {outcome.where: outcome for found in founds for outcome in found.outcomes}
    subjects = []
    for where, outcome in each.items():
        if outcome.by_generator:
            print(f"left out: {where}: tells generators apart; expected runs that tell real from fake")
        elif not Path(where).is_dir():
            raise shell.Unusable(f"{where}: tables of runs; expected the folders of the runs, with their networks")
        else:
            subjects.append(_subject(outcome, arguments.data_root))
    if not subjects:
        _say(refused)
        raise shell.Unusable(f"{arguments.roots[0]}: no finished run there that tells real from fake")
    if arguments.baseline and not any(arguments.baseline in (s.outcome.aug, s.outcome.digest) for s in subjects):
        arms = ", ".join(sorted({subject.outcome.aug for subject in subjects}))
        raise shell.Unusable(f"--baseline {arguments.baseline}: no run of it; expected one of {arms}")
    data_root = arguments.data_root or subjects[0].data_root
    columns = targets.find(arguments.on, [subject.data for subject in subjects], data_root)
    subjects = [
        replace(subject, outcome=replace(subject.outcome, data=targets.called(subject.data, columns)))
        for subject in subjects
    ]
    tested, untested = Bench(data_root, out / "kept", device).all(subjects, columns)
    refused += untested
    _say(refused)
    if not tested:
        raise shell.Unusable(f"{arguments.roots[0]}: no run could be tested")
    names = [target.name for target in columns]
    rows, notes = matrix(tested, names, arguments.baseline)
    print("\n".join(tables.text(rows, names, shutil.get_terminal_size(NO_TERMINAL).columns)))
    for line in [*tables.overlaps(rows), *notes]:
        print(line)
    _write(out, rows, names, {"refused": _placeless(refused, arguments.roots), "notes": notes})
    print(f"result: {out / 'transfer.json'}, transfer.csv and figures beside it\nnext:   look at {out / 'auc.png'}")
    return 1 if refused else 0


def _subject(outcome: Any, data_root: Path | None) -> "Subject":
    from datasets.build import SOURCES
    from experiments import runs
    from experiments.transfer.scores import Subject

    finished = runs.read_finished(Path(outcome.where))
    assert finished, "as it was found"
    run, predictions = finished
    data = SOURCES[run.config["data"]["source"]].settings(**run.config["data"])
    root = data_root or Path(run.config["data_root"])
    return Subject(outcome, data, root, hashlib.sha256(predictions).hexdigest())


def _write(out: Path, rows: "Sequence[Row]", names: Sequence[str], said: dict[str, Any]) -> None:
    """All files, each whole or not at all."""
    from datasets.manifest import whole_file
    from experiments import charts
    from experiments.tables import json_text
    from experiments.transfer import heat, tables
    from experiments.transfer.matrix import COMPARED

    texts = {"transfer.json": json_text({"data": names, "rows": rows, **said}), "transfer.csv": tables.csv_text(rows)}
    for name, text in texts.items():
        with whole_file(out / name) as file:
            file.write(text)
    for metric in COMPARED:
        figure = heat.draw(rows, names, metric)
        for ending, save in (("png", charts.png), ("svg", charts.svg)):
            with whole_file(out / f"{metric}.{ending}", "wb") as file:
                file.write(save(figure))


def _say(refused: Sequence[str]) -> None:
    sys.stdout.flush()
    for line in refused:
        print(f"refused: {line}", file=sys.stderr)


def _placeless(lines: Sequence[str], roots: Sequence[Path]) -> list[str]:
    """Lines that name runs from their root on: the files may go elsewhere."""
    for root in roots:
        lines = [line.replace(f"{root}/", "") for line in lines]
    return list(lines)


def _arguments() -> argparse.Namespace:
    parser = shell.parser("Every finished run on every data set: does what it learned hold elsewhere?", HELP)
    parser.prog = "python -m experiments.transfer"
    add = parser.add_argument
    add("roots", nargs="+", type=Path, metavar="ROOT", help="of runs")
    add("--on", nargs="+", required=True, metavar="DATA", help="data sets to test on, see below")
    add("--out", type=Path, metavar="FOLDER", help="where results go (default: ROOT/transfer, of the first)")
    add("--baseline", metavar="AUG", help="the arm that the others are held against (default: as the runs recorded)")
    add("--data-root", type=Path, metavar="FOLDER", help="where data lie (default: as the runs recorded)")
    add("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.out:
        shell.check_folder("--out", arguments.out)
    return arguments


if __name__ == "__main__":
    shell.main("experiments.transfer", main)
