"""Where the evidence lies, from parts that are planted."""

import numpy as np
import pytest

from experiments.shares import Attributed, arms, figure, lines, share


def run(luma, chroma, *, name="none", complete=None, rows=None):
    count = len(luma)
    rows = np.arange(count) if rows is None else rows
    return Attributed(
        condition=("synthetic", "cnn32", name, "0123456789"),
        rows=rows,
        labels=rows % 2,
        groups=rows // 2 * 2 + rows % 2,
        luma=np.asarray(luma, float),
        chroma=np.asarray(chroma, float),
        complete=np.ones(count, bool) if complete is None else complete,
    )


def planted(seed=0, count=400, luma=1.0, chroma=3.0):
    """Gaps of luma and chroma between the classes, below reactions that both classes have alike."""
    random = np.random.default_rng(seed)
    fake = np.arange(count) % 2
    return random.normal(4, 2, count) + luma * fake, random.normal(-2, 1, count) + chroma * fake


def test_what_both_classes_react_to_alike_is_no_evidence():
    luma, chroma = planted(luma=0.0, count=20000)
    [arm] = arms([run(5 * luma, chroma)])
    assert arm.evidence.chroma > 0.9 and arm.picture.chroma < 0.5
    assert arm.gap_chroma == pytest.approx(3, abs=0.1) and abs(arm.gap_luma) < 0.5


def test_the_share_is_that_of_the_gap_and_its_interval_over_pictures_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(40):
        [arm] = arms([run(*planted(seed))])
        assert 0 <= arm.evidence.low <= arm.evidence.chroma <= arm.evidence.high <= 1
        held += arm.evidence.low <= 0.75 <= arm.evidence.high
    assert held >= 35


def test_runs_of_one_arm_are_averaged_picture_by_picture_and_spread_over_seeds():
    runs = [run(*planted(seed)) for seed in range(3)] + [run(*planted(9), name="invert")]
    invert, none = arms(runs)
    assert (invert.name, none.name) == ("synthetic/cnn32/invert", "synthetic/cnn32/none")
    assert len(none.seeds) == 3 and none.pictures == 400
    assert none.evidence.seeds_low < np.mean(none.seeds) < none.evidence.seeds_high
    assert np.isnan(invert.evidence.seeds_low)
    text = list(lines([invert, none]))
    assert len(text) == 3 and "[" in text[2] and figure([invert, none]).axes


def test_pictures_that_are_not_complete_are_counted_and_left_out():
    luma, chroma = planted()
    complete = np.arange(400) >= 40
    luma[~complete] = 1e6 * (np.arange(400) % 2)[~complete]
    [arm] = arms([run(luma, chroma, complete=complete)])
    assert (arm.incomplete, arm.pictures) == (40, 360) and arm.evidence.chroma > 0.5
    assert "360 (40 not complete)" in list(lines([arm]))[1]


def test_two_pulls_of_unlike_sign_count_by_their_size():
    np.testing.assert_allclose(share(np.array([-1.0, 0, 2, 0]), np.array([3.0, 1, 0, 0])), [0.75, 1, 0, 0.5])
