"""Where the numbers of a report come from: the provenance of its runs in one file, without paths of a machine."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import audit, card
from experiments.report.blocks import Block, Bullets, Code, Table, Text

if TYPE_CHECKING:
    from experiments.comparison import Comparison
    from experiments.outcomes import Outcome

NAME = "provenance.json"
PLACES = ("runs_root=", "data_root=", "hydra.sweep.dir=", "hydra.run.dir=")  # of one machine; they make no result


def gather(outcomes: Sequence["Outcome"], root: Path) -> dict[str, Any]:
    """The merged provenance of the runs: read from their folders, or from provenance.json beside an exported table.

    Empty where that file is missing.
    """
    folders = [Path(outcome.where) for outcome in outcomes if (Path(outcome.where) / NAME).is_file()]
    if not folders:
        path = (root if root.is_dir() else root.parent) / NAME
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return merged(folders)


def merged(folders: Sequence[Path]) -> dict[str, Any]:
    """What the runs say of their data, code, versions, devices and commands; each said once, with how many runs."""
    facts = [json.loads((folder / NAME).read_text(encoding="utf-8")) for folder in folders]
    data: dict[str, dict[str, Any]] = {}
    for folder, fact in zip(folders, facts, strict=True):
        if fact["data_digest"] not in data:
            report = folder / "audit.json"
            data[fact["data_digest"]] = {
                "name": folder.parts[-4] if len(folder.parts) > 3 else "",
                **{key: fact.get(key) for key in ("content_digest", "data_digest", "quarantined", "repaired", "notes")},
                "audit": json.loads(report.read_text(encoding="utf-8")) if report.is_file() else None,
                "runs": sum(other["data_digest"] == fact["data_digest"] for other in facts),
            }
    last = [fact["processes"][-1] for fact in facts]
    return {
        "runs": len(folders),
        "seconds": round(sum(process.get("seconds", 0) for fact in facts for process in fact["processes"]), 1),
        "commands": sorted({command(process["command"]) for fact in facts for process in fact["processes"]}),
        "code": _counted(process["code"] for process in last),
        "versions": _counted(process["versions"] for process in last),
        "devices": _counted({key: process[key] for key in ("device", "threads")} for process in last),
        "data": [data[digest] for digest in sorted(data)],
    }


def _counted(facts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    count = Counter(json.dumps(fact, sort_keys=True) for fact in facts)
    return [json.loads(text) | {"runs": number} for text, number in sorted(count.items())]


def command(words: Sequence[str]) -> str:
    """What was typed, without where things lie on that machine: a path keeps its last part."""
    kept = [
        re.sub(r"(?<![\w.~-])~?/(?:[^/,\s]+/)*(?=[^/,\s]+)", "", word) for word in words if not word.startswith(PLACES)
    ]
    return shlex.join(["python", "-m", "experiments.run", *kept])


def data_card(facts: dict[str, Any], comparisons: Sequence["Comparison"]) -> list[Block]:
    """What the runs recorded of their data, and what separates the classes besides what they show."""
    blocks: list[Block] = []
    shown: list[str] = []
    for found in facts.get("data", []):
        report = found["audit"]
        what = [f"content {found['content_digest'][:12]}", f"split {found['data_digest'][:12]}"]
        what.append(f"{found['quarantined'] or 0} files could not be used")
        if found.get("repaired"):
            what.append(f"{found['repaired']} were repaired")
        blocks.append(Text(f"{found['name']}: {', '.join(what)}; {_runs(found['runs'])}.", heading=True))
        blocks.append(Bullets(found["notes"] or ["no notes"]))
        text = "\n".join(audit.lines(report)) if report and report["lines"] else ""
        if text and text not in shown:  # folds of one set have the same audit
            blocks += [
                Text("Audit: what separates the classes besides what they show (AUC 0.5 is nothing)."),
                Code(text),
            ]
            shown.append(text)
    if not blocks:
        blocks.append(Text("No provenance.json beside these runs, so nothing is known of their data here."))
    cited = {card.CITATIONS.get(str(comparison.settings.get("data", {}).get("source"))) for comparison in comparisons}
    return [*blocks, *([Bullets(sorted(filter(None, cited)))] if any(cited) else [])]


def provenance(facts: dict[str, Any]) -> list[Block]:
    """Commits, code, versions, devices, number of runs and hours."""
    if not facts:
        return [Text("No provenance.json beside these runs: commits, versions and devices are not known here.")]
    hours = facts["seconds"] / 3600
    code = [
        [str(found["commit"] or "no git")[:12], found["digest"], _dirty(found["dirty"]), str(found["runs"])]
        for found in facts["code"]
    ]
    devices = [[str(found["device"]), str(found["threads"]), str(found["runs"])] for found in facts["devices"]]
    versions = [
        [str(found["runs"]), ", ".join(f"{name} {number}" for name, number in found.items() if name != "runs")]
        for found in facts["versions"]
    ]
    return [
        Text(f"{_runs(facts['runs'])}, {hours:.1f} hours of work, all processes added up."),
        Table("Code that made the runs", ["commit", "digest of the deciding files", "changed files", "runs"], code),
        Table("Machines", ["device", "threads", "runs"], devices),
        Table("Versions", ["runs", "versions"], versions),
    ]


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"


def _dirty(dirty: bool | None) -> str:
    return {True: "yes, not as committed", False: "no", None: "not known"}[dirty]
