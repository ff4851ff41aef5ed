"""The verb that compares: what it prints, writes, refuses, and advises to run next."""

import csv
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from scipy import stats

from experiments import compare, comparison, outcomes, paired, planning, record
from experiments.runs import read
from tests.trees import make_tree

ARMS = {"none": 0.93, "saturate_x8": 0.931, "invert_saturate_x500": 0.80}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Three arms, six seeds; read only."""
    root = tmp_path_factory.mktemp("tree")
    make_tree(root / "runs", arms=ARMS)
    return root


@pytest.fixture
def verb(called, monkeypatch):
    """verb(*words, width=120) -> (exit status, stdout, stderr) of `python -m experiments.compare words`."""

    def call(*words, width=120):
        monkeypatch.setenv("COLUMNS", str(width))
        return called("experiments.compare", compare._main, *words)

    return call


def accuracies(root, name):
    """Test accuracy by seed, straight from the run folders."""
    found = [read(path.parent) for path in sorted((root / "runs").rglob(f"{name}/*/done"))]
    return {run.config["seed"]: run.metrics[-1]["test/accuracy"] for run in found}


def line_of(out, name):
    return next(line for line in out.splitlines() if line.startswith(f"{name} "))


def test_the_table_says_what_numbers_from_the_folders_say(tree, verb):
    status, out, err = verb(tree / "runs", width=200)
    assert (status, err) == (0, "")
    none, arm = accuracies(tree, "none"), accuracies(tree, "invert_saturate_x500")
    differences = np.array([arm[seed] - none[seed] for seed in range(6)])
    cells = re.split(r"\s{2,}", line_of(out, "invert_saturate_x500"))
    mean, sd = statistics.mean(arm.values()), statistics.stdev(arm.values())
    assert cells[1:4] == ["6", f"{mean:.4f} ± {sd:.4f}", f"{100 * differences.mean():+.2f}"]
    low, high = paired.bca(differences)
    assert cells[4] == f"{100 * low:+.2f} to {100 * high:+.2f}"
    assert cells[5] == ".031" and cells[7] == "loss"  # all six of one sign: 2 / 2**6
    names = [line.split()[0] for line in out.splitlines() if " ± 0." in line]
    assert names == ["none", "saturate_x8", "invert_saturate_x500"]  # the baseline, then the best first
    with next((tree / "runs").rglob("predictions.csv")).open() as file:
        groups = {row["group"] for row in csv.DictReader(file) if row["split"] == "test"}
    title = f"200 test images in {len(groups)} groups · accuracy, margin 0.5 points · baseline none"
    assert title in " ".join(out.split())
    assert out.index("is found 4 times in 5") < out.index("95 % interval")
    assert "invert_saturate_x500: loss: 6 seeds, " in out and "all 2 arms held against none" in out


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_longer_than_the_terminal(tree, verb, monkeypatch, width):
    monkeypatch.chdir(tree)
    status, out, err = verb("runs", "--plan", "0.5", width=width)
    assert (status, err) == (0, "")
    prose = [line for line in out.splitlines() if "python -m" not in line]  # a command stays whole
    assert max(map(len, prose)) <= width


def test_a_second_time_the_same_bytes_are_written_and_the_exported_tables_give_the_same_again(tree, verb, tmp_path):
    first, second, third = (tmp_path / name for name in ("deep/first", "second", "third"))
    assert verb(tree / "runs", "--out", first)[0] == 0 and verb(tree / "runs", "--out", second)[0] == 0
    names = {"table.csv", "comparison.json", "table.tex", "table.md", "runs.csv", "images.csv"}
    written = {path.name: path.read_bytes() for path in first.iterdir()}
    assert names <= set(written)
    assert written == {path.name: path.read_bytes() for path in second.iterdir()}
    assert verb(first, "--out", third)[0] == 0
    assert written == {path.name: path.read_bytes() for path in third.iterdir()}


def test_single_files_are_those_of_out_and_json_holds_everything(tree, verb, tmp_path):
    files = {"csv": "table.csv", "json": "comparison.json", "latex": "table.tex"}
    options = [word for option in files for word in (f"--{option}", tmp_path / "new" / option)]
    status, out, _ = verb(tree / "runs", *options, "--out", tmp_path / "out", "--plan", 1)
    assert status == 0 and out.splitlines()[-1].startswith("written: ")
    for option, name in files.items():
        assert (tmp_path / "new" / option).read_bytes() == (tmp_path / "out" / name).read_bytes()
    document = json.loads((tmp_path / "new" / "json").read_text(), parse_constant=pytest.fail)
    assert document["rule"] == {"alpha": 0.05, "least_pairs": 6, "least_folds": 5}
    [one] = document["comparisons"]
    none, arm = accuracies(tree, "none"), accuracies(tree, "saturate_x8")
    assert one["arms"][0]["differences"] == [arm[seed] - none[seed] for seed in range(6)]
    assert [plan["aug"] for plan in document["planning"][0]] == [arm["name"] for arm in one["arms"]]
    rows = list(csv.DictReader((tmp_path / "new" / "csv").read_text().splitlines()))
    assert [float(row["mean [metric]"]) for row in rows] == [one["baseline"]["mean"], *(a["mean"] for a in one["arms"])]


def test_what_is_asked_otherwise_than_planned_is_asked_and_said(tree, verb, tmp_path):
    status, out, _ = verb(tree / "runs", "--baseline", "saturate_x8", "--metric", "nll", "--margin", "2")
    assert status == 0
    assert "nll (lower is better), margin 2 points · baseline saturate_x8" in " ".join(out.split())
    assert sum(line.startswith("changed: ") for line in out.splitlines()) == 3
    verb(tree / "runs", "--margin", "2", "--latex", tmp_path / "table.tex", "--json", tmp_path / "json")
    said = "margin: 2 points now, 0.5 points when the runs were made"
    assert f"changed: {said}." in (tmp_path / "table.tex").read_text()
    assert json.loads((tmp_path / "json").read_text())["comparisons"][0]["changes"] == [said]
    assert "discordance" not in out  # no formula for images but that of accuracy


def test_the_plan_is_that_of_paired_and_ends_with_a_command(tree, verb):
    found = comparison.compare(outcomes.find(tree / "runs").outcomes)[0][0]
    plans = planning.plan(found, 0.5)
    for plan, arm in zip(plans, found.arms, strict=True):
        spread = np.std(arm.differences, ddof=1)
        assert plan["pairs_needed"] == paired.seeds_needed(0.005, spread)
        assert plan["images_needed"] == paired.images_needed(0.005, arm.discordant.mean())
        assert plan["power"] == paired.power(0.005, spread, 6)
        chi2 = stats.chi2.ppf([0.975, 0.025], 5)
        np.testing.assert_allclose(plan["spread_range"], spread * np.sqrt(5 / chi2), rtol=1e-9)
        low, high = plan["pairs_needed_range"]
        assert low <= plan["pairs_needed"] <= (high or math.inf)
    out = verb(tree / "runs", "--plan", "0.5", width=200)[1]
    assert f"saturate_x8: {plans[0]['pairs_needed']} pairs (" in out
    assert f"experiment=ab_cifake seed='range({plans[0]['pairs_needed']})'" in out


@pytest.mark.parametrize(("p", "df"), [(p, df) for p in (0.001, 0.025, 0.5, 0.975) for df in (1, 2, 5, 8, 19, 200)])
def test_chi_square_quantiles_are_those_of_scipy(p, df):
    np.testing.assert_allclose(planning.chi2_quantile(p, df), stats.chi2.ppf(p, df), rtol=1e-8)


def test_two_families_have_a_table_each_whose_titles_say_what_differs(verb, tmp_path):
    arms = {"none": 0.93, "saturate_x8": 0.90}
    make_tree(tmp_path / "runs", arms=arms, seeds=range(2), images=80)
    make_tree(tmp_path / "runs", arms=arms, seeds=range(2), images=80, **{"train.learning_rate": 0.5})
    status, out, _ = verb(tmp_path / "runs")
    titles = [line for line in " ".join(out.split()).split("baseline none")[1:] if line.startswith(" · train.")]
    assert status == 0 and len(set(titles)) == 2
    assert "baseline none · train.learning_rate 0.5 " in " ".join(out.split())


def test_few_seeds_are_exploratory_and_even_one_is_shown(verb, tmp_path):
    make_tree(tmp_path / "runs", arms={"none": 0.93, "saturate_x8": 0.80}, seeds=[4], images=80)
    status, out, err = verb(tmp_path / "runs", "--plan", 1, width=80)
    assert (status, err) == (0, "")
    assert line_of(out, "saturate_x8").endswith("exploratory") and "saturate_x8: exploratory: only 1 pair" in out
    assert "With 1 pair no effect can be claimed, however large" in out and "no spread is known" in out


def test_refused_runs_are_named_beside_the_table_and_unfinished_ones_are_no_failure(verb, tmp_path):
    folders = make_tree(tmp_path / "runs", seeds=range(4), images=80)
    make_tree(tmp_path / "runs", arms={"invert": 0.9}, seeds=[3], images=80, code="other")
    (folders[0] / "done").unlink()
    status, out, err = verb(tmp_path / "runs")
    assert f"unfinished: {folders[0]}" in out and line_of(out, "saturate_x8").split()[1] == "3"
    assert status == 1 and err.count("\n") == err.count("refused: ") == err.count("invert") > 0  # its code is another
    shutil.rmtree(tmp_path / "runs" / "cifake" / "cnn32" / "invert")
    assert verb(tmp_path / "runs")[::2] == (0, "")
    for folder, name in ((folders[1], "metrics.jsonl"), (folders[2], "predictions.csv")):
        text = (folder / name).read_text()
        (folder / name).write_text(text[: text.rindex("\n", 0, -1)])  # its last line lost
    status, out, err = verb(tmp_path / "runs")
    assert status == 1 and line_of(out, "saturate_x8").split()[1] == "1"  # three of four baselines are gone
    assert all(line.startswith("refused: ") for line in err.splitlines())
    assert all(err.count(f"refused: {folder}: ") == 1 for folder in folders[1:3])


def test_what_cannot_be_compared_is_one_line_and_status_2(tree, verb, tmp_path):
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "empty").mkdir()
    for words, expected in [
        ([tmp_path / "nowhere"], "nowhere"),
        ([tmp_path / "empty"], "no run there"),
        ([tree / "runs", "--baseline", "plain"], "none"),
        ([tree / "runs", "--metric", "acc"], "expected one of accuracy, "),
        ([tree / "runs", "--margin", "0"], "--margin 0: expected a number of points"),
        ([tree / "runs", "--plan", "nan"], "--plan nan: expected a number of points"),
        ([tree / "runs", "--csv", tmp_path], "is a folder; expected a file"),
        ([tree / "runs", "--out", file], "is a file; expected a folder"),
        ([tree / "runs", "--json", file / "x.json"], f"x.json: {file} is a file; expected a folder"),
    ]:
        status, _, err = verb(*words)
        assert status == 2 and expected in err, (words, err)
        assert err.startswith("experiments.compare: ") and err.count("\n") == 1, err
    status, _, err = verb(tree / "runs", "--baseline", "plain")
    assert all(name in err for name in ARMS)  # those that there are


def test_another_margin_leaves_the_verdict_in_tensorboard_as_planned(verb, tmp_path):
    make_tree(tmp_path / "runs", images=80)
    refreshed = []
    with mock.patch("experiments.aggregates.refresh", refreshed.append):
        for words in ([], ["--margin", "0.5"], ["--margin", "2"]):
            assert verb(tmp_path / "runs", *words)[0] == 0
    assert list(map(len, refreshed)) == [1, 1, 0]


def test_runs_without_a_plan_are_compared_by_the_defaults(verb, tmp_path):
    for folder in make_tree(tmp_path / "runs", images=80):
        settings = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(re.sub(r"^plan:\n([ -].*\n)+", "", settings, flags=re.MULTILINE))
        record.mark_done(folder)
    status, out, err = verb(tmp_path / "runs")
    assert (status, err) == (0, "") and "accuracy, margin 0.5 points" in out and "asked beforehand" not in out


def test_refused_runs_are_named_even_where_they_were_all_there_is_of_the_baseline(verb, tmp_path):
    for folder in make_tree(tmp_path / "runs", seeds=[0, 1], images=80):
        if "none" in folder.parts:
            (folder / "metrics.jsonl").write_text("{}")
    status, _, err = verb(tmp_path / "runs")
    assert status == 2 and err.count("refused: ") == 2 and err.splitlines()[-1].endswith("there are: saturate_x8")


def test_tables_are_not_written_where_they_would_be_read_in_place_of_the_runs(tree, verb, tmp_path):
    for out in (tree / "runs", tree):
        status, _, err = verb(tree / "runs", "--out", out)
        assert status == 2 and "tables there would be read in their place" in err and not (out / "runs.csv").exists()
    assert verb(tree / "runs", "--out", tmp_path / "out")[0] == 0
    assert verb(tmp_path / "out", "--out", tmp_path / "out")[0] == 0  # tables may take their own place


def test_what_comes_next_is_the_command_of_the_same_question_and_ends_with_the_report(tree, verb):
    *_, last = verb(tree / "runs", "--metric", "auc", "--margin", "0.2")[1].splitlines()
    assert last == f"next: python -m experiments.compare {tree / 'runs'} --metric auc --margin 0.2 --plan 0.2"
    *_, last = verb(tree / "runs", "--metric", "auc", "--plan", "1")[1].splitlines()
    assert last == f"next: python -m experiments.report {tree / 'runs'} --metric auc --out report"


def test_a_number_stays_with_its_unit():
    assert compare.wrapped(["the share is 95 % of all of them"], 15) == ["the share is", "  95 % of all", "  of them"]


def test_only_unfinished_runs_are_nothing_to_compare(verb, tmp_path):
    for folder in make_tree(tmp_path / "runs", seeds=[0], images=80):
        (folder / "done").unlink()
    status, out, err = verb(tmp_path / "runs")
    assert status == 2 and out.count("unfinished: ") == 2
    assert err.endswith("nothing to compare; of its runs 0 finished, 2 unfinished, 0 refused\n")


def test_nothing_of_an_interrupted_file_is_left(tree, verb, tmp_path, monkeypatch):
    (tmp_path / "table.csv").write_text("older")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    status, _, err = verb(tree / "runs", "--csv", tmp_path / "table.csv")
    assert status == 4 and f"{tmp_path / 'table.csv'}: No space left" in err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_neither_help_nor_a_comparison_of_exported_tables_imports_torch(tree, tmp_path):
    outcomes.export(outcomes.find(tree / "runs").outcomes, tmp_path)
    program = (
        "import sys; from experiments import compare\n"
        "try: compare._main()\n"
        "except SystemExit: pass\n"
        "print('imported:', {'torch', 'matplotlib', 'hydra', 'omegaconf'} & set(sys.modules))"
    )
    for words in (["--help"], [str(tmp_path), "--plan", "1"]):
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.endswith("imported: set()\n"), done.stdout[-500:] + done.stderr


def test_help_teaches_the_rule_and_lists_every_option(tree):
    done = subprocess.run([sys.executable, "-m", "experiments.compare", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    for word in ("win, loss", "equivalent", "undecided", "exploratory", "--plan POINTS", "--latex FILE", "examples:"):
        assert word in done.stdout
