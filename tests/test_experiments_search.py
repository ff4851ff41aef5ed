"""A search in real processes: killed and begun again it ends with as many different trials, and only they count."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="the extra [search] is not installed")

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["data=synthetic", "data.train=64", "data.val=32", "data.test=32", "model=flexible", "train.batch_size=32"]
SPACE = """
model.filters: {low: 2, high: 8, step: 1, length: [1, 2]}
model.kernels: {choices: [3, 5], like: model.filters}
model.fc_size: {low: 2, high: 9}
train.learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}
"""


def command(place, *more, trials=5, epochs=1):
    (place / "small.yaml").write_text(SPACE)
    words = [*SMALL, f"data_root={place / 'data'}", f"runs_root={place / 'runs'}"]
    options = ["--trials", str(trials), "--epochs", str(epochs), "--space", str(place / "small.yaml")]
    where = ["--storage", f"sqlite:///{place / 'study.db'}", "--out", str(place / "runs")]
    return [sys.executable, "-m", "experiments.search", *words, *options, *where, *more]


def searched(place, *more, **settings):
    return subprocess.run(command(place, *more, **settings), cwd=ROOT, capture_output=True, text=True, check=False)


def trials(place):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="synthetic-flexible-none", storage=f"sqlite:///{place / 'study.db'}")
    return [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Killed in its third trial, then gone on with by two processes at once."""
    place = tmp_path_factory.mktemp("search")
    first = subprocess.Popen(command(place, "--seeds", "0"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    said = [first.stdout.readline() for _ in range(2)]
    while not [run for run in (place / "runs").rglob("config.yaml") if not (run.parent / "done").exists()]:
        time.sleep(0.01)
    first.kill()
    first.communicate()
    before = len(trials(place))
    done = searched(place, "--seeds", "2", "--jobs", "2")
    return place, said, before, done


def test_killed_and_begun_again_it_ends_with_as_many_different_trials(study):
    place, said, before, done = study
    assert done.returncode == 0 and not done.stderr, done.stderr  # of the helper, too
    assert 2 <= before < 5 and "trial 0: accuracy" in said[0]
    found = trials(place)
    assert len(found) == 5 == len({json.dumps(trial.params, sort_keys=True) for trial in found})
    assert len({trial.user_attrs["folder"] for trial in found}) == 5
    assert all((Path(trial.user_attrs["folder"]) / "done").exists() for trial in found)


def test_its_values_are_those_of_validation_and_the_winner_is_trained_anew(study):
    place, _, _, done = study
    for trial in trials(place):
        last = (Path(trial.user_attrs["folder"]) / "metrics.jsonl").read_text().splitlines()[-1]
        assert trial.value == json.loads(last)["val/accuracy"]
    best = max(trials(place), key=lambda trial: trial.value)
    fresh = [folder for folder in (place / "runs").rglob("*-seed100?") if (folder / "done").exists()]
    assert {folder.name[-4:] for folder in fresh} == {"1000", "1001"}
    digest = Path(best.user_attrs["folder"]).name.partition("-")[0]
    assert {folder.name.partition("-")[0] for folder in fresh} == {digest}
    accuracies = [json.loads((f / "metrics.jsonl").read_text().splitlines()[-1])["test/accuracy"] for f in fresh]
    assert f"test accuracy {sum(accuracies) / 2:.4f}" in done.stdout and "chosen for its luck" in done.stdout


def test_pictures_and_a_line_a_trial_lie_beside_it(study):
    place, _, _, done = study
    folder = place / "runs" / ".search" / "synthetic-flexible-none"
    assert str(folder) in done.stdout.splitlines()[-1]
    assert len((folder / "trials.jsonl").read_text().splitlines()) == 5
    names = {file.stem for file in folder.glob("*.png")}
    assert names == {"history", "slice", "parallel_coordinates", "importances"}


def test_another_space_under_the_same_name_is_refused(study):
    place, *_ = study
    (place / "small.yaml").write_text(SPACE.replace("high: 9", "high: 10"))
    words = [word for word in command(place) if word]
    (place / "small.yaml").write_text(SPACE.replace("high: 9", "high: 10"))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "of another space" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--objectives", "speed"], "--objectives speed: is not logged; expected of accuracy"),
        (["--sampler", "magic"], "--sampler magic: expected one of tpe"),
        (["--storage", "nosuch://x"], "--storage nosuch://x: cannot be opened"),
        (["--trials", "0"], "--trials 0: expected 1 or more"),
        (["--space", "nosuch"], "--space nosuch: no such space"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, more, said):
    done = searched(tmp_path, *more)
    assert done.returncode == 2 and done.stderr.startswith(f"experiments.search: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_a_pruned_trial_ends_early_and_a_failed_one_is_told(tmp_path):
    from experiments import space
    from experiments.trials import Trials

    (tmp_path / "one.yaml").write_text("train.learning_rate: {choices: [1.0e-3, 1.0e+30, 2.0e-3]}")
    study = Trials(
        "study",
        f"journal:{tmp_path / 'journal'}",
        space.read(str(tmp_path / "one.yaml")),
        objectives=["accuracy"],
        words=[*SMALL, "train.epochs=3", "threads=1", f"data_root={tmp_path / 'data'}", f"runs_root={tmp_path}"],
        sampler="random",
        pruner="none",
        seed=0,
        place=tmp_path / ".search",
    )
    study.study.pruner = optuna.pruners.ThresholdPruner(upper=0, n_warmup_steps=2)  # after the second epoch
    found = list(study.run(3))
    assert [trial.state.name for trial in found].count("PRUNED") == 2
    [failed] = [trial for trial in study.ended() if trial.state.name == "FAIL"]
    assert "the loss became" in failed.user_attrs["failed"]
    pruned = [Path(t.user_attrs["folder"]) for t in found if t.state.name == "PRUNED"]
    assert all(len((folder / "metrics.jsonl").read_text().splitlines()) == 2 for folder in pruned)
