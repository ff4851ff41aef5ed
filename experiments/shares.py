"""Where the evidence lies: how much of what a network tells the classes apart by is luma, and how much chroma."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from datasets.manifest import FAKE, REAL
from detector.attribution import NoGradient, attribute
from detector.batches import Pictures
from experiments import charts, paired
from experiments.figures import INK, STYLE
from experiments.predictions import TestSet

if TYPE_CHECKING:
    from experiments.classifier import Classifier

AT_ONCE = 100 * 32 * 32  # pixels
COLORS = {"luma": "#8A8A8A", "chroma": "#CC79A7"}


@dataclass(frozen=True)
class Attributed:
    """Of one run: n test pictures by lot, the same ones for all runs that were tested on the same.

    luma, chroma: float64 (n,), the parts of each picture's logit minus that of mid grey; complete: bool (n,), whether
    they sum to it, see detector.attribution; rows, labels, groups: int (n,), see TestSet.
    """

    condition: tuple[str, str, str, str]
    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    luma: np.ndarray
    chroma: np.ndarray
    complete: np.ndarray


@dataclass(frozen=True)
class Share:
    """What part of it is chroma; the rest is luma. Intervals of 95 %, nan where there is none.

    low, high: over test pictures, near-duplicates drawn together; seeds_low, seeds_high: of the mean over seeds by
    Student's t.
    """

    chroma: float
    low: float
    high: float
    seeds_low: float
    seeds_high: float


@dataclass(frozen=True)
class Arm:
    """Runs of one condition.

    gap_luma, gap_chroma: nats, what lifts the mean logit of the fakes over that of the reals; evidence: the shares of
    that; picture: the mean share of the pictures' own logits; seeds: the evidence's chroma of each run.
    """

    name: str
    gap_luma: float
    gap_chroma: float
    evidence: Share
    picture: Share
    seeds: list[float]
    pictures: int
    incomplete: int


def of_run(
    judge: "Classifier", pictures: Pictures, test: TestSet, count: int, progress: Callable[[int], object]
) -> Attributed:
    """`count` test pictures of a run, or all where there are fewer; progress is told of each batch.

    Raises NoGradient where the view has no gradient, or jumps, so that most of the sums lack something.
    """
    [member] = judge.members
    chosen = np.sort(np.random.default_rng(0).permutation(len(test.rows))[:count])
    height, width = pictures.size
    found = []
    for batch in pictures.batches(torch.from_numpy(test.rows[chosen]), max(1, AT_ONCE // (height * width))):
        parts = attribute(member.network, member.view, batch.images, batch.rows, key=member.key)
        sums = (parts.luma.double().sum((1, 2)), parts.chroma.double().sum((1, 2)), parts.complete)
        found.append([values.cpu().numpy() for values in sums])
        progress(len(batch.rows))
    luma, chroma, complete = (np.concatenate(values) for values in zip(*found, strict=True))
    if 2 * complete.sum() < len(complete):
        raise NoGradient(
            f"the parts sum to the whole for {complete.sum():,} of {len(complete):,} pictures only; expected a view "
            "that does not jump"
        )
    rows, labels, groups = (values[chosen] for values in (test.rows, test.labels, test.groups))
    return Attributed(judge.run.condition, rows, labels, groups, luma, chroma, complete)


def arms(found: Sequence[Attributed]) -> list[Arm]:
    """The runs of each condition together, in the order of their names."""
    members: dict[tuple[str, ...], list[Attributed]] = defaultdict(list)
    for run in found:
        members[run.condition].append(run)
    names = ["/".join(condition[:-1]) for condition in members]
    return [
        _arm(name if names.count(name) == 1 else "/".join(condition), members[condition])
        for name, condition in sorted(zip(names, members, strict=True))
    ]


def _arm(name: str, runs: Sequence[Attributed]) -> Arm:
    rows, labels, groups = (np.concatenate([getattr(run, key) for run in runs]) for key in ("rows", "labels", "groups"))
    complete, luma, chroma = (
        np.concatenate([getattr(run, key) for run in runs]) for key in ("complete", "luma", "chroma")
    )
    # a picture that several runs were tested on counts once, by its mean over them
    _, first, place = np.unique(rows[complete], return_index=True, return_inverse=True)
    times = np.bincount(place)
    own = share(luma, chroma)
    luma, chroma, each = (np.bincount(place, values[complete]) / times for values in (luma, chroma, own))
    labels, groups = labels[complete][first], groups[complete][first]
    columns = _columns(luma, chroma, labels)
    drawn = paired.resampled(np.vstack([columns, each]), groups)
    gap_luma, gap_chroma = _gaps(columns.mean(1))
    seeds = [float(share(*_gaps(_columns(*_whole(run)).mean(1)))) for run in runs]
    pictures = [float(share(*_whole(run)[:2]).mean()) for run in runs]
    return Arm(
        *(name, float(gap_luma), float(gap_chroma)),
        evidence=_interval(float(share(gap_luma, gap_chroma)), share(*_gaps(drawn[:, :-1].T)), seeds),
        picture=_interval(float(each.mean()), drawn[:, -1], pictures),
        seeds=seeds,
        pictures=len(labels),
        incomplete=int((~complete).sum()),
    )


def share(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """|chroma| / (|luma| + |chroma|), in [0, 1]; .5 where both are 0. Parts of unlike sign are two pulls, and count by
    their size."""
    both = np.abs(luma) + np.abs(chroma)
    return np.divide(np.abs(chroma), both, out=np.full(np.shape(both), 0.5), where=both > 0)


def _whole(run: Attributed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return run.luma[run.complete], run.chroma[run.complete], run.labels[run.complete]


def _columns(luma: np.ndarray, chroma: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Six rows (6, n) whose means give the means of each class, also of a resample: that of a part where a picture is
    of the class, and that of being of it."""
    return np.stack([part * (labels == label) for label in (FAKE, REAL) for part in (luma, chroma, np.ones(len(luma)))])


