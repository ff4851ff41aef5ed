"""The studies written down beforehand: every job of every line of every conf/experiment yaml can be run."""

import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments import condition, run, shell, studies
from experiments import jobs as command
from experiments.config import from_hydra

FOLDER = Path(run.__file__).with_name("conf") / "experiment"
STUDIES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
every_study = pytest.mark.parametrize("name", STUDIES)
SWEPT = [name for name in STUDIES if "sweep" in yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["plan"]]
GROUPS = {group: sorted(p.stem for p in FOLDER.with_name(group).glob("*.yaml")) for group in ("aug", "model", "train")}


@pytest.fixture
def jobs():
    """jobs(name) -> the overrides of every job of `-m experiment=name`, expanded as the verb and Hydra's sweeper do;
    more words stand behind it."""

    def expand(name: str, *more: str) -> list[list[str]]:
        parser = OverridesParser.create()
        lines = command.command_lines(["-m", f"experiment={name}", *more])
        lines = [parser.parse_overrides(words[1:]) for words in lines]
        return [job for line in lines for job in BasicSweeper.split_arguments(line, None)[0]]

    return expand


def arm_of(job: list[str]) -> tuple[str, ...]:
    return tuple(word for word in job if not word.startswith("seed="))


@every_study
def test_every_job_of_a_study_is_a_valid_configuration_with_a_folder_of_its_own(name, jobs):
    first = {arm_of(job): job for job in reversed(jobs(name))}  # the seeds of an arm differ in nothing else
    with initialize_config_module("experiments.conf", version_base="1.3"):
        composed = [from_hydra(compose("config", overrides=job)) for job in first.values()]
    folders = [config.folder for config in composed]
    assert len(set(folders)) == len(folders)
    assert len({(config.aug.name, config.digest) for config in composed}) == len({c.digest for c in composed})
    assert all(config.plan.experiment == name for config in composed)
    assert composed[0].plan.baseline in {config.aug.name for config in composed}
    settings = [{k: v for k, v in config.condition().items() if k != "aug"} for config in composed]
    assert all(other == settings[0] for other in settings)  # one family: every arm can be held against the baseline


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in GROUPS[group]])
def test_every_choice_of_every_group_composes_and_is_named_after_its_file(group, name):
    more = ["model=efficientnet_b0"] if name == "two_phase" else []
    config = command.configured([f"{group}={name}", *more])
    assert getattr(config, group).name == name or group == "aug"


def test_a_younger_setting_at_its_default_leaves_the_digest_as_it_was():
    config = command.configured(["data=cifake", "model=efficientnet_b0", "model.weights=none"])
    for part, values in condition.YOUNGER.items():
        assert {key: getattr(getattr(config, part), key) for key in values} == values
        assert not {*values} & {*config.condition()[part]}


@pytest.mark.parametrize("name", sorted({*STUDIES} - {*SWEPT}))
def test_the_question_can_be_asked_of_every_other_system(name):
    arms = [command.configured([f"experiment={name}", f"aug={aug}"]) for aug in ("none", "saturate_x8")]
    assert arms[0].plan.baseline == "none" and arms[0].digest != arms[1].digest
    assert command.count(command.command_lines([f"experiment={name}"])[0]) == 1


@pytest.mark.parametrize("name", SWEPT)
def test_every_arm_has_the_baselines_seeds_or_the_first_of_them(name, jobs):
    seeds: dict[tuple[str, ...], list[int]] = {}
    for job in jobs(name):
        seeds.setdefault(arm_of(job), []).extend(int(word[5:]) for word in job if word.startswith("seed="))
    longest = max(seeds.values(), key=len)
    assert all(drawn == longest[: len(drawn)] and len(drawn) >= 3 for drawn in seeds.values())


@every_study
def test_a_study_says_what_is_asked_how_what_it_costs_and_what_was_expected(name, jobs):
    text = (FOLDER / f"{name}.yaml").read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    for word in ("Question", "Command", "Cost", "Expected"):
        assert sum(line.startswith(f"# {word}:") for line in comments) == 1, word
    assert f"experiment={name}" in text
    stated = re.search(r"# Cost: +(\d+) runs", text)
    if stated:
        assert int(stated.group(1)) == len(jobs(name))


def test_what_the_user_gives_takes_the_place_of_what_the_sweep_says(jobs):
    assert {word for job in jobs("ab_cifake", "seed=7") for word in job if word.startswith("seed")} == {"seed=7"}
    plain = jobs("dose_response", "aug=none", "seed=0,1")  # no line of its own any more, and no strength of none
    assert [job[1:] for job in plain] == [["aug=none", "seed=0"], ["aug=none", "seed=1"]]


def test_an_experiment_without_m_is_a_sweep_too_and_a_flag_may_stand_anywhere():
    for words in (["experiment=ab_cifake"], ["threads=1", "-m", "experiment=ab_cifake"]):
        (line,) = command.command_lines(words)
        assert line[0] in command.MULTIRUN and line[-1] == "seed=range(6)"


@pytest.mark.parametrize("sweep", ["aug=none seed=0", ["aug none"], [5], ["aug='none"]])
def test_a_sweep_that_is_not_lines_of_settings_is_named(tmp_path, monkeypatch, sweep):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"plan": {"sweep": sweep}}))
    monkeypatch.setattr(studies, "FOLDER", tmp_path)
    with pytest.raises(shell.Unusable, match=r"mine\.yaml: plan\.sweep: .*: expected a list of lines such as"):
        studies.sweep("mine")


def test_what_a_yaml_interpolates_is_no_setting_of_its_own():
    with initialize_config_module("experiments.conf", version_base="1.3"):
        free, fixed, jitter = (
            from_hydra(compose("config", overrides=words))
            for words in (
                ["aug=saturate", "aug.factor=8", "aug.space=luma"],
                ["aug=saturate_x8"],
                ["aug=jitter_saturate", "aug.strength=0.2", "aug.factor=1"],
            )
        )
    assert free.digest == fixed.digest
    assert jitter.aug.name == "jitter_0.2_saturate_luma_x1"
    assert set(jitter.condition()["aug"]) == {"train", "eval"}
    assert jitter.condition()["aug"]["train"][0]["strength"] == 0.2
