"""Means, differences and the verdict in TensorBoard, read back by its own readers and seen in a real browser."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from experiments import aggregates, events, record
from experiments.comparison import compare
from experiments.outcomes import find
from experiments.tracking import EVENTS, Tracker
from tests.conftest import PATIENCE
from tests.trees import make_tree

STEPS = (50, 100, 150, 200)
EPOCHS = (1, 2, 3)


def make_runs(root: Path, *, seeds: Iterable[int] = range(3), steps: Iterable[int] = STEPS, **settings) -> list[Path]:
    """Finished runs whose curves are drawn by lot, as training would have tracked them."""
    folders = make_tree(root, seeds=seeds, images=40, **settings)
    for folder in folders:
        track(folder, steps)
    return folders


def track(folder: Path, steps: Iterable[int] = STEPS, *, more: Iterable[str] = ()) -> None:
    draw = np.random.default_rng(list("/".join(folder.parts[-2:]).encode()))
    with Tracker(folder) as tracker:
        for epoch in EPOCHS:
            tracker.epoch(epoch, {tag: draw.random() for tag in ("val/accuracy", "val/auc", "test/accuracy", *more)})
            tracker.text("configuration", "seed")
        steps = list(steps)
        tracker.losses(steps, draw.random(len(steps)).tolist(), [1e-3] * len(steps))


def scalars(folder: Path) -> dict[str, tuple[list[int], np.ndarray]]:
    """tag -> steps, values, as TensorBoard reads them."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    points = {tag: read.Scalars(tag) for tag in read.Tags()["scalars"]}
    return {tag: ([e.step for e in line], np.array([e.value for e in line])) for tag, line in points.items()}


def text(folder: Path, tag: str) -> str:
    return EventAccumulator(str(folder)).Reload().Tensors(tag)[-1].tensor_proto.string_val[0].decode()


def kinds(folders: Iterable[Path]) -> list[str]:
    """`none mean`, `saturate_x8 delta`, `comparison`, in order."""
    names = [(folder.parent.name, *folder.name.split("-")) for folder in folders]
    return sorted("comparison" if name[1] == "comparison" else f"{name[0]} {name[2]}" for name in names)


def of(folders: Iterable[Path], kind: str) -> Path:
    return next(folder for folder in folders if kinds([folder]) == [kind])


ALL = ["comparison", "none mean", "saturate_x8 delta", "saturate_x8 mean"]


def test_means_bounds_and_differences_are_those_of_the_members_own_curves(tmp_path):
    runs = make_runs(tmp_path)
    written = aggregates.refresh(tmp_path)
    assert kinds(written) == ALL
    none, treated = ([scalars(run) for run in runs if run.parent.name == name] for name in ("none", "saturate_x8"))
    mean, delta = scalars(of(written, "saturate_x8 mean")), scalars(of(written, "saturate_x8 delta"))
    assert set(none[0]) <= set(mean)
    for tag in set(none[0]) - {"train/learning_rate"}:  # equal in all: scipy gives no interval of no width
        values = np.array([run[tag][1] for run in treated])
        differences = values - np.array([run[tag][1] for run in none])
        for found, name, members in ((mean, tag, values), (delta, f"difference/{tag}", differences)):
            assert found[name][0] == treated[0][tag][0]
            np.testing.assert_allclose(found[name][1], members.mean(0), atol=1e-6)
            interval = stats.t.interval(0.95, len(members) - 1, members.mean(0), stats.sem(members))
            for bound, expected in zip(("lower", "upper"), interval, strict=True):
                np.testing.assert_allclose(found[f"~bounds/{name}/{bound}"][1], expected, atol=1e-5)


