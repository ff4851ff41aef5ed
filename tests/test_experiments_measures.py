import numpy as np

from datasets.manifest import FAKE, REAL, Row
from detector.metrics import auc
from experiments.measures import groups, measure, members


def rows(*pairs):
    return [Row(f"{source}/{i}", label, source=source) for i, (source, label) in enumerate(pairs)]


def sources(listed):
    return members(listed, groups(listed))


def test_fakes_of_their_own_are_measured_against_photographs_of_their_own_and_mixed_sources_alone():
    both = rows(("cifake", REAL), ("flux", FAKE), ("photos", REAL), ("cifake", FAKE), ("sdxl", FAKE), ("photos", REAL))
    found = {name: places.tolist() for name, places in sources(both).items()}
    assert found == {"cifake": [0, 3], "flux": [1, 2, 5], "sdxl": [2, 4, 5]}
    assert sources(rows(("cifake", REAL), ("cifake", FAKE))) == {}
    assert sources(rows(("flux", FAKE), ("photos", REAL))) == {}  # the pooled metrics say it already
    lonely = sources(rows(("cifake", REAL), ("cifake", FAKE), ("photos", REAL)))
    assert {name: places.tolist() for name, places in lonely.items()} == {"cifake": [0, 1], "photos": [2]}


def test_a_source_keeps_its_partner_in_a_split_where_one_of_its_classes_is_missing():
    everything = rows(("a", REAL), ("a", FAKE), ("b", REAL), ("b", FAKE))
    split = rows(("a", FAKE), ("b", REAL), ("b", FAKE))
    found = {name: places.tolist() for name, places in members(split, groups(everything)).items()}
    assert found == {"a": [0], "b": [1, 2]}


def test_a_source_that_is_told_badly_shows_beside_one_that_is_told_well():
    listed = rows(*[("easy", i % 2) for i in range(40)], *[("hard", i % 2) for i in range(40)])
    labels = np.array([row.label for row in listed])
    scores = np.where((np.arange(80) < 40) == labels, 0.9, 0.1)  # rightly in the first half, wrongly in the second
    measured = measure("test", scores, labels, sources(listed), threshold=0.5)
    assert measured["test/easy/auc"] == 1 and measured["test/hard/auc"] == 0
    assert measured["test/auc"] == auc(scores, labels) == 0.5
    assert measured["test/easy/accuracy_at_threshold"] == 1 and measured["test/hard/accuracy"] == 0