def _gaps(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luma's and chroma's part of the mean logit of fakes minus that of reals, from the means (6, ...) of _columns."""
    return means[0] / means[2] - means[3] / means[5], means[1] / means[2] - means[4] / means[5]


def _interval(value: float, drawn: np.ndarray, seeds: Sequence[float]) -> Share:
    low, high = np.nanquantile(drawn, (0.025, 0.975)).tolist()
    mean, half = charts.spread(np.array(seeds))
    return Share(value, low, high, *((mean - half, mean + half) if len(seeds) > 1 else (np.nan, np.nan)))


def lines(found: Sequence[Arm]) -> Iterator[str]:
    """The table as the terminal shows it."""
    width = max(len(arm.name) for arm in found)
    heads = "chroma's share   over pictures   over seeds      gap: luma  chroma  each picture  pictures"
    yield f"{'arm':<{width}}  {heads}"
    for arm in found:
        evidence = arm.evidence
        seeds = "-" if np.isnan(evidence.seeds_low) else f"[{evidence.seeds_low:.2f}, {evidence.seeds_high:.2f}]"
        lacking = f" ({arm.incomplete} not complete)" if arm.incomplete else ""
        yield (
            f"{arm.name:<{width}}  {evidence.chroma:14.2f}   [{evidence.low:.2f}, {evidence.high:.2f}]    {seeds:<14}  "
            f"{arm.gap_luma:+9.2f}  {arm.gap_chroma:+6.2f}  {arm.picture.chroma:12.2f}  {arm.pictures:,}{lacking}"
        )


def figure(found: Sequence[Arm]) -> Figure:
    """A bar of luma and chroma for each arm, with the interval over test pictures where they meet."""
    with matplotlib.rc_context({**STYLE, "font.size": 12}):
        drawing = Figure(figsize=(9.2, 1.7 + 0.5 * len(found)), dpi=100, layout="constrained")
        axes = drawing.add_subplot(xlim=(0, 1), xlabel="share of the gap between the classes' mean logits")
        places = np.arange(len(found))
        chroma = np.array([arm.evidence.chroma for arm in found])
        axes.barh(places, 1 - chroma, color=COLORS["luma"], height=0.6, label="luma")
        axes.barh(places, chroma, left=1 - chroma, color=COLORS["chroma"], height=0.6, hatch="//", label="chroma")
        for place, arm in zip(places, found, strict=True):
            ends = (1 - arm.evidence.high, 1 - arm.evidence.low)
            axes.plot(ends, (place, place), color=INK, linewidth=2.5, marker="|", markersize=10)
        axes.set_yticks(places, [arm.name for arm in found])
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.grid(False)
        drawing.legend(loc="outside lower center", frameon=False, ncols=2)
    return drawing
