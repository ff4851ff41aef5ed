"""Runs that are killed or interrupted, and what the same command makes of them."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments import runs
from tests.conftest import SMALL
from tests.test_experiments_run import fingerprint, folders

ROOT = Path(runs.__file__).parents[1]

# Imports once, then every run is a fork of its own. A run dies `delay` seconds after the checkpoint of epoch `after`,
# or, where delay is None, between the two files that are written there: after board.yaml, before last.pt.
FORKING = """
import os, signal, sys, threading
from experiments import run, single, worker, shell
import experiments.config, experiments.runs
words, delays, runs = sys.argv[1:-2], eval(sys.argv[-2]), sys.argv[-1]

def started(root, after=None, delay=0.0):
    child = os.fork()
    if child == 0:
        die = lambda: os.kill(os.getpid(), signal.SIGKILL)
        save, write = worker.Worker._save, worker.checkpoint.save
        def saved(self):
            save(self)
            if self.training.epoch == after:
                threading.Timer(delay, die).start()
        def written(path, state):
            if delay is None and path.name == "last.pt" and state["epoch"] == after:
                die()
            write(path, state)
        worker.Worker._save, worker.checkpoint.save = saved, written
        sys.argv = ["run", *words, f"runs_root={runs}/{root}"]
        shell.main("run", run._main)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

assert started("whole") == 0
for after in (1, 2, 3):
    for delay in delays:
        root = f"killed-{after}-{delay}"
        assert started(root, after, delay) == -signal.SIGKILL, root
        assert started(root) == 0, root
"""


@pytest.mark.parametrize(("keep", "delays"), [("last", [None, 0.03]), ("best", [0.0])])
def test_a_run_killed_in_any_epoch_and_started_again_ends_with_the_bytes_of_one_never_killed(
    keep, delays, small_data, tmp_path
):
    words = [*SMALL[:3], *SMALL[4:], f"data_root={small_data}", "data.train=128", "train.epochs=4", "aug=jitter"]
    words = [*words[1:], "train.schedule=one_cycle", f"train.keep={keep}"]
    command = [sys.executable, "-c", FORKING, *words, repr(delays), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    finished = folders(tmp_path)
    assert len(finished) == 1 + 3 * len(delays)
    assert len({json.dumps(fingerprint(folder)) for folder in finished}) == 1
    assert len({(folder / "best.pt").read_bytes() for folder in finished}) == 1
    for folder in finished:
        processes = runs.read(folder).provenance["processes"]
        assert len(processes) == 1 + (processes[-1]["after_epoch"] > 0)
        board = EventAccumulator(str(folder)).Reload()
        assert [event.step for event in board.Scalars("test/auc")] == [1, 2, 3, 4]
        assert len(board.Scalars("train/loss")) == len({event.step for event in board.Scalars("train/loss")}) == 4


def test_ctrl_c_is_130_in_one_line_and_the_run_can_be_resumed(small_data, tmp_path):
    command = [
        sys.executable,
        "-u",
        "-m",
        "experiments.run",
        *SMALL[:3],
        *SMALL[4:],
        f"data_root={small_data}",
        f"runs_root={tmp_path}",
        "train.epochs=40",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines() == ["experiments.run: interrupted; the same command goes on from here"]
    [last] = tmp_path.rglob("last.pt")
    assert torch.load(last, weights_only=True)["epoch"] >= 1 and not list(tmp_path.rglob("error.txt"))
