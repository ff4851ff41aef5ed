"""Memory that is freed is kept where that is asked for: seen in the pages that the system has to hand out anew."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import allocator

ROOT = Path(allocator.__file__).parents[1]
FAULTS = """
import resource, sys
import numpy as np
from experiments import allocator

print(allocator.choose(sys.argv[1]))
for step in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(40 * 2**20, np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep freed memory")
def test_what_is_kept_is_not_asked_for_again():
    counted = {}
    for setting in ("keep", "system"):
        command = [sys.executable, "-c", FAULTS, setting]
        said, *faults = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        assert said == setting
        counted[setting] = int(faults[-1])
    assert counted["keep"] < 100 < counted["system"]


def test_where_it_cannot_be_kept_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    allocator._keep.cache_clear()
    assert [allocator.choose("keep") for _ in range(3)] == ["system"] * 3
    assert capsys.readouterr().out == (
        "allocator: freed memory goes back to the system; only under glibc (Linux) can it be kept\n"
    )
    allocator._keep.cache_clear()
