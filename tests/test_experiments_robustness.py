"""Degraded test pictures scored by finished runs: one-sided arithmetic, verdicts over all cells, the whole verb."""

import csv
import dataclasses
import json
from unittest import mock

import numpy as np
import pytest
import torch
import trees
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from datasets import store
from datasets.folder import FileLocation
from datasets.images import ImageSettings
from datasets.manifest import DataError, Row
from experiments import charts, classifier, material, outcomes, paired, pairing, plans, runs
from experiments.robustness import __main__ as verb
from experiments.robustness import choosing, document, figures, grid, scoring, survival
from experiments.shell import Unusable


def test_one_class_degraded_and_the_other_clean_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1])
    clean = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    after = np.array([0.6, 0.9, 0.1, 0.2, 0.55, 0.15])
    sides = survival.measured(after, clean, labels, threshold=0.58)
    assert [sides[side]["accuracy"] for side in survival.SIDES] == pytest.approx([3 / 6, 4 / 6, 4 / 6])
    assert [sides[side]["accuracy_at_threshold"] for side in survival.SIDES] == pytest.approx([2 / 6, 3 / 6, 4 / 6])
    # pairs of a fake above a real, of eight: clean reals below .55 and .15; degraded reals below .8 and .9 (one tie)
    assert sides["fakes"]["auc"] == pytest.approx((3 + 1) / 8)
    assert sides["reals"]["auc"] == pytest.approx((3 + 3.5) / 8)
    assert [sides[side]["flipped"] for side in survival.SIDES] == pytest.approx([4 / 6, 1 / 6, 3 / 6])
    assert (sides["both"]["reals_called_fake"], sides["both"]["fakes_called_fake"]) == (2 / 4, 1 / 2)
    assert (sides["fakes"]["reals_called_fake"], sides["reals"]["fakes_called_fake"]) == (1 / 4, 1)


def test_cells_of_a_kind_run_from_mild_to_strong_or_through_the_clean_pictures():
    cells = [None, ("jpeg", 40.0), ("jpeg", 100.0), ("gamma", 2.0), ("gamma", 0.5), ("blur", 2.0), ("blur", 1.0)]
    words = {kind: list(map(grid.label, line)) for kind, line in grid.lines(cells).items()}
    assert words["jpeg"] == ["clean", "jpeg 100", "jpeg 40"]
    assert words["gamma"] == ["gamma 0.5", "clean", "gamma 2"]
    assert words["blur"] == ["clean", "blur 1", "blur 2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jpg: [90]", "jpg: no such degradation; expected one of jpeg, webp"),
        ("jpeg: [101]", "jpeg=101: expected a whole number from 1 to 100"),
        ("jpeg: 90", "expected a list of strengths"),
        ("jpeg: [90, 90.0]", "jpeg 90 stands there twice"),
        ("noise: [1.0000001, 1.0000002]", "noise 1 stands there twice"),  # all that follows calls both noise 1
        (f"jpeg: [1{400 * '0'}]", "expected a whole number from 1 to 100"),
        ("jpeg: [2024-13-45]", "cannot be read: month must be in 1..12"),
        (3000 * "[", "cannot be read"),
        ("[jpeg", "cannot be read"),
        ("", "expected lines such as"),
    ],
)
def test_a_grid_is_read_with_care(tmp_path, text, expected):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(Unusable, match=expected):
        grid.read(str(tmp_path / "mine.yaml"))


def test_shipped_grids_can_be_read_and_others_are_named():
    assert set(grid.read("quick")) <= {*grid.read("standard"), ("webp", 60.0)}
    with pytest.raises(Unusable, match="--grid fine: expected one of quick, standard"):
        grid.read("fine")


