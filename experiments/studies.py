"""The experiments written down beforehand: the lines of their sweeps, and which runs are theirs."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from experiments import shell
from experiments.outcomes import Found, Outcome

FOLDER = Path(__file__).with_name("conf") / "experiment"


def sweep(name: str) -> list[list[str]]:
    """The lines of plan.sweep of conf/experiment/<name>.yaml, each split into its overrides; none without a sweep.

    Raises Unusable where they are not lines of key=value.
    """
    path = FOLDER / f"{name}.yaml"
    settings = yaml.safe_load(path.read_text()) if path.is_file() else None
    plan = settings.get("plan") if isinstance(settings, dict) else None
    lines = (plan.get("sweep") if isinstance(plan, dict) else None) or []
    found = []
    for line in lines if isinstance(lines, list) else [lines]:
        try:
            found.append(shlex.split(line))
            good = isinstance(lines, list) and all("=" in word for word in found[-1])
        except (ValueError, AttributeError, TypeError):  # an open quotation mark; no text
            good = False
        if not good:
            raise shell.Unusable(
                f"{path}: plan.sweep: {line!r}: expected a list of lines such as aug=none seed=range(6)"
            )
    return found


def jobs(words: Sequence[str]) -> list[list[str]]:
    """The overrides of every job of a sweep over `words`; raises Unusable where one cannot be read."""
    return BasicSweeper.split_arguments(list(map(_parsed, words)), None)[0]


def folders(name: str) -> set[str]:
    """`<data>/<model>/<aug>/<digest>-seed<k>` of every run that belongs to an experiment.

    Raises Unusable.
    """
    from experiments.config import from_hydra  # brings torch

    if not (FOLDER / f"{name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
        raise shell.Unusable(f"experiment {name!r}: expected one of {known}")
    seeds: dict[tuple[str, ...], list[str]] = {}  # of each arm, which is composed once: that is the slow part
    for line in sweep(name):
        for job in jobs(line):
            arm = tuple(word for word in job if not word.startswith("seed="))
            seeds.setdefault(arm, []).extend(word for word in job if word.startswith("seed="))
    found = set()
    with initialize_config_module("experiments.conf", version_base="1.3"):
        for arm, words in seeds.items():
            folder = from_hydra(compose("config", overrides=[f"experiment={name}", *arm])).folder
            place = "/".join((*folder.parts[-4:-1], folder.name.rpartition("-seed")[0]))
            found |= {f"{place}-seed{word.removeprefix('seed=')}" for word in words or ["seed=0"]}
    return found


def only(found: Found, name: str) -> Found:
    """What was found of one experiment's runs, whoever made them first: `none` serves several."""
    inside = folders(name)

    def is_inside(line: str) -> bool:
        return "/".join(Path(line.partition(": ")[0]).parts[-4:]) in inside

    return replace(
        found,
        outcomes=[outcome for outcome in found.outcomes if _place(outcome) in inside],
        unfinished=list(filter(is_inside, found.unfinished)),
        refused=list(filter(is_inside, found.refused)),
    )


def _place(outcome: Outcome) -> str:
    fold = "" if outcome.fold is None else f"-fold{outcome.fold}"
    return f"{outcome.data}/{outcome.model}/{outcome.aug}/{outcome.digest}{fold}-seed{outcome.seed}"


def _parsed(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        raise shell.Unusable(f"{word}: cannot be read; expected such as seed=3, seed=0,1 or seed='range(6)'") from None
