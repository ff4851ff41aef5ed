"""The TensorBoard page of a run, read back without a server."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from experiments.figures import COLORS, contact_sheet, roc, view_grid
from experiments.tracking import EVENTS, Tracker

LABELS = np.repeat([0, 1], 8)
SCORES = np.linspace(0, 1, 16)


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def steps_of(folder: Path, tag: str) -> list[int]:
    return [event.step for event in read(folder).Scalars(tag)]


def train(tracker: Tracker, epochs: range) -> None:
    for epoch in epochs:
        steps = range(10 * epoch - 9, 10 * epoch + 1)
        tracker.losses(steps, [1 / step for step in steps], [1e-3] * 10)
        tracker.epoch(epoch, {"val/auc": epoch / 10}, images_per_second=100.0)


def test_every_tag_of_the_page_is_there(tmp_path):
    pictures = np.zeros((16, 32, 32, 3), np.uint8)
    with Tracker(tmp_path) as tracker:
        train(tracker, range(1, 3))
        tracker.views(1, before=pictures, after=pictures, labels=LABELS, scores=SCORES)
        tracker.scores(1, "test", LABELS, SCORES)
        tracker.figures(1, "test", LABELS, SCORES, 0.5)
        tracker.text("configuration", "seed: 0")
    tags = read(tmp_path).Tags()
    assert set(tags["scalars"]) == {"train/loss", "train/learning_rate", "val/auc", "train/images_per_second"}
    assert set(tags["images"]) == {
        "before_after/real",
        "before_after/fake",
        "figures/test/roc",
        "figures/test/confusion",
    }
    assert set(tags["histograms"]) == {"scores/test/real", "scores/test/fake"}
    assert set(tags["tensors"]) == {"precision_recall/test", "configuration/text_summary"}
    assert steps_of(tmp_path, "train/loss") == list(range(1, 21))
    assert [event.value for event in read(tmp_path).Scalars("val/auc")] == pytest.approx([0.1, 0.2])


def test_a_grid_shows_the_pictures_of_its_class_enlarged_pixel_by_pixel(tmp_path):
    random = np.random.default_rng(0)
    before, after = random.integers(0, 256, (2, 16, 32, 32, 3), dtype=np.uint8)
    with Tracker(tmp_path) as tracker:
        tracker.views(1, before=before, after=after, labels=LABELS, scores=SCORES)
    for label, name in enumerate(("real", "fake")):
        grid = np.asarray(Image.open(io.BytesIO(read(tmp_path).Images(f"before_after/{name}")[0].encoded_image_string)))
        for place in range(16):
            for picture in (before[place], after[place]):
                assert stands_in(grid, picture.repeat(3, axis=0).repeat(3, axis=1)) == (LABELS[place] == label)


def test_pictures_that_the_view_leaves_alone_are_shown_once():
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    once, twice = (view_grid(pictures, after, LABELS[:4], SCORES[:4], 3) for after in (pictures, 255 - pictures))
    assert once.height <= twice.height - 24 and stands_in(np.asarray(once), pictures[0].repeat(3, 0).repeat(3, 1))


def stands_in(sheet: np.ndarray, picture: np.ndarray) -> bool:
    height, width = picture.shape[:2]
    corners = np.argwhere((sheet == picture[0, 0]).all(axis=2))
    return any(np.array_equal(sheet[y : y + height, x : x + width], picture) for y, x in corners)


def test_a_resumed_page_holds_every_step_once_even_if_the_killed_process_wrote_on_after_its_checkpoint(tmp_path):
    first = Tracker(tmp_path)
    train(first, range(1, 3))
    mark = first.mark()
    train(first, range(3, 5))  # after the checkpoint, then killed in the middle of an event
    with next(tmp_path.glob(f"{EVENTS}*")).open("ab") as file:
        file.write(b"half an event")
    with Tracker(tmp_path, resume=mark) as second:
        train(second, range(3, 4))
        mark_of_both = second.mark()
        train(second, range(4, 5))
    with Tracker(tmp_path, resume=mark_of_both) as third:
        train(third, range(4, 6))
    first.close()
    assert len(mark_of_both) == 2 and mark.items() <= mark_of_both.items()
    assert steps_of(tmp_path, "train/loss") == list(range(1, 51))
    assert steps_of(tmp_path, "val/auc") == [1, 2, 3, 4, 5]


def test_a_page_killed_before_its_first_checkpoint_starts_afresh_and_leaves_other_files_alone(tmp_path):
    other = tmp_path / "metrics.jsonl"
    other.write_text("{}\n")
    with Tracker(tmp_path) as killed:
        train(killed, range(1, 4))
    with Tracker(tmp_path, resume={}) as tracker:
        train(tracker, range(1, 3))
    assert steps_of(tmp_path, "val/auc") == [1, 2]
    assert other.read_text() == "{}\n"


def test_steps_stay_in_order_when_the_clock_was_set_back_before_the_run_was_resumed(tmp_path, monkeypatch):
    with Tracker(tmp_path) as first:
        train(first, range(1, 3))
        mark = first.mark()
    monkeypatch.setattr("experiments.tracking.time.time", lambda: 1e9)
    with Tracker(tmp_path, resume=mark) as second:
        train(second, range(3, 5))
    assert steps_of(tmp_path, "val/auc") == [1, 2, 3, 4]


def test_event_files_shorter_than_at_the_checkpoint_are_reported(tmp_path, capsys):
    with Tracker(tmp_path) as first:
        train(first, range(1, 3))
        mark = first.mark()
    (name,) = mark
    (tmp_path / name).unlink()
    Tracker(tmp_path, resume=mark).close()
    assert name in capsys.readouterr().err


def test_hyperparameters_keep_their_types_and_stand_beside_the_scalars_of_the_run(tmp_path):
    with Tracker(tmp_path) as tracker:
        settings = {"aug": "invert", "fused": True, "train.batch_size": 32, "lr": 0.001}
        tracker.hyperparameters(settings, {"test/accuracy": 0.9}, "synthetic/cnn32/invert/abc")
    page = read(tmp_path)
    contents = page.PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(contents[metadata.SESSION_START_INFO_TAG])
    assert start.group_name == "synthetic/cnn32/invert/abc"
    assert {name: value.WhichOneof("kind") for name, value in start.hparams.items()} == {
        "aug": "string_value",
        "fused": "bool_value",
        "train.batch_size": "number_value",
        "lr": "number_value",
    }
    assert metadata.SESSION_END_INFO_TAG in contents
    assert page.Scalars("final/test/accuracy")[0].value == pytest.approx(0.9)
    assert [path for path in tmp_path.rglob("*") if path.is_dir()] == []


def test_a_hyperparameter_of_another_type_is_refused_by_name(tmp_path):
    with Tracker(tmp_path) as tracker, pytest.raises(ValueError, match=r"aug\.train"):
        tracker.hyperparameters({"aug.train": ["invert"]}, {}, "group")


# A limit on the size of files fails in the same place as a full disk, and needs no rights.
TRAIN_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from experiments.tracking import Tracker
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
with Tracker(Path(sys.argv[1])) as tracker:
    for step in range(2_000):
        tracker.losses([step], [1.0], [1e-3])
    print("trained", tracker.mark())
"""


