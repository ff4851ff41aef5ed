"""What a run makes of its data: folds, sources, the audit, the network that goes with them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import synthetic
from experiments import material, runs


@pytest.fixture
def confounded(tmp_path):
    """A folder of noise whose fakes are all 40x24 PNG and whose reals are JPEG of many sizes."""
    random = np.random.RandomState(0)
    for label in ("real", "fake"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for i in range(60):
            size = (40, 24) if label == "fake" else tuple(random.randint(24, 48, 2).tolist())
            picture = Image.fromarray(random.randint(0, 256, (*size[::-1], 3), np.uint8))
            picture.save(tmp_path / "in" / label / (f"{i}.png" if label == "fake" else f"{i}.jpg"))
    return tmp_path / "in"


def test_every_image_is_tested_in_one_fold_of_a_sweep_and_the_summary_is_one_condition(train, tmp_path):
    status, out, _ = train("-m", "data.fold=range(3)", "data.folds=3", "train.epochs=1")
    assert status == 0
    folders = sorted(path.parent for path in (tmp_path / "runs").rglob("done"))
    assert [folder.name.split("-", 1)[1] for folder in folders] == ["fold0-seed0", "fold1-seed0", "fold2-seed0"]
    assert len({runs.read(folder).condition for folder in folders}) == 1
    tested = []
    for folder in folders:
        with (folder / "predictions.csv").open(newline="") as file:
            tested += [row["path"] for row in csv.DictReader(file) if row["split"] == "test"]
    assert len(tested) == len(set(tested)) == 128
    assert out.count("/cnn32/none/") >= 1 and "  3\n" in out


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.fold=5", "data.fold=5: expected null, or 0 to 4 of data.folds"),
        ("data.folds=1", "data.folds=1: expected a whole number from 2 to 100"),
        ("data.fold=a", "data.fold: "),
    ],
)
def test_a_fold_that_is_none_is_one_line(train, word, expected):
    status, _, err = train(word)
    assert status == 2 and expected in err and err.count("\n") == 1


def test_a_run_warns_of_a_shortcut_and_carries_the_audit(train, tmp_path, confounded):
    status, out, err = train("data=folder", f"data.root={confounded}", f"data_root={tmp_path}", "train.epochs=1")
    assert status == 0 and "audit: confounded (file facts AUC 1.000" in out
    assert "warning: confounded" in err and "size" in err
    [folder] = [path.parent for path in (tmp_path / "runs").rglob("done")]
    assert json.loads((folder / "audit.json").read_text())["verdict"] == "confounded"
    assert b"file facts" in b"".join(path.read_bytes() for path in folder.glob("events.out.*"))


def test_sources_of_a_set_have_their_own_metrics_in_the_record_and_on_the_terminal(train, tmp_path, monkeypatch):
    drawn = synthetic.rows

    def two_sources(settings):
        return [(row._replace(source="ab"[place.index % 2]), place) for row, place in drawn(settings)]

    monkeypatch.setattr(synthetic, "rows", two_sources)
    status, out, _ = train("train.epochs=1", f"data_root={tmp_path}")
    assert status == 0 and "  a: test accuracy" in out and "  b: test accuracy" in out
    [folder] = [path.parent for path in (tmp_path / "runs").rglob("done")]
    last = runs.read(folder).metrics[-1]
    assert {"test/auc", "test/a/auc", "test/b/accuracy_at_threshold", "val/a/auc"} <= set(last)
    with (folder / "predictions.csv").open(newline="") as file:
        assert {row["source"] for row in csv.DictReader(file)} == {"a", "b"}


def test_flux_brings_a_network_of_its_size_unless_told_otherwise_and_says_how_to_build_it(verb, tmp_path):
    status, _, err = verb("data=flux", f"data_root={tmp_path}", f"runs_root={tmp_path}")
    assert status == 2 and "no such built set; build it with: python scripts/build_dataset.py --name flux" in err
    status, _, err = verb("data=flux", "model=cnn32", f"data_root={tmp_path}", f"runs_root={tmp_path}")
    assert status == 2 and "model=cnn32 takes 32x32; model=cnn720 takes any size" in err


def test_runs_of_one_condition_on_data_that_were_built_anew_are_not_averaged():
    def run(seed, content, accuracy):
        folder = Path("runs/mine/cnn32/none") / f"abc-seed{seed}"
        return runs.Run(folder, {}, {"content_digest": content * 8}, [{"test/accuracy": accuracy}])

    same = runs.summary([run(0, "a", 0.7), run(1, "a", 0.9)])
    assert len(same) == 2 and "0.8000" in same[1] and same[1].endswith("  2")
    apart = runs.summary([run(0, "a", 0.7), run(1, "b", 0.9)])
    assert len(apart) == 3 and "(data aaaaaaaa)" in apart[1] and "0.9000  -  1" in apart[2]


def test_runs_of_one_process_on_other_sizes_and_fits_of_the_same_files_do_not_share_pictures(train, tmp_path):
    random = np.random.RandomState(0)
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        for label in ("real", "fake"):
            (tmp_path / "in" / split / label).mkdir(parents=True)
            for i in range(count):
                picture = Image.fromarray(random.randint(0, 256, (48, 64, 3)).astype(np.uint8))
                picture.save(tmp_path / "in" / split / label / f"{i}.png")
    words = ["data=folder", f"data.root={tmp_path / 'in'}", f"data_root={tmp_path / 'data'}", "model=cnn720"]
    words += ["train.epochs=1", "train.together=1", "jobs=1"]
    others = ["data.fit=stretch,pad", "data.image_size=32,48"]
    status, _, err = train("-m", *words, *others, f"runs_root={tmp_path / 'swept'}")
    assert status == 0, err
    swept = {path.parent.name: path.parent for path in (tmp_path / "swept").rglob("done")}
    assert len(swept) == 4
    alone = ["data.fit=pad", "data.image_size=48"]
    material._pictures.clear()
    assert train(*words, *alone, f"runs_root={tmp_path / 'alone'}")[0] == 0
    [folder] = [path.parent for path in (tmp_path / "alone").rglob("done")]
    texts = [(place / "metrics.jsonl").read_text() for place in (folder, swept[folder.name])]
    assert texts[0] == texts[1]
    assert len({(place / "metrics.jsonl").read_text() for place in swept.values()}) == 4
