"""A search in real processes: killed and begun again it ends with as many different trials, and only they count."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="the extra [search] is not installed")

from experiments import search, shell, space, winner  # noqa: E402
from experiments import trials as trials_of_a_study  # noqa: E402
from experiments.trials import Trials, as_json  # noqa: E402

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
    said = [first.stdout.readline() for _ in range(3)]
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
    assert 2 <= before < 5 and "0 of 5 trials done" in said[0] and "trial 0: accuracy" in said[1]
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
        (["--objectives", "accuracy", "auc", "nll"], "--objectives accuracy auc nll: expected one, or two"),
        (["--sampler", "magic"], "--sampler magic: expected one of tpe"),
        (["--storage", "nosuch://x"], "--storage nosuch://x: cannot be opened"),
        (["--storage", "nosuch://me:hunter2@x"], "--storage nosuch://me:***@x: cannot be opened"),
        (["--storage", "sqlite://"], "--storage sqlite://: cannot be opened; expected a file"),
        (["--trials", "0"], "--trials 0: expected 1 or more"),
        (["--space", "nosuch"], "--space nosuch: no such space"),
        (["--pruner", "median", "--objectives", "accuracy", "auc"], "--pruner median: expected none, or one objective"),
        (["--seeds", "2", "--objectives", "accuracy", "auc"], "--seeds 2: expected 0"),
        (["--name", "a/b"], "--name a/b: expected a plain name"),
        (["train.epochs=9"], "train.epochs=9: --epochs 1 says otherwise"),
        (["aug=invert", "--arms", "none"], "aug=invert: --arms none says otherwise"),
        (["--arms", "none,nosuch"], "aug=nosuch: no such choice"),
        (["foo"], "foo: expected key=value"),
        (["train.lerning_rate=3"], "train.lerning_rate: no such setting; train takes name, epochs"),
        (["aug.factor=3"], "aug.factor: no such setting; aug takes name"),
        (["train.learning_rate=3"], "train.learning_rate=3: --space small varies"),
        (["data=folder", "data.root=/nosuch"], "data.root=/nosuch: no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_no_trial(tmp_path, monkeypatch, more, said):
    words = command(tmp_path, *more)[2:]
    monkeypatch.setattr(sys, "argv", [word for word in words if word not in SMALL[1:4]])
    with pytest.raises(ValueError) as error:
        search._main()
    status, text = shell.explain(error.value)
    assert status == 2 and text.startswith(said) and "hunter2" not in text
    if (tmp_path / "study.db").exists():
        made = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'study.db'}")
        assert [(trial.state.name, trial.user_attrs.get("failed")) for trial in made.trials] == [("FAIL", None)]


def test_a_setting_may_say_what_an_option_says(tmp_path):
    words = ["search", *SMALL, "aug=invert", "train.epochs=9"]
    arguments = search._parser().parse_intermixed_args(words[1:])
    search._check(arguments)
    assert (arguments.arms, arguments.epochs, arguments.seeds) == (["invert"], 9, 3)
    assert search._words(arguments) == [[*SMALL, "aug=invert", "train.epochs=9"]]


def made(tmp_path, text, *more, settings=SMALL, storage=None, objective="accuracy", place=".search"):
    (tmp_path / "one.yaml").write_text(text)
    return Trials(
        "study",
        storage or f"journal:{tmp_path / 'journal'}",
        space.read(str(tmp_path / "one.yaml")),
        objectives=[objective],
        words=[*settings, "threads=1", f"data_root={tmp_path / 'data'}", f"runs_root={tmp_path}", *more],
        sampler="random",
        pruner="none",
        seed=0,
        place=tmp_path / place,
    )


def test_a_pruned_trial_ends_early_and_a_failed_one_is_told(tmp_path):
    study = made(tmp_path, "train.learning_rate: {choices: [1.0e-3, 1.0e+30, 2.0e-3]}", "train.epochs=3")
    study.study.pruner = optuna.pruners.ThresholdPruner(upper=0, n_warmup_steps=2)  # after the second epoch
    found = list(study.run(3))
    assert [trial.state.name for trial in found].count("PRUNED") == 2
    [failed] = [trial for trial in study.ended() if trial.state.name == "FAIL"]
    assert "the loss became" in failed.user_attrs["failed"]
    pruned = [Path(t.user_attrs["folder"]) for t in found if t.state.name == "PRUNED"]
    assert all(len((folder / "metrics.jsonl").read_text().splitlines()) == 2 for folder in pruned)
    assert not [folder for folder in pruned if (folder / "error.txt").exists()]


def test_what_is_no_trials_own_failure_ends_the_search_and_spends_nothing(tmp_path):
    varied = "train.learning_rate: {low: 1.0e-3, high: 1.0e-2}"
    study = made(tmp_path, varied, settings=["data=folder", f"data.root={tmp_path / 'gone'}", "model=flexible"])
    with pytest.raises(ValueError, match="no such folder"):
        list(study.run(2))
    assert not study.told() and [trial.state.name for trial in study.study.trials] == ["FAIL"]
    study = made(tmp_path, varied, "train.epochs=1", "seed=1000")  # mended, under the same name
    assert len(list(study.run(1))) == 1 and winner.fresh_seed([study]) == 1001


@pytest.mark.parametrize("storage", ["journal:{}/journal", "sqlite:///{}/study.db"])
def test_two_at_one_study_never_try_the_same_nor_take_a_live_trial_for_dead(tmp_path, monkeypatch, storage):
    """Whatever --out they have."""
    monkeypatch.setattr(trials_of_a_study, "MOST_REPEATED", 20)
    text = "train.batch_size: {choices: [16, 8]}"
    one, other = (
        made(tmp_path, text, "train.epochs=1", storage=storage.format(tmp_path), place=place) for place in "ab"
    )
    with ExitStack() as alive, ExitStack() as spent:
        trial, _ = one._next(alive)
        second = next(other.run(2))
        assert second.params != trial.params and second.state.name == "COMPLETE"
        assert other._next(spent) is None  # the last choice is being tried
        assert one.study.trials[trial.number].state.name == "RUNNING"
    [again] = list(other.run(2))  # its process is no more
    assert again.params == trial.params and len(other.ended()) == 2


def test_a_choice_that_makes_no_run_is_told_and_passed_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trials_of_a_study, "MOST_REPEATED", 40)
    text = "train.optimizer: {choices: [adam, sgd]}\ntrain.momentum: {choices: [0.0, 0.9]}"
    study = made(tmp_path, text, "train.epochs=1", objective="num_parameters")
    assert [trial.state.name for trial in study.run(3)] == ["COMPLETE"] * 3
    with pytest.raises(shell.Unusable, match="--space one: spent"):
        list(study.run(4))
    [invalid] = [json.loads(line) for line in as_json(study.told()).splitlines() if '"reason"' in line]
    assert invalid["reason"] == "train.momentum=0.9: expected train.optimizer=sgd with it, or 0"
    assert "makes no run: train.momentum=0.9" in capsys.readouterr().out


def test_a_search_that_is_asked_to_end_takes_its_helpers_with_it(tmp_path):
    words = command(tmp_path, "--jobs", "2", "--seeds", "0", epochs=10_000)
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while len(list((tmp_path / "runs").rglob("config.yaml"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        _, said = process.communicate(timeout=60)  # until the last of them has closed it
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 143 and "Traceback" not in said
