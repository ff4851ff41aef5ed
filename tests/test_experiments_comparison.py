"""Runs to comparisons: every number against an oracle, every pairing that must not be, and the symmetries."""

import dataclasses
import random
import re

import numpy as np
import pytest
import yaml
from scipy import stats

from datasets.build import SOURCES
from detector.metrics import evaluate
from experiments import outcomes, paired, plans, predictions
from experiments.comparison import NotComparable, compare
from experiments.evidence import learning_speed
from tests.trees import changed, make_config, make_tree, one, write_run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Outcomes of three arms and six seeds, one arm much worse."""
    root = tmp_path_factory.mktemp("runs")
    make_tree(root, arms={"none": 0.9, "saturate_x8": 0.7, "saturate_x2": 0.9}, images=400)
    return outcomes.find(root).outcomes


def test_every_number_of_an_arm_is_what_its_predictions_give(study):
    found = one(study)
    assert [arm.name for arm in found.arms] == ["saturate_x2", "saturate_x8"]
    assert (found.metric, found.margin, found.num_images, found.num_groups) == ("accuracy", 0.005, 400, 380)
    arm, twins = found.arms[1], found.baseline.members
    accuracies = [
        np.array([evaluate(run.scores, run.test.labels, threshold=None)["accuracy"] for run in members])
        for members in (arm.members, twins)
    ]
    differences = accuracies[0] - accuracies[1]
    np.testing.assert_array_equal(arm.differences, differences)
    assert arm.mean == accuracies[0].mean() and arm.sd == np.std(accuracies[0], ddof=1)
    evidence = arm.evidence
    assert (evidence.pairs, evidence.difference) == (6, differences.mean()) and evidence.p == 2 / 2**6
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    np.testing.assert_allclose((evidence.equivalent_low, evidence.equivalent_high), interval)
    assert differences.min() <= evidence.low < evidence.difference < evidence.high <= differences.max()
    for place, (ours, theirs) in enumerate(zip(arm.members, twins, strict=True)):
        only = int((ours.correct & ~theirs.correct).sum()), int((~ours.correct & theirs.correct).sum())
        assert arm.discordant[place] == sum(only) / 400
        np.testing.assert_allclose(arm.mcnemar[place], stats.binomtest(only[0], sum(only)).pvalue)
    rng, groups = np.random.default_rng(0), arm.members[0].test.groups
    of_images = np.mean([o.correct.astype(float) - t.correct for o, t in zip(arm.members, twins, strict=True)], axis=0)
    clusters = [of_images[groups == group] for group in np.unique(groups)]
    draws = [np.concatenate([clusters[i] for i in rng.integers(0, 380, 380)]).mean() for _ in range(2000)]
    np.testing.assert_allclose(
        (evidence.images_low, evidence.images_high), np.quantile(draws, (0.025, 0.975)), atol=0.004
    )
    assert arm.verdict.kind == "loss" and found.arms[0].verdict.kind in ("undecided", "equivalent")
    assert arm.detectable > 0 and arm.clipped == 1 - 1 / 8 and arm.images_per_second == 1000
    assert found.baseline.evidence is None and not found.baseline.differences.any()


def test_against_each_other_two_arms_have_opposite_signs_everywhere(study):
    pair = [outcome for outcome in study if outcome.aug != "saturate_x2"]
    [there], [back] = one(pair).arms, one(pair, baseline="saturate_x8").arms
    np.testing.assert_array_equal(there.differences, -back.differences)
    np.testing.assert_array_equal(there.mcnemar, back.mcnemar)
    ours, theirs = there.evidence, back.evidence
    assert (ours.p, ours.p_family, ours.p_holm) == (theirs.p, theirs.p_family, theirs.p_holm)
    for low, high in (("equivalent_low", "equivalent_high"), ("images_low", "images_high"), ("low", "high")):
        np.testing.assert_allclose(getattr(ours, low), -getattr(theirs, high), atol=0.003)
    assert (there.verdict.kind, back.verdict.kind) == ("loss", "win")


def test_runs_against_their_own_copies_are_never_a_claim(study):
    plain = [outcome for outcome in study if outcome.aug == "none"]
    copies = [dataclasses.replace(outcome, aug="copy", digest="0" * 10) for outcome in plain]
    [arm] = one([*plain, *copies]).arms
    assert not arm.differences.any() and not arm.discordant.any() and (arm.mcnemar == 1).all()
    assert arm.verdict.kind == "equivalent"
    assert (arm.evidence.low, arm.evidence.high, arm.evidence.images_low, arm.evidence.p) == (0, 0, 0, 1)


def test_the_order_in_which_runs_are_found_does_not_matter(study):
    shuffled = list(study)
    random.Random(0).shuffle(shuffled)
    assert repr(compare(shuffled)) == repr(compare(study))


def test_a_metric_where_less_is_better_is_sorted_and_judged_the_other_way(study):
    found = one(study, metric="nll")
    assert found.lower_is_better and [arm.name for arm in found.arms][-1] == "saturate_x8"
    assert found.arms[-1].differences.mean() > 0 and found.arms[-1].verdict.kind == "loss"
    assert found.arms[-1].evidence.images_low is None and found.changes == [
        "metric: nll now, accuracy when the runs were made",
        "margin: 0.5 points, which were meant for accuracy",
    ]
    assert len(one(study, metric="nll", margin=0.01).changes) == 2


REFUSED = {
    "other code": (
        lambda o: changed(o, code="feed"),
        "saturate_x8/{}, seeds 0-5: code feed, the baseline's run has 47a",
    ),
    "other torch": (lambda o: changed(o, torch="2.11.0"), "torch 2.11.0, the baseline's run has 2.15.0"),
    "other split": (lambda o: changed(o, data_digest="x"), "manifest of the data x, the baseline's run has content"),
    "other data": (lambda o: changed(o, content_digest="y"), "data content y, the baseline has content"),
    "no number": (lambda o: dataclasses.replace(o, metrics=o.metrics | {"test/accuracy": np.nan}), "is not a number"),
    "not measured": (lambda o: dataclasses.replace(o, metrics={"test/auc": 1.0}), "test/accuracy was not measured"),
    "other seeds": (lambda o: dataclasses.replace(o, seed=o.seed + 10), "no pair with none (seeds 0-5): seeds 10-15"),
    "other images": (
        lambda o: dataclasses.replace(o, test=dataclasses.replace(o.test, digest="z")),
        "tested on other images than the baseline's run",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_runs_that_are_no_pair_are_refused_with_what_differs_and_the_other_arm_stays(case, study):
    change, reason = REFUSED[case]
    [found], refused = compare([change(o) if o.aug == "saturate_x8" else o for o in study])
    digest = next(outcome.digest for outcome in study if outcome.aug == "saturate_x8")
    assert reason.format(digest) in refused[0] and not [line for line in refused if "\n" in line]
    assert [arm.name for arm in found.arms] == ["saturate_x2"] and len(found.arms[0].pairs) == 6


def test_one_bad_run_costs_its_pair_alone(study):
    bad = next(outcome for outcome in study if outcome.aug == "saturate_x8" and outcome.seed == 2)
    [found], [line] = compare([changed(o, code="feed") if o is bad else o for o in study])
    assert "saturate_x8/" in line and ", seed 2: code feed" in line
    assert [len(arm.pairs) for arm in found.arms] == [6, 5]
    assert found.arms[1].verdict.exploratory and found.arms[1].detectable == np.inf


def test_other_epochs_are_another_family_which_is_told_what_differs(tmp_path):
    make_tree(tmp_path, arms={"none": 0.9, "saturate_x8": 0.9})
    make_tree(tmp_path, arms={"saturate_x2": 0.9}, epochs=5)
    [found], [line] = compare(outcomes.find(tmp_path).outcomes)
    assert [arm.name for arm in found.arms] == ["saturate_x8"]
    assert line == (
        "cifake/cnn32/saturate_x2 (parent, 6 runs): no run of the baseline 'none' with the same settings: "
        "train.epochs 5, the baseline has 3"
    )


def test_the_same_seed_twice_is_refused_with_both_places(tmp_path):
    for root in ("a", "b"):
        make_tree(tmp_path / root, seeds=range(2 if root == "a" else 1))
    [found], refused = compare(outcomes.find(tmp_path).outcomes)
    assert [arm.pairs for arm in found.arms] == [[(1, None)]]
    assert len(refused) == 2 and all("the same run 2 times" in line and ", seed 0: " in line for line in refused)
    for root in ("a", "b"):
        assert sum(str(tmp_path / root) in line for line in refused) == 2


def test_one_seed_alone_is_exploratory_and_has_no_spread(tmp_path):
    make_tree(tmp_path, seeds=[4])
    [arm] = one(outcomes.find(tmp_path).outcomes).arms
    assert arm.verdict.exploratory and arm.verdict.reason.startswith("exploratory: only 1 pair")
    assert np.isnan([arm.sd, arm.evidence.low, arm.evidence.equivalent_high]).all() and arm.detectable == np.inf
    assert arm.evidence.images_low < arm.evidence.images_high


def test_a_baseline_or_a_metric_that_is_not_there_is_one_line_that_lists_what_is(study):
    for asked, words in (
        ({"baseline": "gone"}, "no run of it; the arms there are: none, saturate_x2, saturate_x8"),
        ({"metric": "auk"}, "expected one of accuracy, "),
        ({"metric": "flux/auc"}, "no run has test/flux/auc"),
        ({"margin": 1.5}, "expected a number between 0 and 1"),
    ):
        with pytest.raises(NotComparable, match=words) as raised:
            compare(study, **asked)
        assert raised.value.exit_status == 2 and "\n" not in str(raised.value)


def test_a_baseline_that_means_two_things_is_refused_and_can_be_named_by_digest(study):
    twice = [*study, *(dataclasses.replace(o, digest="f" * 10) for o in study if o.aug == "none")]
    digests = sorted({outcome.digest for outcome in twice if outcome.aug == "none"})
    found, [line] = compare(twice)
    assert found == [] and f"the baseline 'none' is {digests[0]} and {digests[1]}" in line
    assert one(twice, baseline="f" * 10).baseline.digest == "f" * 10


def test_what_is_left_out_and_what_differs_between_pairs_is_told(study):
    listed = [outcome for outcome in study if outcome.aug != "none" or outcome.seed != 5]
    listed = [o for o in listed if o.aug != "saturate_x2" or o.seed != 0]
    listed = [changed(o, threads=4, code="feed", dirty=True) if o.seed == 1 else o for o in listed]
    found, refused = compare(listed)
    assert refused == []
    notes = "\n".join(found[0].notes)
    for words in (
        r"saturate_x2/\w+, saturate_x8/\w+, seed 5: left out, as none has no run of the same seed and fold",
        r"saturate_x2/\w+, seed 0: not there, the baseline has them",
        r"threads: 1 in 11 runs, 4 in 3 runs; equal within every pair",
        r"code: 47a04c99aee4b804 in 11 runs, feed in 3 runs; equal within every pair",
        r"code: 3 of 14 runs were made with files that differ from their commit",
    ):
        assert re.search(words, notes), words


def test_a_plan_that_was_changed_is_told(study, tmp_path, monkeypatch):
    assert one(study).changes == []
    stricter = [dataclasses.replace(o, plan=o.plan | {"margin": 1.0}) if o.seed == 0 else o for o in study]
    assert "plan.margin: 0.5 in 15 runs, 1.0 in 3 runs" in one(stricter).changes
    assert one(study, margin=0.01).changes == ["margin: 1 points now, 0.5 points when the runs were made"]
    (tmp_path / "ab_cifake.yaml").write_text("plan:\n  experiment: ab_cifake\n  margin: 2\n  metric: accuracy\n")
    monkeypatch.setattr(plans, "EXPERIMENTS", tmp_path)
    assert one(study).changes == [
        "experiments/conf/experiment/ab_cifake.yaml: plan.margin is 2 points now, 0.5 points when the runs were made"
    ]
    longer = [f"aug=none,{'x' * 60} seed=range(6)", "aug=invert seed=range(6)"]
    (tmp_path / "ab_cifake.yaml").write_text(yaml.safe_dump({"plan": {"sweep": longer}}))
    fewer = [dataclasses.replace(o, plan=o.plan | {"sweep": [longer[0].replace("6)", "3)"), longer[1]]}) for o in study]
    assert one(fewer).changes == [
        f"experiments/conf/experiment/ab_cifake.yaml: plan.sweep has {longer[0]} now, "
        f"had {longer[0].replace('6)', '3)')} when the runs were made"
    ]
    for broken in ("- 1", "plan: [1", "question: x", ""):
        (tmp_path / "ab_cifake.yaml").write_text(broken)
        assert "holds no plan that can be read" in one(study).changes[0]
    without = [dataclasses.replace(o, plan={}) for o in study]
    assert one(without).changes == [] and one(without).margin == 0.005 and one(without).baseline.name == "none"


def test_with_folds_every_image_counts_once_by_its_mean_over_the_pairs_that_tested_it(tmp_path):
    make_tree(tmp_path, seeds=range(3), folds=range(2), images=100)
    found = one(outcomes.find(tmp_path).outcomes)
    [arm] = found.arms
    assert (found.num_images, found.num_groups, len(arm.pairs)) == (200, 160, 6)
    assert arm.evidence.images_low < arm.evidence.difference < arm.evidence.images_high
    assert arm.detectable_images == paired.detectable_images(160, arm.discordant.mean())
    assert (arm.evidence.unit, arm.evidence.pairs) == ("folds", 2) and any("folds: " in note for note in found.notes)
    assert sorted(found.test.rows.tolist()) == sorted({int(row) for o in arm.members for row in o.test.rows})


def test_an_arm_learns_faster_where_it_reaches_the_final_score_of_the_baseline_earlier(study):
    plain = next(outcome for outcome in study if outcome.aug == "none")

    def run(*history):
        return dataclasses.replace(plain, history={"val/accuracy": list(history)})

    base = run(0.5, 0.9, 0.7, 0.8)
    pairs = [(run(0.8, 0.1, 0.1, 0.1), base), (run(0.1, 0.2, 0.81, 0.1), base), (run(0.1, 0.2, 0.3, 0.4), base)]
    speed = learning_speed(pairs, "accuracy")
    assert (speed.epochs, speed.baseline_epochs, speed.difference) == (2, 2, 0) and (speed.never, speed.pairs) == (1, 3)
    assert -1 <= speed.low <= 0 <= speed.high <= 1
    falling = [(run(0.9, 0.3), run(0.9, 0.5)), (run(float("nan"), 0.2), run(0.9, 0.5))]
    assert learning_speed(falling, "accuracy", lower_is_better=True).epochs == 2
    never = learning_speed([(run(0.1), run(0.9))], "accuracy")
    assert np.isnan(never.epochs) and never.never == 1
    assert learning_speed([(plain, run(float("nan")))], "accuracy") is None
    assert learning_speed([(plain, plain)], "no such metric") is None


def drawn_outcomes(study, arms, seeds, images):
    """Many arms of tiny runs, made in memory."""
    plain = dataclasses.replace(study[0], history={})
    rng = np.random.default_rng(0)
    zeros = np.zeros(images, dtype=np.int64)
    test = predictions.TestSet(
        "tiny", zeros.astype(np.uint8), np.arange(images), np.arange(images), zeros.astype(str), zeros.astype(str)
    )
    found = []
    for arm in range(arms):
        for seed in range(seeds):
            correct = rng.random(images) < 0.9
            metrics = plain.metrics | {"test/accuracy": float(correct.mean())}
            names = {"aug": f"arm{arm}" if arm else "none", "digest": f"{arm:010}", "seed": seed}
            found.append(dataclasses.replace(plain, **names, metrics=metrics, test=test, correct=correct, scores=None))
    return found


def test_two_thousand_conditions_are_compared_and_none_claims_by_chance(study):
    found = one(drawn_outcomes(study, arms=2001, seeds=6, images=20))
    assert len(found.arms) == 2000 and not [arm for arm in found.arms if arm.verdict.kind in ("win", "loss")]


def test_a_folder_of_pictures_is_the_same_family_wherever_it_lies(tmp_path, monkeypatch):
    for name in ("none", "saturate_x8"):
        for seed in range(2):
            config = make_config(tmp_path / "runs", name, seed)
            config.data = SOURCES["folder"].settings(root="pictures")
            write_run(config, 0.9, images=40, duplicates=2, content="content")
    monkeypatch.chdir(tmp_path)  # `pictures` is another place from here
    found = one(outcomes.find(tmp_path / "runs").outcomes)
    assert [arm.name for arm in found.arms] == ["saturate_x8"] and "root" not in found.settings["data"]
