"""How the scores of finished runs survive what happens to pictures.   python -m experiments.robustness --help"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import shell

if TYPE_CHECKING:  # --help is instant
    from experiments.robustness.figures import Document

EXAMPLES = """\
The test pictures of the runs are degraded by Pillow (JPEG, WebP, blur, resizing, noise, light, colour, crop),
each from a random stream of its own file, so that every arm and seed sees the same ones, and scored by every run. They
are packed once, below data/<name>/degraded, and scores are kept in FOLDER/scores: a further arm costs only its own.
Both may be deleted. Accuracy is at .5 of the uncalibrated probability, as test/accuracy.

written into FOLDER:
  robustness.json    everything; robustness.csv the same as a table
  figures/           curves, a heat map with verdicts, and one-sided curves, where only fakes or only reals are degraded
  events...          the same for TensorBoard

A verdict is that of experiments.compare, in every cell and corrected over all arms and cells. Runs of other data,
networks or training than those of most arms are left out by name.

examples:
  python -m experiments.robustness runs/cifake --grid standard
  python -m experiments.robustness runs/cifake --arms none saturate_x8 invert_saturate_hsv_x8 --seeds 0 1 2
  python -m experiments.robustness runs/cifake/cnn32/none/87ddb061cc-seed0 --grid quick --images 500
  python -m experiments.robustness runs/cifake --grid my_grid.yaml   # lines such as jpeg: [90, 50]

Exit status: 0; 1 where runs were refused; 2 where words, runs or data cannot be used.
"""


def main() -> int:
    """Find, degrade, score, compare, draw, write."""
    arguments = _arguments()
    from experiments.robustness import grid

    cells = grid.read(arguments.grid)
    from experiments import pairing, plans, runs
    from experiments.material import choose_device
    from experiments.outcomes import find
    from experiments.robustness import choosing, document, scoring, survival

    out, device = _out(arguments), choose_device(arguments.device)
    found = find(arguments.root)
    if arguments.experiment:
        from experiments import studies

        found = studies.only(found, arguments.experiment)
    outcomes, refused = choosing.usable(found.outcomes, arguments.root)
    refused = [*found.refused, *refused]
    for line in refused:  # before any is missed
        print(f"refused: {line}", file=sys.stderr)
    outcomes = choosing.asked_for(outcomes, arguments.arms, arguments.seeds, arguments.baseline)
    family, title, others = choosing.family(outcomes)
    asked = plans.asked(family, baseline=choosing.baseline(family, arguments.baseline), metric=arguments.metric)
    if asked.metric not in survival.METRICS:
        raise shell.Unusable(f"the runs were made for {asked.metric}; give --metric {' or '.join(survival.METRICS)}")
    sampled, tests = scoring.tested(family, arguments.data_root, arguments.images)
    paired = pairing.pair(sampled, asked.baseline, asked.metric)
    for line in paired.refused:
        print(f"refused: {line}", file=sys.stderr)
    used = [*paired.baseline, *(run for pairs in paired.arms.values() for run, _ in pairs)]
    size = sum(len(test.listing) for test in tests.values())
    print(f"{title}: {choosing.runs(len(used))}, {len(cells)} cells, {size:,} images")
    for line in others:
        print(f"left out: {line}")
    scores, fresh = scoring.score(used, cells, tests, out / "scores", device)
    rows = survival.rows(paired, cells, scores, metric=asked.metric, margin=asked.margin)
    notes = [*asked.changes, *asked.notes, *paired.notes, *scoring.differing(used, scores)]
    notes = [note.replace(f"{arguments.root}/", "") for note in notes]  # results may go elsewhere
    sets = list({run.test.digest: run.test for run in paired.baseline}.values())
    marks = {os.path.relpath(run.where, arguments.root): runs.mark(Path(run.where)) for run in used}
    whole = document.document(title, marks, cells, rows, sets, asked, notes)
    _write(out, whole)
    for line in [*document.summary(whole), *notes]:
        print(line)
    print(f"scored: {fresh} of {len(used) * len(cells)} cells of runs, the others were there")
    places = ", ".join({str(test.home / scoring.FOLDER): None for test in tests.values()})
    print(f"pictures: {sum(test.nbytes for test in tests.values()) * len(cells) / 1e9:.1f} GB in {places}")
    further = (
        f"; python -m experiments.report {arguments.root} takes it up" if paired.arms and not arguments.out else ""
    )
    print(f"result: {out / document.NAME}\nnext:   look at {out / 'figures'}{further}")
    return 1 if refused or paired.refused else 0


def _arguments() -> argparse.Namespace:
    parser = shell.parser(__doc__.partition("  ")[0] if __doc__ else "", EXAMPLES)
    parser.prog = "python -m experiments.robustness"
    add = parser.add_argument
    add("root", metavar="ROOT", type=Path, help="of runs, or the folder of one")
    add("--grid", default="standard", help="standard, quick, or a yaml file (default: %(default)s)")
    add("--arms", metavar="AUG", nargs="+", help="only these, and the baseline (default: all)")
    add("--seeds", metavar="SEED", nargs="+", type=int, help="only these (default: all)")
    add("--experiment", metavar="NAME", help="only the runs of an experiment's plan (default: all below ROOT)")
    add("--baseline", metavar="AUG", help="the arm that the others are held against (default: as the runs recorded)")
    add("--metric", choices=("accuracy", "auc"), help="that verdicts rest on (default: as the runs recorded)")
    add("--images", metavar="N", type=int, help="of each class at most, for a quick look (default: all of the test)")
    add("--out", metavar="FOLDER", type=Path, help="where results go (default: ROOT/robustness)")
    add("--data-root", metavar="FOLDER", type=Path, help="where data lie (default: as the runs recorded)")
    add("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.images is not None and arguments.images < 1:
        raise shell.Unusable(f"--images {arguments.images}: expected a whole number of at least 1")
    return arguments


def _out(arguments: argparse.Namespace) -> Path:
    """Where results go; no place where event files of runs lie, which would be replaced."""
    from experiments.outcomes import hides

    out = arguments.out or arguments.root / "robustness"
    shell.check_folder("--out", out)
    if hides(out, arguments.root) or (out / "config.yaml").exists():
        raise shell.Unusable(f"--out {out}: holds runs; expected a folder of its own")
    return out


def _write(out: Path, found: "Document") -> None:
    """robustness.json last: where it is there, all is."""
    import hashlib

    from datasets.manifest import whole_file
    from experiments import charts, events
    from experiments.robustness import document, figures

    drawn = {"heat": figures.heat(found), "curves": figures.curves(found), "one_sided": figures.one_sided(found)}
    pictures = {name: charts.png(figure) for name, figure in drawn.items()}
    for name, figure in drawn.items():
        for ending, drawing in (("png", pictures[name]), ("svg", charts.svg(figure))):
            with whole_file(out / "figures" / f"{name}.{ending}", "wb") as file:
                file.write(drawing)
    text = document.text(found)
    page = [(0, events.text("robustness/table", document.page(found)))]
    page += [(0, events.picture(f"robustness/{name}", png)) for name, png in pictures.items()]
    events.replace(out, {"robustness": hashlib.sha256(text.encode()).hexdigest()}, lambda: page)
    for name, content in (("robustness.csv", document.csv_text(found)), (document.NAME, text)):
        with whole_file(out / name) as file:
            file.write(content)


if __name__ == "__main__":
    shell.main("experiments.robustness", main)
