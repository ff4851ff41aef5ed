"""The verdict: every arm of a tree of runs against its baseline.   python -m experiments.compare --help"""

import argparse
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import shell, tables
from experiments.wording import asked, changed, closing, detectable, headings, over_folds, page, reasons

if TYPE_CHECKING:  # --help is instant
    from experiments.comparison import Comparison
    from experiments.outcomes import Found

RULE = """what a verdict means:
  win, loss    at least 6 pairs; the 95 % interval over seeds excludes 0; the sign-flip test, corrected for all arms
               (max-t), says p <= .05; the 95 % interval over test images excludes 0 on the same side
  equivalent   no claim, but shown to be closer than the margin: two one-sided t tests over seeds, corrected for all
               arms, and the 90 % interval over test images inside the margin
  undecided    neither; --plan says how many seeds and test images would tell
  exploratory  fewer than 6 pairs: undecided, whatever the numbers
Over folds (data.fold) the seeds of a fold are averaged, n counts folds, a claim needs 5 of them, and the corrected
t test (Nadeau and Bengio) with Holm's correction takes the place of sign flips and max-t.
A pair is one seed (and fold) in an arm and in the baseline: equal first weights, equal order of images. Only runs of
equal data, network and training stand in one table; what does not fit is refused by name. Metric, margin and baseline
are those that the runs recorded beforehand; where others are given here, the table says so.

examples:
  python -m experiments.compare runs/cifake
  python -m experiments.compare runs/cifake --experiment ab_cifake
  python -m experiments.compare runs/cifake --baseline none --metric auc --out report
  python -m experiments.compare runs/cifake --plan 0.5    # what a question of half a point would take

Columns: points, mean paired difference in hundredths of the metric; max-t, the p that decides; epochs, how many more
or fewer to the baseline's final validation score; clipped, share of channel values at 0 or 1; colours, a picture.
80 columns show what is essential, wider terminals more; without a terminal it is 160, or $COLUMNS.
Exit status: 0; 1 where runs were refused; 2 where there is nothing to compare.
"""
CAPTION = (
    "points: mean paired difference in hundredths of the metric; interval: over {}; max-t: p of the {} test, "
    "corrected for all arms."
)
NO_TERMINAL = (160, 24)  # columns, lines
PROSE = 120  # columns at most
UNBROKEN = "\N{NO-BREAK SPACE}%"  # a number stays with its unit
GIVEN = ("experiment", "baseline", "metric", "margin")  # arguments that change the table
NAMED = 20  # unfinished runs on the screen; --json names all


def paragraphs(comparison: "Comparison", title: str, width: int) -> list[str]:
    """A comparison as the terminal shows it: what can be found, the table, the verdicts in words, what to know."""
    return [
        *wrapped([title, *asked(comparison), *detectable(comparison)], width),
        "",
        tables.text(comparison, width),
        "",
        *wrapped([*reasons(comparison), *closing(comparison)], width),
    ]


