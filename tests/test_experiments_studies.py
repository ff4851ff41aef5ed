"""Which runs belong to an experiment that was written down beforehand."""

from pathlib import Path
from unittest import mock

import pytest
from hydra import compose, initialize_config_module

from experiments import aggregates, compare, shell, studies
from experiments.config import from_hydra
from experiments.outcomes import Found, find
from experiments.report import __main__ as report
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
    with pytest.raises(shell.Unusable, match="experiment 'nosuch': expected one of ab_cifake, arms"):
        studies.folders("nosuch")


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A tree of three arms of which an experiment has two, and a baseline of another recipe that stands alone."""
    made = make_tree(tmp_path / "runs", arms={"none": 0.9, "saturate_x8": 0.8, "invert": 0.9}, images=40)
    make_tree(tmp_path / "runs", arms={"none": 0.9}, recipe="fast", images=40, seeds=range(2))
    inside = {"/".join(folder.parts[-4:]) for folder in made if "invert" not in folder.parts}
    monkeypatch.setattr(studies, "folders", lambda name: inside)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def test_compare_and_report_take_one_experiment_and_a_lone_baseline_is_named_and_no_fault(part, monkeypatch, capsys):
    monkeypatch.setattr(aggregates, "refresh", refreshed := mock.Mock())
    for words in ([], ["--experiment", "any"]):
        monkeypatch.setattr("sys.argv", ["compare", str(part / "runs"), *words])
        assert compare._main() == 0
        out, err = capsys.readouterr()
        assert "saturate_x8 " in out and err == "" and ("invert " in out) == (not words)
        assert ("nothing to hold against none: " in out) == (not words)
    refreshed.assert_called_once()  # TensorBoard shows all arms of a family, not those of one look
    monkeypatch.setattr("sys.argv", ["report", str(part / "runs"), "--experiment", "any", "--out", str(part / "out")])
    assert report.main() == 0
    assert {outcome.aug for outcome in find(part / "out").outcomes} == {"none", "saturate_x8"}
