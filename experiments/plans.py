"""What was decided before the runs were made, what is asked of them now, and how the two differ."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.outcomes import Outcome

DEFAULTS: dict[str, Any] = {"baseline": "none", "metric": "accuracy", "margin": 0.5}  # of runs that recorded no plan
EXPERIMENTS = Path(__file__).with_name("conf") / "experiment"


@dataclass(frozen=True)
class Asked:
    """margin: in units of the metric; recorded: the plan of most runs; changes, notes: lines for the reader."""

    baseline: str
    metric: str
    margin: float
    recorded: dict[str, Any]
    changes: list[str]
    notes: list[str]


def asked(
    family: Sequence[Outcome], *, baseline: str | None = None, metric: str | None = None, margin: float | None = None
) -> Asked:
    """What the runs of a family were made for, but for what is given here; margin in units of the metric."""
    recorded = _most_common([outcome.plan for outcome in family])
    decided = DEFAULTS | recorded
    given = {"baseline": baseline, "metric": metric, "margin": None if margin is None else 100 * margin}
    changes = []
    for key, default in DEFAULTS.items():
        times = Counter(outcome.plan.get(key, default) for outcome in family)
        if len(times) > 1:
            said = ", ".join(f"{value} in {count} runs" for value, count in times.most_common())
            changes.append(f"plan.{key}: {said}")
        now = given[key]
        if now is not None and not _same(now, decided[key]):
            changes.append(f"{key}: {_shown(key, now)} now, {_shown(key, decided[key])} when the runs were made")
    if metric not in (None, decided["metric"]) and margin is None:
        changes.append(f"margin: {_shown('margin', decided['margin'])}, which were meant for {decided['metric']}")
    experiments = Counter(outcome.plan.get("experiment") or "no experiment" for outcome in family)
    for name in sorted(experiments):
        plans = [outcome.plan for outcome in family if outcome.plan.get("experiment") == name]
        changes += _since(name, _most_common(plans)) if plans else []
    said = ", ".join(f"{name} ({count})" for name, count in sorted(experiments.items()))
    return Asked(
        baseline=baseline or decided["baseline"],
        metric=metric or decided["metric"],
        margin=decided["margin"] / 100 if margin is None else margin,
        recorded=recorded,
        changes=changes,
        notes=[f"runs of several experiments: {said}"] if len(experiments) > 1 else [],
    )


def _most_common(plans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return json.loads(Counter(json.dumps(plan) for plan in plans).most_common(1)[0][0])


def _since(experiment: str, plan: dict[str, Any]) -> list[str]:
    """How the experiment's yaml differs now from the plan that its runs recorded."""
    path = EXPERIMENTS / f"{experiment}.yaml"
    where = f"experiments/conf/experiment/{path.name}"
    try:
        now = dict(yaml.safe_load(path.read_text(encoding="utf-8"))["plan"])
    except FileNotFoundError:
        return [f"{where}: not there any more, or not yet"]
    except (KeyError, TypeError, ValueError, yaml.YAMLError):
        return [f"{where}: holds no plan that can be read, so what was changed in it is not known"]
    changed = {key: value for key, value in now.items() if key in plan and not _same(value, plan[key])}
    return [f"{where}: plan.{_change(key, value, plan[key])} when the runs were made" for key, value in changed.items()]


def _change(key: str, now: Any, before: Any) -> str:
    if key == "sweep" and isinstance(now, list) and isinstance(before, list):
        added = "; ".join(str(line) for line in now if line not in before) or "no line of its own"
        gone = "; ".join(str(line) for line in before if line not in now) or "no other line"
        return f"sweep has {added} now, had {gone}"
    return f"{key} is {_shown(key, now)} now, {_shown(key, before)}"


def _same(one: Any, other: Any) -> bool:
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return abs(one - other) < 1e-9 if numbers else one == other


def _shown(key: str, value: Any) -> str:
    if key == "margin":
        return f"{value:g} points"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
