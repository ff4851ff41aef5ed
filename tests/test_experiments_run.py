"""Runs from the command line to their folders: what they leave, what they skip, how they fail."""

import csv
import dataclasses
import fcntl
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detector import checkpoint
from detector.batches import Pictures
from detector.color import build_view
from detector.metrics import best_threshold, evaluate
from detector.models import MODELS
from detector.predict import predict
from detector.train import Epoch
from experiments import material, runs, worker

ROOT = Path(runs.__file__).parents[1]


def folders(root):
    return sorted(path.parent for path in root.rglob("done"))


def fingerprint(folder):
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("metrics.jsonl", "predictions.csv", "last.pt")
    }


def test_a_run_leaves_everything_that_is_promised(train, tmp_path):
    status, out, err = train("aug=saturate_x8")
    assert (status, err) == (0, "")
    [folder] = folders(tmp_path / "runs")
    assert folder.parts[-4:-1] == ("synthetic", "cnn32", "saturate_x8") and folder.name.endswith("-seed0")
    assert f"result: {folder}" in out and "tensorboard --logdir" in out
    run = runs.read(folder)
    assert [line["epoch"] for line in run.metrics] == [1, 2, 2]
    assert "val/auc" in run.metrics[0] and not [key for key in run.metrics[0] if key.startswith("test/")]
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"val", "test"} and len(rows) == 64
    test = [row for row in rows if row["split"] == "test"]
    val = [(float(row["score"]), int(row["label"])) for row in rows if row["split"] == "val"]
    assert run.metrics[-1]["val/threshold"] == best_threshold(*zip(*val, strict=True))
    labels = np.array([int(row["label"]) for row in test])
    assert [row["label"] for row in test] == [str(int("/FAKE/" in row["path"])) for row in test]
    again = evaluate(
        np.array([float(row["score"]) for row in test]), labels, threshold=run.metrics[-1]["val/threshold"]
    )
    assert {f"test/{name}": value for name, value in again.items()} == {
        k: v for k, v in run.metrics[-1].items() if k[:5] == "test/" and k != "test/ece_calibrated"
    }
    assert sum(p.numel() for p in torch.load(folder / "last.pt", weights_only=True)["model"].values()) == 634_305
    assert run.config["aug"]["train"] == [{"op": "saturate", "space": "luma", "factor": 8.0}]
    assert {"seed", "digest", "data_digest", "manifest"} <= set(run.provenance)
    assert {"device", "threads", "code", "versions", "seconds"} <= set(run.provenance["processes"][0])
    assert json.loads((folder / "done").read_text())["metrics.jsonl"] == fingerprint(folder)["metrics.jsonl"]


def test_the_same_settings_give_the_same_bytes_and_a_finished_run_is_skipped(train, tmp_path):
    train("aug=jitter", f"runs_root={tmp_path / 'a'}")
    train("aug=jitter", f"runs_root={tmp_path / 'b'}")
    [first], [second] = folders(tmp_path / "a"), folders(tmp_path / "b")
    assert first.relative_to(tmp_path / "a") == second.relative_to(tmp_path / "b")
    assert fingerprint(first) == fingerprint(second)
    written = (first / "last.pt").stat().st_mtime_ns
    status, out, _ = train("aug=jitter", f"runs_root={tmp_path / 'a'}")
    assert status == 0 and "skipped" in out and (first / "last.pt").stat().st_mtime_ns == written


def other_data(patch):
    """From here on the same settings lead to another manifest."""
    prepared = material.prepared
    patch.setattr(material, "prepared", lambda config: dataclasses.replace(prepared(config), digest="0" * 64))


def test_a_finished_run_is_not_taken_for_done_after_its_files_or_its_data_were_changed(train, tmp_path, monkeypatch):
    train()
    [folder] = folders(tmp_path / "runs")
    with monkeypatch.context() as patch:
        other_data(patch)
        status, _, err = train()
    assert status == 2 and "done on other data" in err
    metrics = folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"test/accuracy": 0.', '"test/accuracy": 1.'))
    status, _, err = train()
    assert status == 2 and "metrics.jsonl: changed since the run was done" in err


def test_every_setting_moves_the_folder_but_not_the_seed_nor_where_things_lie(train, tmp_path):
    from hydra import compose, initialize_config_module

    from experiments.config import from_hydra

    def folder(*words):
        with initialize_config_module("experiments.conf", version_base="1.3"):
            return from_hydra(compose("config", overrides=list(words))).folder

    plain = folder()
    assert folder("seed=3").name == plain.name.replace("seed0", "seed3")
    assert folder("device=cpu", "threads=1", "data_root=elsewhere") == plain
    assert folder("jobs=3", "allocator=system", "train.together=4") == plain
    for changed in (
        "train.epochs=3",
        "data.strength=0.25",
        "model.dropout=0.1",
        "train.batch_size=31",
        "data.data_seed=1",
    ):
        assert folder(changed) != plain and folder(changed).parent == plain.parent
    assert folder("aug=saturate").name == folder("aug=saturate_x8").name  # the same operations under two names
    assert folder("aug=saturate", "aug.factor=8").name == folder("aug=saturate_x8").name
    assert folder("data.image_size=[32,32]") == plain
    assert folder("aug=saturate", "aug.factor=16").parent.name == "saturate_luma_x16"


