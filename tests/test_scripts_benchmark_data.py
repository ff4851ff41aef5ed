import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmark_data.py"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def test_every_step_is_printed_with_its_time_and_the_peak_of_memory():
    done = run("--images", 400, "--rows", 2000)
    assert (done.returncode, done.stderr) == (0, "")
    steps = re.findall(r"^  (\w.*?) +[\d.]+ s +([\d.]+) GiB peak$", done.stdout, re.MULTILINE)
    assert [name.split()[0] for name, _ in steps] == ["manifest", "manifest", "grouped", "split", "drawn", "near"]
    assert 0 < float(steps[0][1]) <= float(steps[-1][1]) < 1
    assert re.search(r"pairs that nobody planted +0$", done.stdout, re.MULTILINE)
    assert len(re.findall(r"5 of 5 found$", done.stdout, re.MULTILINE)) == 8


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--images", 7], "--images 7: expected 0"),
        (["--rows", -1], "--rows -1: expected 0"),
        (["--cifake", "no.zip"], "no.zip: no such file"),
    ],
)
def test_a_mistake_is_one_line(arguments, reason):
    done = run("--rows", 0, *arguments)
    assert done.returncode == 2 and reason in done.stderr and done.stderr.count("\n") == 1
