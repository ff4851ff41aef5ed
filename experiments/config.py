"""A run's configuration: Hydra composes it, here it becomes typed dataclasses, a digest and a folder; once."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datasets.build import SOURCES, image_settings
from detector.metrics import METRICS
from experiments import condition
from experiments.generators import TASKS

if TYPE_CHECKING:  # torch takes seconds to import, and a sweep reads the settings of its data while others import it
    from detector.models import ModelSettings
    from detector.train import TrainSettings

ALLOCATORS = ("keep", "system")


class ConfigError(ValueError):
    """A setting that the user can mend; its text is one line naming key, value and what would be accepted."""

    exit_status = 2


@dataclass
class AugSettings:
    """train, eval: lists of colour operations, see detector.color; name: of the arm. space, factor and strength are
    only there for a yaml to interpolate.

    Two controls make an arm of plain pictures: seed_offset trains from another seed than its pair's, shuffle_labels
    trains on labels dealt out at random.
    """

    name: str = ""  # no default: a yaml without a name must not pass for another arm
    train: list[Any] = field(default_factory=list)
    eval: list[Any] = field(default_factory=list)
    space: Any = None
    factor: Any = None
    strength: Any = None
    seed_offset: int = 0
    shuffle_labels: bool = False


@dataclass
class PlanSettings:
    """What is decided before the first run, and kept in every run's config.yaml: it makes no result, but a verdict.

    experiment: the yaml this comes from; question: in one sentence; baseline: the arm that the others are held
    against; metric: the primary one, of the test split; margin: the difference that nobody would act upon, in points
    (hundredths of the metric); sweep: lines of overrides, each a grid of its own; study: the search that this run is a
    trial of.
    """

    experiment: str = ""
    question: str = ""
    baseline: str = "none"
    metric: str = "accuracy"
    margin: float = 0.5
    sweep: list[str] = field(default_factory=list)
    study: str = ""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"plan.metric={self.metric!r}: expected one of {', '.join(METRICS)}")
        if not 0 < self.margin < 100:
            raise ValueError(f"plan.margin={self.margin}: expected a number of points between 0 and 100")


@dataclass
class Config:
    """Settings of the parts, the seed, and how and where things run and lie.

    task: detection, real against fake, or generator, see experiments.generators.
    threads: of one run on the CPU; jobs: runs of a sweep side by side; None is auto, see conf/config.yaml.
    allocator: keep or system, see experiments.allocator.
    """

    data: Any
    model: "ModelSettings"
    aug: AugSettings
    train: "TrainSettings"
    plan: PlanSettings
    seed: int
    device: str
    threads: int | None
    runs_root: Path
    data_root: Path
    jobs: int | None = None
    allocator: str = "keep"
    task: str = condition.DETECTION

    @property
    def digest(self) -> str:
        """Covers every setting that makes the result, but not the seed and the fold, over which results are averaged,
        nor names, nor where things lie and run."""
        return condition.digest_of(self.condition())

    @property
    def folder(self) -> Path:
        """runs/<data>/<model>/<aug>/<digest>-seed<k>, with -fold<f> before the seed where there are folds"""
        name = condition.run_name(self.digest, self.data.fold, self.seed)
        return self.runs_root / self.data.name / self.model.name / self.aug.name / name

    def condition(self) -> dict[str, Any]:
        """Every setting that makes the result, see experiments.condition."""
        parts = {part: dataclasses.asdict(getattr(self, part)) for part in condition.PARTS}
        return condition.condition_of(parts, image_settings(self.data).size, self.task)

    def flattened(self) -> dict[str, Any]:
        """The settings that make the result, as one level of names for TensorBoard's table; lists as text.

        The page shows the first five columns, by name, until told otherwise: so the four choices sort before the
        details.
        """
        names = {"aug": self.aug.name, "data": self.data.name, "model": self.model.name, "recipe": self.train.name}
        if self.task != condition.DETECTION:
            names["task"] = self.task
        details = {
            f"settings.{part}.{key}": value if isinstance(value, bool | int | float | str) else str(value)
            for part, settings in self.condition().items()
            for key, value in settings.items()
            if key != "name"
        }
        return names | details

    def as_dict(self) -> dict[str, Any]:
        """All settings as plain values, for config.yaml."""
        settings = dataclasses.asdict(self)
        return settings | {"runs_root": str(self.runs_root), "data_root": str(self.data_root)}


ROOT_KEYS = tuple(field.name for field in dataclasses.fields(Config))


def from_hydra(composed: DictConfig) -> Config:
    """Check and type a composed configuration; raises ConfigError before anything is read, drawn or trained."""
    import torch

    from detector.color import build_view
    from detector.models import settings_of
    from detector.phases import freeze
    from detector.train import TrainSettings

    with user_settings():
        if unknown := [key for key in map(str, composed) if key not in ROOT_KEYS]:
            raise ConfigError(f"{unknown[0]}: no such setting; the root takes {', '.join(ROOT_KEYS)}")
        config = Config(
            data=data_settings(composed),
            model=_typed(settings_of(composed.model.get("name")), composed.model, "model"),
            aug=_typed(AugSettings, composed.aug, "aug"),
            train=_typed(TrainSettings, composed.train, "train"),
            plan=_typed(PlanSettings, composed.plan, "plan"),
            seed=_whole("seed", composed.seed, least=0),
            device=str(composed.device),
            threads=whole_or_auto("threads", composed.threads),
            jobs=whole_or_auto("jobs", composed.get("jobs")),
            allocator=_one_of("allocator", composed.get("allocator", "keep"), ALLOCATORS),
            task=_one_of("task", composed.get("task", condition.DETECTION), TASKS),
            runs_root=Path(str(composed.runs_root)).expanduser(),
            data_root=Path(str(composed.data_root)).expanduser(),
        )
        for key, name in (("data.name", config.data.name), ("aug.name", config.aug.name)):
            if not name or name != Path(name).name or name.startswith("."):
                raise ConfigError(f"{key}={name!r}: expected a plain name, it becomes a folder")
        train, tested = (build_view(getattr(config.aug, kind), where=f"aug.{kind}") for kind in ("train", "eval"))
        if train.channels != tested.channels:
            raise ConfigError(
                f"aug.eval gives {tested.channels} channels and aug.train {train.channels}: expected the same, "
                "as the network has one number of them"
            )
        with torch.device("meta"):  # does it take this size? Its weights are drawn when it is trained
            model = config.model.build(image_size=image_settings(config.data).size, channels=train.channels)
        if config.train.batch_size == 1 and any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()):
            raise ConfigError(
                f"train.batch_size=1: model={config.model.name} normalises over a batch; expected at least 2"
            )
        for number, phase in enumerate(config.train.phases):
            freeze(model, phase["train"], where=f"train.phases[{number}].train")
    return config


def reseeded(config: Config, seed: Any) -> Config:
    """The same with another seed; raises ConfigError."""
    return dataclasses.replace(config, seed=_whole("seed", seed, least=0))


def data_settings(composed: DictConfig) -> Any:
    """The settings of a composed configuration's data alone, which needs no torch; raises ConfigError."""
    source = composed.data.get("source")
    if source not in SOURCES:
        raise ConfigError(f"data.source={source!r}: expected one of {', '.join(sorted(SOURCES))}")
    with user_settings():
        return _typed(SOURCES[source].settings, composed.data, "data")


