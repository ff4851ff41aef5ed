"""The report's words, whatever draws them."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments import comparison, outcomes
from experiments.report import document, single
from experiments.report.blocks import Table, Text
from experiments.verdicts import Verdict
from tests.trees import make_tree


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> comparison.Comparison:
    root = tmp_path_factory.mktemp("document")
    make_tree(root, images=80)
    (found,), _ = comparison.compare(outcomes.find(root).outcomes)
    return found


def test_arms_with_too_few_pairs_are_not_counted_as_undecided(compared):
    few = [
        dataclasses.replace(arm, name=f"{arm.name}{place}", verdict=Verdict("undecided", place > 0, ""))
        for arm in compared.arms[:1]
        for place in range(4)
    ]
    answer = document.answer(dataclasses.replace(compared, arms=few))
    assert "1 of 4 arms stays undecided and 3 of 4 arms were explored only" in answer


def test_an_operation_that_holds_others_is_told_in_words():
    view = {"train": [{"op": "both", "view": [{"op": "invert"}, {"op": "saturate", "factor": 8.0}]}]}
    assert document._view(view, "train") == "both (view invert, then saturate (factor 8))"


def test_a_pair_is_counted_image_by_image_as_the_files_of_its_runs_have_it(compared):
    words, table, _ = single.blocks(compared)
    assert isinstance(words, Text) and isinstance(table, Table)
    (row,) = table.rows
    plain, arm = ({run.seed: right(run) for run in some.members} for some in (compared.baseline, compared.arms[0]))
    only_plain = [int(np.sum(plain[seed] & ~arm[seed])) for seed in range(6)]
    only_arm = [int(np.sum(arm[seed] & ~plain[seed])) for seed in range(6)]
    p = [stats.binomtest(k, k + m).pvalue for k, m in zip(only_plain, only_arm, strict=True)]
    for cell, counts in zip(row[2:4], (only_plain, only_arm), strict=True):
        assert cell == f"{np.median(counts):.0f} ({min(counts)} to {max(counts)})"
    assert row[4] == f"{min(p):.3f} to {max(p):.3f}".replace("0.", ".")
    assert row[5] == f"{sum(value <= 0.05 for value in p)} of 6"
    known = stats.binomtest(int(plain[0].sum()), 80).proportion_ci(method="wilson")
    assert f"calls {plain[0].sum()} of 80 " in words.words
    assert f"interval {known.low:.4f} to {known.high:.4f} by" in words.words


def right(run: outcomes.Outcome) -> np.ndarray:
    with (Path(run.where) / "predictions.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["split"] == "test"]
    return np.array([(float(line["score"]) >= 0.5) == (line["label"] == "1") for line in lines])
