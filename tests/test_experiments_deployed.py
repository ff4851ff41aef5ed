"""Runs as files: what comes out of safetensors and ONNX is what the run says, whatever the batch."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from datasets.manifest import REAL
from detector.color import build_view
from detector.models import MODELS
from experiments import classifier, deployed, material
from experiments.deployed import Deployed
from scripts import export_model

CPU = torch.device("cpu")
QUICK = ("cnn32", "university_1")
ARMS = {
    "hsv": [{"op": "saturate", "space": "hsv", "factor": 8}],
    "lab": [{"op": "lab"}],
    "both": [{"op": "both", "view": [{"op": "invert"}, {"op": "saturate", "space": "luma", "factor": 8}]}],
    "resampled": [{"op": "resample", "size": 16}],
    "blurred": [{"op": "blur", "sigma": 1.0}],
}


def made(name, operations, size):
    torch.manual_seed(0)
    view = build_view(operations)
    settings = MODELS[name](weights="none") if name == "efficientnet_b0" else MODELS[name]()
    network = settings.build(image_size=size, channels=view.channels)
    return Deployed(network, view, 1.7).eval()


def same_in_onnx(module, size):
    images = torch.rand(6, 3, *size)
    content = deployed._as_onnx(module, images[:3], {})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for some in (images[:1], images[1:]):
        [found] = session.run(None, {"images": some.numpy()})
        np.testing.assert_allclose(found, module(some).detach().numpy(), atol=1e-4)
        assert found.shape == (len(some),)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_every_network_says_the_same_in_onnx_for_one_picture_and_for_five(name):
    size = (32, 32) if name == "cnn32" else (64, 96)
    same_in_onnx(made(name, [{"op": "saturate", "space": "luma", "factor": 8}], size), size)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_views_say_the_same_in_onnx(arm):
    same_in_onnx(made("cnn32", ARMS[arm], (32, 32)), (32, 32))


@pytest.fixture
def run(train, tmp_path):
    """run(*overrides) -> folder of a small run."""

    def call(*words):
        assert train(*words)[0] == 0
        return max((tmp_path / "runs").rglob("done"), key=lambda path: path.stat().st_mtime_ns).parent

    return call


@pytest.fixture
def export(called):
    return lambda *words: called("export_model", lambda: export_model.write(export_model.parsed()), *words)


def test_a_file_says_of_test_pictures_what_the_run_says_and_tells_what_a_user_must_know(run, export, tmp_path):
    folder = run("aug=invert")
    judge = classifier.load(folder, CPU)
    data = material.prepared(judge.members[0].config)
    pixels = data.images[data.indices("test")]
    images = torch.from_numpy(np.asarray(pixels)).permute(0, 3, 1, 2).float() / 255
    pictures = deployed.Pictures(pixels, np.zeros(len(pixels)), CPU)
    expected = deployed.calibrated(judge.scores(pictures, torch.arange(len(pixels)))[0], judge.temperature)
    for kind, ending in (("onnx", "onnx"), ("safetensors", "safetensors")):
        path = tmp_path / "out" / f"model.{ending}"
        status, out, err = export(folder, "--format", kind, "--out", path)
        assert (status, err) == (0, "") and "32 test pictures" in out and f"result: {path}" in out
        run_file = deployed.FORMATS[kind][1](path.read_bytes())
        np.testing.assert_allclose(run_file(images.contiguous()), expected, atol=1e-5)
    known = {entry.key: entry.value for entry in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert json.loads(known["threshold"]) == judge.threshold and json.loads(known["image_size"]) == [32, 32]
    assert json.loads(known["patches"]) == 1
    assert json.loads(known["classes"])[REAL] == "REAL" and known["digest"] in folder.name
    assert str(tmp_path) not in str(known)


def test_a_file_that_does_not_say_what_the_run_says_is_not_written(run, export, tmp_path, monkeypatch):
    folder = run("aug=none")
    write, read = deployed.FORMATS["safetensors"]

    def off(module, images, known):
        module.network[-1].bias.data += 0.01
        return write(module, images, known)

    monkeypatch.setitem(deployed.FORMATS, "safetensors", (off, read))
    path = tmp_path / "out" / "model.safetensors"
    status, _, err = export(folder, "--format", "safetensors", "--out", path)
    assert status == 2 and "not written: a probability is 0.0" in err and len(err.splitlines()) == 1
    assert not path.parent.exists() or not list(path.parent.iterdir())


def test_a_view_that_draws_is_refused_unless_the_network_alone_is_asked_for(run, export, tmp_path):
    folder = run("aug=jitter", "aug.eval=[{op: jitter, brightness: 0.4}]")
    path = tmp_path / "model.safetensors"
    status, _, err = export(folder, "--format", "safetensors", "--out", path)
    assert status == 2 and "aug.eval draws for every picture" in err and len(err.splitlines()) == 1
    status, _, err = export(folder, "--format", "safetensors", "--out", path, "--network-only")
    assert (status, err) == (0, "") and path.exists()
    status, _, err = export(folder, "--format", "safetensors", "--out", tmp_path)
    assert status == 2 and "is a folder; expected a file" in err
