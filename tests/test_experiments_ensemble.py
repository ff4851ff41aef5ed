"""Ensembles: the mean of finished runs, read by compare as a run; and finished runs as classifiers."""

import shutil

import numpy as np
import pytest
import torch

from detector.batches import Pictures
from detector.metrics import best_threshold, evaluate
from experiments import classifier, ensemble, material, outcomes, record, runs
from experiments.comparison import compare
from tests.trees import make_tree


@pytest.fixture
def average(called):
    return lambda *words: called("experiments.ensemble", ensemble._main, *words)


def written(*folders):
    return ensemble.write(*zip(*map(runs.read_finished, folders), strict=True))


def scores_of(folder):
    lines = (folder / "predictions.csv").read_text().splitlines()[1:]
    return np.array([float(line.rpartition(",")[2]) for line in lines])


def test_the_scores_are_the_members_mean_and_everything_else_follows_from_them(tmp_path):
    members = make_tree(tmp_path, seeds=[3])
    folder = written(*members)
    assert folder.parts[-2:-1] == ("none+saturate_x8",) and folder.name.endswith("-seed3")
    average = np.mean([scores_of(member) for member in members], axis=0)
    assert scores_of(folder).tolist() == average.tolist()
    lines = [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]]
    of = {split: [place for place, line in enumerate(lines) if line[1] == split] for split in ("val", "test")}
    labels = np.array([int(line[3]) for line in lines])
    threshold = best_threshold(average[of["val"]], labels[of["val"]])
    expected = evaluate(average[of["test"]], labels[of["test"]], threshold=threshold)
    [last] = runs.read(folder).metrics
    assert {key: last[f"test/{key}"] for key in expected} == expected and last["val/threshold"] == threshold
    before = (folder / "done").stat().st_mtime_ns
    assert written(*reversed(members)) == folder and (folder / "done").stat().st_mtime_ns == before


def test_compare_pairs_an_ensemble_with_the_runs_of_its_seed(tmp_path):
    members = make_tree(tmp_path, seeds=range(6), images=400, arms={"none": 0.9, "saturate_x8": 0.9})
    plain, viewed = members[:6], members[6:]
    for pair in zip(plain, viewed, strict=True):
        written(*pair)
    several = written(*plain[:3])
    again = written(*plain[3:])
    assert several.parent == again.parent and several.name.split("-")[0] == again.name.split("-")[0]
    [found], refused = compare(outcomes.find(tmp_path).outcomes)
    assert not refused
    arms = {arm.name: arm for arm in found.arms}
    assert arms["none+saturate_x8"].pairs == [(seed, None) for seed in range(6)]
    assert arms["none_3_seeds"].pairs == [(0, None), (3, None)]
    assert arms["none_3_seeds"].speed is None  # nothing was trained
    own = [outcomes.find(folder).outcomes[0].metrics["test/accuracy"] for folder in (several, again)]
    plainly = [runs.read(plain[seed]).metrics[-1]["test/accuracy"] for seed in (0, 3)]
    assert arms["none_3_seeds"].differences.tolist() == [a - b for a, b in zip(own, plainly, strict=True)]


def test_what_cannot_be_averaged_is_refused_in_one_line(tmp_path, average):
    none, viewed = make_tree(tmp_path / "a", seeds=[0])
    [other_data] = make_tree(tmp_path / "b", arms={"none": 0.9}, seeds=[1], content="others")
    [other_tree] = make_tree(tmp_path / "e", arms={"none": 0.9}, seeds=[1])
    [other_recipe] = make_tree(tmp_path / "c", arms={"none": 0.9}, seeds=[1], recipe="fast")
    made = written(none, viewed)
    (unfinished := tmp_path / "d" / none.name).parent.mkdir()
    shutil.copytree(none, unfinished)
    (unfinished / "done").unlink()
    for folders, words in {
        (none, other_data): "other data (content_digest others) than",
        (none, other_recipe): "train.batch_size=256.0, where",
        (none, other_tree): "in another tree than",
        (none, none): "expected two or more finished runs",
        (none, made): "is an ensemble; expected runs that were trained",
        (none, unfinished): "not finished; expected finished runs",
        (none, tmp_path / "nowhere"): "no such folder",
    }.items():
        status, _, err = average(*folders)
        assert (status, len(err.splitlines())) == (2, 1) and words in err, (words, err)


def test_a_member_that_was_trained_anew_is_noticed(tmp_path):
    members = make_tree(tmp_path, seeds=[0])
    folder = written(*members)
    text = (members[0] / "predictions.csv").read_text()
    (members[0] / "predictions.csv").write_text(text.replace(",0.9", ",0.8"))
    record.mark_done(members[0])
    with pytest.raises(ensemble.NotAlike, match="averages members as they were before; delete it"):
        written(*members)
    with pytest.raises(runs.NoRun, match="trained anew since it was averaged"):
        classifier.load(folder, torch.device("cpu"))


def test_over_views_makes_one_for_each_seed_and_over_seeds_one_for_each_arm(tmp_path, average):
    make_tree(tmp_path, seeds=range(3))
    arms = tmp_path / "cifake" / "cnn32"
    status, out, err = average(arms, "--over", "views")
    assert (status, err, out.count("2 runs -> ")) == (0, "", 3)
    status, out, err = average(arms, "--over", "seeds")  # those made before are no members
    assert (status, err, out.count("3 runs -> ")) == (0, "", 2)
    assert sorted(path.name for path in arms.iterdir()) == [
        *("none", "none+saturate_x8", "none_3_seeds", "saturate_x8", "saturate_x8_3_seeds")
    ]


@pytest.mark.parametrize("recipe", [[], ["train.ema=0.9"], ["train.keep=best"]], ids=["last", "averaged", "best"])
def test_a_run_and_an_ensemble_score_pictures_as_they_did_when_they_were_tested(train, tmp_path, recipe):
    for arm in ("none", "jitter"):
        assert train(f"aug={arm}", *recipe)[0] == 0
    folders = sorted(path.parent for path in tmp_path.rglob("done"))
    for folder in (*folders, written(*folders)):
        found = classifier.load(folder, torch.device("cpu"))
        data = material.prepared(found.members[0].config)
        rows = np.concatenate([data.indices(split) for split in ("val", "test")])
        pictures = Pictures(data.images, data.labels, torch.device("cpu"))
        scores, strange = found.scores(pictures, torch.from_numpy(rows))
        assert scores == pytest.approx(scores_of(folder), abs=1e-6)
        assert scores.std() > 1e-4
        assert strange.mean() < 0.1


def test_a_folder_that_is_no_finished_run_is_no_classifier(tmp_path):
    [folder] = make_tree(tmp_path, arms={"none": 0.9}, seeds=[0])
    (folder / "done").unlink()
    with pytest.raises(runs.NoRun, match="not finished; expected a finished run"):
        classifier.load(folder, torch.device("cpu"))
