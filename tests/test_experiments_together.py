"""Runs that one process trains at once, through a stand-in for detector.together that steps each as alone."""

import sys
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_module

from detector import train as training
from detector.train import Epoch, NotFinite
from experiments import runs, together
from experiments.config import from_hydra
from tests.conftest import SMALL
from tests.test_experiments_run import fingerprint


@pytest.fixture
def configs(small_data, tmp_path):
    """configs(words, ...) -> the configuration of each run, as small as those of the other tests, below `root`."""

    def composed(*each: str, root: str = "runs") -> list:
        roots = [f"data_root={small_data}", f"runs_root={tmp_path / root}"]
        with initialize_config_module("experiments.conf", version_base="1.3"):
            return [from_hydra(compose("config", overrides=[*SMALL, *roots, *words.split()])) for words in each]

    return composed


@pytest.fixture
def stacked(monkeypatch):
    """The stand-in: every member's own training, an event of each in turn. `told` holds the groups that were trained;
    `broken` members end with NotFinite after their first epoch; `reason` keeps all from being stacked."""
    told = SimpleNamespace(groups=[], broken=set(), reason="", fitting=64)

    class CannotStack(ValueError):
        pass

    def fit_together(members, pictures, rows):
        if told.reason:
            raise CannotStack(told.reason)
        assert len({member.training.epoch for member in members}) == 1
        told.groups.append(len(members))
        going = {
            place: training.fit(member.training, pictures, rows, member.view, seed=member.seed)
            for place, member in enumerate(members)
        }
        while going:
            for place in list(going):
                event = next(going[place], None)
                if event is None:
                    del going[place]
                    continue
                yield place, event
                if isinstance(event, Epoch) and place in told.broken:
                    del going[place]
                    yield place, NotFinite("the loss became nan at step 5")

    fake = SimpleNamespace(
        Member=lambda training, view, seed: SimpleNamespace(training=training, view=view, seed=seed),
        CannotStack=CannotStack,
        fit_together=fit_together,
        how_many_fit=lambda member, pictures: told.fitting,
    )
    monkeypatch.setitem(sys.modules, "detector.together", fake)
    return told


def trained(found) -> dict[int, list]:
    """What was said of each place."""
    said: dict[int, list] = {}
    for place, event in together.train(found):
        said.setdefault(place, []).append(event)
    return said


FOUR = ("aug=none seed=0", "aug=jitter seed=0", "aug=none seed=1", "aug=jitter seed=1 train.keep=last")


@pytest.fixture
def alone(configs):
    for config in (found := configs(*FOUR, root="alone")):
        assert list(together.train([config]))[-1] == (0, config.folder)
    return [fingerprint(config.folder) for config in found]


def test_members_write_the_folders_that_they_write_alone(configs, stacked, alone):
    found = configs(*FOUR)
    said = trained(found)
    assert stacked.groups == [4]
    assert [fingerprint(config.folder) for config in found] == alone
    for place, config in enumerate(found):
        shares = [event.share for event in said[place][:-1]]
        assert said[place][-1] == config.folder and shares == sorted(shares) and shares[-1] == 1.0
        assert runs.read(config.folder).provenance["processes"][0]["together"] == 4
    assert trained(found) == {place: [config.folder] for place, config in enumerate(found)}  # done before


def test_one_that_fails_or_is_held_by_another_does_not_disturb_the_others(configs, stacked, alone):
    from experiments import record

    found = configs(*FOUR)
    stacked.broken = {1}
    found[3].folder.mkdir(parents=True)
    with record.lock(found[3].folder):
        said = trained(found)
    assert isinstance(said[3][-1], record.Busy) and not (found[3].folder / "error.txt").exists()
    assert isinstance(said[1][-1], NotFinite) and "NotFinite" in (found[1].folder / "error.txt").read_text()
    for place in (0, 2):
        assert said[place][-1] == found[place].folder and fingerprint(found[place].folder) == alone[place]
    stacked.broken = set()
    assert [events[-1] for events in trained(found).values()] == [config.folder for config in found]
    assert sorted(stacked.groups) == [1, 1, 3]  # the broken one goes on from its first epoch, the held one from none
    assert [fingerprint(config.folder) for config in found] == alone


def test_as_many_go_together_as_are_asked_for_or_fit(configs, stacked):
    found = configs(*(f"train.epochs=1 train.together=2 seed={seed}" for seed in range(3)))
    trained(found)
    assert stacked.groups == [2, 1]
    stacked.fitting = 2
    found = configs(*(f"train.epochs=1 train.together=auto seed={seed}" for seed in range(3, 6)))
    trained(found)
    assert stacked.groups == [2, 1, 2, 1]


def test_more_than_fit_is_refused_with_the_number_that_would(configs, stacked):
    stacked.fitting = 23
    found = configs(*(f"train.together=64 seed={seed}" for seed in range(24)))
    said = trained(found)
    assert len(said) == 24 and not stacked.groups
    for events in said.values():
        assert "train.together=64: 23 of these runs fit into the memory of cpu at once" in str(events[-1])
        assert events[-1].exit_status == 2


def test_a_network_that_cannot_be_stacked_goes_one_by_one_and_says_so(configs, stacked, alone, capsys):
    stacked.reason = "cnn32 has a layer that is not known"
    found = configs(*FOUR)
    said = trained(found)
    assert (
        "cnn32 has a layer that is not known: these 4 runs are trained one after the other" in capsys.readouterr().out
    )
    assert [events[-1] for events in said.values()] == [config.folder for config in found]
    assert [fingerprint(config.folder) for config in found] == alone


def test_an_error_of_the_whole_group_ends_each_of_its_runs_with_its_name(configs, stacked, monkeypatch):
    def exhausted(*arguments):
        raise MemoryError

    monkeypatch.setattr(sys.modules["detector.together"], "fit_together", exhausted)
    found = configs(*FOUR[:2])
    said = trained(found)
    for place, config in enumerate(found):
        assert isinstance(said[place][-1], MemoryError) and "MemoryError" in (config.folder / "error.txt").read_text()


def test_runs_of_a_family_differ_in_seed_and_view_alone(configs):
    same = {together.family(config) for config in configs(*FOUR, "aug=invert seed=7", "aug=none_again")}
    assert len(same) == 1 and None not in same
    for words in ("train.epochs=3", "model.dropout=0.1", "aug=both", "data.strength=0.5", "threads=2", "device=auto"):
        [other] = configs(words)
        assert together.family(other) not in same
    [shuffled] = configs("aug=shuffled_labels")
    assert together.family(shuffled) is None
