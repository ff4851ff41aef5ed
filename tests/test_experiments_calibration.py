"""The instrument itself: trained networks find the evidence where it was put, and nowhere else; slow."""

import pytest
from scipy.stats import binom

from experiments import runs

pytestmark = pytest.mark.slow


def accuracy_of(verb, tmp_path, *words):
    data_root = tmp_path.parent / "drawn"  # shared by these tests
    status, _, err = verb("threads=2", "device=cpu", f"data_root={data_root}", f"runs_root={tmp_path}", *words)
    assert status == 0, err
    [run] = [runs.read(path.parent) for path in tmp_path.rglob("done")]
    return run.metrics[-1]["test/accuracy"]


CHANCE = [edge / 2000 for edge in binom.interval(0.99, 2000, 0.5)]


@pytest.mark.parametrize("seed", range(3))
def test_the_default_is_neither_trivial_nor_hopeless(verb, tmp_path, seed):
    assert 0.85 <= accuracy_of(verb, tmp_path, f"seed={seed}") <= 0.97


def test_chroma_evidence_vanishes_under_grayscale(verb, tmp_path):
    assert CHANCE[0] <= accuracy_of(verb, tmp_path, "aug=grayscale") <= CHANCE[1]


def test_luma_evidence_survives_grayscale(verb, tmp_path):
    assert accuracy_of(verb, tmp_path, "data.evidence=luma", "aug=grayscale") > 0.8


@pytest.mark.parametrize("aug", ["none", "saturate_x8"])
def test_without_evidence_accuracy_is_chance(verb, tmp_path, aug):
    assert CHANCE[0] <= accuracy_of(verb, tmp_path, "data.evidence=none", f"aug={aug}") <= CHANCE[1]
