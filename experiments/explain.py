"""Where a network looks, and whether luma or chroma decides.   python -m experiments.explain --help"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import shell

if TYPE_CHECKING:  # --help is instant
    import numpy as np
    import torch
    from PIL import Image

    from detector.batches import Pictures
    from experiments.classifier import Classifier
    from experiments.predictions import TestSet
    from experiments.shares import Attributed

EXAMPLES = """examples:
  python -m experiments.explain runs/cifake/cnn32/none/87ddb061cc-seed0
  python -m experiments.explain runs/cifake/cnn32/none/87ddb061cc-seed0 --images photos/ 'more/*.png'
  python -m experiments.explain runs/.../none/87ddb061cc-seed0 --against runs/.../saturate_x8/5e4d3c2b1a-seed0
  python -m experiments.explain runs/cifake --attribution --n 500

Of a run: grad_cam.png, test pictures by lot, called rightly and wrongly, or yours (24 at most), under what made the
network call them so (Grad-CAM on its last feature map, weighted place by place: HiResCAM, the same where that map is
pooled; each picture's strongest spot glows full, without a glow there is none). --against: the same pictures by another
run, and where the two differ: orange the first, whose score stands below, purple the other.

--attribution, of a run or all below a folder: attribution.json, .png, .svg. The integrated gradients of the logit, from
mid grey to the picture, are split into luma (.299 R + .587 G + .114 B) and chroma (the rest), which sum to the whole;
pictures where they miss it by more than 5 % of |luma| + |chroma| are counted and left out. What they add to the mean
logit of fakes beyond that of reals is where the evidence lies: chroma's share = |chroma| / (|luma| + |chroma|) of that
gap. What a network reacts to in either class alike cancels there; it counts under `each picture`, the mean of every
picture's own share. Where nothing tells the classes apart there is no gap: its share is noise, its interval wide.

Exit status: 0; 1 some runs could not be attributed; 2 a mistake in the words or the run; 3 some pictures were not read.
"""
MOST = 24  # pictures of the user's on a sheet


def _main() -> int:
    arguments = _parser().parse_args()
    if arguments.attribution and (arguments.images or arguments.against):
        raise shell.Unusable("--attribution: looks at test pictures of every run; expected no --images, no --against")
    if arguments.n < 20:
        raise shell.Unusable(f"--n {arguments.n}: expected at least 20 pictures")
    if not arguments.runs.is_dir():
        raise shell.Unusable(f"{arguments.runs}: no such folder; expected that of a run")
    arguments.out = arguments.out or arguments.runs / "explained"
    shell.check_folder("--out", arguments.out)
    from experiments.material import choose_device

    device = choose_device(arguments.device)
    return _attribution(arguments, device) if arguments.attribution else _look(arguments, device)


def _parser() -> argparse.ArgumentParser:
    parser = shell.parser(__doc__.partition("  ")[0] if __doc__ else "", EXAMPLES)
    parser.prog = "python -m experiments.explain"
    add = parser.add_argument
    add("runs", type=Path, metavar="RUN", help="folder of a finished run; with --attribution also one that holds runs")
    add("--images", nargs="+", metavar="PICTURE", help="a file, a folder, or a pattern in quotes")
    add("--against", type=Path, metavar="RUN", help="another finished run on the same data")
    add("--attribution", action="store_true", help="whether luma or chroma decides")
    add("--n", type=int, default=300, help="test pictures by lot for --attribution (default: %(default)s)")
    add("--out", type=Path, metavar="FOLDER", help="where results go (default: RUN/explained)")
    add("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    return parser


def _look(arguments: argparse.Namespace, device: "torch.device") -> int:
    from datasets.manifest import whole_file
    from experiments import classifier

    judges = [classifier.load(folder, device) for folder in (arguments.runs, arguments.against) if folder]
    for judge in judges:
        if len(judge.members) > 1:
            raise shell.Unusable(f"{judge.run.folder}: an ensemble of {len(judge.members)}; expected a run")
        if judge.images.size != judges[0].images.size:
            raise shell.Unusable(f"--against {arguments.against}: sees pictures of another size; expected the same")
    status, sheet = _named(arguments.images, judges) if arguments.images else (0, _tested(judges))
    path = arguments.out / "grad_cam.png"
    with whole_file(path, "wb") as file:
        sheet.save(file, format="PNG")
    print(f"result: {path}\nnext:   python -m experiments.explain {arguments.runs} --attribution")
    return status


def _tested(judges: "Sequence[Classifier]") -> "Image.Image":
    """Test pictures of the first run, of each kind of right and wrong ones."""
    from experiments import overlays, predictions, runs
    from experiments.figures import stacked

    first, *others = judges
    known: dict[bytes, predictions.TestSet] = {}
    test, scores = predictions.parse(runs.finished(first.run.folder)[1], known)
    pictures = _pictures(first, test)
    for other in others:
        if predictions.parse(runs.finished(other.run.folder)[1], known)[0].digest != test.digest:
            raise shell.Unusable(f"--against {other.run.folder}: on other data; expected the same, or --images")
    correct = (scores >= 0.5) == test.labels
    sheets = []
    for kind, places in overlays.by_lot(test.labels, correct, overlays.EACH).items():
        if len(places):
            words = overlays.KINDS[kind][2]
            sheets.append(_sheet(judges, pictures, test.rows[places], test.labels[places], scores[places], words))
    return stacked(sheets)


def _named(words: Sequence[str], judges: "Sequence[Classifier]") -> "tuple[int, Image.Image]":
    """Exit status, and the pictures of the user's, which are labelled by what the first run calls them."""
    import numpy as np
    import torch

    from datasets.decoding import Bad, decode_all
    from datasets.named import pictures_named
    from detector.batches import Pictures

    first = judges[0]
    named, _ = pictures_named(words)
    if len(named) > MOST:
        print(f"{MOST} of {len(named):,} pictures are shown, the first ones")
    found, status = [], 0
    chosen = dict(list(named.items())[:MOST])
    for path, result in zip(chosen, decode_all(list(chosen.values()), first.images), strict=True):
        if isinstance(result, Bad):
            status = 3
            print(f"explain: {path if path.isprintable() else ascii(path)}: {result.reason}", file=sys.stderr)
        else:
            found.append(result.pixels[0].copy())
    if not found:
        raise shell.Unusable("--images: none of them can be read; expected pictures")
    pictures = Pictures(np.stack(found), np.zeros(len(found)), first.device)
    scores, _ = first.scores(pictures, torch.arange(len(found)))
    print("real and fake below a picture: what the first run calls it, fake from 0.5 on")
    return status, _sheet(judges, pictures, np.arange(len(found)), (scores >= 0.5).astype(int), scores)


def _sheet(
    judges: "Sequence[Classifier]",
    pictures: "Pictures",
    rows: "np.ndarray",
    labels: "np.ndarray",
    scores: "np.ndarray",
    title: str = "as it is",
) -> "Image.Image":
    import torch

    from experiments import overlays

    chosen = torch.from_numpy(rows)
    heats = {}
    for judge in judges:
        [member] = judge.members
        name = judge.run.config["aug"]["name"]
        name = f"{name}, seed {judge.run.config['seed']}" if name in heats else name
        heats[name] = overlays.heats(member.network, member.view, pictures, chosen, member.key)
    return overlays.sheet(overlays.pixels(pictures, chosen), heats, labels, scores, title)


def _attribution(arguments: argparse.Namespace, device: "torch.device") -> int:
    from datasets.manifest import whole_file
    from experiments import charts, shares, tables

    found, refused = _attributed(arguments, device)
    for line in refused:
        print(f"refused: {line}", file=sys.stderr)
    if not found:
        raise shell.Unusable(f"{arguments.runs}: no run there that can be attributed")
    arms = shares.arms(found)
    print("\n".join(shares.lines(arms)))
    figure = shares.figure(arms)
    text = tables.json_text({"arms": arms, "refused": refused})
    contents = {"json": text.encode(), "png": charts.png(figure), "svg": charts.svg(figure)}
    for ending, content in contents.items():
        with whole_file(arguments.out / f"attribution.{ending}", "wb") as file:
            file.write(content)
    print(f"result: {arguments.out / 'attribution'}.json, .png, .svg")
    print("next:   python -m experiments.explain RUN, for where it looks")
    return 1 if refused else 0


def _attributed(arguments: argparse.Namespace, device: "torch.device") -> "tuple[list[Attributed], list[str]]":
    """Every finished run that tells real from fake, and a line for each that cannot be attributed."""
    from tqdm import tqdm

    from datasets.manifest import DataError
    from detector.attribution import NoGradient
    from detector.checkpoint import CheckpointError
    from experiments import classifier, condition, predictions, runs, shares
    from experiments.config import ConfigError

    folders = [folder for folder in runs.folders(arguments.runs) if (folder / "done").exists()]
    found, refused = [], []
    known: dict[bytes, predictions.TestSet] = {}
    with tqdm(total=len(folders) * arguments.n, unit=" pictures", disable=None, leave=False) as bar:
        for number, folder in enumerate(folders):
            bar.n = number * arguments.n  # a test split may be smaller
            try:
                run, scores = runs.finished(folder)
                if run.task != condition.DETECTION:
                    continue
                judge = classifier.load(folder, device)
                if len(judge.members) > 1:
                    continue  # its members are attributed
                test, _ = predictions.parse(scores, known)
                found.append(shares.of_run(judge, _pictures(judge, test), test, arguments.n, bar.update))
            except (CheckpointError, ConfigError, DataError, NoGradient, OSError, runs.NoRun, shell.Unusable) as error:
                said = shell.one_line(error)
                refused.append(said if str(folder) in said else f"{folder}: {said}")
    return found, refused


def _pictures(judge: "Classifier", test: "TestSet") -> "Pictures":
    """Those of a run, if they are still what it was tested on."""
    from detector.batches import Pictures
    from experiments.material import OtherData, tested_on

    try:
        data = tested_on(judge.members[0].config, judge.run.provenance, test)
    except OtherData as error:
        raise shell.Unusable(f"{judge.run.folder}: {error}") from error
    return Pictures(data.images, data.labels, judge.device)


if __name__ == "__main__":
    shell.main("explain", _main)