def test_training_goes_on_when_the_disk_is_full_and_what_was_written_before_stays_readable(tmp_path):
    command = [sys.executable, "-c", TRAIN_ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trained")
    assert len(done.stderr.splitlines()) == 1 and str(tmp_path) in done.stderr
    steps = steps_of(tmp_path, "train/loss")
    assert steps == list(range(len(steps))) and len(steps) > 100
    (events,) = tmp_path.glob(f"{EVENTS}*")
    mark = {events.name: events.stat().st_size}
    assert done.stdout == f"trained {mark}\n"
    with Tracker(tmp_path, resume=mark) as tracker:
        tracker.losses([2_000], [1.0], [1e-3])
    assert steps_of(tmp_path, "train/loss") == [*steps, 2_000]


def test_a_folder_that_cannot_be_made_costs_the_page_only(tmp_path, capsys):
    (tmp_path / "file").touch()
    with Tracker(tmp_path / "file" / "run") as tracker:
        train(tracker, range(1, 2))
        assert tracker.mark() == {}
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_area_of_the_drawn_roc_curve_counts_ties_as_one_half():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 500)
    scores = np.round((random.random(500) + 0.3 * labels) / 1.3, 1)
    (axes,) = roc(labels, scores).axes
    assert axes.get_title() == f"ROC, area {roc_auc_score(labels, scores):.4f}"


def test_pictures_of_one_class_can_be_shown_though_they_have_no_curve(tmp_path):
    pictures = np.zeros((8, 64, 32, 3), np.uint8)
    with Tracker(tmp_path) as tracker:
        tracker.views(1, before=pictures, after=pictures, labels=np.ones(8), scores=SCORES[:8])
        tracker.scores(1, "test", np.ones(8), SCORES[:8])
        tracker.figures(1, "test", np.ones(8), SCORES[:8], 0.5)
    assert set(read(tmp_path).Tags()["images"]) == {"before_after/fake", "figures/test/roc", "figures/test/confusion"}


def test_a_contact_sheet_holds_every_picture_and_marks_the_classes_in_their_colours():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    sheet = np.asarray(contact_sheet({"none": pictures, "invert_saturate_x500": 255 - pictures}, ["real", "fake"], 2))
    for picture in (*pictures, *(255 - pictures)):
        assert stands_in(sheet, picture.repeat(2, axis=0).repeat(2, axis=1))
    for color in COLORS.values():
        assert (sheet == tuple(bytes.fromhex(color[1:]))).all(axis=2).any()


def test_a_column_of_another_length_is_refused_by_its_title():
    pictures = np.zeros((3, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="invert"):
        contact_sheet({"invert": pictures}, ["real", "fake"], 1)
