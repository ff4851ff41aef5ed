"""`task: generator`: which generator made a picture, from a built set or a drawn one to scores, page and verdict."""

import csv
import sys

import numpy as np
import pytest
from builds import picture
from PIL import Image
from scipy.stats import binom
from sklearn import metrics as reference

from datasets import assemble, origins, synthetic
from datasets.manifest import FAKE, REAL, DataError, Row
from detector.train import NotFinite
from experiments import compare, events, generators, jobs, material, outcomes, runs, shell, worker
from experiments.comparison import compare as compared
from experiments.report import __main__ as report

PLACES = {"red": 0, "green": 1, "blue": 2}  # which channel is lighter in the pictures of a source
BUILT = [
    "data=cifake_flux",
    "data.fit=stretch",
    "data.patches=1",
    "data.val_share=0.2",
    "data.test_share=0.2",
    "task=generator",
]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Two generators, red and blue, and photographs, which are green; and a set of red ones alone."""
    root = tmp_path_factory.mktemp("built")
    for source, channel in PLACES.items():
        for i in range(60):
            path = root / source / f"{i}.png"
            picture(path, 100 * channel + i, (32, 32))
            pixels = np.asarray(Image.open(path)).astype(int) // 2
            pixels[..., channel] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    for name, made in (("tinted", ("blue", "red")), ("single", ("red",))):
        found = [origins.find(str(root / one), root, label=FAKE) for one in made]
        assemble.assemble(name, [*found, origins.find(str(root / "green"), root, label=REAL)], None, data_root=root)
    return root


@pytest.fixture
def run(train, data_root):
    """run(*words) -> as `train`, on the built set of tints."""

    def call(*words):
        small = ["train.epochs=6", "train.batch_size=16", "train.learning_rate=3e-3", "threads=1", "device=cpu"]
        given = {word.split("=")[0] for word in words}
        rest = [*BUILT, "data.name=tinted", f"data_root={data_root}", *small]
        return train(*(word for word in rest if word.split("=")[0] not in given), *words)

    return call


def verb(monkeypatch, capsys, module, name, *words):
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        shell.main(name, module)
    return ended.value.code, *capsys.readouterr()


def test_two_generators_are_told_apart_and_what_is_written_is_what_scikit_learn_says(run, tmp_path):
    status, out, _ = run()
    assert status == 0 and "test recall" in out and "balanced accuracy" in out
    [folder] = [path.parent for path in (tmp_path / "runs").rglob("done")]
    with (folder / "predictions.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["split"] == "test"]
    columns = ["score:real", "score:blue", "score:red"]
    assert list(lines[0])[-3:] == columns
    scores = np.array([[float(line[column]) for column in columns] for line in lines])
    labels = np.array([int(line["label"]) for line in lines])
    assert [("green", "blue", "red")[label] for label in labels] == [line["source"] for line in lines]
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-12)
    called, last = scores.argmax(axis=1), runs.read(folder).metrics[-1]
    assert last["test/accuracy"] == reference.accuracy_score(labels, called) > 0.9
    assert last["test/balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, called))
    assert last["test/nll"] == pytest.approx(reference.log_loss(labels, scores))
    recalls = reference.recall_score(labels, called, average=None)
    assert [last[f"test/{name}/recall"] for name in ("real", "blue", "red")] == pytest.approx(recalls.tolist())
    assert {"val/nll", "val/red/recall", "train/balanced_accuracy"} <= set(runs.read(folder).metrics[0])
    found = b"".join(path.read_bytes() for path in events.files(folder))
    assert b"figures/test/confusion" in found and b"test/red/recall" in found and b"precision_recall" not in found


def test_runs_are_compared_by_what_is_right_and_never_with_those_of_the_other_task(run, tmp_path, monkeypatch, capsys):
    for words in (["aug=none"], ["aug=grayscale"], ["aug=none", "task=detection"], ["aug=grayscale", "task=detection"]):
        assert run("train.epochs=2", *words)[0] == 0
        [pictures] = material._pictures.values()
        assert set(pictures.labels.tolist()) == ({0, 1} if "task=detection" in words else {0, 1, 2})
    found = outcomes.find(tmp_path / "runs")
    assert found.refused == [] and len(found.outcomes) == 4
    comparisons, refused = compared(found.outcomes)
    assert refused == [] and {one.by_generator for one in comparisons} == {True, False}
    for one in comparisons:
        [arm], baseline = one.arms, one.baseline
        assert arm.members[0].by_generator == baseline.members[0].by_generator == one.by_generator
        assert arm.values.tolist() == [arm.members[0].correct.mean()] == [arm.members[0].metrics["test/accuracy"]]
        assert ("which generator" in one.title) == one.by_generator
    table, again = tmp_path / "table", []
    for root in (tmp_path / "runs", table):
        status, out, err = verb(monkeypatch, capsys, compare._main, "experiments.compare", root, "--out", table)
        assert (status, err) == (0, "")
        again.append([line for line in out.splitlines() if line.startswith(("grayscale ", "none "))])
    assert again[0] == again[1] and len(again[0]) == 4
    out = tmp_path / "page"
    status, _, err = verb(monkeypatch, capsys, report.main, "experiments.report", tmp_path / "runs", "--out", out)
    text = (out / "report.md").read_text()
    assert (status, err) == (0, "") and "% of the blue and" in text and "real against fake alone" in text


def test_without_evidence_it_is_chance(train, tmp_path):
    sizes = ["data.train=192", "data.val=96", "data.test=192"]
    status, _, _ = train("task=generator", "data.evidence=both", "data.strength=0", "train.epochs=3", *sizes)
    assert status == 0
    [folder] = [path.parent for path in (tmp_path / "runs").rglob("done")]
    last = runs.read(folder).metrics[-1]
    recalls = [last[f"test/{name}/recall"] for name in ("real", "chroma", "luma")]
    assert sum(recalls) <= 3 * binom.ppf(0.999, 192, 1 / 3) / 192 and last["test/accuracy"] <= 0.6


def test_a_resumed_run_is_an_uninterrupted_one(run, tmp_path, monkeypatch):
    assert run("train.epochs=2", f"runs_root={tmp_path / 'whole'}")[0] == 0
    record = worker.Worker._record_epoch

    def stopped(self, event, scores):
        if event.epoch == 2:
            raise NotFinite("here it stops")
        record(self, event, scores)

    with monkeypatch.context() as patch:
        patch.setattr(worker.Worker, "_record_epoch", stopped)
        assert run("train.epochs=2", f"runs_root={tmp_path / 'cut'}")[0] == 5
    status, out, _ = run("train.epochs=2", f"runs_root={tmp_path / 'cut'}")
    assert status == 0 and "resuming after epoch 1" in out
    for name in ("predictions.csv", "metrics.jsonl", "last.pt"):
        [whole], [cut] = ((tmp_path / place).rglob(name) for place in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()


def test_one_generator_and_another_task_are_one_line(run):
    status, _, err = run("data.name=single")
    assert status == 2 and err.count("\n") == 1
    assert "data set single are of one generator (red); expected two or more" in err
    status, _, err = run("task=which")
    assert (status, err) == (2, "experiments.run: task=which: expected detection or generator\n")


def test_a_class_that_a_split_lacks_and_a_generator_called_real_are_refused():
    rows = [Row(f"{s}{c}", FAKE if c else REAL, s, ("x", "a", "b")[c]) for s in generators.SPLITS for c in range(3)]
    assert generators.classes_of(rows, "mine") == ("real", "a", "b")
    assert generators.labels_of(rows, ("real", "a", "b")).tolist() == 3 * [0, 1, 2]
    with pytest.raises(DataError, match="the data set mine has no val image of b; expected images of every class"):
        generators.classes_of([row for row in rows if row.path != "val2"], "mine")
    with pytest.raises(DataError, match="a generator of the data set mine is called real"):
        generators.classes_of([row._replace(source="real") if row.source == "b" else row for row in rows], "mine")


def test_both_kinds_of_evidence_are_two_sources_of_half_the_fakes_each():
    listing = synthetic.rows(synthetic.SyntheticSettings(evidence="both", train=8, val=4, test=4))
    fakes = [(row.source, place.evidence) for row, place in listing if row.label == FAKE and row.split == "train"]
    assert fakes == [("chroma", "chroma"), ("luma", "luma")] * 2
    assert {row.source for row, _ in listing if row.label == REAL} == {"synthetic"}
    plain = dict(synthetic.rows(synthetic.SyntheticSettings(evidence="chroma", train=8, val=4, test=4)))
    assert all(plain[row].read() == place.read() for row, place in listing if row.label == REAL)


def test_the_task_is_part_of_the_digest_where_it_is_not_the_first_one():
    plain, explicit, other = (jobs.configured(words) for words in ([], ["task=detection"], ["task=generator"]))
    assert plain.digest == explicit.digest == "48e22339cb"  # as before there was another task
    assert other.digest != plain.digest and other.flattened()["task"] == "generator"
    assert runs.condition_of(other.as_dict()) == (other.condition(), other.digest)
    before = {key: value for key, value in plain.as_dict().items() if key != "task"}
    assert runs.condition_of(before) == (plain.condition(), plain.digest)
