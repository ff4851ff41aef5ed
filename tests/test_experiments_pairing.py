"""What is said of runs that differ in what makes no other result, and of very many arms."""

import dataclasses

import pytest

from experiments import outcomes
from experiments.comparison import NotComparable, compare
from tests.trees import changed, make_tree, one


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Outcomes of three arms and six seeds."""
    root = tmp_path_factory.mktemp("runs")
    make_tree(root, arms={"none": 0.9, "saturate_x8": 0.7, "saturate_x2": 0.9}, images=100)
    return outcomes.find(root).outcomes


def test_what_differs_within_pairs_is_counted_and_so_are_two_names_of_one_arm(study):
    listed = [changed(o, device="cuda") if o.aug == "saturate_x8" and o.seed < 2 else o for o in study]
    listed = [changed(o, commit="None") if o.seed == 0 else o for o in listed]  # as where there is no git
    digest = next(o.digest for o in study if o.aug == "saturate_x2")
    listed += [dataclasses.replace(o, aug="saturate") for o in listed if o.digest == digest]
    notes = one(listed).notes
    assert "device: cpu in 22 runs, cuda in 2 runs; differs within 2 of 18 pairs" in notes
    assert "code: no commit is known of 4 of 24 runs" in notes
    assert [note for note in notes if note.startswith(f"saturate and saturate_x2 have equal settings ({digest})")]


def test_a_corrected_p_is_never_below_its_own_where_the_signs_are_drawn(study):
    """Arms of other seeds: more pairs in the family than are enumerated, six in each arm."""
    plain = next(o for o in study if o.aug == "none")
    listed = []
    for seed in range(24):
        for arm in ("none", f"arm{seed // 6}"):
            value = 0.9 + (arm != "none") * 0.001 * (seed % 6 + 1) + seed * 1e-4
            metrics = plain.metrics | {"test/auc": value}
            listed.append(dataclasses.replace(plain, aug=arm, digest=f"{arm:0>10}", seed=seed, metrics=metrics))
    arms = one(listed, metric="auc").arms
    assert len(arms) == 4 and all(arm.evidence.p_family >= arm.evidence.p == 2 / 2**6 for arm in arms)


def test_of_a_thousand_arms_some_are_listed_and_the_others_counted(study):
    many = [dataclasses.replace(study[0], aug=f"arm{k}", digest=f"{k:010}") for k in range(1000)]
    with pytest.raises(NotComparable, match=r"arm0, arm1, .* and 950 more$"):
        compare(many, baseline="gone")


def test_arms_of_few_seeds_do_not_hide_what_arms_of_six_show(study):
    few = [
        dataclasses.replace(outcome, aug=f"few{k}", digest=f"{k:010}")
        for outcome in study
        for k in range(20)
        if outcome.aug == "saturate_x2" and outcome.seed < 2
    ]
    alone, beside = one(study), one([*study, *few])
    for arm in alone.arms:
        [same] = [other for other in beside.arms if other.digest == arm.digest]
        assert same.evidence == arm.evidence
    assert sum(arm.verdict.exploratory for arm in beside.arms) == 20


def test_few_groups_of_test_images_are_said_to_be_few(study, tmp_path):
    make_tree(tmp_path, images=16, duplicates=4)
    notes = one(outcomes.find(tmp_path).outcomes).notes
    assert notes == ["only 12 groups of test images: intervals over them are too narrow"] and one(study).notes == []


def test_a_trial_of_a_search_pairs_only_where_its_arm_has_no_other_runs(study):
    def is_trial(outcome):
        return (outcome.seed == 0 and outcome.aug == "saturate_x8") or outcome.aug == "saturate_x2"

    listed = [dataclasses.replace(o, plan=o.plan | {"study": "mine"}) if is_trial(o) else o for o in study]
    found = one(listed)
    assert {arm.name: [seed for seed, _ in arm.pairs] for arm in found.arms} == {
        "saturate_x2": [0, 1, 2, 3, 4, 5],
        "saturate_x8": [1, 2, 3, 4, 5],
    }
    assert [note for note in found.notes if "seed 0: left out, a trial of the search mine" in note]
