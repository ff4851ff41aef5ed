"""Scores of pictures: the probability of FAKE, or of each class, gathered once, in the order asked for."""

import numpy as np
import torch
from torch import Tensor, nn

from detector import arithmetic
from detector.batches import Pictures
from detector.color import View

# of a batch: what one step of evaluation holds at once
PIXELS = {"cpu": 200 * 32 * 32, "cuda": 4000 * 32 * 32}


@torch.inference_mode()
def predict(model: nn.Module, pictures: Pictures, rows: Tensor, view: View, *, key: int, precision: str) -> np.ndarray:
    """Probability of FAKE, float64 (n,), of the pictures `rows` (int64, CPU) seen through `view`; of a network of
    several outputs that of each class, (n, classes).

    key: for a view that draws, so that an image is drawn alike every time. The network is left in the mode it was in.
    """
    training = model.training
    model.eval()
    logits = []
    dtype = next(model.parameters()).dtype
    height, width = pictures.size
    for batch in pictures.batches(rows, max(1, PIXELS[pictures.device.type] // (height * width))):
        with arithmetic.of_network(pictures.device, precision):
            logits.append(model(view(batch.images, key, batch.rows).to(dtype)))
    model.train(training)
    return probabilities(torch.cat(logits))


def probabilities(logits: Tensor) -> np.ndarray:
    """Logits (..., outputs) -> probabilities in float64: of one output that of FAKE (...), by the sigmoid, which
    saturates only beyond 36 there; of several those of all classes (..., classes), by softmax."""
    wide = logits.detach().double().cpu()
    return (torch.sigmoid(wide.squeeze(-1)) if wide.shape[-1] == 1 else torch.softmax(wide, -1)).numpy()
