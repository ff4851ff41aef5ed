"""The example pictures of an evaluation: the surest of each kind, with where the network looked."""

import numpy as np
import pytest
from builds import picture

from experiments import material, predictions, runs
from experiments.evaluate import __main__ as verb
from experiments.evaluate import pictures
from experiments.report.examples import KINDS

LABELS = np.array([1, 1, 1, 0, 0, 0])
SCORES = np.array([0.6, 0.9, 0.1, 0.2, 0.5, 0.05])


def test_the_surest_come_first_and_half_is_fake():
    test = predictions.TestSet("", LABELS, LABELS, np.arange(6), LABELS.astype(str), LABELS.astype(str))
    found = {kind: places.tolist() for kind, places in pictures.surest(test, SCORES).items()}
    assert found == {
        "true positives": [1, 0],
        "true negatives": [5, 3],
        "false positives": [4],
        "false negatives": [2],
    }
    many = predictions.TestSet("", *[np.ones(20, int)] * 3, *[np.array(["x"] * 20)] * 2)
    kinds = pictures.surest(many, np.linspace(0.5, 1, 20))
    assert kinds["true positives"].tolist() == list(range(19, 19 - pictures.SHOWN, -1))
    assert not kinds["false negatives"].size


@pytest.fixture
def evaluated(called):
    return lambda *words: called("experiments.evaluate", verb.main, *words)


def test_a_run_with_its_data_has_sheets_and_without_says_so(train, evaluated, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    for number in range(80):
        picture(photos / ("real", "fake")[number % 2] / f"{number}.png", number, (32, 32))
    assert train("aug=invert", "data=folder", f"data.root={photos}", f"data_root={tmp_path / 'data'}")[0] == 0
    [folder] = [path.parent for path in tmp_path.rglob("done")]
    status, _, err = evaluated(folder)
    assert (status, err) == (0, "")
    test, scores = predictions.parse(runs.finished(folder)[1], {})
    page = (folder / "evaluation" / "evaluation.html").read_text()
    for kind, places in pictures.surest(test, scores).items():
        listed = ", ".join(f"{scores[place]:.3f}" for place in places)
        there = (folder / "evaluation" / "figures" / f"surest-{kind.replace(' ', '-')}.png").exists()
        assert there == bool(len(places)) and (f"scores {listed}." in page or f"{KINDS[kind][2]}): none." in page)
    facts = (folder / "provenance.json").read_text()
    digest = runs.read(folder).provenance["content_digest"]
    (folder / "provenance.json").write_text(facts.replace(digest, "of other data"))
    status, _, err = evaluated(folder)
    assert status == 0 and len(err.splitlines()) == 1
    assert err.startswith("no example pictures: the data that lie here are no longer those of the run (")
    photos.rename(tmp_path / "elsewhere")
    monkeypatch.setattr(material, "_prepared", {})
    status, _, err = evaluated(folder)
    assert status == 0 and len(err.splitlines()) == 1 and "the data of this run are not here" in err
    again = (folder / "evaluation" / "evaluation.html").read_text()
    assert "No pictures are shown: the data of this run are not here." in again and str(tmp_path) not in again
