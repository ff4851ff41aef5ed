"""Average the scores of finished runs into one that compare reads as a run.   python -m experiments.ensemble --help"""

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.manifest import Row, whole_file
from experiments import condition, record, runs, shell
from experiments.predictions import COLUMNS, table
from experiments.runs import Run, Untrusted

OPERATION = "ensemble"  # stands where an arm's view has its operations: one for each member
OVER = ("all", "views", "seeds")
ALIKE = ("data", "model", "train")  # the settings that members share

EXAMPLES = """examples:
  python -m experiments.ensemble runs/cifake/cnn32/none runs/cifake/cnn32/saturate_x8 --over views
  python -m experiments.ensemble runs/cifake/cnn32/none --over seeds
  python -m experiments.ensemble runs/cifake/cnn32/none/1a2b3c4d5e-seed0 runs/cifake/cnn32/invert/5e4d3c2b1a-seed0

Each folder is a run's or holds runs; those that are finished are averaged.
  --over all      all of them in one
  --over views    one ensemble a seed: the arms that were trained with it
  --over seeds    one ensemble an arm: all its seeds
The probability of FAKE is the mean of the members'; the threshold is chosen anew on validation. An ensemble lies beside
the arms of its members, with the smallest of their seeds, and compare pairs it with the runs of that seed. Members
differ in nothing but aug and seed: same data, network and training. Two networks beat one, whatever they see: hold
none+saturate_x8 against two plain networks, none+none_again (compare --baseline none+none_again).

Exit status: 0; 2 where the runs cannot be averaged.
"""


class NotAlike(ValueError):
    """Runs that cannot be averaged; the text is one line."""

    exit_status = 2


