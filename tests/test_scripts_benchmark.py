"""The verb on a handful of drawn pictures: table, files, mistakes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmark.py"


def run(*words, script=SCRIPT):
    return subprocess.run([sys.executable, script, *map(str, words)], capture_output=True, text=True)


def figures(prefix):
    return json.loads(prefix.with_name(f"{prefix.name}_cpu.json").read_text())


def test_a_row_is_measured_on_drawn_pictures_and_kept(tmp_path):
    prefix = tmp_path / "performance"
    done = run("--quick", "--images", 200, "--rows", "packing", "--data-root", tmp_path / "none", "--out", prefix)
    assert done.returncode == 0, done.stderr
    report = figures(prefix)
    row = report["rows"]["packing"]
    assert row["ours"][0] > 0 and row["other"][0] > 0 and row["at_least"] == 2
    assert row["ratios"] == [pytest.approx(row["ours"][0] / row["other"][0])]
    assert row["note"].startswith("240 images") and report["data"].startswith("Drawn") and report["quick"]
    line = next(line for line in done.stdout.splitlines() if line.startswith("| packing CIFAKE"))
    assert line.endswith(f"| {row['verdict']:11} |") and line in (tmp_path / "performance.md").read_text()
    assert str(tmp_path) not in (tmp_path / "performance.md").read_text()


@pytest.mark.slow
def test_the_rows_that_run_whole_trainings_find_what_they_look_for(tmp_path):
    prefix, wanted = tmp_path / "performance", ["epoch", "transform", "evaluation", "memory", "start"]
    done = run("--quick", "--images", 400, "--rows", *wanted, "--data-root", tmp_path / "none", "--out", prefix)
    assert done.returncode == 0, done.stderr
    measured = figures(prefix)["rows"]
    assert set(measured) == set(wanted)
    for row in measured.values():
        assert row["ours"][0] > 0 and row["other"][0] > 0 and row["verdict"] != "not measured"
    assert re.search(r"PARENT with [02] workers", measured["epoch"]["note"])
    assert measured["memory"]["ours"][0] > 100  # MiB: torch alone takes more


def test_the_page_without_figures_names_the_commands(tmp_path):
    done = run("--page", "--out", tmp_path / "performance")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "performance.md").read_text()
    assert text.count("Not measured yet: `python scripts/benchmark") == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rows", "speed"], "--rows speed: no such row; expected some of epoch, epoch_bf16, "),
        (["--rows", "sixty"], "--rows sixty: no such row"),
        (["--rounds", "0"], "--rounds 0: expected 1 or more"),
        (["--images", "10"], "--images 10: expected 200 or more"),
        (["--page"], "--page: expected --out"),
        (["--out", "nowhere/performance"], "nowhere is no folder"),
        (["--archive", "no.zip"], "no.zip: no such file"),
        pytest.param(
            ["--device", "cuda"],
            "--device cuda: this machine has no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_status_2(words, says):
    done = run(*words)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", [["--quick"], ["--rows", "packing"]])
def test_a_part_does_not_replace_a_whole_benchmark(tmp_path, words):
    kept = tmp_path / "performance_cpu.json"
    kept.write_text('{"limits": []}')
    done = run(*words, "--out", tmp_path / "performance")
    assert done.returncode == 2 and "holds a whole benchmark" in done.stderr and kept.read_text() == '{"limits": []}'


def test_scaling_needs_a_place_for_its_picture(tmp_path):
    done = run("--out", tmp_path / "nowhere" / "performance", script=SCRIPT.with_name("benchmark_scaling.py"))
    assert done.returncode == 2 and "nowhere is no folder" in done.stderr


def test_runs_are_made_read_and_compared(tmp_path):
    done = run("--runs", 12, "--folder", tmp_path, script=SCRIPT.with_name("benchmark_compare.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 runs of 25,846 predictions, 1 arms against a baseline: read in ")
    assert not [*tmp_path.iterdir()]