def test_aggregates_are_made_anew_when_a_seed_is_added_and_not_when_nothing_changed(tmp_path):
    make_runs(tmp_path)
    first = aggregates.refresh(tmp_path)
    content = {path: path.read_bytes() for folder in first for path in folder.glob("*")}
    assert aggregates.refresh(tmp_path) == []
    assert {path: path.read_bytes() for folder in first for path in folder.glob("*")} == content
    make_runs(tmp_path, seeds=[3])
    second = aggregates.refresh(tmp_path)
    assert second == first
    runs = [folder for folder in find(tmp_path).outcomes if folder.aug == "none"]
    values = np.mean([scalars(Path(run.where))["val/auc"][1] for run in runs], axis=0)
    steps, mean = scalars(of(second, "none mean"))["val/auc"]
    assert (len(runs), steps) == (4, list(EPOCHS))
    np.testing.assert_allclose(mean, values, atol=1e-6)


def test_a_server_that_runs_on_shows_one_generation_only(tmp_path):
    make_runs(tmp_path)
    folder = of(aggregates.refresh(tmp_path), "none mean")
    server = EventMultiplexer({"mean": str(folder)}, size_guidance={"tensors": 0})
    for seed in (3, 4, 5):
        server.Reload()
        make_runs(tmp_path, seeds=[seed])
        aggregates.refresh(tmp_path)
    server.Reload()
    shown = server.Tensors("mean", "val/auc")
    assert [event.step for event in shown] == list(EPOCHS)
    expected = scalars(folder)["val/auc"][1]
    np.testing.assert_array_equal([event.tensor_proto.float_val[0] for event in shown], expected.astype(np.float32))
    assert len(server.Tensors("mean", "members")) == 1
    assert len(list(folder.glob(f"{EVENTS}*"))) == 2  # the newest, and the one before it, emptied


def test_steps_and_tags_that_not_all_members_have_are_left_out_and_named(tmp_path):
    none, treated = make_runs(tmp_path, seeds=[0]), make_runs(tmp_path, seeds=[1], steps=STEPS[:2])[1]
    track(make_tree(tmp_path, seeds=[2], images=40, arms={"saturate_x8": 0.9})[0], more=["val/odd"])
    make_runs(tmp_path, seeds=[2], arms={"none": 0.9})
    unseen = make_tree(tmp_path, seeds=[3], images=40)
    mean = of(aggregates.refresh(tmp_path), "saturate_x8 mean")
    assert (len(none), treated.parent.name) == (2, "saturate_x8")
    assert scalars(mean)["train/loss"][0] == list(STEPS[:2])
    assert scalars(mean)["val/accuracy"][0] == list(EPOCHS)
    assert "val/odd" not in scalars(mean)
    said = text(mean, "members")
    for words in ("3 runs", "`val/odd`", "`train/loss`: 2 of 4 steps", f"without event files: {unseen[0].name[11:]}"):
        assert words in said


def test_an_event_file_is_read_up_to_where_it_ends_or_is_spoilt(tmp_path):
    track(tmp_path / "whole")
    [path] = events.files(tmp_path / "whole")
    whole = events.curves(tmp_path / "whole")
    assert {tag: (list(line), list(line.values())) for tag, line in whole.items()} == {
        tag: (steps, list(values)) for tag, (steps, values) in scalars(tmp_path / "whole").items()
    }
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\x07" + bytes(11) + b"garbage" + bytes(4))
    assert events.curves(tmp_path / "whole") == whole
    os.truncate(path, size - 3)
    assert list(events.curves(tmp_path / "whole")["train/loss"]) == list(STEPS[:-1])


def test_the_layout_lists_curves_that_exist_with_both_bounds(tmp_path):
    make_runs(tmp_path)
    written = aggregates.refresh(tmp_path)
    read = EventAccumulator(str(of(written, "comparison"))).Reload()
    [event] = read.Tensors(metadata.CONFIG_SUMMARY_TAG)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    there = set().union(*(scalars(folder) for folder in written))
    # the page shows charts last first: the browser test sees it
    charts = {category.title: [chart.title for chart in reversed(category.chart)] for category in layout.category}
    assert charts == {
        "difference to the baseline": [
            f"difference/{tag}" for tag in ("val/accuracy", "test/accuracy", "val/auc", "train/loss")
        ],
        "accuracy": ["val/accuracy", "test/accuracy"],
        "AUC": ["val/auc"],
        "loss": ["train/loss"],
    }
    for category in layout.category:
        for chart in category.chart:
            [series] = chart.margin.series
            assert {series.value, series.lower, series.upper} <= there


