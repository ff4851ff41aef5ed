"""Distances of features, held against scipy, and whether strange pictures are found strange."""

import numpy as np
import torch
from scipy.spatial.distance import mahalanobis

from detector.batches import Pictures
from detector.color import View
from detector.familiarity import familiar, features
from detector.models import MODELS
from detector.predict import predict

CPU = torch.device("cpu")


def test_the_distance_is_that_to_the_nearest_class_and_the_limit_a_quantile():
    random = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    spread = np.array([[2.0, 0.5], [0.0, 0.3]])
    drawn = random.normal(size=(6000, 2)) @ spread + np.where(np.arange(6000) % 2, 8, 0)[:, None]
    found = familiar(drawn[:4000], labels, drawn[4000:], quantile=0.95)
    inverse = np.linalg.inv(np.cov((drawn[:4000] - found.means[labels]).T, bias=True))
    point = np.array([5.0, 1.0])
    expected = min(mahalanobis(point, mean, inverse) for mean in found.means)
    assert abs(found.distances(point[None])[0] - expected) < 0.02 * expected
    assert abs((found.distances(drawn[4000:]) > found.limit).mean() - 0.05) < 0.001
    assert abs(found.limit - np.sqrt(5.991)) < 0.1  # chi squared with two degrees of freedom


def test_features_are_what_the_last_layer_is_given_and_the_network_is_left_as_it_was():
    torch.manual_seed(0)
    images = np.random.RandomState(0).randint(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    pictures, model = Pictures(images, np.zeros(10), CPU), MODELS["cnn32"]().build(image_size=(32, 32))
    with features(model) as seen:
        scores = predict(model, pictures, torch.arange(10), View(), key=0, precision="fp32")
    found = torch.cat(seen).numpy()
    logits = found @ model[-1].weight.detach().numpy().T + model[-1].bias.detach().numpy()
    assert np.allclose(1 / (1 + np.exp(-logits[:, 0])), scores, atol=1e-6)
    assert found.shape == (10, 64) and model.training and not model[-1]._forward_pre_hooks
