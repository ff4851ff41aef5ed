"""Everything that a finished run's predictions.csv and metrics.jsonl say of it, as numbers that JSON can hold."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets import cifake
from datasets.manifest import LABELS, Row
from detector import metrics, multiclass
from detector.calibration import calibrated, temperature
from experiments import condition, measures
from experiments.paired import wilson
from experiments.predictions import parse, table
from experiments.runs import NoRun, Run, Untrusted

FIXED, CHOSEN, LARGEST = "0.5", "validation", "largest score"  # by what a picture is called something
BINS = 50  # of the distribution of scores


def evaluation(run: Run, predictions: bytes) -> dict[str, Any]:
    """The whole of it; predictions: the bytes of predictions.csv.

    run: which it is; classes: names, in the order of rows and columns of every confusion matrix; images: split -> class
    -> how many; metrics: split -> metric; called: FIXED, CHOSEN, LARGEST -> threshold, and split -> see `called`. Where
    real is told from fake also thresholds; calibration: before, after -> see `reliability`; scores: counts of each
    class between edges; sources and objects: name -> see `part`, empty where there are no several.
    Raises NoRun where the run is of a version that recorded something else.
    """
    try:
        measure = _detection if run.task == condition.DETECTION else _generators
        found = measure(run, predictions)
    except Untrusted as error:
        raise NoRun(f"{run.folder}: {error}; is it a run of another version?") from error
    except KeyError as error:
        raise NoRun(f"{run.folder}: metrics.jsonl: no {error} there; is it a run of another version?") from error
    return {"run": _which(run, predictions), **found}


def _which(run: Run, predictions: bytes) -> dict[str, Any]:
    parts = {part: run.config[part]["name"] for part in ("data", "model", "aug")}
    facts = {key: run.provenance.get(key) for key in ("digest", "data_digest", "content_digest")}
    return {
        "folder": "/".join(run.folder.absolute().parts[-4:]),
        **parts,
        "seed": run.config["seed"],
        "fold": run.config["data"].get("fold"),
        "task": run.task,
        **facts,
        "ensemble": list(run.provenance.get("ensemble", {})),
        "predictions": hashlib.sha256(predictions).hexdigest(),
    }


def _detection(run: Run, predictions: bytes) -> dict[str, Any]:
    heads, every = table(predictions)
    split = np.array([head[1] for head in heads])
    truth = np.array([int(head[3]) for head in heads])
    scores, labels = ({name: values[split == name] for name in ("val", "test")} for values in (every, truth))
    last = run.metrics[-1]
    thresholds = {FIXED: 0.5, CHOSEN: float(last["val/threshold"])}
    measured = {
        name: metrics.evaluate(scores[name], labels[name], threshold=thresholds[CHOSEN]) for name in ("val", "test")
    }
    found = temperature(scores["val"], labels["val"])
    tested = [Row(path=head[2], label=int(head[3]), source=head[4]) for head in heads if head[1] == "test"]
    edges = np.linspace(0, 1, BINS + 1)
    return {
        "classes": list(LABELS),
        "images": {name: _counts(labels[name], list(LABELS)) for name in labels},
        "metrics": {**_of_training(run), **measured},
        "thresholds": thresholds,
        "called": {
            key: {name: called(labels[name], (scores[name] >= threshold).astype(int), list(LABELS)) for name in labels}
            for key, threshold in thresholds.items()
        },
        "calibration": {
            "temperature": found,
            "before": reliability(scores["test"], labels["test"]),
            "after": reliability(calibrated(scores["test"], found), labels["test"]),
        },
        "scores": {
            "edges": edges.tolist(),
            **{
                name: np.histogram(scores["test"][labels["test"] == n], edges)[0].tolist() for name, n in LABELS.items()
            },
        },
        "sources": _parts(measures.members(tested, measures.groups(tested)), scores, labels, thresholds),
        "objects": _parts(objects(tested), scores, labels, thresholds),
    }


def _generators(run: Run, predictions: bytes) -> dict[str, Any]:
    test, scores = parse(predictions, {})
    names = list(test.classes)
    measured = {"test": multiclass.evaluate(scores, test.labels, names)}
    return {
        "classes": names,
        "images": {"test": _counts(test.labels, names)},
        "metrics": {**_of_training(run), **measured},
        "called": {LARGEST: {"test": called(test.labels, scores.argmax(axis=1), names)}},
    }


def _of_training(run: Run) -> dict[str, dict[str, float]]:
    """The metrics of the training images in the epoch whose weights were tested; none of an ensemble."""
    tested = [line for line in run.metrics[:-1] if line["epoch"] == run.metrics[-1]["epoch"]]
    own = {key.removeprefix("train/"): value for key, value in (tested or [{}])[0].items() if key.startswith("train/")}
    return {"train": own} if own else {}


def _counts(labels: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))


def share(part: int, whole: int) -> dict[str, float]:
    """part / whole, 0 where nothing was counted, with its 95 % Wilson interval."""
    low, high = wilson(part, whole)
    return {"value": part / max(whole, 1), "low": low, "high": high, "count": part, "of": whole}


def called(labels: np.ndarray, calls: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """What K classes are called. labels, calls: numbers of classes, int (N,).

    confusion: (K, K), row = what a picture is, column = what it was called; accuracy: see `share`; each: class ->
    precision, recall (see `share`), f1, support; macro, weighted: their means over the classes, plain or weighted by
    support.
    """
    count = len(names)
    cells = np.bincount(labels * count + calls, minlength=count**2).reshape(count, count)
    right, there, said = cells.diagonal().tolist(), cells.sum(axis=1).tolist(), cells.sum(axis=0).tolist()
    each = {
        name: {
            "precision": share(right[k], said[k]),
            "recall": share(right[k], there[k]),
            "f1": 2 * right[k] / max(there[k] + said[k], 1),
            "support": there[k],
        }
        for k, name in enumerate(names)
    }
    columns = [[one["precision"]["value"], one["recall"]["value"], one["f1"]] for one in each.values()]
    means = {"macro": np.mean(columns, axis=0), "weighted": np.average(columns, axis=0, weights=there)}
    return {
        "confusion": cells.tolist(),
        "accuracy": share(sum(right), len(labels)),
        "each": each,
        **{name: dict(zip(("precision", "recall", "f1"), mean.tolist(), strict=True)) for name, mean in means.items()},
    }


def reliability(scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """ece: see detector.metrics; bins: of its bins that hold images each low and high edge, images, mean score, and the
    share of FAKE, see `share`."""
    places = np.minimum((scores * metrics.ECE_BINS).astype(int), metrics.ECE_BINS - 1)
    bins = [
        {
            "low": int(place) / metrics.ECE_BINS,
            "high": int(place + 1) / metrics.ECE_BINS,
            "images": int(inside.sum()),
            "mean": float(scores[inside].mean()),
            "fake": share(int(labels[inside].sum()), int(inside.sum())),
        }
        for place in np.unique(places)
        for inside in [places == place]
    ]
    return {"ece": metrics.ece(scores, labels), "bins": bins}


def objects(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """CIFAR-10 class -> the places of its pictures, int64 (n,), by the names that CIFAKE gives its files; of pictures
    from elsewhere nothing is known."""
    names = np.array([cifake.category(PurePosixPath(row.path).name) if row.source == "cifake" else "" for row in rows])
    return {name: np.flatnonzero(names == name) for name in cifake.CLASSES if (names == name).any()}


def _parts(
    places: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    return {name: part(scores["test"][there], labels["test"][there], thresholds) for name, there in places.items()}


def part(scores: np.ndarray, labels: np.ndarray, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Some of the test images: auc, and for each threshold accuracy, and how many REAL and FAKE are called what they
    are, see `share`."""
    found: dict[str, Any] = {"auc": metrics.auc(scores, labels)}
    for key, threshold in thresholds.items():
        tp, fp, tn, fn = metrics.confusion(scores, labels, threshold=threshold)
        found[key] = {
            "accuracy": share(tp + tn, len(labels)),
            "REAL": share(tn, tn + fp),
            "FAKE": share(tp, tp + fn),
        }
    return found


def report(found: Mapping[str, Any]) -> str:
    """`called` as the table that scikit-learn's classification_report prints, with four digits."""
    total = found["accuracy"]["of"]
    width = max(len("weighted avg"), *map(len, found["each"]))
    lines = [f"{'':>{width}}  {'precision':>9} {'recall':>9} {'f1-score':>9} {'support':>9}", ""]

    def line(name: str, precision: float, recall: float, f1: float, support: int) -> str:
        return f"{name:>{width}}  {precision:9.4f} {recall:9.4f} {f1:9.4f} {support:9}"

    for name, one in found["each"].items():
        lines.append(line(name, one["precision"]["value"], one["recall"]["value"], one["f1"], one["support"]))
    lines += ["", f"{'accuracy':>{width}}  {'':9} {'':9} {found['accuracy']['value']:9.4f} {total:9}"]
    lines += [line(f"{name} avg", **found[name], support=total) for name in ("macro", "weighted")]
    return "\n".join(lines) + "\n"
