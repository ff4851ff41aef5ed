"""Whether a picture is like those that a network was trained on, by what its last layer is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

RIDGE = 1e-3  # of the mean variance, added to each: units that are never on have none


@dataclass(frozen=True)
class Familiar:
    """The features of training: mean of each class, float64 (classes, D), and inverse of the covariance that they
    share, (D, D); limit: the distance that a share of `quantile` of validation does not exceed."""

    means: np.ndarray
    inverse: np.ndarray
    limit: float
    quantile: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distance of features (N, D) to the nearest class, float64 (N,) (Lee et al. 2018, NeurIPS)."""
        off = np.asarray(features, dtype=np.float64)[:, None] - self.means
        return np.sqrt(np.einsum("nci,ij,ncj->nc", off, self.inverse, off, optimize=True).clip(0).min(1))


def familiar(trained: np.ndarray, labels: np.ndarray, held_out: np.ndarray, *, quantile: float) -> Familiar:
    """Of the features of training images (N, D) with their labels (N,), and of others of the same kind (M, D)."""
    trained, classes = np.asarray(trained, dtype=np.float64), np.unique(labels)
    means = np.stack([trained[labels == label].mean(0) for label in classes])
    off = trained - means[np.searchsorted(classes, labels)]
    covariance = off.T @ off / len(off)
    covariance += max(RIDGE * float(np.trace(covariance)) / len(covariance), 1e-12) * np.eye(len(covariance))
    known = Familiar(means, np.linalg.inv(covariance), np.inf, quantile)
    return Familiar(means, known.inverse, float(np.quantile(known.distances(held_out), quantile)), quantile)


@contextmanager
def features(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list that gathers what the network's last linear layer is given while it predicts, float32 (n, D) a batch."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    found: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, given: found.append(given[0].float().cpu()))
    try:
        yield found
    finally:
        hook.remove()
