"""Say of pictures whether they are generated, by a finished run."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

if TYPE_CHECKING:  # --help is instant
    from experiments.classifier import Classifier, Verdict

EXAMPLES = """examples:
  python scripts/predict.py photo.jpg                            by the run that was finished last
  python scripts/predict.py photos/ 'more/*.png' --csv scores.csv
  python scripts/predict.py photo.jpg --run runs/cifake/cnn32/none/87ddb061cc-seed0 --save verdict.png

A picture is brought to the network's size as in training. The probability is calibrated on the run's validation
images; a picture is called FAKE from the threshold on that was best there. A note says where a picture is unlike the
training data: the verdict is then a guess. A file that cannot be scored is named on stderr, and the others go on.

Exit status: 0 all scored, 3 some not, 2 a mistake in the words or the run, 7 and others as experiments.run.
"""
COLORS = {"FAKE": "\033[33m", "REAL": "\033[34m"}
DRAWN = 20  # pictures on a sheet


def main() -> None:
    arguments = parsed()
    shell.main("predict", lambda: predict(arguments))


def parsed() -> argparse.Namespace:
    """The words of the command line."""
    parser = shell.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PICTURE", help="a file, a folder, or a pattern in quotes")
    add("--run", type=Path, metavar="FOLDER", help="of a finished run or ensemble (default: the last below --runs)")
    add("--runs", type=Path, default=Path("runs"), help="where runs lie (default: %(default)s)")
    add("--csv", type=Path, metavar="FILE", help="a row for each file, instead of a line on the screen")
    add("--json", action="store_true", help="everything as JSON on stdout, and nothing else there")
    add("--save", type=Path, metavar="PNG", help=f"draw the verdicts, of {DRAWN} pictures at most")
    add("--visualize", action="store_true", help="show that drawing in a window")
    add("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    return parser.parse_args()


def predict(arguments: argparse.Namespace) -> int:
    """Score, tell, draw."""
    for name in ("csv", "save"):
        if (path := getattr(arguments, name)) and path.is_dir():
            raise shell.Unusable(f"--{name} {path}: is a folder; expected a file")
        if path and (file := next((above for above in path.parents if above.is_file()), None)):
            raise shell.Unusable(f"--{name} {path}: {file} is a file; expected a folder")
    from datasets.named import pictures_named

    found, others = pictures_named(arguments.pictures)
    for name in ("csv", "save"):
        if (path := getattr(arguments, name)) and path.resolve() in {Path(each).resolve() for each in found}:
            raise shell.Unusable(f"--{name} {path}: is one of the pictures; expected another file")
    from experiments import classifier, runs
    from experiments.material import choose_device

    folder = arguments.run or runs.newest(arguments.runs)
    judge = classifier.load(folder, choose_device(arguments.device))
    verdicts = list(judge.judge(list(found.values())))
    judged = dict(zip(found, verdicts, strict=True))
    for path, verdict in judged.items():
        if verdict.bad:
            print(f"predict: {_printed(path)}: {verdict.bad}", file=sys.stderr)
    if arguments.csv:
        _write_csv(arguments.csv, judged, judge.threshold)
    if arguments.json:
        rows = [verdict.row(path) for path, verdict in judged.items()]
        json.dump({"run": str(folder), "threshold": judge.threshold, "files": rows}, sys.stdout, indent=1)
        print()
    else:
        _tell(judged, judge, folder, others, listed=not arguments.csv)
    scored = {path: verdict for path, verdict in judged.items() if not verdict.bad}
    if scored and (arguments.save or arguments.visualize):
        chosen = list(scored)[:DRAWN]
        _draw(judge, {path: (found[path], scored[path]) for path in chosen}, arguments)
    return 0 if len(scored) == len(judged) else 3


def _tell(judged: "dict[str, Verdict]", judge: "Classifier", folder: Path, others: int, *, listed: bool) -> None:
    last = judge.run.metrics[-1]
    data, model, aug = (judge.run.config[part]["name"] for part in ("data", "model", "aug"))
    print(f"run: {folder} ({data}, {model}, {aug}; accuracy on its own test images {last['test/accuracy']:.4f})")
    colored = sys.stdout.isatty()
    if listed:
        for path, verdict in judged.items():
            if not verdict.bad:
                shown = f"{COLORS[verdict.word]}{verdict.word}\033[0m" if colored else verdict.word
                note = f"  ({verdict.unlike})" if verdict.unlike else ""
                print(f"{shown}  {verdict.probability:.3f}  {_printed(path)}{note}")
    counts = {word: sum(verdict.word == word for verdict in judged.values()) for word in ("FAKE", "REAL")}
    bad = sum(bool(verdict.bad) for verdict in judged.values())
    unlike = sum(bool(verdict.unlike) for verdict in judged.values())
    said = [f"{number:,} {word}" for word, number in counts.items()]
    said += [f"{bad:,} not scored"] * bool(bad) + [f"{unlike:,} unlike the training data"] * bool(unlike)
    said += [f"{others:,} file{'s' * (others != 1)} of other kinds passed over"] * bool(others)
    print(f"{len(judged):,} file{'s' * (len(judged) != 1)}: {', '.join(said)}")
    print(f"the number is the probability of fake; FAKE from {judge.threshold:.3f} on")


def _write_csv(path: Path, judged: "dict[str, Verdict]", threshold: float) -> None:
    from datasets.manifest import whole_file
    from experiments.classifier import write_rows

    with whole_file(path) as file:
        write_rows(file, judged.items(), threshold)
    print(f"{path}: a row for each file", file=sys.stderr)


def _draw(judge: "Classifier", chosen: "dict[str, Any]", arguments: argparse.Namespace) -> None:
    from datasets.manifest import whole_file
    from experiments import cards, figures

    pictures, seen = judge.looked_at([location for location, _ in chosen.values()])
    names = [_printed(Path(path).name) for path in chosen]
    verdicts = [verdict for _, verdict in chosen.values()]
    drawing = figures.drawn(cards.sheet(names, pictures, seen, verdicts, judge.threshold))
    if arguments.save:
        with whole_file(arguments.save, "wb") as file:
            drawing.save(file, format="PNG")
        print(f"{arguments.save}: {len(chosen)} pictures and their verdicts", file=sys.stderr)
    if arguments.visualize:
        drawing.show(title="verdicts")


def _printed(path: str) -> str:
    """On one line of any terminal, whatever is in a name."""
    return path if path.isprintable() else ascii(path)


if __name__ == "__main__":
    main()
