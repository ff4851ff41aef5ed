"""Means with bounds, differences to the baseline and the verdict, as TensorBoard runs beside those they are made of.

Beside its members each arm of a comparison gets a run `<digest>-mean`, and each arm but the baseline `<digest>-delta`.
The mean of a curve has its members' tag, so that it lies over them on the Scalars page. The bounds are the 95 % t
interval of the mean at each step, which costs nothing for thousands of steps; the Custom Scalars page draws them as
margins. The verdict rests on other intervals (experiments.paired). Differences, tagged `difference/<tag>`, are taken
within each pair and then averaged.

Verdict table, forest plot and dose curve, tagged `answer/...`, stand in a run of their own, `<data>/<model>/
comparison-<digest of the family>`: it can be shown without any curve. TensorBoard lists runs in the order of their
first event, so the aggregates stand together below the runs; `mean|delta|comparison` in its filter shows them alone.
It sorts tags by name: `answer` comes before all others of the Text and Images pages, `~bounds` after all curves.

None of these folders is a run: no config.yaml, nothing for the HParams page.
"""

import hashlib
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2

from experiments import events, paired, record, tables, wording
from experiments.events import Curves, Points

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison

FORM = 2  # of the pages; another number makes them all anew
LEAST = {"mean": 2, "delta": 4}  # runs to make one of
CHARTS = {
    "accuracy": ("val/accuracy", "test/accuracy", "train/accuracy"),
    "AUC": ("val/auc", "test/auc", "train/auc"),
    "loss": ("train/loss", "val/nll", "test/nll"),
}
DIFFERENCES = "difference to the baseline"

Sampled = dict[str, tuple[list[int], np.ndarray]]  # tag -> steps, float64 (runs, steps)
Read = Callable[[Path], Curves]


def refresh(found: "Path | Sequence[Comparison]") -> list[Path]:
    """Bring the aggregates of all comparisons up to date; returns the folders that were written.

    found: comparisons, or a tree of run folders, which are then compared as their plans say. Never fails its caller:
    TensorBoard is a view, so what stops it is one line on stderr. Of two comparisons with the same settings on
    different data, which would share folders, the larger has them.
    """
    written: list[Path] = []
    taken: set[Path] = set()
    try:
        for comparison in sorted(_compared(found), key=lambda it: -sum(len(arm.members) for arm in _arms(it))):
            folders = {_folder(arm, "mean") for arm in _arms(comparison)}
            if folders & taken:
                _say(f"{comparison.title}: the same settings on other data have these folders; {len(folders)} left out")
                continue
            taken |= folders
            written += write(comparison)
    except (OSError, ValueError, record.Busy) as error:
        _say(" ".join(str(error).split()))
    return written


def write(comparison: "Comparison") -> list[Path]:
    """Write the aggregate runs of one comparison that are not of its present members; returns their folders.

    Runs without event files are left out, and so are arms of which fewer than two have any. Raises OSError, and Busy
    where another process is at one of the folders.
    """
    read = cache(events.curves)
    made_of: dict[str, list[list[Path]]] = {"mean": [], "delta": []}
    written = []
    for arm in _arms(comparison):
        members, pairs = _members(arm), _pairs(arm, comparison.baseline)
        for kind, runs, page in (
            ("mean", members, partial(_mean, arm, members, read)),
            ("delta", list(chain(*pairs)), partial(_delta, arm, comparison.baseline, pairs, read)),
        ):
            folder = _folder(arm, kind)
            if len(runs) < LEAST[kind]:
                events.remove(folder)
                continue
            made_of[kind].append(runs)
            if events.replace(folder, {"form": FORM, "runs": _digests(runs)}, page):
                written.append(folder)
    everything = list(chain(*map(_members, _arms(comparison))))
    if everything and comparison.arms:
        markdown = wording.page([comparison], tables.PRINTED)  # more columns, and TensorBoard breaks every word
        folder = everything[0].parents[1] / f"comparison-{_family(comparison)}"
        sources = {"form": FORM, "verdict": _sha(markdown.encode()), "runs": _digests(everything)}
        if events.replace(folder, sources, partial(_verdict, comparison, markdown, made_of, read)):
            written.append(folder)
    return written


def _mean(arm: "Arm", members: Sequence[Path], read: Read) -> Points:
    sampled, words = _shared([read(folder) for folder in members])
    text = f"Mean of {len(members)} runs of `{arm.name}`: {_names(members)}."
    yield 0, events.text("members", "\n\n".join([text, *_lacking(arm, members), *words]))
    yield from events.along_steps(_bounded(sampled))


def _delta(arm: "Arm", baseline: "Arm", pairs: Sequence[tuple[Path, Path]], read: Read) -> Points:
    ours, theirs = zip(*pairs, strict=True)
    sampled, words = _shared([read(folder) for folder in (*ours, *theirs)])
    text = f"`{arm.name}` minus `{baseline.name}`, mean over {len(pairs)} pairs: {_names(ours)}."
    yield 0, events.text("members", "\n\n".join([text, *_lacking(arm, ours), *words]))
    n = len(pairs)
    differences = {f"difference/{tag}": (steps, values[:n] - values[n:]) for tag, (steps, values) in sampled.items()}
    yield from events.along_steps(_bounded(differences))


