"""Several classes: metrics held against scikit-learn, the loss against its definition, training together and alone."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import nn

from detector import multiclass
from detector.batches import Pictures
from detector.color import View
from detector.loss import cross_entropies
from detector.models import MODELS
from detector.together import Member
from tests.test_detector_together import CPU, ROWS, alone, begin, close, tiny, together, weights
from tests.test_detector_together import drawn as pictures_of_two

NAMES = ("real", "flux", "sd")


def drawn(count=400, seed=0):
    random = np.random.default_rng(seed)
    labels = random.choice(3, count, p=(0.6, 0.3, 0.1))
    logits = random.normal(size=(count, 3)) + 1.5 * np.eye(3)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return scores, labels


def test_metrics_are_those_of_scikit_learn():
    scores, labels = drawn()
    called, found = scores.argmax(axis=1), multiclass.evaluate(scores, labels, NAMES)
    recalls = reference.recall_score(labels, called, average=None)
    expected = {
        "accuracy": reference.accuracy_score(labels, called),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, called),
        "nll": reference.log_loss(labels, scores),
        **{f"{name}/recall": recall for name, recall in zip(NAMES, recalls, strict=True)},
    }
    assert found == pytest.approx(expected, rel=1e-12) and list(found) == list(expected)
    np.testing.assert_array_equal(multiclass.confusion(scores, labels), reference.confusion_matrix(labels, called))


def test_a_class_without_pictures_has_no_recall_and_the_others_make_the_mean():
    found = multiclass.evaluate([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [1, 0, 0]], [0, 1, 0], NAMES)
    assert (found["real/recall"], found["flux/recall"]) == (1, 0) and np.isnan(found["sd/recall"])
    assert found["balanced_accuracy"] == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([0.5, 0.5], [0, 1], "expected \\(N, K\\) and \\(N,\\)"),
        ([[0.5, 0.6]], [0], "expected probabilities that sum to 1"),
        ([[np.nan, 1.0]], [0], "expected probabilities that sum to 1"),
        ([[0.5, 0.5]], [2], "label 0 is 2: expected 0 to 1"),
    ],
)
def test_what_is_no_score_or_label_is_refused(scores, labels, said):
    with pytest.raises(ValueError, match=said):
        multiclass.evaluate(scores, labels, ("a", "b"))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_several_classes_is_cross_entropy_by_its_definition(smoothing):
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 2, 1, 0, 0])
    target = torch.eye(3, dtype=torch.float64)[labels] * (1 - smoothing) + smoothing / 3
    expected = -(target.view(2, 5, 3) * (logits.exp() / logits.exp().sum(-1, keepdim=True)).log()).sum(-1)
    torch.testing.assert_close(cross_entropies(logits, labels.float(), smoothing), expected)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_has_as_many_logits_as_are_asked_for(name):
    model = MODELS[name]().build(image_size=(32, 32), outputs=3).eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_networks_that_are_trained_together_end_where_each_ends_alone():
    pixels = pictures_of_two().images.numpy()
    pictures = Pictures(pixels, np.arange(len(pixels)) % 3, CPU)

    def three():
        return nn.Sequential(*tiny()[:-1], nn.Linear(8, 3))

    members = [Member(begin(seed, three, label_smoothing=0.1), View(), seed) for seed in range(2)]
    events = together(members, pictures)
    for seed, (member, said) in enumerate(zip(members, events, strict=True)):
        expected = begin(seed, three, label_smoothing=0.1)
        last = alone(expected, pictures, View(), seed)[-1]
        close(weights(member.training), weights(expected))
        assert said[-1].scores.shape == (len(ROWS), 3)
        np.testing.assert_allclose(said[-1].scores, last.scores, rtol=0, atol=1e-9)
