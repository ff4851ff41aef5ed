import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from detector import checkpoint
from detector.checkpoint import CheckpointError

STATE = {"model": {"w": torch.arange(5000.0)}, "epoch": 3, "history": [{"val/auc": 0.5}]}


def test_what_is_saved_is_loaded_and_the_same_state_is_the_same_bytes(tmp_path):
    for name in ("a.pt", "b.pt"):
        checkpoint.save(tmp_path / name, STATE)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert torch.equal(loaded["model"]["w"], STATE["model"]["w"]) and loaded["history"] == STATE["history"]
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_flipped_bit_anywhere_in_the_weights_is_noticed(tmp_path):
    path = tmp_path / "a.pt"
    checkpoint.save(path, STATE)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        place = max(archive.infolist(), key=lambda entry: entry.file_size).header_offset
    for offset in range(place + 200, place + 20_000, 997):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
        with pytest.raises(CheckpointError, match=r"damaged|cannot be read|not a checkpoint"):
            checkpoint.load(path)


def test_half_a_file_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    checkpoint.save(path, STATE)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        checkpoint.load(path)


def test_a_pickle_with_code_in_it_is_refused_and_nothing_runs(tmp_path):
    class Attack:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "attacked"),))

    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Attack()))
    torch.save({"model": Attack()}, tmp_path / "zipped.pt")
    for name in ("plain.pt", "zipped.pt"):
        with pytest.raises(CheckpointError):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "attacked").exists()


def test_a_kill_while_saving_leaves_the_old_file(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, STATE)
    old = path.read_bytes()
    code = (
        "import os, signal, sys, pathlib, torch; from detector import checkpoint\n"
        "class Dies:\n"
        "    def __reduce__(self): os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint.save(pathlib.Path(sys.argv[1]), {'w': torch.zeros(10**6), 'x': Dies()})\n"
    )
    root = Path(checkpoint.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=root).returncode == -signal.SIGKILL
    assert path.read_bytes() == old