CELLS = [None, ("jpeg", 50.0), ("blur", 1.0)]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Rows of six seeds of three arms; saturate_x8 is far better on blur alone, grayscale nowhere."""
    root = tmp_path_factory.mktemp("runs")
    arms = {"none": 0.8, "saturate_x8": 0.8, "grayscale": 0.8}
    trees.make_tree(root, arms=arms, images=400)
    family = outcomes.find(root).outcomes
    scores = {}
    for run in family:
        noise = trees.drawn(f"{run.aug} {run.seed}").random((len(CELLS), len(run.test.labels)))
        wrong = np.array([0.2, 0.3, 0.2 if run.aug == "saturate_x8" else 0.4])[:, None] + 0.02 * noise[0, 0]
        scores[run.where] = np.where((noise < wrong) == (run.test.labels == 1), 0.2, 0.8)
    found = pairing.pair(family, "none", "accuracy")
    return found, scores, survival.rows(found, CELLS, scores, metric="accuracy", margin=0.005)


def test_verdicts_are_those_of_compare_corrected_over_all_arms_and_cells(told):
    found, scores, rows = told
    both = {(row["arm"], row["cell"]): row for row in rows if row["degraded"] == "both"}
    differences, order = [], []
    for (arm, _), pairs in found.arms.items():
        for place, cell in enumerate(CELLS):
            right = [
                [((scores[run.where][place] >= 0.5) == (run.test.labels == 1)).mean() for run in pair] for pair in pairs
            ]
            differences.append([ours - theirs for ours, theirs in right])
            order.append((arm, grid.label(cell)))
    p = dict(zip(order, paired.max_t(np.array(differences)), strict=True))
    for key, difference in zip(order, differences, strict=True):
        assert both[key]["p_family"] == pytest.approx(p[key])
        assert both[key]["difference"] == pytest.approx(np.mean(difference))
        assert both[key]["p_family"] >= both[key]["p"]
    words = {key: both[key]["verdict"] for key in order}
    assert words.pop(("saturate_x8", "blur 1")) == "win" and "win" not in words.values()
    assert "verdict" not in both["none", "clean"]


def test_a_change_from_clean_is_taken_run_by_run(told):
    _, _, rows = told
    for row in rows:
        clean = next(r for r in rows if (r["arm"], r["cell"], r["degraded"]) == (row["arm"], "clean", "both"))
        assert row["to_clean"] == pytest.approx(np.mean(np.array(row["values"]) - clean["values"]))
        assert row["accuracy"] == pytest.approx(np.mean(row["values"]))


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "mine.yaml"
    path.write_text("jpeg: [30]\nnoise: [12]\n")
    return path


def robust(called, *words):
    return called("experiments.robustness", verb.main, *words, "--device", "cpu")


def test_the_verb_scores_each_run_on_the_same_degraded_pictures_and_only_once(train, called, tmp_path, mine):
    for arm in ("none", "saturate_x8"):
        for seed in (0, 1):
            assert train(f"aug={arm}", f"seed={seed}", "train.epochs=1")[0] == 0
    root, out = tmp_path / "runs", tmp_path / "runs" / "robustness"
    status, said, errors = robust(called, root, "--grid", mine, "--arms", "none")
    assert (status, errors) == (0, "") and "scored: 6 of 6 cells" in said and "2 runs" in said
    opened = mock.Mock(wraps=store.open_or_pack)
    with mock.patch.object(store, "open_or_pack", opened):
        status, said, errors = robust(called, root, "--grid", mine)
    assert (status, errors) == (0, "") and "scored: 6 of 12 cells" in said
    assert opened.call_count == 3  # once a cell, not once a cell and run: of thousands of runs that would be hours
    assert "2 runs, 2 exploratory" in said and "off its own test" not in said
    kept = json.loads((out / document.NAME).read_text())
    rows = {(row["arm"], row["cell"], row["degraded"]): row for row in kept["rows"]}
    for run in outcomes.find(root).outcomes:
        values = [rows[run.aug, cell, "both"]["values"][run.seed] for cell in ("clean", "jpeg 30")]
        assert values == pytest.approx([run.metrics["test/accuracy"], by_files(run, tmp_path)])
    with (out / "robustness.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 3 * 3
    assert {file.suffix for file in (out / "figures").iterdir()} == {".png", ".svg"}
    board = EventAccumulator(str(out)).Reload().Tags()
    assert set(board["images"]) == {"robustness/heat", "robustness/curves", "robustness/one_sided"}
    assert board["tensors"] == ["robustness/table"]


def by_files(run, folder):
    """Accuracy on the test pictures, each written as a JPEG of quality 30 by hand and read by the classifier."""
    config = material.prepared(classifier.load(runs.newest(folder / "runs"), torch.device("cpu")).members[0].config)
    files = []
    for row in run.test.rows:
        files.append(folder / f"{row}.jpg")
        Image.fromarray(config.images[row]).save(files[-1], quality=30)
    ready = classifier.load(folder / run.where, torch.device("cpu"))
    ready = dataclasses.replace(ready, temperature=1.0, threshold=0.5)
    verdicts = ready.judge([FileLocation.of(file, None) for file in files])
    return np.mean([verdict.fake == label for verdict, label in zip(verdicts, run.test.labels == 1, strict=True)])


def test_a_single_run_is_looked_at_and_a_small_sample_says_so(train, called, tmp_path, mine):
    assert train()[0] == 0
    [run] = [path.parent for path in tmp_path.rglob("done")]
    assert robust(called, run, "--grid", mine, "--images", "4", "--out", tmp_path / "out")[::2] == (0, "")
    status, said, errors = robust(called, run, "--grid", mine, "--images", "5", "--out", tmp_path / "out")
    assert (status, errors) == (0, "") and "1 run, 3 cells, 10 images" in said  # no line on stores of 4 images
    kept = json.loads((tmp_path / "out" / document.NAME).read_text())
    assert kept["images"] == {"real": 5, "fake": 5} and kept["title"].endswith("10 test images")
    for words, expected in (
        (["--out", run], "holds runs; expected a folder of its own"),
        (["--arms", "invert"], "--arms invert: no finished run of it"),
        (["--seeds", "7"], "no finished run of seed 7"),
        (["--images", "0"], "--images 0: expected"),
        (["--baseline", "invert"], "--baseline invert: no run of it"),
    ):
        status, _, errors = robust(called, run, "--grid", mine, *words)
        assert status == 2 and expected in errors and errors.count("\n") == 1


def test_other_data_and_runs_that_cannot_be_used_are_refused_in_a_line(train, called, tmp_path, mine):
    trees.make_tree(tmp_path / "patches", arms={"none": 0.9}, seeds=[0], **{"data.fit": "patches", "data.patches": 2})
    status, _, errors = robust(called, tmp_path / "patches", "--grid", mine)
    assert status == 2 and "data.fit=patches; expected" in errors and errors.endswith("that can be used\n")
    assert train()[0] == 0
    facts = next((tmp_path / "runs").rglob("provenance.json"))
    facts.write_text(facts.read_text().replace('"content_digest": "', '"content_digest": "0'))
    status, _, errors = robust(called, tmp_path / "runs", "--grid", mine)
    assert status == 2 and "no longer those of the run" in errors and errors.count("\n") == 1


def test_a_table_for_people_holds_each_cell_once(told):
    _, _, rows = told
    drawn = {"title": "t", "metric": "accuracy", "arms": ["none", "saturate_x8"], "cells": ["clean", "blur 1"]}
    head, lines = document.table(drawn | {"rows": rows})
    assert head == ["degradation", "none", "saturate_x8"] and [line[0] for line in lines] == ["clean", "blur 1"]
    assert "▲" in lines[1][2] and "(" not in lines[1][1]


def test_a_long_title_stands_whole_above_few_panels(told):
    found, _, rows = told
    long = "cifake (3cab177b, 32x32), cnn32, brief, 3 epochs"
    whole = document.document(long, {}, CELLS, rows, [found.baseline[0].test], plans.asked(found.baseline), [])
    for figure in (figures.curves(whole), figures.one_sided(whole)):
        charts.png(figure)
        box = figure._suptitle.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_the_family_of_most_arms_is_chosen_and_the_others_are_named(tmp_path):
    trees.make_tree(tmp_path, seeds=[0])
    trees.make_tree(tmp_path, arms={"none": 0.9}, seeds=[0], folds=range(3), content="folds")
    trees.make_tree(tmp_path, arms={"none": 0.9}, seeds=range(2), recipe="fast")
    family, title, others = choosing.family(outcomes.find(tmp_path).outcomes)
    assert [run.aug for run in family] == ["none", "saturate_x8"] and "parent" in title
    assert ["in folds, 3 runs" in others[0], "fast" in others[1], len(others)] == [True, True, 2]


def test_a_report_takes_up_what_lies_beside_the_runs(tmp_path, called, told):
    from experiments.report import __main__ as report

    found, _, rows = told
    trees.make_tree(tmp_path / "runs", seeds=range(2))
    run = runs.newest(tmp_path / "runs")
    marks = {str(run.relative_to(tmp_path / "runs")): runs.mark(run)}
    whole = document.document(
        "drawn", marks, CELLS, rows, [found.baseline[0].test], plans.asked(found.baseline), ["nothing else"]
    )
    (tmp_path / "runs" / "robustness").mkdir()
    (tmp_path / "runs" / "robustness" / document.NAME).write_text(document.text(whole))
    status, _, _ = called("experiments.report", report.main, tmp_path / "runs", "--out", tmp_path / "report")
    page = (tmp_path / "report" / "report.md").read_text()
    assert status == 0 and "Degraded pictures" in page and "figures/robustness.png" in page
    [line] = [line for line in page.split("\n") if line.startswith("| blur 1")]
    assert "▲" in line
    assert (tmp_path / "report" / "figures" / "robustness-one-sided.png").stat().st_size > 10_000
    whole["runs"] = dict.fromkeys(marks, "of another training")
    (tmp_path / "runs" / "robustness" / document.NAME).write_text(document.text(whole))
    assert called("experiments.report", report.main, tmp_path / "runs", "--out", tmp_path / "later")[0] == 0
    page = (tmp_path / "later" / "report.md").read_text()
    assert "Its runs have changed since they were scored" in page and "| blur 1" not in page


def test_a_large_jpeg_is_read_whole_for_the_clean_pictures_as_for_the_degraded_ones(tmp_path):
    Image.effect_noise((256, 256), 60).convert("RGB").save(tmp_path / "large.jpg", quality=90)
    location = FileLocation.of(tmp_path / "large.jpg", None)
    large = Row("large.jpg", 0, width=256, height=256, format="JPEG")
    test = scoring.Tested([(large, location)], ImageSettings(), tmp_path)
    assert np.array_equal(test.pictures(None), test.pictures(("gamma", 1.0)))
    for row, size in ((large, 128), (large._replace(format="PNG"), 32)):  # as training read them in any case
        assert (
            scoring.Tested([(row, location)], ImageSettings((size, size)), tmp_path).settings(None).degradation is None
        )


def test_a_picture_that_a_codec_refuses_is_named_and_nothing_goes_on_without_it(tmp_path):
    Image.new("RGB", (16384, 8)).save(tmp_path / "wide.png")  # WebP ends at 16,383
    listing = [(Row("wide.png", 0), FileLocation.of(tmp_path / "wide.png", None))]
    test = scoring.Tested(listing, ImageSettings(), tmp_path)
    assert test.pictures(("jpeg", 50.0)).shape == (1, 32, 32, 3)
    with pytest.raises(DataError, match=r"webp 50: wide\.png: .*; mend it, or leave webp 50 out of the grid"):
        test.pictures(("webp", 50.0))
