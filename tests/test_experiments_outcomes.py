"""Run trees and exported tables read back: what is believed, what is refused and why, what is unfinished."""

import csv
import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import exported, outcomes, predictions, record, runs
from experiments.comparison import compare
from tests.trees import make_config, make_tree

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tree(tmp_path):
    """The folders of two arms and three seeds."""
    return make_tree(tmp_path / "runs", seeds=range(3), images=60)


def edit(folder, name, change, *, mark=True):
    """Change a file's text; with `mark` the run is declared done anew, as a program at fault would do."""
    path = folder / name
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text), errors="surrogateescape")
    if mark:
        record.mark_done(folder)


def test_a_run_is_read_as_its_files_say_and_runs_on_the_same_images_share_them(tree, tmp_path):
    found = outcomes.find(tmp_path / "runs")
    assert [outcome.where for outcome in found.outcomes] == [str(folder) for folder in tree]
    assert (found.unfinished, found.refused) == ([], [])
    outcome, run = found.outcomes[4], runs.read(tree[4])
    with (tree[4] / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    assert outcome.scores.tolist() == [float(row["score"]) for row in rows]
    assert outcome.test.labels.tolist() == [int(row["label"]) for row in rows]
    assert outcome.test.paths.tolist() == [row["path"] for row in rows]
    assert outcome.test.rows.tolist() == [int(row["row"]) for row in rows]
    same = {group: index for index, group in enumerate(dict.fromkeys(row["group"] for row in rows))}
    assert len(np.unique(outcome.test.groups)) == len(same) < 60
    numbers = {int(number) for number in outcome.test.groups[[row["group"] == rows[0]["group"] for row in rows]]}
    assert len(numbers) == 1
    assert outcome.correct.mean() == outcome.metrics["test/accuracy"] == run.metrics[-1]["test/accuracy"]
    assert outcome.history["val/auc"] == [line["val/auc"] for line in run.metrics[:-1]]
    assert (outcome.aug, outcome.seed, outcome.fold, outcome.recipe) == ("saturate_x8", 1, None, "parent")
    assert outcome.view["train"] == run.config["aug"]["train"] and "aug" not in outcome.settings
    assert outcome.facts["content_digest"] == "content" and outcome.images_per_second == 1000
    assert len({id(outcome.test) for outcome in found.outcomes}) == 1


def test_the_settings_of_a_run_are_those_that_gave_its_folder_its_name(tmp_path):
    config = make_config(tmp_path, "saturate_x8", 3, **{"train.batch_size": 64})
    condition, digest = runs.condition_of(config.as_dict())
    assert (condition, digest) == (config.condition(), config.digest)
    old = config.as_dict() | {"aug": {"name": "saturate_x8", "train": config.aug.train, "eval": config.aug.eval}}
    assert runs.condition_of(old) == (condition, digest)  # from before there were controls


def drop_line(words):
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if words not in line)


WRONG = {
    "edited after done": (
        "metrics.jsonl",
        lambda t: t + "{}\n",
        False,
        "metrics.jsonl: changed since the run was done",
    ),
    "half-written": ("metrics.jsonl", lambda t: t[:-40], True, "metrics.jsonl, line 4: not whole"),
    "without its last line": ("metrics.jsonl", drop_line("test/accuracy"), True, "its last line has no test metric"),
    "another accuracy": (
        "metrics.jsonl",
        lambda t: t.replace('"test/accuracy": 0.', '"test/accuracy": 0.0'),
        True,
        "by its predictions",
    ),
    "a missing row": ("predictions.csv", drop_line("80 (1).jpg"), True, "predictions.csv lacks row 80, unlike other"),
    "a doubled row": (
        "predictions.csv",
        lambda t: t + t.splitlines(keepends=True)[-1],
        True,
        "row 89 stands there twice",
    ),
    "another label": (
        "predictions.csv",
        lambda t: t.replace("80 (1).jpg,0,", "80 (1).jpg,1,"),
        True,
        "predictions.csv has another label, source, group or path in a row than other runs on the same data",
    ),
    "a cut row": ("predictions.csv", lambda t: t[:-60], True, "not a whole row"),
    "no test row": ("predictions.csv", drop_line(",test,"), True, "no image of the test part"),
    "a score that is none": ("predictions.csv", lambda t: t.rstrip() + "e9\n", True, "no probability from 0 to 1"),
    "other settings": ("config.yaml", lambda t: t.replace("epochs: 3", "epochs: 4"), True, "its settings have digest"),
    "a setting of tomorrow": (
        "config.yaml",
        lambda t: t.replace("aug:\n", "aug:\n  shape: 1\n"),
        True,
        "of this version",
    ),
    "another seed": ("config.yaml", lambda t: t.replace("\nseed: 0", "\nseed: 1"), True, "was it copied or renamed"),
    "no code": ("provenance.json", lambda t: t.replace('"code"', '"mode"'), False, "provenance.json: no 'code'"),
    "bytes that are no text": (
        "predictions.csv",
        lambda t: t.replace("80 (1)", "80 \udcff"),
        True,
        "not a table of comma",
    ),
    "a number that is none": ("metrics.jsonl", lambda t: re.sub('("test/auc": )[0-9.]+', r'\1"x"', t), True, "'x'"),
    "no name": (
        "config.yaml",
        lambda t: t.replace("  name: parent\n", ""),
        True,
        "not what a run leaves: KeyError 'name'",
    ),
    "no process": ("provenance.json", lambda t: t.replace('"processes"', '"x"'), False, "no 'processes'"),
    "null for code": (
        "provenance.json",
        lambda t: re.sub('"code": {[^}]*}', '"code": null', t),
        False,
        "provenance.json: not whole",
    ),
    "half a mark": ("done", lambda t: t[:50], False, "done: not whole"),
}
WRONG["a missing row"] = (
    "predictions.csv",
    drop_line("80 (1).jpg"),
    True,
    "predictions.csv lacks row 80, unlike other",
)


