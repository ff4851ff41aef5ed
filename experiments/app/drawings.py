"""What the page draws: heat over a picture, pictures large enough to be seen, the meter of a probability."""

import numpy as np
from PIL import Image

from experiments.classifier import Verdict
from experiments.figures import COLORS
from experiments.overlays import laid_over

SHOWN = 256  # pixels, of the longer side


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) in whole steps to SHOWN pixels about, so that each pixel of a small picture stays one."""
    step = max(1, SHOWN // max(pixels.shape[:2]))
    return pixels.repeat(step, axis=0).repeat(step, axis=1)


def heated(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) in grey under heat (h, w), at least 0, scaled to its own highest."""
    height, width = picture.shape[:2]
    share = heat / heat.max() if heat.max() > 0 else heat
    share = np.asarray(Image.fromarray(share.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    return laid_over(picture[None], share[None])[0]


def meter(verdict: Verdict, threshold: float) -> str:
    """HTML: a bar from 0 to 1 filled to the probability, with a mark where FAKE begins; in colours of either theme."""
    share, mark = 100 * verdict.probability, 100 * min(threshold, 1)
    said = f"probability of fake {verdict.probability:.3f}; fake from {threshold:.3f} on"
    bar = "position:relative;height:1.6rem;border:1px solid;border-radius:.3rem;margin:.3rem 0"
    return (
        f'<div role="meter" aria-valuemin="0" aria-valuemax="1" aria-valuenow="{verdict.probability:.3f}" '
        f'aria-label="{said}" style="{bar}">'
        f'<div style="width:{share:.1f}%;height:100%;background:{COLORS[verdict.word.lower()]}"></div>'
        f'<div style="position:absolute;left:{mark:.1f}%;top:-.3rem;bottom:-.3rem;border-left:3px dashed"></div></div>'
        f'<div style="display:flex;justify-content:space-between"><span>0 real</span><span>fake 1</span></div>'
        f"<p>{said}</p>"
    )