def test_two_arms_of_one_seed_start_from_equal_weights_and_see_equal_orders(train, monkeypatch):
    seen = []
    fit = worker.fit

    def watched(training, *arguments, **keywords):
        start = {name: value.clone() for name, value in training.model.state_dict().items()}
        events = list(fit(training, *arguments, **keywords))
        orders = [event.rows.tolist() for event in events if isinstance(event, Epoch)]
        seen.append((start, orders, training.model.state_dict()))
        return iter(events[-1:])  # the weights are those of the end

    monkeypatch.setattr(worker, "fit", watched)
    for words in (["aug=none"], ["aug=invert_saturate_x8"], ["aug=jitter"], ["aug=none", "seed=1"]):
        assert train(*words)[0] == 0
    plain, *others, reseeded = seen
    for start, orders, end in others:
        assert all(torch.equal(start[name], plain[0][name]) for name in start)
        assert orders == plain[1]
        assert not all(torch.equal(end[name], plain[2][name]) for name in end)
    assert reseeded[1] != plain[1] and not all(torch.equal(reseeded[0][name], plain[0][name]) for name in plain[0])


def test_in_a_sweep_a_failing_job_leaves_its_traceback_and_the_others_go_on(train, tmp_path):
    status, out, err = train("-m", "aug=none", "train.learning_rate=1e-3,1e30,2e-3")
    assert status == 1
    assert len(folders(tmp_path / "runs")) == 2 and "2 of 3 runs are done" in out
    [left] = (tmp_path / "runs").rglob("error.txt")
    assert "NotFinite" in left.read_text() and "Traceback" in left.read_text()
    assert str(left.parent) in err and "the loss became" in err.splitlines()[-1]
    status, out, _ = train("-m", "aug=none", "train.learning_rate=1e-3,2e-3")
    assert status == 0 and out.count("skipped") == 2


def test_a_sweep_ends_with_the_mean_and_spread_of_every_condition(train, tmp_path):
    _, out, _ = train("-m", "aug=none,invert", "seed=range(2)", "train.epochs=1")
    done = [runs.read(folder) for folder in folders(tmp_path / "runs")]
    values = iter((0.90, 0.92, 0.70, 0.74))
    made = [dataclasses.replace(run, metrics=[{"test/accuracy": next(values)}]) for run in done]
    _, first, second = runs.summary(made)
    assert first.split() == ["/".join(made[0].condition), "0.9100", "0.0141", "2"]
    assert second.split() == ["/".join(made[2].condition), "0.7200", "0.0283", "2"]
    for run in done:
        assert "/".join(run.condition) in out


def test_random_colour_is_for_training_alone_and_the_kept_epoch_is_tested_through_the_plain_view(train, tmp_path):
    train("aug=jitter", "train.keep=best", "train.epochs=3")
    [folder] = folders(tmp_path / "runs")
    *history, last = runs.read(folder).metrics
    best = max(history, key=lambda line: line["val/accuracy"])  # the first of equals
    assert last["epoch"] == best["epoch"] and last["val/auc"] == best["val/auc"]
    [data] = material._prepared.values()
    rows = torch.from_numpy(data.indices("test"))
    model = MODELS["cnn32"]().build(image_size=(32, 32))
    model.load_state_dict(checkpoint.load(folder / "best.pt")["model"])
    pictures = Pictures(data.images, data.labels, torch.device("cpu"))
    scores = predict(model, pictures, rows, build_view([]), key=0, precision="fp32")
    with (folder / "predictions.csv").open(newline="") as file:
        written = [float(row["score"]) for row in csv.DictReader(file) if row["split"] == "test"]
    np.testing.assert_allclose(written, scores, rtol=1e-5)


def test_a_run_that_another_process_holds_is_left_alone(train, tmp_path):
    train()
    [folder] = folders(tmp_path / "runs")
    (folder / "done").unlink()
    before = fingerprint(folder)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status, _, err = train()
    assert status == 3 and "another process" in err and len(err.splitlines()) == 1
    assert fingerprint(folder) == before


def test_data_that_changed_under_an_unfinished_run_are_noticed(train, tmp_path, monkeypatch):
    train()
    [folder] = folders(tmp_path / "runs")
    (folder / "done").unlink()
    other_data(monkeypatch)
    status, _, err = train()
    assert status == 2 and "the data changed since this run began" in err


def test_a_damaged_checkpoint_is_one_line_that_says_what_to_do(train, tmp_path):
    train()
    [folder] = folders(tmp_path / "runs")
    (folder / "done").unlink()
    whole = (folder / "last.pt").read_bytes()
    (folder / "last.pt").write_bytes(whole[: len(whole) // 2])
    status, _, err = train()
    assert (
        status == 2
        and "last.pt" in err
        and "delete its folder to start the run afresh" in err
        and len(err.splitlines()) == 1
    )


def test_a_run_tells_that_damaged_pictures_were_replaced_and_trains_on_others_in_their_place(train, tmp_path):
    root = tmp_path / "in"
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        for label in ("real", "fake"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.RandomState([count, i, label == "fake", split == "val"]).randint(0, 256, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / label / f"{i}.png")
    (root / "train" / "fake" / "3.png").write_bytes(b"torn")
    words = ["data=folder", f"data.root={root}", "data.max_bad=0.1", f"data_root={tmp_path / 'data'}"]
    found = {}
    for repair in ("quarantine", "replace"):
        status, out, err = train(*words, f"data.repair={repair}", "train.batch_size=30", "train.epochs=1")
        assert (status, err) == (0, "")
        [folder] = set(folders(tmp_path / "runs")) - {run.folder for run in found.values()}
        found[repair] = runs.read(folder)
    assert "repaired: 1 of 48 files" in out
    facts = {name: run.provenance for name, run in found.items()}
    assert [facts[name][key] for name in facts for key in ("quarantined", "repaired")] == [1, 0, 0, 1]
    assert facts["quarantine"]["data_digest"] != facts["replace"]["data_digest"]
    assert [run.metrics[0]["step"] for run in found.values()] == [1, 2]  # of 31 pictures, and of 30 and 2
