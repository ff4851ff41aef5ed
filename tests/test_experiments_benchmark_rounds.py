"""Rounds of the benchmark with programs that only say what they took: what is made of it, and what is asked again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.benchmark import child, notes, pictures
from experiments.benchmark.material import FULL, Material
from experiments.benchmark.rounds import Round


def finished(seconds, lines=(), **answer):
    return child.Finished(0.0, seconds, 1.0, [*lines, (seconds, json.dumps(answer))])


@pytest.fixture
def asked(monkeypatch):
    """The workers that PARENT was asked to have; with two it starts later, and is faster then or slower."""
    words = []

    def task(module, name, *, workers, **settings):
        words.append(workers)
        return finished({0: 3.0, 2: 2.0}[workers], epoch={0: 100, 2: 50}[workers], settings=settings)

    monkeypatch.setattr(child, "task", task)
    return words


@pytest.fixture
def measured(tmp_path):
    files = pictures.drawn_files({"train": 20, "test": 4})
    sizes = replace(FULL, epoch=None, sweep=(20, 4), processes=2)
    return Round(Material(pictures.Pictures(files, "drawn"), tmp_path, sizes), "cpu", {})


def test_of_a_sweep_the_number_of_workers_with_less_time_is_found_once_and_the_mean_counts_for_all(measured, asked):
    assert measured.parent_sweep(measured.material.sweep, 2, 3) == 6 * 2.0
    assert asked == [0, 2, 2] and measured.workers(measured.material.sweep) == 2
    assert measured.parent_sweep(measured.material.sweep, 2, 3) == 12 and len(asked) == 3
    note = notes.sweep("sweep", 6)(measured)
    assert note.startswith("16 training images each;") and "with 2 workers" in note and "2 processes, times 6" in note
    again = Round(measured.material, "cpu", measured.chosen)
    assert again.parent_sweep(measured.material.sweep, 1, 1) == 2 and asked[3:] == [2]


def test_of_an_epoch_the_number_of_workers_with_more_images_a_second_is_taken(measured, asked):
    assert measured.parent_run.answer["epoch"] == 100
    assert measured.workers(measured.material.epoch) == 0 and asked == [0, 2]
    assert measured.parent_run.answer["settings"]["also_evaluate"] == 2


def test_an_epoch_of_ours_is_what_lies_between_the_ends_of_the_first_and_the_second(measured, monkeypatch, tmp_path):
    said = [(1.0, "images: 1,600 train, 20 val"), (12.0, "epoch 1/2  train"), (16.0, "epoch 2/2  train")]

    def run(command):
        [runs] = [Path(word.partition("=")[2]) for word in command if word.startswith("runs_root=")]
        (runs / "a").mkdir(parents=True)
        speed = {"images_per_second": 500.0, "threads": 2}
        (runs / "a" / "provenance.json").write_text(json.dumps({"processes": [speed]}))
        return finished(20.0, said)

    monkeypatch.setattr(child, "run", run)
    measured.__dict__["ready"] = (None, tmp_path)
    assert measured.epochs("fp32") == {"epoch": 400, "training": 500, "threads": 2}
    said.pop()
    with pytest.raises(child.Failed, match=r"experiments.run train.precision=bf16: did not say"):
        measured.epochs("bf16")
