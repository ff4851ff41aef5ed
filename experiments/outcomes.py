"""What finished runs came to, as comparisons see it: read from a tree of run folders, or from its exported tables."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import runs
from experiments.predictions import TestSet, difference, parse
from experiments.runs import Untrusted


class NothingThere(ValueError):
    """No run to look at; the text is one line."""

    exit_status = 2


@dataclass(frozen=True)
class Outcome:
    """One run.

    where: its folder, or the line of a table; settings: what makes the result besides aug, the family it belongs to;
    view: aug's settings; plan: what was decided beforehand; facts: where it comes from; metrics: of its last line,
    test/..., val/... and view/..., nan where there is no number; history: val/... and train/... along epochs.
    correct: bool (N,), called rightly at .5, of several classes by the largest score; scores: float64 (N,) or
    (N, classes), None where they were not exported.
    """

    where: str
    data: str
    model: str
    aug: str
    recipe: str
    digest: str
    seed: int
    fold: int | None
    settings: dict[str, Any]
    view: dict[str, Any]
    plan: dict[str, Any]
    facts: dict[str, Any]
    metrics: dict[str, float]
    history: dict[str, list[float]]
    images_per_second: float | None
    test: TestSet
    correct: np.ndarray
    scores: np.ndarray | None

    @property
    def by_generator(self) -> bool:
        """Whether its task was which generator, and not real against fake."""
        return "task" in self.settings


@dataclass(frozen=True)
class Found:
    """outcomes: sorted by names, data, fold and seed; unfinished and refused: lines naming a run and the reason."""

    outcomes: list[Outcome]
    unfinished: list[str]
    refused: list[str]


def find(root: Path) -> Found:
    """All runs below `root`, or those of the tables that `export` left there (the folder, or its runs.csv).

    Refused is what cannot be believed: files changed since the run was done, rows of predictions.csv that lack, stand
    there twice or tell of other images than those of other runs on the same data, an accuracy that the predictions do
    not give. Raises NothingThere where there is no run, and TableError for tables that are not whole.
    """
    from experiments import exported

    root = Path(root)
    if root.is_file() or (root / exported.RUNS).is_file():
        found = exported.read(root if root.is_dir() else root.parent)
    elif not root.is_dir():
        raise NothingThere(f"{root}: no such folder; expected a folder of runs, or one with {exported.RUNS}")
    else:
        found = _read_tree(root)
    kept, differing = agreeing(found.outcomes)
    wrong = [f"{outcome.where}: {reason}" for outcome in kept if (reason := _accuracy_differs(outcome))]
    kept = [outcome for outcome in kept if not _accuracy_differs(outcome)]
    return Found(sorted(kept, key=order), found.unfinished, [*found.refused, *differing, *wrong])


def hides(folder: Path, root: Path) -> bool:
    """Whether tables in `folder` would from then on be read in place of the run folders below `root`."""
    from experiments import exported

    below = root.resolve()
    return folder.resolve() in (below, *below.parents) and not root.is_file() and not (root / exported.RUNS).is_file()


def export(outcomes: Sequence[Outcome], folder: Path) -> None:
    """runs.csv and images.csv, from which `find` gives the same comparisons to the last digit."""
    from experiments import exported

    exported.write(sorted(outcomes, key=order), Path(folder))


def order(outcome: Outcome) -> tuple:
    """Where an outcome stands among others, whatever the order they were found in."""
    names = (outcome.data, outcome.model, outcome.recipe, outcome.aug, outcome.digest, outcome.facts["content_digest"])
    return (*names, -1 if outcome.fold is None else outcome.fold, outcome.seed, outcome.where)


def agreeing(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[str]]:
    """The outcomes whose test images are those of most runs of their task on the same manifest, and a line for each
    other one."""
    members: dict[tuple[str, bool], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        members[outcome.facts["data_digest"], outcome.by_generator].append(outcome)
    kept, refused = [], []
    for same in members.values():
        times = Counter(outcome.test.digest for outcome in same)
        tests = {outcome.test.digest: outcome.test for outcome in same}
        right = max(tests.values(), key=lambda test: (times[test.digest], len(test.rows), test.digest))
        for outcome in same:
            if outcome.test.digest == right.digest:
                kept.append(outcome)
            else:
                refused.append(f"{outcome.where}: predictions.csv {difference(outcome.test, right)}")
    return kept, refused


def _read_tree(root: Path) -> Found:
    places = list(runs.folders(root))
    if not places:
        raise NothingThere(f"{root}: no run there; expected the folder that runs were written to, such as runs")
    found = Found([], [], [])
    known: dict[bytes, TestSet] = {}
    for folder in tqdm(places, desc="reading", unit=" runs", disable=None, leave=False):
        try:
            finished = runs.read_finished(folder)
            if finished is None:
                found.unfinished.append(f"{folder}: {runs.unfinished(folder)}")
            else:
                found.outcomes.append(_outcome(*finished, known))
        except Untrusted as error:
            found.refused.append(f"{folder}: {error}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # as no version of this program writes it
            found.refused.append(f"{folder}: not what a run leaves: {type(error).__name__} {error}")
    return found


def _outcome(run: runs.Run, predictions: bytes, known: dict[bytes, TestSet]) -> Outcome:
    config, provenance = run.config, run.provenance
    name = runs.NAME.fullmatch(run.folder.name)
    settings, digest = runs.condition_of(config, name[1] if name else "")
    del settings["aug"]
    moved = settings["data"].pop("root", None)  # a path of this machine; what lay there is the content digest's to say
    fold = config["data"].get("fold")
    said = (provenance.get("digest"), fold, config["seed"])
    if name is None or (name[1], int(name[2]) if name[2] else None, int(name[3])) != said:
        raise Untrusted("the folder's name is not that of the digest, fold and seed inside; was it copied or renamed?")
    if digest != name[1] and moved is None:
        raise Untrusted(f"config.yaml: its settings have digest {digest} in this version, {name[1]} when it was made")
    if not run.metrics or not any(key.startswith("test/") for key in run.metrics[-1]):
        raise Untrusted("metrics.jsonl: not whole: its last line has no test metric")
    *epochs, last = run.metrics
    keys = [key for key in (epochs[0] if epochs else {}) if key.startswith(("val/", "train/"))]
    test, scores = parse(predictions, known)
    return Outcome(
        where=str(run.folder),
        data=config["data"]["name"],
        model=config["model"]["name"],
        aug=config["aug"]["name"],
        recipe=config["train"]["name"],
        digest=name[1],
        seed=config["seed"],
        fold=fold,
        settings=settings,
        view={key: value for key, value in config["aug"].items() if key != "name"},
        plan=config.get("plan") or {},
        facts=_facts(provenance),
        metrics={key: _number(value) for key, value in last.items() if key.startswith(("test/", "val/", "view/"))},
        history={key: [_number(line.get(key)) for line in epochs] for key in keys},
        images_per_second=provenance["processes"][-1].get("images_per_second"),
        test=test,
        correct=((scores >= 0.5) == (test.labels == 1)) if scores.ndim == 1 else scores.argmax(axis=1) == test.labels,
        scores=scores,
    )


def _facts(provenance: dict[str, Any]) -> dict[str, Any]:
    """No path and no name of a machine; what several processes of a run did differently stands there side by side."""
    try:
        processes = provenance["processes"]
        codes = [process["code"] for process in processes]
        return {
            **{key: provenance[key] for key in ("content_digest", "data_digest", "quarantined")},
            "code": _joined(code.get("digest") or code["commit"] for code in codes),
            "commit": _joined(code["commit"] for code in codes),
            "dirty": any(code["dirty"] for code in codes),
            "torch": _joined(process["versions"]["torch"] for process in processes),
            "device": _joined(process["device"] for process in processes),
            "threads": processes[-1]["threads"],
            "seconds": sum(process.get("seconds", 0.0) for process in processes),
        }
    except KeyError as error:
        raise Untrusted(f"provenance.json: no {error}") from error
    except (AttributeError, IndexError, TypeError) as error:
        raise Untrusted(f"provenance.json: not whole: {error}") from error


def _joined(values: Any) -> str:
    return " + ".join(dict.fromkeys(map(str, values)))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _accuracy_differs(outcome: Outcome) -> str:
    given, own = outcome.metrics.get("test/accuracy"), float(outcome.correct.sum() / len(outcome.correct))
    return "" if given == own else f"test accuracy is {given} in its metrics, {own} by its predictions"