def write(members: Sequence[Run], scores: Sequence[bytes]) -> Path:
    """The folder of the ensemble of two or more runs, as a finished run; what is there already is left as it is.

    scores: the predictions.csv of each. Raises NotAlike where they are not on the same images, or differ in more than
    aug and seed.
    """
    check(members)
    members, scores = zip(*sorted(zip(members, scores, strict=True), key=lambda pair: _order(pair[0])), strict=True)
    config = _config(members)
    _, digest = runs.condition_of(config)
    name = condition.run_name(digest, config["data"].get("fold"), config["seed"])
    folder = members[0].folder.parents[1] / config["aug"]["name"] / name
    facts = _provenance(members, scores, digest, config["seed"])
    if record.is_done(folder):
        if runs.read(folder).provenance["ensemble"] != facts["ensemble"]:
            raise NotAlike(f"{folder}: averages members as they were before; delete it to average them anew")
        return folder
    heads, average = _averaged(members, scores)
    folder.mkdir(parents=True, exist_ok=True)
    with record.lock(folder):
        record.write_config(folder, config)
        record.write_json(folder / "provenance.json", facts)
        record.write_metrics(folder, [_measured(heads, average)])
        with whole_file(folder / "predictions.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([*head, repr(score)] for head, score in zip(heads, average.tolist(), strict=True))
        record.mark_done(folder)
    return folder


def is_one(view: dict[str, Any]) -> bool:
    """Whether the settings of an arm's view are those of an ensemble."""
    return any(dict(step).get("op") == OPERATION for step in view.get("train") or [])


def members_of(run: Run) -> dict[Path, str]:
    """The folders of an ensemble's members, wherever the tree lies now, with the sha256 of their predictions.csv as it
    was averaged; empty for a run that was trained."""
    top = run.folder.absolute().parents[1]
    return {top / member: sha256 for member, sha256 in run.provenance.get("ensemble", {}).items()}


def check(members: Sequence[Run]) -> None:
    """Raises NotAlike where runs cannot be averaged."""
    if len(members) < 2:
        there = f"only {members[0].folder}" if members else "none"
        raise NotAlike(f"{there}: expected two or more finished runs to average")
    first, *others = members
    for run in members:
        if run.task != condition.DETECTION:
            raise NotAlike(f"{run.folder}: a run of task={run.task}; expected runs that tell real from fake")
        if is_one(run.config["aug"]):
            raise NotAlike(f"{run.folder}: is an ensemble; expected runs that were trained")
    for run in others:
        for key in ("content_digest", "data_digest"):
            if run.provenance[key] != first.provenance[key]:
                raise NotAlike(
                    f"{run.folder}: other data ({key} {run.provenance[key][:12]}) than {first.folder} "
                    f"({first.provenance[key][:12]}); expected the same data and split, or --over views or seeds"
                )
        ours, theirs = (runs.condition_of(each.config)[0] for each in (run, first))
        for part in ALIKE:
            if ours[part] != theirs[part]:
                keys = [key for key in {**ours[part], **theirs[part]} if ours[part].get(key) != theirs[part].get(key)]
                raise NotAlike(
                    f"{run.folder}: {part}.{keys[0]}={ours[part].get(keys[0])}, where {first.folder} has "
                    f"{theirs[part].get(keys[0])}; expected runs that differ in aug and seed alone"
                )
        if run.folder.resolve().parents[1] != first.folder.resolve().parents[1]:
            raise NotAlike(f"{run.folder}: in another tree than {first.folder}; expected the runs of one")
    keys = [_order(run) for run in members]
    if len(set(keys)) < len(keys):
        twice = next(run for place, run in enumerate(members) if keys[place] in keys[:place])
        raise NotAlike(f"{twice.folder}: stands there twice; expected runs that differ in aug or seed")


def _order(run: Run) -> tuple[str, str, int]:
    return run.config["aug"]["name"], run.provenance["digest"], run.config["seed"]


def _config(members: Sequence[Run]) -> dict[str, Any]:
    """As of a run whose view is the members: each by its arm and by how far its seed lies from the first."""
    seed = min(run.config["seed"] for run in members)
    steps, names = [], []
    counts: dict[str, int] = defaultdict(int)
    for run in members:
        arm, digest, own = _order(run)
        counts[arm] += 1
        steps.append({"op": OPERATION, "of": arm, "digest": digest, "seed": f"+{own - seed}"})
    names = [name if count == 1 else f"{name}_{count}_seeds" for name, count in counts.items()]
    aug = {"name": "+".join(names), "train": steps, "eval": steps}
    return {**members[0].config, "aug": aug, "seed": seed}


def _provenance(members: Sequence[Run], scores: Sequence[bytes], digest: str, seed: int) -> dict[str, Any]:
    """That of the first member, with the processes of all: the cost and the code of what is averaged, no speed."""
    places = {
        "/".join(run.folder.parts[-2:]): hashlib.sha256(content).hexdigest()
        for run, content in zip(members, scores, strict=True)
    }
    processes = [
        {key: value for key, value in process.items() if key != "images_per_second"}
        for run in members
        for process in run.provenance["processes"]
    ]
    return {**members[0].provenance, "digest": digest, "seed": seed, "ensemble": places, "processes": processes}


def _averaged(members: Sequence[Run], scores: Sequence[bytes]) -> tuple[list[list[str]], np.ndarray]:
    """What stands before the score in each line of predictions.csv, and the members' mean probability, float64 (N,)."""
    tables = []
    for run, content in zip(members, scores, strict=True):
        try:
            tables.append(table(content))
        except Untrusted as error:
            raise NotAlike(f"{run.folder}: {error}") from error
    for run, (heads, _) in zip(members, tables, strict=True):
        if heads != tables[0][0]:
            raise NotAlike(f"{run.folder}: tested on other images than {members[0].folder}")
    return tables[0][0], np.mean([values for _, values in tables], axis=0)


def _measured(heads: Sequence[Sequence[str]], scores: np.ndarray) -> dict[str, float]:
    """The last line of metrics.jsonl, as a run has it; no training, hence no epochs."""
    from detector.metrics import best_threshold
    from experiments.measures import calibration, groups, measure, members

    rows = [Row(path=path, label=int(label), source=source) for _, _, path, label, source, _ in heads]
    split, labels = np.array([head[1] for head in heads]), np.array([row.label for row in rows])
    found = groups(rows)
    inside = split == "val"
    threshold = best_threshold(scores[inside], labels[inside])
    measured: dict[str, float] = {"epoch": 0, "step": 0, "val/threshold": threshold}
    for name in ("val", "test"):
        places = np.flatnonzero(split == name)
        parts = members([rows[place] for place in places], found) if found else {}
        measured |= measure(name, scores[places], labels[places], parts, threshold=threshold)
    each = {name: split == name for name in ("val", "test")}
    return measured | calibration(
        *({name: values[there] for name, there in each.items()} for values in (scores, labels))
    )


def _sets(found: Sequence[tuple[Run, bytes]], over: str) -> Iterator[list[tuple[Run, bytes]]]:
    """The runs of each ensemble; of runs with other data, networks or training each their own."""
    several: dict[str, list[tuple[Run, bytes]]] = defaultdict(list)
    for run, scores in found:
        arm, digest, seed = _order(run)
        settings, _ = runs.condition_of(run.config, digest)
        family = [run.provenance["data_digest"], *(settings[part] for part in ALIKE)]
        key = {"all": [], "views": [family, seed], "seeds": [family, arm, digest]}[over]
        several[json.dumps(key, sort_keys=True)].append((run, scores))
    yield from several.values()


def _main() -> int:
    parser = shell.parser(__doc__.partition("  ")[0] if __doc__ else "", EXAMPLES)
    parser.prog = "python -m experiments.ensemble"
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a run, or of many")
    parser.add_argument("--over", choices=OVER, default="all", help="what is averaged (default: %(default)s)")
    arguments = parser.parse_args()
    sets = list(_sets(_finished(arguments.folders), arguments.over))
    alone = [members[0][0] for members in sets if len(members) == 1]
    if len(alone) == len(sets):
        check(alone[:1])
    for run in alone:
        print(f"left out, as nothing is there to average it with: {run.folder}")
    for members in sets:
        if len(members) > 1:
            folder = write(*zip(*members, strict=True))
            accuracy = runs.read(folder).metrics[-1]["test/accuracy"]
            print(f"{len(members)} runs -> {folder}  test accuracy {accuracy:.4f}", flush=True)
    print(f"next: python -m experiments.compare {folder.parents[1]}")
    return 0


def _finished(given: Sequence[Path]) -> list[tuple[Run, bytes]]:
    """The runs at or below these folders that were trained; what cannot be averaged is left out in words, or refused
    where the user named it."""
    found = []
    for top in given:
        if not top.is_dir():
            raise NotAlike(f"{top}: no such folder; expected that of a run, or one that holds runs")
    given = [top.absolute() for top in given]
    for place in dict.fromkeys(folder for top in given for folder in runs.folders(top)):
        try:
            run = runs.read_finished(place)
            reason = "" if run else runs.unfinished(place)
        except Untrusted as error:
            run, reason = None, str(error)
        if run and (place in given or not is_one(run[0].config["aug"])):
            found.append(run)
        elif reason and place in given:
            raise NotAlike(f"{place}: {reason}; expected finished runs")
        elif reason:
            print(f"left out: {place}: {reason}")
    return found


if __name__ == "__main__":
    shell.main("ensemble", _main)
