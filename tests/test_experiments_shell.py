"""What a user meets at the shell: help that teaches, and one line with an exit status for what can be mended."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from experiments import shell
from tests.conftest import SMALL

ROOT = Path(shell.__file__).parents[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["aug=saturate_x9"], "aug=saturate_x9: no such choice; there are both, channel_shuffle, "),
        (
            ["model=resnet18", "train.batch_size=1"],
            "train.batch_size=1: model=resnet18 normalises over a batch; expected",
        ),
        (["train.epoch=3"], "train.epoch: no such setting; train takes name, epochs"),
        (["colour=red"], "colour: no such setting; the root takes"),
        (["train.epochs=three"], "train.epochs: Value 'three' of type 'str' could not be converted to Integer"),
        (["train.epochs=0"], "train.epochs=0: expected a whole number of at least 1"),
        (["jobs=0"], "jobs=0: expected auto or a whole number of at least 1"),
        (["threads=foo"], "threads=foo: expected auto or a whole number of at least 1"),
        (["-m", "jobs=foo", "seed=0,1"], "jobs=foo: expected auto or a whole number of at least 1"),
        (["-m", "jobs=1,2", "seed=0,1"], "jobs=1,2: expected one value for the whole sweep"),
        (["allocator=jemalloc"], "allocator=jemalloc: expected keep or system"),
        (["train.together=0"], "train.together=0: expected auto or a whole number of at least 1"),
        (["train.together=all"], "train.together=all: expected auto or a whole number of at least 1"),
        (["seed=-1"], "seed=-1: expected a whole number of at least 0"),
        (["seed=one"], "seed=one: expected a whole number"),
        (["device=tpu"], "device=tpu: expected auto, cpu, cuda or cuda:N"),
        (["data.image_size=4"], "data.image_size=4: expected a whole number"),
        (["data=cifake", "data.image_size=4"], "data.image_size is 4x4: model=cnn32 takes 32x32"),
        (["data.image_size=big"], "data.image_size=big: expected a whole number"),
        (["aug=saturate", "aug.factor=0"], "aug.train[0].factor=0: expected a number above 0"),
        (["aug=saturate", "aug.factor=-1"], "aug.train[0].factor=-1: expected a number above 0"),
        (["aug=saturate", "aug.factor=eight"], "aug.train[0].factor='eight': expected a number above 0"),
        (["data.evidence=colour"], "data.evidence=colour: expected"),
        (["data=cifake"], "python scripts/fetch_cifake.py"),
        (["data=folder"], "data.root is missing"),
        (["data=folder", "data.root=/nowhere"], "data.root=/nowhere: no such folder"),
        (["data=folder", "data.repair=mend"], "data.repair=mend: expected quarantine, inpaint or replace"),
        (["data=folder", "data.root=x", "data.fit=crop"], "data.fit is 'crop'; expected one of stretch"),
        (["data=folder", "data.root=x", "data.image_size=5000", "model=cnn720"], "data.image_size is (5000, 5000)"),
        (["+epochs=3"], "epochs: no such setting; the root takes data"),
        (["runs_root=/proc/runs"], "/proc/runs"),
        (["-m", "seed=range(0)"], "a sweep of no runs; one of its ranges is empty"),
        (["-m", "seed=range("], "seed=range(: cannot be read; expected such as"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(train, tmp_path, words, expected):
    status, _, err = train(*words)
    assert status == 2, err
    assert expected in err and len(err.splitlines()) == 1
    assert not list((tmp_path / "runs").rglob("last.pt"))


@pytest.mark.skipif(
    shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root and setpriv to become nobody"
)
def test_a_run_folder_that_cannot_be_written_is_one_line():
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        nobody = ["setpriv", "--reuid=65534", sys.executable]
        if subprocess.run([*nobody, "-c", "import hydra"], cwd=ROOT, capture_output=True).returncode:
            pytest.skip("the user nobody cannot run this Python")
        command = [*nobody, "-m", "experiments.run", f"runs_root={home}/runs"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "MPLCONFIGDIR": "/tmp"}
        )
    assert done.returncode == 2 and "Permission denied" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_disk_that_fills_while_training_is_status_4_naming_the_folder(small_data, tmp_path):
    words = [*SMALL, f"data_root={small_data}", f"runs_root={tmp_path}/runs"]
    command = " ".join(f'"{word}"' for word in (sys.executable, "-m", "experiments.run", *words))
    mount = f'mkdir "{tmp_path}/runs" && mount -t tmpfs -o size=5m tmpfs "{tmp_path}/runs" || exit 77; exec {command}'
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", mount], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()[:80]}")
    assert done.returncode == 4, done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"{tmp_path}/runs/synthetic" in last and "No space left on device; free some space" in last


def test_the_advice_about_memory_fits_every_verb():
    status, text = shell.explain(MemoryError())
    assert status == 6 and text.startswith("out of memory; smaller images") and "train." not in text


def test_help_teaches_by_example_and_does_not_wait_for_torch():
    command = [sys.executable, "-X", "importtime", "-m", "experiments.run", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (
        "python -m experiments.run -m aug=none,invert,saturate_x8" in done.stdout and "saturate_hsv_x500" in done.stdout
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported and "torch" not in imported


def test_weights_that_cannot_be_downloaded_are_status_7_and_one_line(train, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    status, _, err = train("model=efficientnet_b0")
    assert status == 7 and len(err.splitlines()) == 1
    assert err.startswith("experiments.run: model.weights=imagenet: cannot be downloaded (")
