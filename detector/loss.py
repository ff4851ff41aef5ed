"""What training makes small: cross-entropy, of FAKE against REAL or of several classes."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def cross_entropies(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Of each picture in nats (N, B): logits (N, B, outputs), one for FAKE or one a class; labels (N * B,), 1 for FAKE
    or the number of a class; smoothing: from 0 to below 1, so much of a label is shared evenly among the classes."""
    if logits.shape[2] > 1:
        each = cross_entropy(logits.flatten(0, 1), labels.long(), reduction="none", label_smoothing=smoothing)
        return each.view(logits.shape[:2])
    logits = logits.squeeze(2)
    labels = labels.to(logits.dtype).view_as(logits)
    if smoothing:
        labels = labels * (1 - smoothing) + smoothing / 2
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")
