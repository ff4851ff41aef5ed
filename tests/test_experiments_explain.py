"""Where a network looked, and what decided, from the shell."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments import explain, overlays, runs


@pytest.fixture
def explained(called):
    return lambda *words: called("explain", explain._main, *words)


@pytest.fixture
def folders(train, tmp_path):
    """Of two small runs on the same data: plain, and seen inverted."""
    assert train("aug=none")[0] == train("aug=invert")[0] == 0
    return [next((tmp_path / "runs").rglob(f"{arm}/*-seed0")) for arm in ("none", "invert")]


def size(path):
    with Image.open(path) as picture:
        return picture.size


def test_a_run_its_pictures_two_runs_and_their_attribution(folders, explained, tmp_path):
    plain, inverted = folders
    out = tmp_path / "out"
    status, said, err = explained(plain, "--out", out)
    assert (status, err) == (0, "") and f"result: {out / 'grad_cam.png'}" in said
    alone = size(out / "grad_cam.png")
    board = EventAccumulator(str(plain), size_guidance={"images": 0}).Reload()
    kinds = [tag for tag in board.Tags()["images"] if tag.startswith("grad_cam/")]
    first = Image.open(io.BytesIO(board.Images(kinds[0])[0].encoded_image_string))
    assert {tag.removeprefix("grad_cam/").replace("_", " ") for tag in kinds} <= set(overlays.KINDS)
    assert first.size[1] * len(kinds) == alone[1]
    assert explained(plain, "--against", inverted, "--out", out)[0] == 0
    assert size(out / "grad_cam.png")[1] > alone[1]  # two rows more
    status, said, err = explained(tmp_path / "runs", "--attribution", "--n", 20, "--out", out)
    assert (status, err) == (0, ""), err
    arms = json.loads((out / "attribution.json").read_text())["arms"]
    assert [arm["name"] for arm in arms] == ["synthetic/cnn32/invert", "synthetic/cnn32/none"]
    assert all(0 <= arm["evidence"]["low"] <= arm["evidence"]["high"] <= 1 for arm in arms)
    assert all(arm["pictures"] + arm["incomplete"] == 20 for arm in arms)
    assert arms[0]["evidence"]["seeds_low"] is None and (out / "attribution.svg").stat().st_size
    assert "chroma's share" in said and "synthetic/cnn32/none" in said


def test_pictures_of_the_users_and_one_that_cannot_be_read(folders, explained, tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    random = np.random.default_rng(0)
    for name in ("a.png", "b c.jpg"):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(inside / name)
    (inside / "torn.jpg").write_bytes((inside / "b c.jpg").read_bytes()[:200])
    status, _, err = explained(*folders[:1], "--images", inside, "--out", tmp_path / "out")
    assert status == 3 and f"{inside / 'torn.jpg'}: " in err and len(err.splitlines()) == 1
    assert size(tmp_path / "out" / "grad_cam.png")[0] > 2 * overlays.SIDE


def test_a_mistake_is_one_line_and_status_2(folders, explained, train, tmp_path):
    plain, inverted = folders
    assert train("aug=none", "data.data_seed=1", f"runs_root={tmp_path / 'other'}")[0] == 0
    assert train("aug=posterize", f"runs_root={tmp_path / 'steps'}")[0] == 0
    other = next((tmp_path / "other").rglob("*-seed0"))
    (empty := tmp_path / "empty").mkdir()
    for words, text in {
        (tmp_path / "nowhere",): "nowhere: no such folder; expected that of a run",
        (empty,): "empty: not finished; expected a finished run",
        (empty, "--attribution"): "empty: no run there that can be attributed",
        (plain, "--against", other): "on other data; expected the same, or --images",
        (plain, "--attribution", "--images", empty): "expected no --images, no --against",
        (plain, "--images", empty): "empty: no picture there",
        (plain, "--n", 5): "--n 5: expected at least 20",
        (plain, "--out", plain / "done"): "done is a file; expected a folder",
    }.items():
        status, _, err = explained(*words)
        assert (status, len(err.splitlines())) == (2, 1) and text in err
    status, _, err = explained(tmp_path / "steps", "--attribution")
    assert status == 2 and "Posterize rounds: its gradient does not say what it does" in err.splitlines()[0]
    torch.save({"model": {}}, inverted / "last.pt")
    (tmp_path / "runs" / "torn-seed0").mkdir()
    (tmp_path / "runs" / "torn-seed0" / "config.yaml").touch()
    (tmp_path / "runs" / "torn-seed0" / "done").touch()
    status, said, err = explained(tmp_path / "runs", "--attribution", "--n", 20, "--out", tmp_path / "out")
    assert status == 1 and "synthetic/cnn32/none" in said  # the others go on
    assert len(err.splitlines()) == 2 and "its weights are not those of" in err and "torn-seed0: done: " in err
    facts = json.loads((other / "provenance.json").read_text())
    (other / "provenance.json").write_text(json.dumps(facts | {"content_digest": "0" * 64}))
    status, _, err = explained(other)
    assert status == 2 and "are no longer those of the run (content" in err


def test_an_overlay_is_the_grey_picture_where_nothing_glows_and_kinds_are_what_they_say():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    heat = np.zeros((2, 8, 8))
    heat[0, 0, 0], heat[1, 0, 0] = 1, -1
    over = overlays.laid_over(pictures, heat, signed=True)
    grey = np.asarray(Image.fromarray(pictures[1]).convert("L"), int)
    assert np.abs(over[1, 1:].astype(int) - grey[1:, :, None]).max() <= 1
    assert over[0, 0, 0, 0] > over[0, 0, 0, 2] and over[1, 0, 0, 2] > over[1, 0, 0, 1]  # orange and purple
    labels, correct = np.array([0, 0, 1, 1, 1]), np.array([True, False, True, False, True])
    chosen = {kind: places.tolist() for kind, places in overlays.by_lot(labels, correct, 4).items()}
    assert chosen == {
        "true positives": [2, 4],
        "true negatives": [0],
        "false positives": [1],
        "false negatives": [3],
    }


@pytest.mark.slow
@pytest.mark.parametrize("evidence", ["chroma", "luma"])
def test_the_evidence_is_found_where_it_was_put(evidence, train, explained, tmp_path):
    words = ["data.train=8000", "data.val=200", "data.test=400", "train.epochs=3", "train.batch_size=32"]
    assert train(f"data.evidence={evidence}", *words)[0] == 0
    [run] = runs.folders(tmp_path / "runs")
    assert runs.read(run).metrics[-1]["test/accuracy"] > 0.75  # else there is no evidence to look for
    assert explained(tmp_path / "runs", "--attribution", "--n", 200, "--out", tmp_path / "out")[0] == 0
    [arm] = json.loads((tmp_path / "out" / "attribution.json").read_text())["arms"]
    found = arm["evidence"]
    assert arm["incomplete"] <= 10
    assert found["low"] > 0.7 if evidence == "chroma" else found["high"] < 0.3
