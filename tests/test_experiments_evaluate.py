"""One run on a page: scikit-learn's numbers, intervals, calibration by hand; what is missing is said, not guessed."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from datasets.manifest import Row
from experiments import figures, outcomes, record, runs
from experiments.evaluate import __main__ as verb
from experiments.evaluate import document, measuring
from experiments.predictions import parse
from tests.trees import make_tree

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two finished runs without pictures: (root, folders)."""
    root = tmp_path_factory.mktemp("evaluate") / "runs"
    return root, make_tree(root, arms={"none": 0.9}, seeds=SEEDS)


@pytest.fixture
def copied(tree, tmp_path):
    """A run of its own, to be spoilt."""
    place = tmp_path / "cifake" / "cnn32" / "none" / tree[1][0].name
    return shutil.copytree(tree[1][0], place, ignore=shutil.ignore_patterns("evaluation"))


@pytest.fixture
def evaluated(called):
    return lambda *words: called("experiments.evaluate", verb.main, *words)


@pytest.mark.parametrize("names", [["REAL", "FAKE"], ["real", "a", "a generator of a long name", "never called"]])
def test_the_report_is_what_scikit_learn_prints(names):
    random = np.random.default_rng(len(names))
    labels, calls = random.integers(0, len(names), 500), random.integers(0, max(2, len(names) - 1), 500)
    found = measuring.called(labels, calls, names)
    given = {"labels": range(len(names)), "target_names": names, "zero_division": 0}
    assert measuring.report(found) == reference.classification_report(labels, calls, digits=4, **given)
    assert found["confusion"] == reference.confusion_matrix(labels, calls).tolist()
    for name, one in reference.classification_report(labels, calls, output_dict=True, **given).items():
        if name in names:
            assert found["each"][name]["f1"] == pytest.approx(one["f1-score"])
            for what in ("precision", "recall"):
                mine = found["each"][name][what]
                assert mine["value"] == pytest.approx(one[what])
                if mine["of"]:
                    interval = binomtest(mine["count"], mine["of"]).proportion_ci(method="wilson")
                    assert (mine["low"], mine["high"]) == pytest.approx(tuple(interval), abs=1e-9)
                else:
                    assert (mine["low"], mine["high"]) == (0, 1)


def test_a_run_has_the_metrics_of_scikit_learn_at_both_thresholds_and_those_it_recorded(tree):
    run, predictions = runs.finished(tree[1][0])
    found = measuring.evaluation(run, predictions)
    test, scores = parse(predictions, {})
    for name, value in run.metrics[-1].items():
        split, _, metric = name.partition("/")
        if split in ("val", "test") and metric in found["metrics"][split]:
            assert found["metrics"][split][metric] == value
    assert found["metrics"]["test"]["auc"] == pytest.approx(reference.roc_auc_score(test.labels, scores))
    threshold = run.metrics[-1]["val/threshold"]
    assert threshold != 0.5 and list(found["thresholds"].values()) == [0.5, threshold]
    for key, at in found["thresholds"].items():
        cells = reference.confusion_matrix(test.labels, scores >= at).tolist()
        assert found["called"][key]["test"]["confusion"] == cells
    assert found["images"] == {"val": {"REAL": 50, "FAKE": 50}, "test": {"REAL": 100, "FAKE": 100}}
    assert sum(found["scores"]["REAL"]) == sum(found["scores"]["FAKE"]) == 100
    [line] = [line for line in run.metrics[:-1] if line["epoch"] == 3]
    assert found["metrics"]["train"]["auc"] == line["train/auc"]


def test_the_precision_recall_curve_is_scikit_learns():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    scores = np.round((labels + random.normal(0, 0.7, 300)).clip(-1, 2) / 3 + 1 / 3, 2)  # many are equal
    axes = figures.precision_recall(labels, scores).axes[0]
    precision, recall, _ = reference.precision_recall_curve(labels, scores)
    line = axes.lines[-1]
    assert line.get_xdata() == pytest.approx(recall[::-1]) and line.get_ydata()[1:] == pytest.approx(precision[-2::-1])
    assert f"{reference.average_precision_score(labels, scores):.4f}" in axes.get_title()
    assert "one class only" in [text.get_text() for text in figures.precision_recall(labels * 0, scores).axes[0].texts]


def test_calibration_is_counted_in_bins_as_by_hand():
    scores = np.array([0.01, 0.03, 0.50, 0.52, 0.99, 1.0])
    found = measuring.reliability(scores, np.array([0, 1, 0, 1, 1, 1]))
    first, middle, last = found["bins"]
    assert (first["images"], first["mean"], first["fake"]["value"]) == (2, pytest.approx(0.02), 0.5)
    assert (middle["low"], middle["high"], middle["fake"]["count"]) == (7 / 15, 8 / 15, 1)
    assert last["fake"]["low"] == pytest.approx(binomtest(2, 2).proportion_ci(method="wilson").low)
    by_hand = (2 * abs(0.5 - 0.02) + 2 * abs(0.5 - 0.51) + 2 * abs(1 - 0.995)) / 6
    assert found["ece"] == pytest.approx(by_hand)


def test_what_is_shown_comes_from_the_names_of_cifake_alone():
    rows = [
        Row(path, 0, source=source)
        for path, source in (
            ("test/REAL/0001.jpg", "cifake"),
            ("test/REAL/0001 (4).jpg", "cifake"),
            ("cifake/test/FAKE/12 (4).jpg", "cifake"),
            ("0001 (4).jpg", "photos"),
            ("test/REAL/other.jpg", "cifake"),
        )
    ]
    found = {name: places.tolist() for name, places in measuring.objects(rows).items()}
    assert found == {"airplane": [0], "cat": [1, 2]}


