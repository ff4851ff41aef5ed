"""Shared by all tests: one thread, and verbs run in this process the way the shell runs them."""

import sys

import pytest
import torch

torch.set_num_threads(1)
SMALL = [
    "data.train=64",
    "data.val=32",
    "data.test=32",
    "train.epochs=2",
    "train.batch_size=16",
    "threads=1",
    "device=cpu",
]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A data root whose small drawn data set is packed once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def verb(monkeypatch, capsys):
    """verb(*words) -> (exit status, stdout, stderr) of `python -m experiments.run words`, in this process."""
    import signal

    from experiments import run, shell

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["experiments.run", *map(str, words)])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            shell.main("experiments.run", run._main)
        signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


@pytest.fixture
def train(verb, small_data, tmp_path):
    """train(*overrides) -> (exit status, stdout, stderr) of a small run under tmp_path/runs."""

    def call(*words):
        drawn = not any(word.startswith("data=") for word in words)
        small = [word for word in SMALL if drawn or not word.startswith("data.")]  # sizes are the drawn data's alone
        given = {word.split("=")[0] for word in words}
        roots = [f"data_root={small_data}", f"runs_root={tmp_path / 'runs'}"]
        return verb(*words, *(word for word in (*small, *roots) if word.split("=")[0] not in given))

    return call
