import copy

import numpy as np
import pytest
import torch
from torch import nn

from detector.batches import Pictures
from detector.color import build_view
from detector.dropout import image_keys
from detector.models import MODELS
from detector.predict import predict
from detector.randomness import derive, numbers
from detector.train import Epoch, NotFinite, Steps, Training, TrainSettings, batch_sizes, fit, fit_all

CPU = torch.device("cpu")
PLAIN = build_view([])


def drawn_pictures(count=96, resident=None):
    """Noise whose red is a little stronger in FAKE."""
    random = np.random.RandomState(0)
    labels = (np.arange(count) % 2).astype(np.uint8)
    images = random.randint(0, 200, (count, 32, 32, 3)).astype(np.uint8)
    images[labels == 1, ..., 0] += 40
    return Pictures(images, labels, CPU, resident=resident)


def begin(seed=0, **settings):
    torch.manual_seed(derive(seed, "weights"))
    model = MODELS["cnn32"]().build(image_size=(32, 32))
    settings = TrainSettings(**{"epochs": 2, "batch_size": 16, "log_every": 4} | settings)
    return Training.begin(model, settings, num_images=96, device=CPU)


def weights(training):
    return torch.cat([p.detach().flatten() for p in training.model.parameters()])


def test_streamed_batches_are_the_resident_ones():
    rows = torch.randperm(96, generator=torch.Generator().manual_seed(1))[:50]
    resident, streamed = (list(drawn_pictures(resident=r).batches(rows, 16)) for r in (True, False))
    assert [len(batch.rows) for batch in streamed] == [16, 16, 16, 2]
    image = drawn_pictures().images[rows[3]].permute(2, 0, 1) / 255  # (3, H, W)
    torch.testing.assert_close(resident[0].images[3], image)
    for a, b in zip(resident, streamed, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and torch.equal(a.rows, b.rows)
    assert torch.equal(torch.cat([batch.rows for batch in streamed]), rows)


def test_an_error_while_streaming_reaches_the_consumer_and_a_consumer_may_leave_early():
    with pytest.raises(IndexError):
        list(drawn_pictures(resident=False).batches(torch.tensor([1, 1000]), 1))
    stream = drawn_pictures(resident=False).batches(torch.arange(96), 1)
    next(stream)
    stream.close()


def test_losses_that_are_looked_at_once_an_epoch_are_told_alike(monkeypatch):
    def told(**settings):
        training, rows = begin(**settings), torch.arange(90)  # the last of six batches is smaller
        return list(fit_all(training, drawn_pictures(), rows, PLAIN, [0]))

    for settings in ({}, {"learning_rate": 1e30}):
        often = told(**settings)
        with monkeypatch.context() as patch:
            patch.setattr("detector.train.waits_long", lambda device: True)
            assert [str(event) for event in told(**settings) if not isinstance(event[1], Epoch)] == [
                str(event) for event in often if not isinstance(event[1], Epoch)
            ]
    assert [event.images for _, event in told() if isinstance(event, Steps)] == [64, 90] * 2


def test_a_picture_that_is_left_over_joins_the_last_batch_as_no_network_normalises_over_one():
    torch.manual_seed(0)
    model = MODELS["resnet18"]().build(image_size=(32, 32))
    training = Training.begin(model, TrainSettings(epochs=1, batch_size=16, log_every=1), num_images=33, device=CPU)
    *steps, epoch = fit(training, drawn_pictures(33), torch.arange(33), PLAIN, seed=0)
    assert [step.images for step in steps] == [16, 33] and sorted(epoch.rows) == list(range(33))
    for count in range(1, 40):
        sizes = batch_sizes(count, 4)
        assert sum(sizes) == count and set(sizes[:-1]) <= {4} and (sizes[-1] > 1 or count == 1)


def test_the_same_settings_give_the_same_weights_and_another_seed_others():
    ends = []
    for seed in (0, 0, 1):
        training = begin(seed)
        list(fit(training, drawn_pictures(), torch.arange(96), PLAIN, seed=seed))
        ends.append(weights(training))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_two_views_with_one_seed_start_from_equal_weights_and_see_equal_orders():
    seen = {}
    random = {"op": "jitter", "brightness": 0.4, "contrast": 0.0, "saturation": 0.4, "hue": 0.0}
    for name, operations in {"none": [], "fixed": [{"op": "invert"}], "random": [random]}.items():
        training = begin()
        start = weights(training).clone()
        events = list(fit(training, drawn_pictures(), torch.arange(96), build_view(operations), seed=0))
        seen[name] = (start, [event.rows for event in events if isinstance(event, Epoch)], weights(training))
    for other in ("fixed", "random"):
        assert torch.equal(seen["none"][0], seen[other][0])
        np.testing.assert_array_equal(seen["none"][1], seen[other][1])
        assert not torch.equal(seen["none"][2], seen[other][2])
    first, second = seen["none"][1]
    assert sorted(first) == sorted(second) == list(range(96)) and list(first) != list(second)


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_going_on_from_a_saved_epoch_is_never_having_stopped(schedule):
    jitter = build_view([{"op": "saturate", "space": "hsv", "factor": [1, 4]}])
    straight = begin(epochs=3, schedule=schedule)
    saved = None
    for event in fit(straight, drawn_pictures(), torch.arange(96), jitter, seed=0):
        if isinstance(event, Epoch) and event.epoch == 1:
            saved = copy.deepcopy(straight.state_dict())
    resumed = begin(seed=5, epochs=3, schedule=schedule)
    resumed.load_state_dict(saved)
    torch.rand(7)  # whatever the process drew before
    list(fit(resumed, drawn_pictures(), torch.arange(96), jitter, seed=0))
    assert torch.equal(weights(straight), weights(resumed))


def test_a_state_in_another_memory_layout_is_the_same_state():
    straight = begin(epochs=2)
    for event in fit(straight, drawn_pictures(), torch.arange(96), PLAIN, seed=0):
        if isinstance(event, Epoch) and event.epoch == 1:
            saved = copy.deepcopy(straight.state_dict())
    for moment in saved["optimizer"]["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            moment[name] = moment[name].contiguous()  # a convolution's weights lie channels last
    resumed = begin(seed=5, epochs=2)
    resumed.load_state_dict(saved)
    list(fit(resumed, drawn_pictures(), torch.arange(96), PLAIN, seed=0))
    assert torch.equal(weights(straight), weights(resumed))


def test_view_and_dropout_are_drawn_by_seed_purpose_epoch_and_image():
    class Listening(nn.Sequential):
        def forward(self, x):
            dropping.append(image_keys())
            return super().forward(x)

    def looking(images, keys, rows):
        seen.append((keys, rows))
        return images

    seen, dropping = [], []
    model = Listening(nn.Flatten(), nn.Linear(3072, 1))
    training = Training.begin(model, TrainSettings(epochs=2, batch_size=40), num_images=96, device=CPU)
    list(fit(training, drawn_pictures(), torch.arange(96), looking, seed=7))
    assert [len(rows) for _, rows in seen] == [40, 40, 16] * 2
    for step, ((keys, rows), dropped) in enumerate(zip(seen, dropping, strict=True)):
        epoch = 1 + step // 3
        assert set(keys.tolist()) == {derive(7, "augmentation", epoch)}
        assert torch.equal(dropped, numbers(derive(7, "dropout", epoch), rows))


def test_steps_are_reported_once_each_and_the_training_learns():
    events = list(
        fit(training := begin(epochs=6), pictures := drawn_pictures(), rows := torch.arange(96), PLAIN, seed=0)
    )
    steps = [step for event in events if isinstance(event, Steps) for step in event.steps]
    assert steps == list(range(1, 37))
    losses = [loss for event in events if isinstance(event, Steps) for loss in event.losses]
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    scores = predict(training.model, pictures, rows, PLAIN, key=0, precision="fp32")
    assert scores.dtype == np.float64 and scores.shape == (96,)
    assert scores[1::2].mean() > scores[::2].mean()


def test_a_loss_that_is_not_finite_stops_the_run_naming_step_and_settings():
    training = begin(learning_rate=1e30)
    with pytest.raises(
        NotFinite, match=r"the loss became (nan|inf) at step \d+ \(epoch 1, learning rate 1e\+30, batch size 16\)"
    ):
        list(fit(training, drawn_pictures(), torch.arange(96), PLAIN, seed=0))


def test_bf16_trains_close_to_fp32():
    ends = []
    for precision in ("fp32", "bf16"):
        training = begin(precision=precision, epochs=1)
        list(fit(training, drawn_pictures(), torch.arange(96), PLAIN, seed=0))
        ends.append(weights(training))
    assert not torch.equal(*ends) and (ends[0] - ends[1]).abs().mean() < 1e-3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("schedule", "x"),
        ("precision", "fp8"),
        ("keep", "first"),
    ],
)
def test_a_setting_out_of_range_is_named(key, value):
    with pytest.raises(ValueError, match=f"train.{key}=.*expected"):
        TrainSettings(**{key: value})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_resident_and_streamed_give_the_same_batches():
    images = np.random.RandomState(0).randint(0, 256, (64, 32, 32, 3), np.uint8)
    rows = torch.arange(63, -1, -1)
    device = torch.device("cuda")
    resident, streamed = (
        [batch.images.cpu() for batch in Pictures(images, np.zeros(64), device, resident=r).batches(rows, 10)]
        for r in (True, False)
    )
    assert all(torch.equal(a, b) for a, b in zip(resident, streamed, strict=True))
