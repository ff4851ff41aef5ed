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
    steps = re.findall(r"^  (\w.*?) +([\d.]+) s +([\d.]+) GiB peak$", done.stdout, re.MULTILINE)
    names = ["manifest", "manifest", "grouped", "split", "drawn", "near", "altogether"]
    assert [re.match(r"\w+", name)[0] for name, _, _ in steps] == names
    seconds, peaks = ([float(step[column]) for step in steps] for column in (1, 2))
    assert 0 < peaks[0] <= peaks[-1] < 1
    assert seconds[-1] == pytest.approx(sum(seconds[:4]) + seconds[5], abs=0.31)  # each is rounded
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


def test_the_search_is_as_large_as_the_manifest_unless_told_otherwise():
    told = " ".join(run("--help").stdout.split())
    assert "thumbnails to search (default: 200000; CIFAKE holds 120000)" in told
    assert "rows of the manifest (default: 200000)" in told
