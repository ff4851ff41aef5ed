from dataclasses import replace
from math import nan

import pytest

from experiments.verdicts import Evidence, judge

CLEAR = Evidence(
    **{"pairs": 6, "difference": 0.0031, "low": 0.0012, "high": 0.0050, "p": 0.03125, "p_family": 0.03125},
    **{"p_holm": 0.0625, "equivalent_low": 0.0015, "equivalent_high": 0.0047, "p_equivalent": 0.02},
    **{"images_low": 0.0009, "images_high": 0.0053, "images_equivalent_low": 0.0013, "images_equivalent_high": 0.0049},
)
NEAR = replace(
    *(CLEAR,),
    **{"difference": 0.0003, "low": -0.0010, "high": 0.0016, "p": 0.6875, "p_family": 0.875, "p_holm": 1.0},
    **{"equivalent_low": -0.0010, "equivalent_high": 0.0016, "p_equivalent": 0.0011},
    **{"images_low": -0.0018, "images_high": 0.0024, "images_equivalent_low": -0.0015},
    **{"images_equivalent_high": 0.0021},
)
NO_IMAGES = dict.fromkeys(("images_low", "images_high", "images_equivalent_low", "images_equivalent_high"))
WIDE = {"equivalent_low": -0.0030, "equivalent_high": 0.0060, "p_equivalent": 0.15}


def mirrored(evidence):
    """The same evidence with arm and baseline exchanged."""
    turned = {"difference": -evidence.difference}
    for low, high in (
        *(("low", "high"), ("equivalent_low", "equivalent_high")),
        *(("images_low", "images_high"), ("images_equivalent_low", "images_equivalent_high")),
    ):
        turned |= {low: -getattr(evidence, high), high: -getattr(evidence, low)}
    return replace(evidence, **turned)


def verdict(evidence=CLEAR, margin=0.005, lower_is_better=False, **changed):
    found = judge(replace(evidence, **changed), margin=margin, lower_is_better=lower_is_better)
    assert "\n" not in found.reason and found.exploratory == (found.reason.startswith("exploratory"))
    return found.kind, found.reason


def test_a_claim_says_in_words_what_carries_it():
    said = "6 seeds, +0.31 points, 95 % interval +0.12 to +0.50, sign-flip p .031, both kinds of error agree"
    assert verdict(margin=0.004) == ("win", said)
    assert verdict(high=0.0049) == (
        "win",
        said.replace("+0.50", "+0.49") + ", smaller than the margin of 0.5 points",
    )
    # the 95 % interval of six seeds is too narrow to show this alone: what shows equivalence must stand, too
    for lacking in ({"p_equivalent": 0.06}, {"images_equivalent_high": 0.0053}):
        assert verdict(high=0.0049, **lacking) == ("win", said.replace("+0.50", "+0.49"))
    assert verdict(margin=0.004, unit="folds", pairs=5)[1] == said.replace("6 seeds", "5 folds").replace(
        "sign-flip p", "corrected t test's p"
    )
    assert verdict(margin=0.01)[1].endswith("margin of 1 point")
    assert verdict(margin=0.004, p_family=0.046875)[1] == said.replace(".031", ".031, .047 over all arms")
    assert "sign-flip p < .001" in verdict(p=0.0004, p_family=0.0004)[1]
    assert verdict(margin=0.004, **NO_IMAGES) == (
        "win",
        said.replace("both kinds of error agree", "seeds alone: no interval over test images for this metric"),
    )


def test_the_side_decides_between_win_and_loss_and_turns_where_lower_is_better():
    assert verdict()[0] == "win" and verdict(mirrored(CLEAR))[0] == "loss"
    assert verdict(lower_is_better=True)[0] == "loss"
    assert verdict(mirrored(CLEAR), lower_is_better=True)[0] == "win"
    assert verdict(mirrored(CLEAR), margin=0.001)[1].startswith(
        "6 seeds, -0.31 points, 95 % interval -0.50 to -0.12, sign-flip p .031"
    )


@pytest.mark.parametrize("pairs", range(6))
def test_fewer_than_six_pairs_are_exploratory_however_clear_they_look(pairs):
    kind, reason = verdict(pairs=pairs, p=0.001, p_family=0.001)
    assert kind == "undecided"
    assert reason.startswith(f"exploratory: only {pairs} pair{'s' * (pairs != 1)}, +0.31 points; a claim needs 6")
    assert verdict(NEAR, pairs=pairs)[0] == "undecided"
    assert verdict(pairs=1, low=nan, high=nan, equivalent_low=nan, equivalent_high=nan)[0] == "undecided"


