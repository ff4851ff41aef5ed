"""Arms that are controls, and the one that has six channels, through whole small runs."""

import numpy as np
from hydra import compose, initialize_config_module

from experiments import runs
from experiments.config import from_hydra
from experiments.material import Material


def folders(root):
    return {path.parent.parent.name: path.parent for path in root.rglob("done")}


def test_none_again_is_none_from_another_seed(train, tmp_path):
    assert train("aug=none_again", "seed=3")[0] == 0
    assert train("aug=none", "seed=1003")[0] == 0
    assert train("aug=none", "seed=3", f"runs_root={tmp_path / 'pair'}")[0] == 0
    found, pair = folders(tmp_path / "runs"), folders(tmp_path / "pair")
    for name in ("metrics.jsonl", "predictions.csv"):
        again, same, other = (
            (folder / name).read_bytes() for folder in (found["none_again"], found["none"], pair["none"])
        )
        assert again == same != other
    assert found["none_again"].name.endswith("-seed3")  # it is held against the pair of the same seed


def test_shuffled_labels_are_the_training_labels_dealt_out_anew_and_nothing_else(small_data, tmp_path):
    words = ["data.train=400", "data.val=32", "data.test=32", f"data_root={small_data}", f"runs_root={tmp_path}"]
    with initialize_config_module("experiments.conf", version_base="1.3"):
        composed = [compose("config", overrides=["aug=shuffled_labels", f"seed={seed}", *words]) for seed in (0, 1)]
    first, second = (Material(from_hydra(each)) for each in composed)
    shown, truth = first.shown_labels(), first.data.labels
    rows = first.rows["train"].numpy()
    assert sorted(shown[rows]) == sorted(truth[rows])
    assert abs(np.mean(shown[rows] == truth[rows]) - 0.5) < 0.15  # what is dealt says nothing of what was
    others = np.setdiff1d(np.arange(len(truth)), rows)
    np.testing.assert_array_equal(shown[others], truth[others])
    for split in ("val", "test"):
        np.testing.assert_array_equal(first.labels[split], truth[first.rows[split].numpy()])
    assert (second.shown_labels()[rows] != shown[rows]).any()


def test_a_run_with_shuffled_labels_is_measured_against_the_true_ones(train, tmp_path):
    assert train("aug=shuffled_labels")[0] == 0
    assert train("aug=none")[0] == 0
    shuffled, plain = (runs.read(folders(tmp_path / "runs")[arm]) for arm in ("shuffled_labels", "none"))
    columns = [
        [line.rsplit(",", 1)[0] for line in (run.folder / "predictions.csv").read_text().splitlines()]
        for run in (shuffled, plain)
    ]
    assert columns[0] == columns[1]


def test_a_view_of_six_channels_trains_and_is_tested(train, tmp_path):
    status, _, err = train("aug=both", "model=cnn32")
    assert status == 0, err
    run = runs.read(folders(tmp_path / "runs")["both"])
    assert 0 <= run.metrics[-1]["test/accuracy"] <= 1
    assert 0 < run.metrics[-1]["view/clipped"] < 1


def test_training_and_testing_must_give_the_same_number_of_channels(train):
    status, _, err = train("aug=both", "aug.eval=[]")
    assert status == 2
    assert "aug.eval gives 3 channels and aug.train 6: expected the same" in err
    assert len(err.splitlines()) == 1


def test_a_size_that_the_pictures_do_not_have_is_the_users_mistake(train):
    status, _, err = train("aug=resample", "aug.factor=32")
    assert status == 2
    assert "size=32: expected less than 32, as the pictures are 32x32" in err
