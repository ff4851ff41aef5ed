"""Figures say what the comparison says: order, numbers, words; and the same bytes each time."""

import dataclasses
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix

from experiments import charts, comparison, dose, outcomes
from experiments.verdicts import Verdict
from tests.trees import make_tree

DOSES = {"saturate_luma_x2": 0.91, "saturate_luma_x8": 0.90, "saturate_luma_x500": 0.75, "invert_saturate_hsv_x8": 0.92}


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> comparison.Comparison:
    root = tmp_path_factory.mktemp("charts")
    make_tree(root, arms={"none": 0.93, **DOSES}, seeds=range(3))
    (found,), refused = comparison.compare(outcomes.find(root).outcomes)
    assert not refused
    return found


def texts(svg: bytes) -> list[str]:
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_the_forest_shows_each_arm_best_on_top_at_its_difference_in_points(compared):
    axes = charts.forest(compared).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [arm.name for arm in compared.arms]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is the upper one
    marks = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1}
    assert [marks[row] for row in range(len(names))] == [100 * arm.differences.mean() for arm in compared.arms]
    assert np.all(np.diff([marks[row] for row in range(len(names))]) <= 0)


def test_the_forest_gives_verdict_and_n_in_words(compared):
    shown = texts(charts.svg(charts.forest(compared)))
    for arm in compared.arms:
        assert arm.name in shown
    assert shown.count("exploratory, n = 3") == len(compared.arms)  # the word of the table


def test_a_dose_line_holds_the_arms_of_one_space_and_inversion_by_factor(compared):
    lines = dose.lines_of(compared.arms)
    assert [factor for factor, _ in lines["luma", False]] == [2, 8, 500]
    assert [arm.name for _, arm in lines["hsv", True]] == ["invert_saturate_hsv_x8"]


def test_the_dose_figure_shows_means_clipped_shares_and_colors_of_every_arm(compared):
    above, clipped, colors = dose.figure(compared).axes
    means, shares, numbers = (
        np.sort(np.concatenate([line.get_ydata() for line in axes.lines if len(line.get_xdata()) == count]))
        for axes in (above, clipped, colors)
        for count in (3,)
    )
    arms = [arm for _, arm in dose.lines_of(compared.arms)["luma", False]]
    assert set(np.round([100 * arm.mean for arm in arms], 9)) <= set(np.round(means, 9))
    assert np.allclose(shares, np.sort([100 * arm.clipped for arm in arms]))
    assert np.allclose(numbers, np.sort([arm.colors for arm in arms]))


def test_the_dose_figure_says_in_a_sentence_what_is_seen_and_claims_only_what_every_verdict_says(compared):
    lost = [dataclasses.replace(arm, verdict=Verdict("loss", False, "")) for arm in compared.arms]
    seen = "test accuracy 74.5 % in luma, 93.0 % on plain pictures"
    assert dose.sentence(compared) == f"Saturation x500: {seen}"  # three seeds claim nothing
    assert dose.sentence(dataclasses.replace(compared, arms=lost)) == f"Saturation x500 harms: {seen}"
    drawn = [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts(charts.svg(dose.figure(compared)))]
    assert "Saturation x500: test accuracy 74.5 % in luma, 93.0 % on plain" in drawn
    assert {
        "plain pictures",
        "luma",
        "HSV, inverted first",
        "saturation factor (log scale; 1 leaves saturation as it is)",
    } <= {*drawn}


def test_two_factors_make_no_dose_figure(compared):
    few = [arm for arm in compared.arms if "x500" not in arm.name]
    assert dose.figure(dataclasses.replace(compared, arms=few)) is None


def test_bands_are_the_t_interval_of_the_mean():
    values = np.array([0.91, 0.93, 0.92, 0.95])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    middle, half = charts.spread(values)
    assert (middle - half, middle + half) == pytest.approx((low, high))
    assert charts.spread(values[:1]) == (0.91, 0)


def test_learning_curves_run_over_all_epochs_and_name_their_arms(compared):
    axes = charts.learning(compared, "auc").axes[0]
    curves = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert set(curves) == {"none", *DOSES}
    baseline = np.mean([run.history["val/auc"] for run in compared.baseline.members], axis=0)
    assert np.allclose(curves["none"], 100 * baseline)


def test_confusions_agree_with_scikit_learn(compared):
    run = compared.baseline.members[0]
    expected = confusion_matrix(run.test.labels, run.scores >= 0.5)
    assert np.array_equal(charts.confusion(run.test.labels, run.correct), expected)


def test_of_many_arms_the_panels_show_seven_with_both_ends(compared):
    many = dataclasses.replace(compared, arms=compared.arms * 5)
    shown = charts.panel(many)
    assert len(shown) == charts.MOST_LINES
    assert (shown[1][0], shown[-1][0]) == (compared.arms[0], compared.arms[-1])


def test_a_figure_drawn_twice_has_the_same_bytes(compared):
    assert charts.svg(charts.forest(compared)) == charts.svg(charts.forest(compared))
    assert charts.png(charts.forest(compared)) == charts.png(charts.forest(compared))