def _verdict(comparison: "Comparison", markdown: str, made_of: Mapping[str, list[list[Path]]], read: Read) -> Points:
    from experiments import charts, dose

    yield 0, events.text("answer/verdict", markdown)
    for name, figure in (("forest", charts.forest(comparison)), ("dose", dose.figure(comparison))):
        if figure is not None:
            png = io.BytesIO()
            figure.savefig(png, format="png", facecolor="white")  # as dense as a screen: the page is 1,200 pixels wide
            yield 0, events.picture(f"answer/{name}", png.getvalue())
    tags = {
        kind: {tag for runs in groups for tag in set.intersection(*(set(read(folder)) for folder in runs))}
        for kind, groups in made_of.items()
    }
    yield 0, _layout(tags["mean"], tags["delta"])


def _shared(runs: Sequence[Curves]) -> tuple[Sampled, list[str]]:
    """The tags and steps that all runs have; and in words what only some have."""
    tags = set.intersection(*map(set, runs))
    lost = sorted(set.union(*map(set, runs)) - tags)
    words = [f"Left out, as not all of these runs have them: {', '.join(f'`{tag}`' for tag in lost)}."] if lost else []
    sampled = {}
    for tag in sorted(tags):
        steps = sorted(set.intersection(*(set(run[tag]) for run in runs)))
        if (most := len(set.union(*(set(run[tag]) for run in runs)))) > len(steps):
            words.append(f"`{tag}`: {most - len(steps)} of {most} steps left out, as not all of these runs have them.")
        sampled[tag] = steps, np.array([[run[tag][step] for step in steps] for run in runs], np.float64)
    return sampled, words


def _bounded(sampled: Sampled) -> Curves:
    """The mean over runs and its 95 % t interval (n - 1 degrees of freedom) at every step."""
    found: Curves = {}
    for tag, (steps, values) in sampled.items():
        mean, n = values.mean(axis=0), len(values)
        half = paired.t_quantile(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
        for name, line in zip((tag, *_bounds(tag)), (mean, mean - half, mean + half), strict=True):
            found[name] = dict(zip(steps, line.tolist(), strict=True))
    return found


def _bounds(tag: str) -> tuple[str, str]:
    return f"~bounds/{tag}/lower", f"~bounds/{tag}/upper"


def _layout(means: set[str], differences: set[str]) -> Summary:
    """Margin charts for the Custom Scalars page: of these curves, which have a mean or a difference, those in CHARTS.

    TensorBoard joins the layouts of all runs by the titles of their categories, and like charts into one.
    """
    chosen = {DIFFERENCES: [f"difference/{tag}" for tag in chain(*CHARTS.values()) if tag in differences]}
    chosen |= {title: [tag for tag in tags if tag in means] for title, tags in CHARTS.items()}
    layout = layout_pb2.Layout()
    for title, found in chosen.items():
        category = layout_pb2.Category(title=title)
        for tag in reversed(found):  # the page turns them round
            lower, upper = _bounds(tag)
            category.chart.add(title=tag).margin.series.add(value=tag, lower=lower, upper=upper)
        layout.category.extend([category] if found else [])
    return events.layout(layout)


def _compared(found: "Path | Sequence[Comparison]") -> "Sequence[Comparison]":
    if not isinstance(found, Path):
        return found
    from experiments.comparison import NotComparable, compare
    from experiments.outcomes import find

    with suppress(NotComparable):  # no run of the baseline, so far
        return compare(find(found).outcomes)[0]
    return []


def _arms(comparison: "Comparison") -> list["Arm"]:
    return [comparison.baseline, *comparison.arms]


def _folder(arm: "Arm", kind: str) -> Path:
    return Path(arm.members[0].where).parent / f"{arm.digest}-{kind}"


def _family(comparison: "Comparison") -> str:
    content = comparison.baseline.members[0].facts.get("content_digest")
    return _sha(json.dumps([comparison.settings, content], sort_keys=True).encode())[:10]


def _members(arm: "Arm") -> list[Path]:
    """The runs of an arm that have event files; results that were read from a table have none."""
    return [folder for folder in (Path(member.where) for member in arm.members) if events.files(folder)]


def _pairs(arm: "Arm", baseline: "Arm") -> list[tuple[Path, Path]]:
    if arm is baseline:
        return []
    known = [set(_members(arm)), set(_members(baseline))]
    against = {pair: Path(member.where) for pair, member in zip(baseline.pairs, baseline.members, strict=True)}
    pairs = [(Path(m.where), against[pair]) for pair, m in zip(arm.pairs, arm.members, strict=True)]
    return [pair for pair in pairs if pair[0] in known[0] and pair[1] in known[1]]


def _lacking(arm: "Arm", used: Sequence[Path]) -> list[str]:
    lost = [folder for folder in (Path(member.where) for member in arm.members) if folder not in used]
    return [f"Left out, without event files: {_names(lost)}."] if lost else []


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(folder.name.partition("-")[2] for folder in folders)


def _digests(folders: Sequence[Path]) -> dict[str, str]:
    return {"/".join(folder.parts[-2:]): _sha((folder / "done").read_bytes()) for folder in folders}


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _say(text: str) -> None:
    print(f"TensorBoard's means and differences: {text}", file=sys.stderr)