def test_a_claim_without_one_of_its_pieces_is_undecided_and_says_which():
    assert verdict(**WIDE, images_low=-0.0010, images_high=0.0040) == (
        "undecided",
        "the seeds agree (+0.31 points, 95 % interval +0.12 to +0.50, sign-flip p .031), but the interval over test "
        "images -0.10 to +0.40 includes 0; not equivalent either: the 90 % interval -0.30 to +0.60 leaves the margin "
        "of 0.5 points",
    )
    assert verdict(**WIDE, low=-0.0002)[1].startswith(
        "6 seeds cannot tell: +0.31 points, 95 % interval -0.02 to +0.50 includes 0, sign-flip p .031; not equivalent"
    )
    assert verdict(**WIDE, p=0.0625, p_family=0.0625)[1].startswith(
        "6 seeds cannot tell: +0.31 points, 95 % interval +0.12 to +0.50 excludes 0, but sign-flip p .062; not"
    )
    assert verdict(**WIDE, p_family=0.125)[1].startswith(
        "6 seeds cannot tell: +0.31 points, 95 % interval +0.12 to +0.50 excludes 0, but sign-flip p .031, .125 over "
        "all arms; not"
    )
    kind, reason = verdict(**WIDE, images_low=-0.0050, images_high=-0.0010)
    assert kind == "undecided" and "over test images -0.50 to -0.10 lies on the other side of 0;" in reason


def test_near_differences_are_equivalent_only_where_both_kinds_of_error_stay_inside_the_margin():
    assert verdict(NEAR) == (
        "equivalent",
        "6 seeds, +0.03 points, 90 % interval -0.10 to +0.16 inside the margin of 0.5 points, equivalence p .001, both "
        "kinds of error agree",
    )
    assert verdict(mirrored(NEAR))[0] == verdict(NEAR, lower_is_better=True)[0] == "equivalent"
    kind, reason = verdict(NEAR, images_equivalent_high=0.0061)
    assert kind == "undecided" and reason == (
        "6 seeds cannot tell: +0.03 points, 95 % interval -0.10 to +0.16 includes 0, sign-flip p .688, .875 over all "
        "arms; not equivalent either: the 90 % interval over test images -0.15 to +0.61 leaves the margin of 0.5 points"
    )
    assert verdict(NEAR, images_equivalent_low=-0.0061)[0] == verdict(NEAR, equivalent_low=-0.0061)[0] == "undecided"
    kind, reason = verdict(NEAR, p_equivalent=0.08)
    assert kind == "undecided" and reason.endswith(
        "the 90 % interval -0.10 to +0.16 is inside the margin of 0.5 points, but equivalence p .080 over all arms"
    )
    assert verdict(NEAR, margin=0.0015)[0] == "undecided"
    alone = "seeds alone: no interval over test images for this metric"
    assert verdict(NEAR, **NO_IMAGES)[0] == "equivalent" and verdict(NEAR, **NO_IMAGES)[1].endswith(alone)
    assert verdict(NEAR, **WIDE | NO_IMAGES)[0] == "undecided"
    assert verdict(NEAR, **WIDE | NO_IMAGES)[1].endswith(f"leaves the margin of 0.5 points; {alone}")


def test_a_claim_goes_before_equivalence():
    assert verdict(equivalent_low=-0.001, equivalent_high=0.001, p_equivalent=0.001)[0] == "win"


def test_a_limit_that_is_zero_but_for_rounding_does_not_exclude_zero():
    assert "win" not in (verdict(low=1e-17)[0], verdict(images_low=1e-17)[0])
    assert "interval +0.00 to +0.50 includes 0" in verdict(**WIDE, low=-1e-9)[1]


def test_an_arm_that_changes_nothing_at_all_is_equivalent():
    nothing = Evidence(6, *[0.0] * 3, *[1.0] * 3, *[0.0] * 3, *[0.0] * 4)
    assert verdict(nothing)[0] == "equivalent"


def test_evidence_or_a_margin_that_is_no_number_is_refused():
    for changed in ({"p_family": nan}, {"low": nan}, {"images_high": nan}, {"p_equivalent": nan}):
        with pytest.raises(ValueError, match=f"{next(iter(changed))}=nan"):
            verdict(**changed)
    for margin in (0, -0.005, nan):
        with pytest.raises(ValueError, match="margin"):
            verdict(margin=margin)
