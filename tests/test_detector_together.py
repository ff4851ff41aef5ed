"""Several runs trained as one end where each ends alone; in float64, where rounding hides nothing."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from detector.batches import Pictures
from detector.color import build_view
from detector.dropout import Dropout
from detector.models import MODELS
from detector.predict import predict
from detector.randomness import derive
from detector.stacked import WAYS
from detector.together import CannotStack, Member, fit_together, how_many_fit, memory_of
from detector.train import Epoch, NotFinite, Steps, Training, TrainSettings, fit

CPU = torch.device("cpu")
IMAGES = 56
ROWS = torch.arange(IMAGES)[torch.arange(IMAGES) % 9 != 3]  # 50 of them: twelve batches of four and one of two
PLAIN = build_view([])
INVERT = build_view([{"op": "invert"}])
LUMA = build_view([{"op": "saturate", "space": "luma", "factor": 8}])
JITTER = build_view([{"op": "jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}])


def drawn(resident=None):
    random = np.random.RandomState(0)
    labels = (np.arange(IMAGES) % 2).astype(np.uint8)
    images = random.randint(0, 200, (IMAGES, 32, 32, 3)).astype(np.uint8)
    images[labels == 1, ..., 0] += 40
    return Pictures(images, labels, CPU, resident=resident)


@pytest.fixture(scope="module")
def pictures():
    return drawn()


def tiny():
    """As cnn32, and a hundredth of its time."""
    layers = nn.Conv2d(3, 4, 5, stride=3), nn.MaxPool2d(2), nn.ReLU(inplace=True), nn.Flatten()
    return nn.Sequential(*layers, Dropout(0.5, 0), nn.Linear(100, 8), nn.ReLU(), Dropout(0.5, 1), nn.Linear(8, 1))


def cnn32():
    return MODELS["cnn32"]().build(image_size=(32, 32))


def begin(seed, build=tiny, dtype=torch.float64, **settings):
    torch.manual_seed(derive(seed, "weights"))
    settings = TrainSettings(**{"epochs": 4, "batch_size": 4, "log_every": 5} | settings)
    return Training.begin(build().to(dtype), settings, num_images=len(ROWS), device=CPU)


def alone(training, pictures, view, seed):
    return list(fit(training, pictures, ROWS, view, seed=seed))


def weights(training):
    return torch.cat([tensor.flatten() for tensor in training.model.state_dict().values()])


def moments(training):
    state = training.optimizer.state_dict()["state"]
    return torch.cat([tensor.flatten().double() for moment in state.values() for tensor in moment.values()])


def scores(training, pictures):
    return predict(training.model, pictures, ROWS, PLAIN, key=0, precision="fp32")


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def together(members, pictures):
    events = [[] for _ in members]
    for place, event in fit_together(members, pictures, ROWS):
        events[place].append(event)
    return events


def test_nine_runs_of_three_seeds_and_three_views_end_where_each_ends_alone(pictures):
    # members with one view do not lie side by side
    arms = [(view, seed) for seed in range(3) for view in (PLAIN, INVERT, LUMA)]
    members = [Member(begin(seed, cnn32), view, seed) for view, seed in arms]
    events = together(members, pictures)
    assert members[0].training.step == 52
    for (view, seed), member, said in zip(arms, members, events, strict=True):
        expected = begin(seed, cnn32)
        expected_events = alone(expected, pictures, view, seed)
        close(weights(member.training), weights(expected))
        close(moments(member.training), moments(expected))
        assert [type(event) for event in said] == [type(event) for event in expected_events]
        for ours, theirs in zip(said, expected_events, strict=True):
            if isinstance(ours, Steps):
                assert (ours.steps, ours.images) == (theirs.steps, theirs.images)
                assert ours.learning_rates == theirs.learning_rates
                np.testing.assert_allclose(ours.losses, theirs.losses, rtol=0, atol=1e-9)
            else:
                np.testing.assert_array_equal(ours.rows, theirs.rows)
                np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("resident", [True, False])
def test_random_views_and_a_schedule_too_and_after_each_epoch_a_member_is_what_it_would_be(resident):
    pictures, schedule = drawn(resident), "one_cycle"
    arms = [(JITTER, 0), (JITTER, 1), (PLAIN, 0)]
    members = [Member(begin(seed, schedule=schedule), view, seed) for view, seed in arms]
    seen = [[] for _ in arms]
    for place, event in fit_together(members, pictures, ROWS):
        if isinstance(event, Epoch):
            seen[place].append((event.epoch, scores(members[place].training, pictures)))
    for (view, seed), of_member in zip(arms, seen, strict=True):
        training, expected = begin(seed, schedule=schedule), []
        for event in fit(training, pictures, ROWS, view, seed=seed):
            if isinstance(event, Epoch):
                expected.append((event.epoch, scores(training, pictures)))
        assert [epoch for epoch, _ in of_member] == [epoch for epoch, _ in expected] == [1, 2, 3, 4]
        np.testing.assert_allclose([s for _, s in of_member], [s for _, s in expected], rtol=0, atol=1e-9)


def test_the_fastest_way_is_taken_and_one_that_fails_is_passed_over(pictures, monkeypatch):
    used = []
    for name, way in WAYS.items():
        monkeypatch.setitem(WAYS, name, lambda *a, name=name, way=way: used.append(name) or way(*a))
    monkeypatch.setitem(WAYS, "products", lambda *a: torch.empty(10**18))
    monkeypatch.setattr("detector.together.can_record", lambda device: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr("detector.together.Recorded", lambda step, model: step)
    clock = iter([0, 5, 5, 8])  # one by one takes 5 seconds, grouped 3
    monkeypatch.setattr("detector.together.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    events = fit_together([Member(begin(seed), PLAIN, seed) for seed in range(2)], pictures, ROWS)
    assert set(used) == {"one by one", "grouped"}
    used.clear()
    next(events)
    assert set(used) == {"grouped"}


def test_a_member_that_becomes_nan_ends_alone(pictures):
    members = [Member(begin(seed), PLAIN, seed) for seed in range(3)]
    with torch.no_grad():
        members[1].training.model[0].weight[0, 0, 0, 0] = torch.nan
    events = together(members, pictures)
    assert [type(event) for event in events[1]] == [NotFinite]
    assert "the loss became nan at step 1 (epoch 1" in str(events[1][0])
    for seed in (0, 2):
        expected = begin(seed)
        expected_events = alone(expected, pictures, PLAIN, seed)
        assert [type(event) for event in events[seed]] == [type(event) for event in expected_events]
        close(weights(members[seed].training), weights(expected))


def test_when_all_have_ended_nothing_is_trained_any_more(pictures, monkeypatch):
    steps = []
    monkeypatch.setattr(Training, "advance", lambda self: steps.append(1) or 0.1)
    members = [Member(begin(seed), PLAIN, seed) for seed in range(2)]
    with torch.no_grad():
        for member in members:
            member.training.model[0].weight[0, 0, 0, 0] = torch.nan
    events = together(members, pictures)
    assert [type(event) for said in events for event in said] == [NotFinite, NotFinite]
    assert len(steps) == 5


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_what_began_together_goes_on_alone_and_the_other_way_round(pictures, schedule):
    arms = [(INVERT, 0), (PLAIN, 1)]
    straight = [begin(seed, schedule=schedule) for _, seed in arms]
    for training, (view, seed) in zip(straight, arms, strict=True):
        alone(training, pictures, view, seed)

    saved = {}
    members = [Member(begin(seed, schedule=schedule), view, seed) for view, seed in arms]
    for place, event in fit_together(members, pictures, ROWS):
        if isinstance(event, Epoch) and event.epoch == 2:
            saved[place] = copy.deepcopy(members[place].training.state_dict())
    resumed = begin(5, schedule=schedule)
    resumed.load_state_dict(saved[1])
    alone(resumed, pictures, PLAIN, 1)
    close(weights(resumed), weights(straight[1]))

    halves = []
    for view, seed in arms:
        training = begin(seed, schedule=schedule)
        for event in fit(training, pictures, ROWS, view, seed=seed):
            if isinstance(event, Epoch) and event.epoch == 2:
                break
        halves.append(Member(training, view, seed))
    together(halves, pictures)
    for half, expected in zip(halves, straight, strict=True):
        close(weights(half.training), weights(expected))
        close(moments(half.training), moments(expected))
        assert half.training.step == expected.step


class Decides(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Scaled(nn.Module):
    """Each by a number of its own that is no parameter."""

    made = 0

    def __init__(self):
        super().__init__()
        Scaled.made += 1
        self.factor = float(Scaled.made)

    def forward(self, x):
        return x * self.factor


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(Decides, "data-dependent"), (lambda: nn.Dropout(0.5), "random"), (Scaled, "other logits when it is stacked")],
)
def test_a_network_that_cannot_be_stacked_is_refused_with_the_reason_before_any_step(pictures, layer, reason):
    members = [Member(begin(seed, lambda: nn.Sequential(tiny(), layer())), PLAIN, seed) for seed in range(2)]
    before = weights(members[0].training)
    with pytest.raises(CannotStack, match=reason) as error:
        fit_together(members, pictures, ROWS)
    assert "\n" not in str(error.value)
    assert torch.equal(weights(members[0].training), before)
    assert all(parameter.grad is None for parameter in members[0].training.model.parameters())


def test_members_that_differ_in_more_than_seed_and_view_are_refused(pictures):
    ahead = begin(1)
    ahead.epoch, ahead.step = 1, 13
    wide = begin(1, lambda: nn.Sequential(nn.Conv2d(3, 3, 1), tiny()))
    others = {"their settings differ": begin(1, batch_size=8), "different epochs: 0 and 1": ahead, "equal size": wide}
    for reason, other in others.items():
        with pytest.raises(CannotStack, match=reason):
            fit_together([Member(begin(0), PLAIN, 0), Member(other, PLAIN, 1)], pictures, ROWS)


def test_one_member_is_trained_as_fit_does(pictures):
    member, expected = Member(begin(0), INVERT, 0), begin(0)
    together([member], pictures)
    alone(expected, pictures, INVERT, 0)
    assert torch.equal(weights(member.training), weights(expected))


def test_as_many_fit_as_the_memory_holds(pictures, monkeypatch):
    member = Member(begin(0), PLAIN, 0)
    assert 10 < how_many_fit(member, pictures) < 10**9  # into the memory of this machine
    each = memory_of(member, pictures)
    assert memory_of(Member(begin(0, batch_size=8), PLAIN, 0), pictures) > each
    for free, fit_in in ((each / 2, 1), (each * 7.5 / 0.9, 7), (each * 60.5 / 0.9, 60)):
        monkeypatch.setattr("detector.together._free", lambda device, free=free: free)
        assert how_many_fit(member, pictures) == fit_in
    assert member.training.model[0].weight.grad is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_gpu_a_member_takes_no_more_than_is_counted(monkeypatch):
    # a way that does not fit is passed over, so the most that any takes is not counted
    monkeypatch.setattr("detector.together._fastest_way", lambda *_: "grouped")
    device = torch.device("cuda")
    pictures = Pictures(np.zeros((64, 32, 32, 3), np.uint8), np.arange(64) % 2, device)
    settings = TrainSettings(epochs=1, batch_size=16)
    members = [
        Member(Training.begin(cnn32(), settings, num_images=64, device=device), PLAIN, seed) for seed in range(16)
    ]
    each = memory_of(members[0], pictures)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    list(fit_together(members, pictures, torch.arange(64)))
    assert torch.cuda.max_memory_allocated() - before < 16 * each


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("way", WAYS)
def test_on_the_gpu_every_way_is_recorded_and_ends_as_each_ends_alone(way, monkeypatch, capsys):
    monkeypatch.setattr("detector.together._fastest_way", lambda *_: way)
    device, settings = torch.device("cuda"), TrainSettings(epochs=2, batch_size=4)
    pictures = Pictures(drawn().images.numpy(), np.arange(IMAGES) % 2, device)

    def begun(seed):
        torch.manual_seed(seed)
        return Training.begin(cnn32().double(), settings, num_images=len(ROWS), device=device)

    members = [Member(begun(seed), view, seed) for seed in range(2) for view in (PLAIN, JITTER)]
    together(members, pictures)
    assert capsys.readouterr().err == ""  # no recording was refused
    for member in members:
        expected = begun(member.seed)
        alone(expected, pictures, member.view, member.seed)
        close(weights(member.training), weights(expected))
