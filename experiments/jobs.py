"""The command line of experiments.run as jobs: the lines Hydra is called with, and every job of a sweep composed."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datasets.decoding import usable_cpus
from experiments import shell, studies
from experiments.config import Config, ConfigError, from_hydra

MULTIRUN = {"-m", "--multirun"}
LOOKING = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}  # nothing is trained


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its number from 1, its overrides, and its composed settings, interpolations as they stand."""

    number: int
    name: str
    settings: dict[str, Any]


def command_lines(given: Sequence[str]) -> list[list[str]]:
    """What Hydra is called with, one after the other: the user's words, once for each line of the experiment's sweep.

    A key that the user gives replaces the line's, and a group given replaces the line's settings of it. Raises
    Unusable where a word cannot be read, or there is no job.
    """
    words = sorted(given, key=lambda word: word not in MULTIRUN)  # argparse takes no flag between other words
    chosen = [word.partition("=")[2] for word in words if word.startswith("experiment=")]
    sweep = studies.sweep(chosen[-1]) if chosen else []
    if not sweep or LOOKING & set(words):
        lines = [words]
    else:
        keys = {word.partition("=")[0] for word in words}
        flag = [] if MULTIRUN & keys else ["--multirun"]
        grids = (tuple(word for word in line if not _replaced(word, keys)) for line in sweep)
        lines = [[*flag, *words, *grid] for grid in dict.fromkeys(grids)]
    if not sum(map(count, lines)):
        raise shell.Unusable(f"{' '.join(given)}: a sweep of no runs; one of its ranges is empty")
    return lines


def count(line: Sequence[str]) -> int:
    """How many jobs a line has."""
    return len(studies.jobs(_overrides(line)))


def may_go_side_by_side(lines: Sequence[Sequence[str]]) -> bool:
    """Whether the lines are a sweep of several jobs that may go side by side, as far as their words tell."""
    several = all(map(only_overrides, lines)) and sum(map(count, lines)) > 1
    return several and "jobs=1" not in lines[0] and usable_cpus() > 1


def only_overrides(line: Sequence[str]) -> bool:
    """Whether a sweep can be composed here; flags, settings of Hydra such as a launcher, and words that it will refuse
    are for Hydra."""
    rest = [word for word in line if word not in MULTIRUN]
    ours = (_is_override(word) and not re.match(r"[+~]*hydra\b", word) for word in rest)
    return bool(MULTIRUN & set(line)) and all(ours)


def composed(lines: Sequence[Sequence[str]]) -> list[Job]:
    """Every job of the lines. What differs in its seed alone is composed once: that is the slow part.

    Raises HydraException and OmegaConfBaseException, see `composition_error`.
    """
    arms: dict[tuple[str, ...], dict[str, Any]] = {}
    found: list[Job] = []
    with initialize_config_module("experiments.conf", version_base="1.3"):
        for words in (job for line in lines for job in studies.jobs(_overrides(line))):
            seed = [{"seed": _value(word)} for word in words if word.startswith("seed=")]
            arm = tuple(word for word in words if not word.startswith("seed="))
            if arm not in arms:
                arms[arm] = plain(compose("config", overrides=list(arm)))
            settings = {**arms[arm], **(seed[-1] if seed else {})}
            found.append(Job(len(found) + 1, " ".join(words), settings))
    return found


def configured(words: Sequence[str]) -> Config:
    """One run's configuration of these overrides; raises ConfigError."""
    return from_hydra(settings(words))


def settings(words: Sequence[str]) -> DictConfig:
    """One run's settings of these overrides; raises ConfigError where they cannot be composed."""
    try:
        with initialize_config_module("experiments.conf", version_base="1.3"):
            return compose("config", overrides=list(words))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(composition_error(error, words)) from error


def plain(settings: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values, interpolations as they stand."""
    return OmegaConf.to_container(settings, resolve=False)  # type: ignore[return-value]


def composition_error(error: Exception, words: Sequence[str] | None = None) -> str:
    """Hydra's and OmegaConf's message as one line, without its advice about files that users do not have.

    words: the overrides; None is those of the command line.
    """
    text = " ".join(str(error).split("Config search path")[0].split())
    if found := re.search(r"Could not find '(.+)/(.*?)' Available options in '.+?': (.+)", text):
        return f"{found[1]}={found[2]}: no such choice; there are {', '.join(found[3].split())}"
    if "To append to your config" in text:
        key = text.split("'")[1]
        group = key.rpartition(".")[0]
        GlobalHydra.instance().clear()
        with initialize_config_module("experiments.conf", version_base="1.3"):
            groups = ("data", "model", "aug", "train", "experiment")
            given = sys.argv[1:] if words is None else words
            chosen = [word for word in given if word.split("=")[0] in groups and "," not in word]
            node: Any = compose("config", overrides=chosen)
        for part in filter(None, group.split(".")):
            node = node.get(part) if isinstance(node, DictConfig) else None
        accepted = ", ".join(str(k) for k in node) if isinstance(node, DictConfig) else ""
        text = f"{key}: no such setting" + (f"; {group or 'the root'} takes {accepted}" if accepted else "")
    return text


def _overrides(line: Sequence[str]) -> list[str]:
    return [word for word in line if _is_override(word)]


def _is_override(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word.startswith("~"))


def _replaced(word: str, given: set[str]) -> bool:
    key = word.partition("=")[0]
    return key in given or key.partition(".")[0] in given


def _value(word: str) -> Any:
    return OverridesParser.create().parse_override(word).value()
