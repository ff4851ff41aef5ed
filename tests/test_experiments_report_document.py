"""The report's words, whatever draws them."""

import dataclasses

import pytest

from experiments import comparison, outcomes
from experiments.report import document
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
    assert "1 of 4 arms stay undecided and 3 of 4 arms were explored only" in answer


def test_an_operation_that_holds_others_is_told_in_words():
    view = {"train": [{"op": "both", "view": [{"op": "invert"}, {"op": "saturate", "factor": 8.0}]}]}
    assert document._view(view, "train") == "both (view invert, then saturate (factor 8))"