def wrapped(lines: Sequence[str], width: int) -> list[str]:
    """Prose in lines of at most `width`; a path or a command is never broken."""
    wrapper = textwrap.TextWrapper(min(width, PROSE), subsequent_indent="  ")
    wrapper.break_long_words = wrapper.break_on_hyphens = False
    glued = (line.replace(" %", UNBROKEN) for line in lines)
    return [part.replace(UNBROKEN, " %") for line in glued for part in wrapper.wrap(line)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare",
        description=__doc__.partition("  ")[0] if __doc__ else "",
        epilog=RULE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("root", metavar="ROOT", nargs="?", type=Path, default=Path("runs"), help="of runs, or a folder that --out made")
    add("--experiment", metavar="NAME", help="only the runs of an experiment's plan (default: all below ROOT)")
    add("--baseline", metavar="AUG", help="the arm that the others are held against (default: as the runs recorded)")
    add("--metric", help="of the test images (default: as the runs recorded)")
    add("--margin", type=float, metavar="POINTS", help="a difference nobody acts upon (default: as the runs recorded)")
    add("--plan", type=float, metavar="POINTS", help="how many seeds and test images an effect of this size takes")
    add("--csv", type=Path, metavar="FILE", help="one row an arm")
    add("--json", type=Path, metavar="FILE", help="everything, in full precision")
    add("--latex", type=Path, metavar="FILE", help="tables for booktabs")
    add("--out", type=Path, metavar="FOLDER", help="all of these, table.md, and the runs as runs.csv and images.csv")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    from detector.metrics import METRICS

    if arguments.metric and arguments.metric.rpartition("/")[2] not in (*METRICS, "accuracy_at_threshold"):
        raise shell.Unusable(f"--metric {arguments.metric}: expected one of {', '.join(METRICS)}")
    for name in ("margin", "plan"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < 100:
            raise shell.Unusable(f"--{name} {value:g}: expected a number of points between 0 and 100")
    for name in ("csv", "json", "latex"):
        if (path := getattr(arguments, name)) and path.is_dir():
            raise shell.Unusable(f"--{name} {path}: is a folder; expected a file")
        if path and (file := next((above for above in path.parents if above.is_file()), None)):
            raise shell.Unusable(f"--{name} {path}: {file} is a file; expected a folder")
    if arguments.out and arguments.out.exists() and not arguments.out.is_dir():
        raise shell.Unusable(f"--out {arguments.out}: is a file; expected a folder")


def _main() -> int:
    arguments = _parser().parse_args()
    _check(arguments)
    from experiments import aggregates, comparison, outcomes, planning

    if arguments.out and outcomes.hides(arguments.out, arguments.root):
        raise shell.Unusable(f"--out {arguments.out}: holds the runs, and tables there would be read in their place")
    found = outcomes.find(arguments.root)
    if arguments.experiment:
        from experiments import studies

        found = studies.only(found, arguments.experiment)
    for line in found.refused:  # before a baseline is sought, which may be among them
        print(f"refused: {line}", file=sys.stderr)
    margin = None if arguments.margin is None else arguments.margin / 100
    every, left_out = comparison.compare(
        found.outcomes, baseline=arguments.baseline, metric=arguments.metric, margin=margin
    )
    comparisons = [one for one in every if one.arms]
    refused = [*found.refused, *left_out]
    width = shutil.get_terminal_size(NO_TERMINAL).columns
    plans = []
    for title, one in zip(headings(comparisons), comparisons, strict=True):
        print("\n".join(paragraphs(one, title, width)) + "\n")
        if arguments.plan is not None:
            plans.append(planning.plan(one, arguments.plan))
            print("\n".join(wrapped(planning.lines(one, plans[-1], arguments.plan), width)) + "\n")
    for one in every:
        if not one.arms:
            n = len(one.baseline.members)
            print(f"nothing to hold against {one.baseline.name}: {one.title}, {n} run{'s' * (n > 1)}")
    for line in found.unfinished[:NAMED]:
        print(f"unfinished: {line}")
    if len(found.unfinished) > NAMED:
        print(f"unfinished: {len(found.unfinished) - NAMED:,} more; --json names them")
    sys.stdout.flush()
    for line in left_out:
        print(f"refused: {line}", file=sys.stderr)
    if not comparisons:
        counts = f"{len(found.outcomes)} finished, {len(found.unfinished)} unfinished, {len(refused)} refused"
        raise shell.Unusable(f"{arguments.root}: nothing to compare; of its runs {counts}")
    if not arguments.experiment:  # TensorBoard shows all arms of a family
        aggregates.refresh([one for one in every if _is_planned(one)])
    written = _write(arguments, comparisons, found, refused, plans)
    print(f"written: {', '.join(map(str, written))}" if written else _next(arguments, comparisons))
    return 1 if refused else 0


def _is_planned(comparison: "Comparison") -> bool:
    """Whether baseline, metric and margin are as the runs recorded them: a look at others leaves TensorBoard alone."""
    from experiments.plans import DEFAULTS

    plan = DEFAULTS | comparison.plan
    asked = (comparison.baseline.name, comparison.metric)
    return asked == (plan["baseline"], plan["metric"]) and abs(100 * comparison.margin - plan["margin"]) < 1e-9


def _next(arguments: argparse.Namespace, comparisons: Sequence["Comparison"]) -> str:
    """The command that goes on from here, with what was given to this one."""
    given = [shlex.quote(str(arguments.root))]
    for name in GIVEN:
        value = getattr(arguments, name)
        given += [] if value is None else [f"--{name}", f"{value:g}" if name == "margin" else shlex.quote(value)]
    pending = any(tables.word(arm) == "undecided" for one in comparisons for arm in one.arms)
    if pending and arguments.plan is None:
        return f"next: python -m experiments.compare {' '.join(given)} --plan {100 * comparisons[0].margin:.6g}"
    return f"next: python -m experiments.report {' '.join(given)} --out report"


def _caption(title: str, comparison: "Comparison") -> str:
    said = CAPTION.format(*(("folds", "corrected t") if over_folds(comparison) else ("seeds", "sign-flip")))
    return " ".join([f"{title}. {said}", *(f"{line}." for line in changed(comparison))])


def _write(
    arguments: argparse.Namespace,
    comparisons: Sequence["Comparison"],
    found: "Found",
    refused: list[str],
    plans: list[list[dict[str, Any]]],
) -> list[Path]:
    """The files asked for, each whole or not at all; returns their paths."""
    from datasets.manifest import whole_file
    from experiments import outcomes, verdicts

    document = {
        "rule": {key: getattr(verdicts, key.upper()) for key in ("alpha", "least_pairs", "least_folds")},
        "comparisons": comparisons,
        "planning": plans,
        "unfinished": found.unfinished,
        "refused": refused,
    }
    titled = list(zip(headings(comparisons), comparisons, strict=True))
    texts = {
        "csv": ("table.csv", lambda: tables.csv_text(comparisons)),
        "json": ("comparison.json", lambda: tables.json_text(document)),
        "latex": (
            "table.tex",
            lambda: "\n".join(tables.latex(one, _caption(title, one)) for title, one in titled),
        ),
        "page": ("table.md", lambda: page(comparisons)),
    }
    folder, written = arguments.out, []
    for option, (name, make) in texts.items():
        for path in filter(None, (getattr(arguments, option, None), folder and folder / name)):
            try:
                with whole_file(path) as file:
                    file.write(make())
            except OSError as error:
                error.filename = str(path)  # not that of the part that stood beside it
                raise
            written.append(path)
    if folder:
        outcomes.export(found.outcomes, folder)
        written += [folder / "runs.csv", folder / "images.csv"]
    return written


if __name__ == "__main__":
    shell.main("experiments.compare", _main)
