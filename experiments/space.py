"""What a search may vary: settings of a run and the values they may take, from a yaml of conf/search or one's own."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from experiments.config import ConfigError

FOLDER = Path(__file__).with_name("conf") / "search"


class Suggests(Protocol):
    """What is used of Optuna's trials."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...
    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Dimension:
    """One setting: a number from low to high, or one of choices; length: a list of so many of them, from the first to
    the second; like: a list as long as that of another key."""

    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    length: tuple[int, int] | None = None
    like: str | None = None

    def suggest(self, trial: Suggests, key: str, lengths: dict[str, int]) -> Any:
        """A value; lengths: of the lists suggested so far, to which this one's is added."""
        if self.length is None and self.like is None:
            return self._one(trial, key)
        number = lengths[self.like] if self.like else trial.suggest_int(f"{key}.length", *(self.length or (1, 1)))
        lengths[key] = number
        return [self._one(trial, f"{key}.{place}") for place in range(number)]

    def _one(self, trial: Suggests, name: str) -> Any:
        if self.choices:
            named = {choice if _is_scalar(choice) else _written(choice): choice for choice in self.choices}
            return named[trial.suggest_categorical(name, tuple(named))]  # a study keeps names, numbers and null
        assert self.low is not None and self.high is not None
        step = 1 if self.step is None else self.step
        if isinstance(self.low, int) and isinstance(self.high, int) and isinstance(step, int):
            return trial.suggest_int(name, self.low, self.high, step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Space:
    """The settings that vary, in the order of the file."""

    name: str
    dimensions: dict[str, Dimension]

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits of what may vary and how."""
        plain = {key: dataclasses.asdict(dimension) for key, dimension in self.dimensions.items()}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:10]

    def suggest(self, trial: Suggests) -> list[str]:
        """One choice of all settings, as overrides such as train.batch_size=16."""
        lengths: dict[str, int] = {}
        values = {key: dimension.suggest(trial, key, lengths) for key, dimension in self.dimensions.items()}
        return [f"{key}={_written(value)}" for key, value in values.items()]


def read(name: str) -> Space:
    """The space of a yaml in conf/search, by its name, or of a file; ConfigError where there is none or it is wrong."""
    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
        raise ConfigError(f"--space {name}: no such space; expected one of {known}, or a yaml file")
    try:
        plain = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: no yaml: {' '.join(str(error).split())}") from error
    if not isinstance(plain, Mapping) or not plain:
        example = "train.batch_size: {choices: [8, 16]}"
        raise ConfigError(f"{file}: expected settings and their values, such as {example}")
    dimensions: dict[str, Dimension] = {}
    for key, asked in plain.items():
        dimensions[str(key)] = _dimension(f"{file}: {key}", asked, dimensions)
    return Space(file.stem, dimensions)


def _dimension(where: str, asked: Any, before: Mapping[str, Dimension]) -> Dimension:
    fields = [field.name for field in dataclasses.fields(Dimension)]
    if not isinstance(asked, Mapping) or (unknown := [key for key in asked if key not in fields]):
        said = asked if not isinstance(asked, Mapping) else unknown[0]
        raise ConfigError(f"{where}: {said}: expected a mapping of {', '.join(fields)}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in asked.items()}
    for name in {"low", "high", "step"} & set(given):
        given[name] = _number(f"{where}.{name}", given[name])
    if not isinstance(given.get("log", False), bool):
        raise ConfigError(f"{where}.log: {asked['log']}: expected true or false")
    if ("choices" in given) == ("low" in given or "high" in given):
        raise ConfigError(f"{where}: expected either choices, or low and high")
    if "choices" in given and (not isinstance(given["choices"], tuple) or not given["choices"]):
        raise ConfigError(f"{where}.choices: {asked['choices']}: expected a list of values")
    for choice in given.get("choices", ()):
        _check(f"{where}.choices", choice)
    if "choices" not in given:
        low, high = given.get("low"), given.get("high")
        if low is None or high is None or not low < high:
            raise ConfigError(f"{where}: low {low}, high {high}: expected two numbers, the first below the second")
        if given.get("log") and (low <= 0 or "step" in given):
            raise ConfigError(f"{where}: log: expected low above 0, and no step")
        if not 0 < given.get("step", high - low) <= high - low:
            raise ConfigError(f"{where}.step: {given['step']}: expected more than 0, at most high - low")
    if "length" in given:
        low, high = (*given["length"], None, None)[:2] if isinstance(given["length"], tuple) else (None, None)
        if type(low) is not int or type(high) is not int or not 1 <= low <= high:
            raise ConfigError(f"{where}.length: {asked['length']}: expected [least, most], from 1")
    if "like" in given and (given["like"] not in before or before[given["like"]].length is None):
        raise ConfigError(f"{where}.like: {given['like']}: expected a key above with a length")
    return Dimension(**given)


def _number(where: str, value: Any) -> int | float:
    """A bound, also as YAML 1.1 reads 1e-4: as text."""
    try:
        number = float(value) if isinstance(value, str) else value
        if type(number) in (int, float) and math.isfinite(number):
            return number
    except ValueError:
        pass
    raise ConfigError(f"{where}: {value}: expected a number")


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _check(where: str, choice: Any) -> None:
    """Raise ConfigError where it is not of what an override can be written of."""
    if isinstance(choice, list):
        for inner in choice:
            _check(where, inner)
    elif isinstance(choice, Mapping) and all(isinstance(key, str) and re.fullmatch(r"\w+", key) for key in choice):
        _check(where, list(choice.values()))
    elif not _is_scalar(choice):
        raise ConfigError(
            f"{where}: {choice}: expected numbers, text, true, false, null, or lists and mappings of them"
        )


def _written(value: Any) -> str:
    """As Hydra reads it in an override."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(inner)}" for key, inner in value.items()) + "}"
    if value is None:
        return "null"
    if isinstance(value, str) and not re.fullmatch(r"[\w./+-]+", value):
        # a backslash stands for itself unless a quotation mark follows
        return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + "\\'" * len(found[2]), value) + "'"
    return repr(value) if isinstance(value, float) else str(value)
