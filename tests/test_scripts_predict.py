"""Pictures scored from the shell: verdicts, tables, drawings, and what cannot be scored."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from scripts import predict


@pytest.fixture
def words(train, called, tmp_path):
    """words(*arguments) -> (exit status, stdout, stderr) of scripts/predict.py by a small run."""
    assert train()[0] == 0
    runs = tmp_path / "runs"

    def call(*arguments):
        def main():
            return predict.predict(predict.parsed())

        return called("predict", main, *arguments, "--runs", runs)

    return call


def picture(path, side=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(len(path.name)).randint(0, 256, (side, side, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_files_folders_and_patterns_get_a_verdict_each_and_bad_files_a_reason(words, tmp_path):
    inside = tmp_path / "in"
    names = ["a.png", "b (2).png", "deep/with\nbreak.png", "c.jpg"]
    for name in names:
        picture(inside / name)
    torn = picture(inside / "torn.jpg", side=128).read_bytes()
    (inside / "torn.jpg").write_bytes(torn[: len(torn) * 9 // 10])  # what is judged is never in-painted
    (inside / "notes.txt").write_text("no picture")
    single = picture(tmp_path / "no suffix.png").rename(tmp_path / "no suffix")
    table, drawing = tmp_path / "scores.csv", tmp_path / "out.png"
    status, out, err = words(inside, tmp_path / "in" / "*.jpg", single, "--csv", table, "--save", drawing)
    assert status == 3
    assert f"predict: {inside / 'torn.jpg'}: " in err and "6 files: " in out and "1 not scored, " in out
    assert "1 file of other kinds passed over" in out
    with table.open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert list(rows) == [str(inside / name) for name in sorted([*names, "torn.jpg"])] + [str(single)]
    bad = rows.pop(str(inside / "torn.jpg"))
    assert bad["verdict"] == bad["probability"] == "" and bad["reason"]
    for row in rows.values():
        fake = float(row["probability"]) >= float(row["threshold"])
        assert row["verdict"] == ("FAKE" if fake else "REAL") and not row["reason"]
    with Image.open(drawing) as image:
        assert image.height == 5 * 230
    status, out, err = words(inside / "a.png", "--json")
    assert (status, err) == (0, "")
    [told] = json.loads(out)["files"]
    assert told["probability"] == pytest.approx(float(rows[str(inside / "a.png")]["probability"]), abs=1e-6)
    status, out, err = words(inside / "deep")
    assert (status, err) == (0, "") and "with\\nbreak.png" in out and "1 file: " in out


def test_a_mistake_is_one_line_and_status_2(words, tmp_path):
    (empty := tmp_path / "empty").mkdir()
    here = picture(tmp_path / "a.png")
    os.mkfifo(pipe := tmp_path / "pipe")
    for arguments, said in {
        (empty,): "empty: no picture there; expected files such as",
        (tmp_path / "nowhere.jpg",): "nowhere.jpg: no such file; expected a picture, a folder or a pattern",
        (here, "--run", empty): "empty: not finished; expected a finished run",
        ("~nobody/a.png",): "~nobody/a.png: no such file; expected a picture",
        (here, "--csv", here / "x.csv"): "is a file; expected a folder",
        (here, "--csv", empty): "empty: is a folder; expected a file",
        (here, "--save", here): "a.png: is one of the pictures; expected another file",
        (pipe,): "pipe: no such file; expected a picture",
        (here, "--device", "tpu"): "device=tpu: expected auto, cpu, cuda or cuda:N",
    }.items():
        status, _, err = words(*arguments)
        assert (status, len(err.splitlines())) == (2, 1) and said in err
    checkpoint = next((tmp_path / "runs").rglob("last.pt"))
    checkpoint.write_bytes(b"no checkpoint")
    status, _, err = words(here)
    assert (status, len(err.splitlines())) == (2, 1) and "last.pt: not a checkpoint that can be read" in err


def test_a_newest_run_that_is_not_whole_is_named(words, tmp_path):
    config = next((tmp_path / "runs").rglob("config.yaml"))
    config.write_text("seed: [")
    status, out, err = words(picture(tmp_path / "a.png"))
    assert status == 2 and not out and f"predict: {config.parent}: config.yaml: " in err and "Traceback" not in err