@pytest.mark.parametrize("case", WRONG)
def test_a_run_that_cannot_be_believed_is_refused_with_its_reason_and_the_others_stay(case, tree, tmp_path):
    name, change, mark, reason = WRONG[case]
    edit(tree[0], name, change, mark=mark)
    found = outcomes.find(tmp_path / "runs")
    assert [outcome.where for outcome in found.outcomes] == [str(folder) for folder in tree[1:]]
    [line] = found.refused
    assert line.startswith(f"{tree[0]}: ") and reason in line and "\n" not in line


def test_a_file_that_is_gone_and_a_folder_that_was_renamed_are_refused(tree, tmp_path):
    (tree[0] / "predictions.csv").unlink()
    tree[1].rename(tree[1].with_name(tree[1].name.replace("seed1", "seed7")))
    gone, renamed = outcomes.find(tmp_path / "runs").refused
    assert "predictions.csv: not there, though the run is done" in gone and "was it copied or renamed" in renamed


def test_links_to_other_disks_are_followed_once_and_never_round_and_round(tree, tmp_path):
    arm = tree[0].parent
    (tmp_path / "elsewhere").mkdir()
    arm.rename(tmp_path / "elsewhere" / arm.name)
    arm.symlink_to(tmp_path / "elsewhere" / arm.name)
    tree[4].rename(tmp_path / "elsewhere" / tree[4].name)
    tree[4].symlink_to(tmp_path / "elsewhere" / tree[4].name)
    (arm / "up").symlink_to(tmp_path / "runs")
    found = outcomes.find(tmp_path / "runs")
    assert [outcome.where for outcome in found.outcomes] == [str(folder) for folder in tree] and not found.refused


