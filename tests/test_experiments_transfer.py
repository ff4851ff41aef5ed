"""Every run on every data set: whom a network knows and whom not, what it has seen is left out, intervals, the verb."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from datasets import build
from datasets.folder import FileLocation, FolderSettings
from datasets.manifest import DataError
from datasets.synthetic import Drawing
from experiments import classifier, comparison, outcomes, paired
from experiments.transfer import __main__ as transfer
from experiments.transfer.intervals import influence, over_images
from experiments.transfer.overlap import CLEAN, EXACT, NEAR, overlap
from experiments.transfer.targets import find, prepare
from tests.trees import make_tree

ROOT = Path(transfer.__file__).resolve().parents[2]
FILES = ("transfer.json", "transfer.csv", "auc.png", "auc.svg", "accuracy_at_threshold.png")


@pytest.fixture
def moved(called):
    """moved(*words) -> (exit status, stdout, stderr) of the verb."""
    return lambda *words: called("experiments.transfer", transfer.main, *words)


def draw(folder, numbers, *, split="test", evidence="chroma", strength=1.0):
    """Drawn pictures of both classes as files, by their number."""
    for label, name in enumerate(("real", "fake")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            drawing = Drawing(split, label, number, 32, 32, evidence, strength, 0)
            (folder / name / f"{number}.jpg").write_bytes(drawing.read())
    return folder


def again(source, target, quality=70):
    """The same picture in other bytes."""
    Image.open(source).save(target, quality=quality)


def planted(tmp_path, place="home"):
    """A folder to train on, and another: five new pictures a class, two copies, three that were coded again."""
    home = draw(tmp_path / place, range(40), split="train")
    away = draw(tmp_path / "away", range(5))
    for name in ("real", "fake"):
        for number in (0, 1):
            shutil.copy(home / name / f"{number}.jpg", away / name / f"copied {number}.jpg")
        for number in (2, 3, 4):
            again(home / name / f"{number}.jpg", away / name / f"recoded {number}.jpg")
    return home, away


def cells(out):
    with (out / "transfer.csv").open(newline="") as file:
        return {(line["aug"], line["trained_on"], line["data"]): line for line in csv.DictReader(file)}


def test_what_was_trained_on_is_found_as_the_same_file_or_as_the_same_picture(tmp_path):
    home, away = planted(tmp_path)
    training = build.prepare(FolderSettings(root=str(home)), data_root=tmp_path / "data")
    [target] = find([f"folder:{away}"], [], tmp_path / "data")
    test = prepare(target, FolderSettings(image_size=40, fit="center_crop"), tmp_path / "data")
    assert test.data.images.shape[1:] == (40, 40, 3)  # at the run's own resolution
    used = {Path(row.path).name[:-4]: row.split in ("train", "val") for row in training.rows if row.label}
    for row, code in zip((test.data.rows[row] for row in test.rows), overlap(training, test), strict=True):
        kind, _, number = Path(row.path).stem.partition(" ")
        same = [each for each in training.rows if each.path == f"{Path(row.path).parent}/{number}.jpg"]
        seen = bool(same) and same[0].split in ("train", "val")
        assert code == ({"copied": EXACT, "recoded": NEAR}[kind] if seen else CLEAN), row.path
    assert sum(used.values()) < len(used) and len(test.rows) == 20


def test_patches_of_one_picture_are_left_out_together(tmp_path):
    home, away = (draw(tmp_path / name, range(20), split=split) for name, split in (("a", "train"), ("b", "test")))
    shutil.copy(home / "real" / "3.jpg", away / "real" / "copied.jpg")
    like = FolderSettings(root=str(home), image_size=16, fit="patches", patches=4)
    training = build.prepare(like, data_root=tmp_path / "data")
    [target] = find([f"folder:{away}"], [], tmp_path / "data")
    test = prepare(target, like, tmp_path / "data")
    found = [test.data.rows[row].path for row in test.rows[overlap(training, test) == EXACT]]
    assert found == [f"real/copied.jpg#{patch}" for patch in range(4)] and len(test.rows) == 41 * 4


def one_run(tmp_path, scores, labels, groups=None):
    """A finished run with these test scores."""
    [folder] = make_tree(tmp_path, arms={"none": 0.9}, seeds=[0], images=20)
    [run] = outcomes.find(folder).outcomes
    groups = np.arange(len(labels)) if groups is None else groups
    test = outcomes.TestSet("digest", labels, groups, np.arange(len(labels)), labels, labels)
    return outcomes.Outcome(**{**vars(run), "test": test, "scores": scores, "correct": (scores >= 0.5) == labels})


def test_the_interval_of_an_auc_is_delongs_and_draws_near_duplicates_together(tmp_path):
    random = np.random.default_rng(5)
    labels = (random.random(300) < 0.4).astype(int)
    scores = np.round(np.clip(random.normal(0.45 + 0.15 * labels, 0.2), 0, 1), 2)  # with ties
    values = influence(scores, labels)
    assert values.mean() == pytest.approx(roc_auc_score(labels, scores))
    fakes, reals = scores[labels == 1], scores[labels == 0]
    above = (fakes[:, None] > reals) + 0.5 * (fakes[:, None] == reals)
    delong = above.mean(1).var(ddof=1) / len(fakes) + above.mean(0).var(ddof=1) / len(reals)
    assert values.var(ddof=1) / len(values) == pytest.approx(delong, rel=0.02)
    low, high = over_images([one_run(tmp_path / "a", scores, labels)], "auc")
    oracle = stats.norm.interval(0.95, roc_auc_score(labels, scores), np.sqrt(delong))
    assert (low, high) == pytest.approx(oracle, abs=0.006)
    twice = np.tile(np.arange(300), 2)
    pairs = over_images([one_run(tmp_path / "b", np.tile(scores, 2), np.tile(labels, 2), twice)], "auc")
    assert pairs == pytest.approx((low, high), abs=0.006)
    apart = over_images([one_run(tmp_path / "c", np.tile(scores, 2), np.tile(labels, 2))], "auc")
    assert apart[1] - apart[0] == pytest.approx((high - low) / np.sqrt(2), rel=0.1)


def test_the_interval_of_an_accuracy_is_near_wilsons_and_is_wilsons_where_nothing_is_wrong(tmp_path):
    labels = np.arange(400) % 2
    scores = np.where(np.arange(400) < 60, 1 - labels, labels) * 0.8 + 0.1
    wilson = stats.binomtest(340, 400).proportion_ci(method="wilson")
    run = one_run(tmp_path / "a", scores, labels)
    assert over_images([run], "accuracy_at_threshold") == pytest.approx(tuple(wilson), abs=0.006)
    perfect = one_run(tmp_path / "b", 0.1 + 0.8 * labels, labels)
    for metric, known in (("accuracy", 400), ("auc", 200)):
        wilson = stats.binomtest(known, known).proportion_ci(method="wilson")
        assert over_images([perfect], metric) == pytest.approx(tuple(wilson))


def test_a_column_of_own_data_is_what_the_runs_and_compare_say(tmp_path, moved):
    root = tmp_path / "runs"
    make_tree(root, arms={"none": 0.9, "saturate_x8": 0.84})
    status, out, err = moved(root, "--on", "cifake")  # no network and no data are needed
    assert status == 0 and not err and out.splitlines()[-1].endswith("auc.png")
    document = json.loads((root / "transfer" / "transfer.json").read_text())
    listed = outcomes.find(root).outcomes
    for row in document["rows"]:
        cell = row["cells"]["cifake"]
        values = [run.metrics["test/accuracy_at_threshold"] for run in listed if run.aug == row["aug"]]
        found = cell["values"]["accuracy_at_threshold"]
        assert cell["own"] and cell["runs"] == 6 and (cell["exact"], cell["near"]) == (0, 0)
        half = stats.t.ppf(0.975, 5) * stats.sem(values)
        assert (found["mean"], found["seeds_high"]) == pytest.approx((np.mean(values), np.mean(values) + half))
    [compared], _ = comparison.compare(listed, metric="auc")
    line = cells(root / "transfer")["saturate_x8", "cifake", "cifake"]
    evidence = compared.arms[0].evidence
    assert float(line["auc_difference"]) == evidence.difference and float(line["auc_difference_p"]) == evidence.p
    assert line["auc_difference_images_low"] == "" and line["accuracy_at_threshold_difference_verdict"] == "loss"
    wrong = {run.seed: run for run in listed if run.aug == "none"}
    rows = [
        ((run.scores >= run.metrics["val/threshold"]) == run.test.labels).astype(int)
        - ((wrong[run.seed].scores >= wrong[run.seed].metrics["val/threshold"]) == run.test.labels)
        for run in listed
        if run.aug == "saturate_x8"
    ]
    interval = paired.clustered(np.mean(rows, axis=0)[None], listed[0].test.groups)[0, 0]
    assert float(line["accuracy_at_threshold_difference_images_low"]) == pytest.approx(interval[0])
    assert all((root / "transfer" / name).stat().st_size > 500 for name in FILES)


def test_a_run_on_another_folder_is_judged_on_what_it_has_not_seen_and_scores_are_kept(train, moved, tmp_path):
    training, away = planted(tmp_path, "home/train")
    shutil.copy(training / "real" / "7.jpg", draw(tmp_path / "home" / "test", range(10, 20)) / "real" / "leaked.jpg")
    words = ("data=folder", f"data.root={tmp_path / 'home'}", f"data_root={tmp_path / 'data'}", "data.leaks=keep")
    assert train(*words)[0] == 0
    [folder] = [path.parent for path in tmp_path.rglob("done")]
    words = (tmp_path / "runs", "--on", f"folder:{tmp_path / 'home'}", f"folder:{away}")
    status, out, err = moved(*words)
    assert status == 0 and not err
    assert "of 20 test images of away 10 are left out for what was trained on home: 4 the same file" in out
    found = cells(tmp_path / "runs" / "transfer")
    own, other = found["none", "home", "home"], found["none", "home", "away"]
    facts = ("own", "real", "fake", "exact", "near")
    assert [[each[fact] for fact in facts] for each in (own, other)] == [
        ["1", "10", "10", "1", "0"],
        ["0", "5", "5", "4", "6"],
    ]
    with (folder / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and "leaked" not in row["path"]]
    labels, scores = ([float(row[key]) for row in rows] for key in ("label", "score"))
    assert float(own["auc"]) == pytest.approx(roc_auc_score(labels, scores))
    left = [each for each in sorted(away.rglob("*.jpg")) if " " not in each.name]
    verdicts = list(classifier.load(folder, torch.device("cpu")).judge([FileLocation.of(each, None) for each in left]))
    labels = np.array([each.parent.name == "fake" for each in left])
    assert float(other["auc"]) == pytest.approx(roc_auc_score(labels, [verdict.probability for verdict in verdicts]))
    assert float(other["accuracy_at_threshold"]) == np.mean([v.fake for v in verdicts] == labels)
    provenance = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(provenance | {"data_digest": "split by another version"}))
    assert moved(*words)[0] == 0 and cells(tmp_path / "runs" / "transfer") == found
    (folder / "provenance.json").write_text(json.dumps(provenance | {"data_digest": "new", "content_digest": "other"}))
    status, _, err = moved(*words)
    assert status == 2 and err.count("its training data are not what they were (content other, now") == 2
    (folder / "provenance.json").write_text(json.dumps(provenance))
    before = (tmp_path / "runs" / "transfer" / "transfer.json").read_bytes()
    (folder / "best.pt").unlink(missing_ok=True)
    (folder / "last.pt").unlink()
    shutil.rmtree(tmp_path / "home")
    assert moved(*words[:2], f"folder:{away}")[0] == 0  # neither the network nor its data are asked for again
    assert before != (tmp_path / "runs" / "transfer" / "transfer.json").read_bytes()  # without the column
    shutil.rmtree(tmp_path / "runs" / "transfer" / "kept" / "scores")
    status, _, err = moved(*words[:2], f"folder:{away}")
    assert status == 2 and "cannot score pictures any more" in err
    shutil.rmtree(tmp_path / "runs" / "transfer" / "kept")
    status, _, err = moved(*words[:2], f"folder:{away}")
    assert status == 2 and "its training data are not here" in err and "no such folder" in err


@pytest.mark.slow
def test_a_network_that_learned_chroma_knows_fakes_of_chroma_and_not_those_of_luma(train, moved, tmp_path):
    alike = ("aug=chroma_only", "data.strength=1", "data.val=400", "data.test=400", "train=fast", "train.batch_size=64")
    assert train(*alike, "data.name=chroma", "data.train=4000", "train.epochs=4")[0] == 0
    assert train(*alike, "data.name=luma", "data.evidence=luma")[0] == 0
    assert moved(tmp_path / "runs", "--on", "chroma", "luma", "--out", tmp_path / "out")[0] == 0
    found = cells(tmp_path / "out")
    known, strange = (found["chroma_only", "chroma", name] for name in ("chroma", "luma"))
    assert float(known["auc_images_low"]) > 0.9 and known["own"] == "1"
    assert float(strange["auc_images_low"]) < 0.5 < float(strange["auc_images_high"]) and strange["own"] == "0"
    assert found["chroma_only", "luma", "luma"]["own"] == "1"


def test_a_mistake_of_the_user_is_one_line(tmp_path, moved):
    root, data = tmp_path / "runs", ("--data-root", tmp_path / "data")
    make_tree(root, arms={"none": 0.9}, seeds=[0])
    one, other = (draw(tmp_path / name / "same", range(3)) for name in "ab")
    (one_class := tmp_path / "single" / "fake").mkdir(parents=True)
    shutil.copy(one / "fake" / "0.jpg", one_class)
    (torn := draw(tmp_path / "torn", [0]) / "real" / "0.jpg").write_text("no picture")
    wrong = {
        (
            "nothing",
        ): "--on nothing: no such data set; expected one of cifake, cifake_flux, flux, synthetic, or folder:",
        (f"folder:{tmp_path / 'gone'}",): "no such folder",
        (f"folder:{one_class.parent}",): "expected real and fake",
        (f"folder:{torn.parents[1]}",): "--on torn: no REAL image to test on",
        (f"folder:{one}", f"folder:{other}"): "another data set is called same already",
        (f"folder:{one}", f"folder:{one}/../same"): "the same pictures as same",
        ("flux",): "no such built set",
        ("cifake", "--baseline", "invert"): "--baseline invert: no run of it; expected one of none",
        ("cifake", "--out", torn): "is a file; expected a folder",
        ("cifake", "--device", "tpu"): "device=tpu: expected auto, cpu",
    }
    for words, said in wrong.items():
        status, _, err = moved(root, "--on", *words, *data)
        assert status == 2 and len(err.splitlines()) == 1 and said in err, (words, err)
    status, _, err = moved(tmp_path / "elsewhere", "--on", "cifake")
    assert status == 2 and "elsewhere: no such folder" in err


def test_a_run_that_tells_generators_apart_is_left_out_by_name(train, moved, tmp_path):
    assert train("task=generator", "data.evidence=both", "train.epochs=1")[0] == 0
    status, out, err = moved(tmp_path / "runs", "--on", "synthetic")
    assert status == 2 and "tells generators apart" in out and "no finished run there that tells real from fake" in err


def test_a_name_that_runs_gave_to_two_data_sets_is_refused(tmp_path):
    theirs = [FolderSettings(root=str(tmp_path / name), name="mine") for name in "ab"]
    with pytest.raises(DataError, match="runs of 2 data sets call theirs that"):
        find(["mine"], theirs, tmp_path)
    [target] = find(["mine"], [*theirs[:1], *theirs[:1]], tmp_path)
    assert target.settings == theirs[0] and not target.whole


def test_help_is_there_at_once_and_teaches_by_example():
    command = [sys.executable, "-X", "importtime", "-m", "experiments.transfer", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--on cifake flux folder:pictures" in done.stdout
    assert not {"torch", "numpy"} & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