def whole_or_auto(key: str, value: Any) -> int | None:
    """A setting of the root that is a whole number of at least 1, or auto: None; raises ConfigError."""
    if value in ("auto", None):
        return None
    try:
        return _whole(key, value, least=1)
    except ConfigError:
        raise ConfigError(f"{key}={value}: expected auto or a whole number of at least 1") from None


@contextmanager
def user_settings() -> Iterator[None]:
    """Inside, a ValueError is a setting of the user's."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _typed(settings: type, node: DictConfig, group: str) -> Any:
    """`node` as the dataclass `settings`, which checks ranges itself."""
    try:
        plain = OmegaConf.to_container(node, resolve=True)
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(settings), plain))
    except OmegaConfBaseException as error:
        key = f"{group}.{error.full_key}" if getattr(error, "full_key", None) else group
        if type(error).__name__ in ("ConfigKeyError", "ConfigAttributeError"):
            accepted = ", ".join(f.name for f in dataclasses.fields(settings))
            raise ConfigError(f"{key}: no such setting; {group} takes {accepted}") from error
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error


def _one_of(key: str, value: Any, accepted: tuple[str, ...]) -> str:
    if value not in accepted:
        raise ConfigError(f"{key}={value}: expected {' or '.join(accepted)}")
    return value


def _whole(key: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}={value}: expected a whole number of at least {least}")
    return value
