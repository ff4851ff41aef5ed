"""Files scored by a finished run: the numbers of its own test, calibrated; what is unlike training; what is bad."""

import csv
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.folder import FileLocation
from detector.calibration import calibrated
from detector.checkpoint import CheckpointError
from detector.metrics import ece
from experiments import classifier, material, record, runs
from experiments.runs import NoRun

CPU = torch.device("cpu")


@pytest.fixture
def run(train, tmp_path):
    assert train()[0] == 0
    [folder] = [path.parent for path in tmp_path.rglob("done")]
    return folder


def judged(folder, files):
    return list(classifier.load(folder, CPU).judge([FileLocation.of(file, None) for file in files]))


def test_a_file_gets_the_score_of_the_runs_own_test_calibrated(run, tmp_path):
    with (run / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    scores, labels = (np.array([float(row[key]) for row in rows]) for key in ("score", "label"))
    found = classifier.load(run, CPU)
    last = runs.read(run).metrics[-1]
    assert found.temperature == last["val/temperature"]
    assert last["test/ece_calibrated"] == pytest.approx(ece(calibrated(scores, found.temperature), labels))
    data, files = material.prepared(found.members[0].config), []
    for row in rows:
        files.append(tmp_path / f"{row['row']}.png")
        Image.fromarray(data.images[int(row["row"])]).save(files[-1])
    verdicts = judged(run, files)
    expected = calibrated(scores, found.temperature)
    assert [verdict.probability for verdict in verdicts] == pytest.approx(expected, abs=1e-5)
    called = [verdict.fake for verdict in verdicts]
    assert np.mean(np.array(called) == (labels == 1)) == last["test/accuracy_at_threshold"]
    assert sum(bool(verdict.unlike) for verdict in verdicts) <= 2 and not any(verdict.bad for verdict in verdicts)


def test_what_is_unlike_training_and_what_cannot_be_decoded_is_said_and_the_others_go_on(run, tmp_path):
    random = np.random.RandomState(0)
    pictures = {"small": (48, 40), "noise": (32, 32), "again": (32, 32)}
    for name, (width, height) in pictures.items():
        Image.fromarray(random.randint(0, 2, (height, width, 3)).astype(np.uint8) * 255).save(tmp_path / f"{name}.png")
    (tmp_path / "text.jpg").write_text("no picture")
    small, text, noise, missing, again = judged(
        run, [tmp_path / f"{name}" for name in ("small.png", "text.jpg", "noise.png", "missing.png", "again.png")]
    )
    assert small.unlike.startswith("48x40, trained on 32x32")
    assert noise.unlike == again.unlike == "unlike the training pictures"
    assert text.bad and missing.bad and np.isnan(text.probability) and not noise.bad


def test_an_older_run_scores_too_and_says_nothing_of_what_it_does_not_know(run, tmp_path):
    (run / "familiar.pt").unlink()
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    [verdict] = judged(run, [tmp_path / "a.png"])
    assert 0 <= verdict.probability <= 1 and not verdict.unlike


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_what_is_of_another_version_or_holds_code_is_refused_in_one_line(run, tmp_path):
    def weights(name, held):
        return lambda folder: torch.save(held, folder / name)

    def text(name, old, new):
        return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))

    spoiled = [
        (CheckpointError, "last.pt: not a checkpoint", weights("last.pt", {"model": Trap(tmp_path / "trap")})),
        (CheckpointError, "familiar.pt: not a checkpoint", weights("familiar.pt", {"means": Trap(tmp_path / "trap")})),
        *(
            (CheckpointError, "weights are not those of model=cnn32", weights("last.pt", held))
            for held in ([], torch.zeros(1), {}, {"model": 3}, {"model": {"0.weight": torch.zeros(1)}})
        ),
        (CheckpointError, "weights are not those of model=cnn32", weights("familiar.pt", {})),
        (NoRun, "metrics.jsonl: no results as those", text("metrics.jsonl", "val/threshold", "threshold")),
        (NoRun, "metrics.jsonl: no results as those", text("metrics.jsonl", "test/accuracy", "accuracy")),
        (NoRun, "is it a run of another version", text("predictions.csv", "path,label", "file,label")),
        (NoRun, "metrics.jsonl: no results as those", lambda folder: (folder / "metrics.jsonl").write_text("")),
    ]
    for number, (error, said, spoil) in enumerate(spoiled):
        copied = shutil.copytree(run, tmp_path / f"{number}" / run.name)
        spoil(copied)
        record.mark_done(copied)
        with pytest.raises(error, match=said) as raised:
            classifier.load(copied, CPU)
        assert str(copied) in str(raised.value) and len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "trap").exists()