def test_a_part_counts_its_own_images_at_both_thresholds():
    scores, labels = np.array([0.2, 0.55, 0.9, 0.58]), np.array([0, 0, 1, 1])
    found = measuring.part(scores, labels, {"0.5": 0.5, "validation": 0.6})
    assert [found[key]["accuracy"]["value"] for key in ("0.5", "validation")] == [0.75, 0.75]
    assert [found["0.5"][label]["count"] for label in ("REAL", "FAKE")] == [1, 2]
    assert [found["validation"][label]["count"] for label in ("REAL", "FAKE")] == [2, 1]
    assert found["auc"] == 1.0 and np.isnan(measuring.part(scores[:2], labels[:2], {})["auc"])


def test_a_part_without_fakes_has_no_share_of_them():
    thresholds = {"0.5": 0.5, "validation": 0.6}
    photos = measuring.part(np.array([0.2, 0.8]), np.array([0, 0]), thresholds)
    [section] = document._parts({"thresholds": thresholds, "sources": {"photos": photos}, "objects": {}})
    [row] = section.blocks[0].rows
    assert row[4].startswith("0.5000 (") and row[5:] == ["-", "-"]


def test_the_page_holds_the_numbers_stands_alone_and_leaves_the_run_as_it_was(tree, evaluated):
    root, (folder, other) = tree
    before = outcomes.find(root)
    status, out, err = evaluated(folder)
    assert status == 0 and "no example pictures: its network is not here" in err
    written = folder / "evaluation"
    assert out.splitlines()[-2] == f"result: {written / 'evaluation.html'}"
    found = json.loads((written / "evaluation.json").read_text())
    page = (written / "evaluation.html").read_text()
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", page)
    for by_split in found["called"].values():
        one = by_split["test"]
        assert measuring.report(one) in out and measuring.report(one).rstrip() in page
        shares = [one["accuracy"], *(each[what] for each in one["each"].values() for what in ("precision", "recall"))]
        for each in shares:
            assert f"{each['value']:.4f}" in cells and f"{each['low']:.4f} to {each['high']:.4f}" in cells
        for row in by_split["val"]["confusion"] + one["confusion"]:
            assert {f"{count:,}" for count in row} <= set(cells)
    for values in found["metrics"].values():
        assert {f"{value:.4f}" for value in values.values()} <= set(cells)
    assert all(f"{found['calibration'][key]['ece']:.4f}" in page for key in ("before", "after"))
    assert "No pictures are shown: its network is not here" in page and str(root) not in page
    assert not re.search(r'(src|href)="(?!data:|#)|<script|url\(', page)
    names = {path.stem for path in (written / "figures").iterdir()}
    assert {"roc", "precision-recall", "reliability", "scores", "objects", "learning", "confusion-fixed"} <= names
    assert all((written / "figures" / f"{name}.{ending}").exists() for name in names for ending in ("png", "svg"))
    again = outcomes.find(root)
    assert [one.where for one in again.outcomes] == [one.where for one in before.outcomes] and not again.refused
    assert runs.finished(folder) and not (other / "evaluation").exists()


def test_of_several_runs_the_last_finished_is_taken_without_torch(tree, tmp_path):
    root, (_, last) = tree
    code = (
        "import sys; from experiments.evaluate import __main__ as verb; verb.main(); assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(root), "--no-pictures", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"run:    {last}\n") and (tmp_path / "out" / "evaluation.html").exists()


def spoil(folder, name, old, new):
    """Another version's file, in a run that is whole."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    record.mark_done(folder)


def test_what_is_no_finished_run_is_one_line_and_status_2(copied, evaluated, tmp_path):
    def refused(*words):
        status, out, err = evaluated(*words, "--no-pictures")
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        return err

    (tmp_path / "empty").mkdir()
    assert "no finished run there" in refused(tmp_path / "empty")
    assert "no such folder" in refused(tmp_path / "nowhere")
    assert "is a file; expected a folder" in refused(copied, "--out", copied / "done")
    (copied / "done").rename(tmp_path / "done")
    assert "not finished; expected a finished run" in refused(copied)
    (tmp_path / "done").rename(copied / "done")
    with (copied / "predictions.csv").open("a") as file:
        file.write("x")
    assert "predictions.csv: changed since the run was done" in refused(copied)
    assert not (copied / "evaluation").exists()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("predictions.csv", "path,label", "file,label"), ("metrics.jsonl", "val/threshold", "threshold")],
)
def test_a_run_of_another_version_is_named_as_such(name, old, new, copied, evaluated):
    spoil(copied, name, old, new)
    status, _, err = evaluated(copied, "--no-pictures")
    assert (status, len(err.splitlines())) == (2, 1) and name in err and "another version" in err


def test_generators_have_a_report_and_a_confusion_of_their_own(train, evaluated, tmp_path):
    assert train("data.evidence=both", "task=generator")[0] == 0
    [folder] = [path.parent for path in tmp_path.rglob("done")]
    status, out, err = evaluated(folder)
    assert (status, err) == (0, "")
    test, scores = parse((folder / "predictions.csv").read_bytes(), {})
    given = {"labels": range(len(test.classes)), "target_names": test.classes, "zero_division": 0, "digits": 4}
    assert reference.classification_report(test.labels, scores.argmax(axis=1), **given) in out
    assert (folder / "evaluation" / "figures" / "confusion.svg").exists()