def test_reading_and_comparing_runs_needs_no_torch(tree, tmp_path):
    """It would be half a gigabyte, and seconds."""
    program = (
        "import sys; from pathlib import Path; from experiments import comparison, outcomes\n"
        "comparison.compare(outcomes.find(Path(sys.argv[1])).outcomes)\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "runs"], check=True, cwd=ROOT)


def test_unfinished_and_failed_runs_are_named_and_aggregates_and_hidden_folders_passed_over(tree, tmp_path):
    for folder in tree[:2]:
        (folder / "done").unlink()
    (tree[1] / "error.txt").write_text("Traceback ...\n  File\ndetector.train.NotFinite: the loss became nan\n\n")
    bare = tree[0].with_name("0123456789-fold2-seed5")
    for place in (bare, tree[0].with_name("0123456789-mean"), tmp_path / "runs" / ".sweep" / "0123456789-seed0"):
        place.mkdir(parents=True)
    found = outcomes.find(tmp_path / "runs")
    assert len(found.outcomes) == 4 and found.refused == []
    assert found.unfinished == [
        f"{bare}: not finished",
        f"{tree[0]}: not finished",
        f"{tree[1]}: failed: detector.train.NotFinite: the loss became nan",
    ]


def test_where_there_is_no_run_one_line_says_so(tmp_path):
    for place, words in ((tmp_path, "no run there"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(outcomes.NothingThere, match=words) as raised:
            outcomes.find(place)
        assert raised.value.exit_status == 2 and "\n" not in str(raised.value)


def same(one, other):
    """Equal to the last digit, arrays and nan among them, but for where it comes from and what tables leave out."""
    if dataclasses.is_dataclass(one):
        left_out = {"where", "scores", "paths", "members"} | (
            {"groups"} if isinstance(one, outcomes.TestSet) else set()
        )
        names = [field.name for field in dataclasses.fields(one) if field.name not in left_out]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) or (isinstance(one, np.ndarray) and one.dtype.kind == "f"):
        return np.array_equal(one, other, equal_nan=True)
    return np.array_equal(one, other)


@pytest.mark.parametrize("metric", ["accuracy", "auc"])
def test_exported_tables_give_the_same_comparisons_to_the_last_digit(metric, tmp_path):
    arms = {"none": 0.93, "saturate_x8": 0.9, "none_again": 0.93}
    make_tree(tmp_path / "runs", arms=arms, images=100)
    make_tree(tmp_path / "runs", seeds=range(2), folds=range(3), images=40)
    make_tree(tmp_path / "runs", seeds=range(2), images=60, content="other", epochs=2)
    found = outcomes.find(tmp_path / "runs")
    broken = found.outcomes[0]
    broken.metrics["test/eer"] = broken.history["val/eer"][1] = float("nan")
    outcomes.export(list(reversed(found.outcomes)), tmp_path / "tables")
    table = outcomes.find(tmp_path / "tables")
    assert same(found.outcomes, table.outcomes) and table.outcomes[10].where == "runs.csv line 12"
    expected, refused = compare(found.outcomes, metric=metric)
    assert len(expected) == 3 and same(expected, compare(table.outcomes, metric=metric)[0])
    assert compare(table.outcomes, metric=metric)[1] == refused
    assert {comparison.test.digest.count("+") for comparison in expected} == {0, 2}
    written = (tmp_path / "tables" / "runs.csv").read_text() + (tmp_path / "tables" / "images.csv").read_text()
    assert str(tmp_path) not in written and ".jpg" not in written
    before = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    outcomes.export(table.outcomes, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before
    assert same(outcomes.find(tmp_path / "again" / "runs.csv").outcomes, table.outcomes)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("images.csv", lambda t: t[:-4] + "\n", "line 61: correct is '111', 3 characters; expected 6 of 0 and 1"),
        ("images.csv", lambda t: t.replace(",cifake,1", ",cifake,2", 1), "line 2: correct is '2"),
        ("images.csv", lambda t: t.splitlines()[0] + "\n", "no image of test set"),
        ("images.csv", lambda t: t.replace("label", "truth", 1), "its columns begin"),
        ("images.csv", lambda t: t.replace(",30,0,", ",thirty,0,", 1), "whole numbers"),
        ("images.csv", lambda t: t.replace(",30,0,", ",30,7,", 1), "line 2: .*label 0 or 1"),
        ("runs.csv", lambda t: re.sub('"{""content_digest.*?}"', "{}", t, count=1), "line 2: facts: expected"),
        ("runs.csv", lambda t: t.rstrip() + ",7\n", "line 7: "),
        ("runs.csv", lambda t: t.replace('"{""data""', '"{data""', 1), "line 2: "),
        ("runs.csv", lambda t: t[: t.index("\n") + 1], "no run in it"),
        ("images.csv", None, "not there"),
    ],
)
def test_a_table_that_is_not_whole_is_one_line_with_its_number(name, change, reason, tree, tmp_path):
    outcomes.export(outcomes.find(tmp_path / "runs").outcomes, tmp_path)
    path = tmp_path / name
    path.write_text(change(path.read_text())) if change else path.unlink()
    with pytest.raises((exported.TableError, outcomes.NothingThere), match=reason) as raised:
        outcomes.find(tmp_path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value) and raised.value.exit_status == 2


def test_a_table_whose_metrics_were_edited_is_refused_run_by_run(tree, tmp_path):
    outcomes.export(outcomes.find(tmp_path / "runs").outcomes, tmp_path)
    rows = list(csv.reader((tmp_path / "runs.csv").read_text().splitlines()))
    rows[3][rows[0].index("test/accuracy")] = "0.99"
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = outcomes.find(tmp_path)
    assert len(found.outcomes) == 5 and found.refused[0].startswith("runs.csv line 4: test accuracy is 0.99")


def test_paths_with_commas_quotes_and_line_breaks_are_read_as_they_were_written():
    odd = ["plain.jpg", "a,test,b.jpg", 'quote"d.jpg', "line\n7,test,break.jpg", "x,test,"]
    known: dict = {}
    for wanted in ([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.6, 0.7, 0.8, 0.9]):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(predictions.COLUMNS)
        for split in ("val", "test"):
            for row, (path, score) in enumerate(zip(odd, wanted, strict=True), start=10 * (split == "test")):
                writer.writerow([row, split, path, row % 2, "s,1", "", repr(score)])
        test, scores = predictions.parse(text.getvalue().encode(), known)
        assert scores.tolist() == wanted and test.paths.tolist() == odd
        assert len(set(test.groups.tolist())) == len(odd)  # without a group an image stands for itself


def test_a_group_has_the_same_number_in_every_fold(tmp_path):
    folders = make_tree(tmp_path, arms={"none": 0.9}, seeds=[0], folds=[0, 1], images=20)
    for folder in folders:
        edit(folder, "predictions.csv", lambda text: re.sub(r"content-\d+-test-0,", "shared,", text))
    first, second = (outcome.test for outcome in outcomes.find(tmp_path).outcomes)
    assert first.digest != second.digest and len(np.intersect1d(first.groups, second.groups)) == 1