def test_no_aggregate_is_taken_for_a_run(tmp_path):
    make_runs(tmp_path)
    before = find(tmp_path)
    written = aggregates.refresh(tmp_path)
    after = find(tmp_path)
    assert [o.where for o in after.outcomes] == [o.where for o in before.outcomes]
    assert (after.unfinished, after.refused) == ([], [])
    for folder in written:
        assert not any(tag.startswith("_hparams_") for tag in EventAccumulator(str(folder)).Reload().Tags()["tensors"])


def test_with_another_baseline_its_own_difference_goes(tmp_path):
    make_runs(tmp_path)
    old = of(aggregates.refresh(tmp_path), "saturate_x8 delta")
    comparisons, _ = compare(find(tmp_path).outcomes, baseline="saturate_x8")
    assert kinds(aggregates.refresh(comparisons)) == ["comparison", "none delta"]
    assert not old.exists()


def test_what_cannot_be_written_is_one_line_and_no_failure(tmp_path, capsys):
    runs = make_runs(tmp_path)
    place = runs[0].parent / f"{runs[0].name[:10]}-mean"
    place.write_text("a file where the folder should be")
    assert aggregates.refresh(tmp_path) == []
    assert str(place) in capsys.readouterr().err
    place.unlink()
    place.mkdir()
    with record.lock(place):
        assert aggregates.refresh(tmp_path) == []
    assert "another process" in capsys.readouterr().err
    assert aggregates.refresh(tmp_path / "nowhere") == []
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_of_equal_settings_on_different_data_the_larger_comparison_has_the_folders(tmp_path, capsys):
    make_runs(tmp_path, seeds=range(3))
    make_runs(tmp_path, seeds=range(3, 5), content="built anew")
    written = aggregates.refresh(tmp_path)
    assert kinds(written) == ALL
    assert "other data" in capsys.readouterr().err
    sources = json.loads((of(written, "none mean") / events.SOURCES).read_text())
    assert len(sources["runs"]) == 3


@pytest.fixture(scope="module")
def board_folder(tmp_path_factory) -> Path:
    """Three seeds of two arms and their aggregates, for the server of `address`."""
    root = tmp_path_factory.mktemp("aggregates") / "runs"
    make_runs(root)
    assert kinds(aggregates.refresh(root)) == ALL
    return root


def test_the_browser_shows_aggregates_among_the_runs_margin_charts_and_the_verdict(
    page,
    address,
    board_folder,
):
    from playwright.sync_api import expect

    patterns = ("*/*/*/*-mean", "*/*/*/*-delta", "*/*/comparison-*")
    folders = [folder for pattern in patterns for folder in board_folder.glob(pattern)]
    assert kinds(folders) == ALL
    page.goto(f"{address}#custom_scalars")
    for folder in folders:
        name = page.locator("tf-runs-selector").get_by_text(str(folder.relative_to(board_folder)), exact=True)
        expect(name).to_have_count(1, timeout=PATIENCE * 1000)
    cards = page.locator("tf-custom-scalar-margin-chart-card")
    expect(cards.nth(0)).to_contain_text("difference/val/accuracy", timeout=PATIENCE * 1000)
    for number, matches in ((0, "Matches (1)"), (4, "Matches (2)")):  # one difference; two means, and no member
        expect(cards.nth(number)).to_contain_text(matches, timeout=PATIENCE * 1000)
        expect(cards.nth(number).locator("path.area")).to_have_count(number // 4 + 1, timeout=PATIENCE * 1000)
    expect(cards.nth(4)).to_contain_text("val/accuracy")
    page.goto(f"{address}#text")
    verdict = page.locator("tf-text-loader").first
    expect(verdict).to_contain_text("exploratory: only 3 pairs", timeout=PATIENCE * 1000)
    for name in ("none", "saturate_x8"):
        expect(verdict.locator("td").get_by_text(name, exact=True)).to_have_count(1)
