"""Which runs belong to an experiment that was written down beforehand."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from experiments import studies
from experiments.config import from_hydra
from experiments.outcomes import Found, find
from tests.trees import make_tree


def test_the_runs_of_an_experiment_are_the_folders_that_its_jobs_write():
    with initialize_config_module("experiments.conf", version_base="1.3"):
        words = ["experiment=ab_cifake", "aug=invert_saturate_x8", "seed=5"]
        folder = from_hydra(compose("config", overrides=words)).folder
    found = studies.folders("ab_cifake")
    assert "/".join(folder.parts[-4:]) in found
    assert len(found) == 18 == sum(len(studies.jobs(line)) for line in studies.sweep("ab_cifake"))


def test_only_the_runs_of_the_experiment_are_left(tmp_path, monkeypatch):
    made = make_tree(tmp_path, arms={"none": 0.9, "saturate_x8": 0.8, "invert": 0.9}, seeds=range(2), images=20)
    inside = {"/".join(folder.parts[-4:]) for folder in made if "invert" not in folder.parts and "seed0" in folder.name}
    monkeypatch.setattr(studies, "folders", lambda name: inside)
    found = find(tmp_path)
    lines = [f"{folder}: not finished" for folder in made]
    left = studies.only(Found(found.outcomes, lines, lines), "any")
    assert {(outcome.aug, outcome.seed) for outcome in left.outcomes} == {("none", 0), ("saturate_x8", 0)}
    assert {"/".join(Path(line.split(":")[0]).parts[-4:]) for line in left.unfinished} == inside
    assert left.refused == left.unfinished


def test_an_unknown_experiment_is_answered_with_those_there_are():
    with pytest.raises(studies.Unusable, match="experiment 'nosuch': expected one of ab_cifake, arms"):
        studies.folders("nosuch")
