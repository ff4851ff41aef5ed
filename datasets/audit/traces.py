"""What may give a picture away without being looked at, as plain numbers: of its file, its thumbnail, its pixels."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from datasets.manifest import LABELS, DataError, Row

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Below this a spectrum has too few places to find a peak in.
LEAST_SIDE = 32
MOST_SIDE = 512
TINY = 0.01
EDGES = 41

# Facts of a file and what a reader calls them.
FILE_FACTS = {
    "width": "size",
    "height": "size",
    "aspect": "size",
    "area": "size",
    "format": "format",
    "mode": "mode",
    "quality": "JPEG quality",
    "sampling": "chroma subsampling",
}
DENSITY = "bytes per pixel"
NAMED = ("format", "mode", "sampling")  # ranks of names, without a distance between them
CODEC_FACTS = ("grid", "grid elsewhere", "chroma pairs")
DETAIL_FACTS = ("periodicity", "fine detail", "sharpness", "noise")


def file_facts(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """FILE_FACTS and DENSITY of each row, float64 (N,); a name such as PNG is its rank among the names there."""
    width, height = (np.array([getattr(row, key) for row in rows], np.float64) for key in ("width", "height"))
    area = width * height
    size = np.array([row.bytes for row in rows], np.float64)
    return {
        "width": width,
        "height": height,
        "aspect": width / np.maximum(height, 1),
        "area": area,
        "format": _ranks([row.format for row in rows]),
        "mode": _ranks([row.mode for row in rows]),
        "quality": np.array([row.quality for row in rows], np.float64),
        "sampling": _ranks([row.sampling for row in rows]),
        DENSITY: size / np.maximum(area, 1),
    }


def scaling_facts(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """How each row was equalised, float64 (N,) in (0, 1]: scale; width kept and height kept, shares of the scaled
    picture that the crop left. DataError where `was` does not say so.
    """
    found = []
    for row in rows:
        try:
            made = json.loads(row.was)["made"]
            left, top, right, bottom = made["box"]
            scale, width, height = float(made["scale"]), right - left, bottom - top
            kept = width / (made["width"] * scale), height / (made["height"] * scale)
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            raise DataError(
                f"{row.path}: its manifest's `was` does not tell how it was equalised; build the set again"
            ) from None
        found.append((scale, *kept))
    columns = np.array(found, np.float64).reshape(-1, 3).clip(0, 1).T  # a side rounded up is a little more than kept
    return dict(zip(("scale", "width kept", "height kept"), columns, strict=True))


def _ranks(names: list[str]) -> np.ndarray:
    rank = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([rank[name] for name in names], np.float64)


def color_facts(thumbs: np.ndarray) -> dict[str, np.ndarray]:
    """Means over each thumbnail, uint8 (N, H, W, 3) -> float64 (N,) in [0, 1]: red, green, blue, brightness (luma),
    saturation (of HSV: (max - min) / max, black counts 0).
    """
    means = thumbs.mean(axis=(1, 2)) / 255
    # channel by channel: a maximum over the last axis of three takes ten times as long
    first, second, third = (thumbs[..., channel] for channel in range(3))
    top = np.maximum(np.maximum(first, second), third)
    spread = top - np.minimum(np.minimum(first, second), third)
    saturation = (spread / np.maximum(top, 1).astype(np.float32)).mean(axis=(1, 2), dtype=np.float64)
    colors = {name: means[:, channel] for channel, name in enumerate(("red", "green", "blue"))}
    return {**colors, "brightness": means @ LUMA.astype(np.float64), "saturation": saturation}


def middle(pixels: np.ndarray, side: int) -> np.ndarray:
    """The square of `side` pixels about the middle, its corner on the 8x8 grid that a codec may have left."""
    top, left = ((length - side) // 2 // 8 * 8 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def pixel_traces(pixels: np.ndarray) -> dict[str, float]:
    """CODEC_FACTS and DETAIL_FACTS of RGB uint8 (S, S, 3), S from LEAST_SIDE; all but noise are natural logarithms.

    grid: steps across the 8x8 grid from the corner against steps elsewhere; grid elsewhere: the same for the most
    marked of the seven other places of a grid, as a crop leaves it. chroma pairs: steps of the colour differences
    within pairs of columns or rows against steps between pairs, which 4:2:0 and the blocks of colour set apart.
    periodicity: the highest peak over the median in the spectrum of the mean second difference along rows and columns,
    without the grid's own frequencies, as resampling leaves it (Gallagher, Detection of Linear and Cubic Interpolation
    in JPEG Compressed Images, 2005). fine detail: power from .35 cycles a pixel against .1 to .25. sharpness: variance
    of the second difference. noise: standard deviation in grey levels after Immerkaer (Fast Noise Variance Estimation,
    1996), by the median, so that edges do not count.
    """
    luma = pixels.astype(np.float32) @ LUMA
    blue, red = pixels[..., 2] - luma, pixels[..., 0] - luma
    both = luma, luma.T
    steps = np.mean([_steps(axis, 8) for axis in both], axis=0)
    second = [np.abs(np.diff(axis, 2, axis=1)) for axis in both]
    chroma = np.mean([_steps(part, 2) for difference in (blue, red) for part in (difference, difference.T)], axis=0)
    return {
        "grid": float(np.log(steps[7] / np.median(steps[:7]))),
        "grid elsewhere": float(np.log(steps[:7].max() / np.median(steps[:7]))),
        "chroma pairs": float(np.log(chroma[0] / chroma[1])),
        "periodicity": float(np.mean([_periodicity(part.mean(axis=0)) for part in second])),
        "fine detail": float(np.mean([_fine_detail(axis) for axis in both])),
        "sharpness": float(np.log(np.mean([(part**2).mean() for part in second]) + TINY)),
        "noise": float(np.median(np.abs(np.diff(np.diff(luma, 2, axis=0), 2, axis=1))) * 1.4826 / 6),
    }


def _steps(plane: np.ndarray, period: int) -> np.ndarray:
    """Mean step between the columns x and x + 1 for each x modulo `period`: (period,), above 0."""
    steps = np.abs(np.diff(plane, axis=1)).mean(axis=0)
    return np.array([steps[phase::period].mean() for phase in range(period)]) + TINY


def _periodicity(profile: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft((profile - profile.mean()) * np.hanning(len(profile))))
    frequency = np.fft.rfftfreq(len(profile))
    # the picture's own shapes are slow, and the 8x8 grid has facts of its own
    off_grid = np.abs(frequency * 8 - np.rint(frequency * 8)) > min(2 * 8 / len(profile), 0.3)
    kept = spectrum[(frequency > 0.06) & off_grid]
    return float(np.log((kept.max() + TINY) / (np.median(kept) + TINY))) if len(kept) else 0.0


def _fine_detail(luma: np.ndarray) -> float:
    length = luma.shape[1]
    window = np.hanning(length).astype(np.float32)
    power = (np.abs(np.fft.rfft((luma - luma.mean(axis=1, keepdims=True)) * window, axis=1)) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(length)
    fine, coarse = power[frequency >= 0.35].mean(), power[(frequency >= 0.1) & (frequency <= 0.25)].mean()
    return float(np.log((fine + TINY) / (coarse + TINY)))


def distributions(facts: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, dict[str, list]]:
    """Fact -> how many of each class lie between the same edges; what is outside of the middle 99 % counts at its end;
    and the quartiles of each class, least first, none of a class that is not there.

    facts: name -> float (N,); those of NAMED are left out.
    """
    drawn = {}
    for fact, values in facts.items():
        if fact in NAMED or not len(values):
            continue
        low, high = np.quantile(values, (0.005, 0.995))
        edges = np.linspace(low, high, EDGES) if high > low else np.array([low - 0.5, low + 0.5])
        inside = values.clip(edges[0], edges[-1])
        each = {name: np.histogram(inside[labels == label], edges)[0].tolist() for name, label in LABELS.items()}
        quartiles = {
            name: np.round(np.quantile(inside, (0.25, 0.5, 0.75)), 6).tolist() if len(inside) else []
            for name, label in LABELS.items()
            for inside in [values[labels == label]]
        }
        drawn[fact] = {**each, "edges": np.round(edges, 6).tolist(), "quartiles": quartiles}
    return drawn
