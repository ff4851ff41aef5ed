"""Traces of a codec and of resampling: on pictures that went through one, against the same that did not."""

import colorsys
import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy.signal import convolve2d

from datasets.audit.traces import color_facts, distributions, file_facts, middle, pixel_traces, scaling_facts
from datasets.equalize import EqualizeSettings, equalize
from datasets.manifest import FAKE, REAL, DataError, Row


def scene(seed: int, side: int = 264, noise: float = 3.0) -> np.ndarray:
    """Smooth colours and noise of a known standard deviation in each channel."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(60, 200, (7, 9, 3), np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return (smooth + random.normal(0, noise, smooth.shape)).round().clip(0, 255).astype(np.uint8)


def saved(pixels: np.ndarray, **save) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **save)
    return np.asarray(Image.open(out))


def mean_traces(pictures: list[np.ndarray]) -> dict[str, float]:
    found = [pixel_traces(middle(picture, 192)) for picture in pictures]
    return {key: float(np.mean([trace[key] for trace in found])) for key in found[0]}


SCENES = [scene(seed) for seed in range(6)]
PLAIN = mean_traces(SCENES)


def test_a_jpeg_shows_its_grid_and_its_crop_shows_it_elsewhere():
    jpegs = [saved(picture, quality=60) for picture in SCENES]
    whole, cropped = mean_traces(jpegs), mean_traces([picture[3:, 5:] for picture in jpegs])
    assert abs(PLAIN["grid"]) < 0.05 and PLAIN["grid elsewhere"] < 0.05
    assert whole["grid"] > 0.2 and whole["grid"] > 3 * abs(cropped["grid"])
    assert cropped["grid elsewhere"] > whole["grid elsewhere"] + 0.1


def test_chroma_subsampling_shows_in_pairs():
    noisy = [scene(seed, noise=10.0) for seed in range(6)]
    full, halved = ([saved(p, quality=100, subsampling=s) for p in noisy] for s in ("4:4:4", "4:2:0"))
    assert abs(mean_traces(full)["chroma pairs"]) < 0.03 and mean_traces(halved)["chroma pairs"] < -0.2


def test_enlarging_shows_as_a_period_and_as_missing_detail():
    enlarged = [np.asarray(Image.fromarray(p).resize((343, 343), Image.Resampling.BICUBIC)) for p in SCENES]
    traces = mean_traces(enlarged)
    assert traces["periodicity"] > PLAIN["periodicity"] + 1
    assert traces["fine detail"] < PLAIN["fine detail"] - 1 and traces["sharpness"] < PLAIN["sharpness"] - 0.5


@pytest.mark.parametrize("deviation", [1.0, 4.0, 10.0])
def test_noise_is_measured_in_grey_levels(deviation):
    found = mean_traces([scene(seed, noise=deviation) for seed in range(3)])["noise"]
    luma = deviation * np.sqrt(0.299**2 + 0.587**2 + 0.114**2)  # independent in each channel
    assert found == pytest.approx(luma, rel=0.15, abs=0.1)


def test_sharpness_and_noise_are_the_masks_of_their_formulas():
    pixels = scene(3, side=64, noise=5.0)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    found = pixel_traces(pixels)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])  # Immerkaer's
    assert found["noise"] == pytest.approx(1.4826 / 6 * np.median(np.abs(convolve2d(luma, mask, "valid"))), rel=1e-4)
    line = np.array([[1, -2, 1]])
    both = [convolve2d(luma, part, "valid").var() for part in (line, line.T)]
    assert found["sharpness"] == pytest.approx(np.log(np.mean(both)), abs=1e-3)


def test_flat_and_tiny_pictures_have_finite_traces():
    for picture in (np.zeros((32, 32, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)):
        assert np.isfinite(list(pixel_traces(picture).values())).all()


def test_the_middle_lies_on_the_grid_of_the_whole():
    pixels = np.arange(100 * 130 * 3).reshape(100, 130, 3)
    cut = middle(pixels, 32)
    assert cut.shape == (32, 32, 3)
    row, column = np.argwhere((pixels == cut[0, 0]).all(axis=2))[0]
    assert row % 8 == column % 8 == 0 and abs(row - 34) < 8 and abs(column - 49) < 8


def test_colours_of_thumbnails_are_those_of_the_formulas():
    thumbs = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    thumbs[0, 0, 0] = 0
    facts = color_facts(thumbs)
    for number, thumb in enumerate(thumbs):
        hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in thumb.reshape(-1, 3) / 255]
        assert facts["saturation"][number] == pytest.approx(np.mean([s for _, s, _ in hsv]), abs=1e-6)
        assert facts["green"][number] == pytest.approx(thumb[..., 1].mean() / 255)
    assert facts["brightness"] == pytest.approx(
        0.299 * facts["red"] + 0.587 * facts["green"] + 0.114 * facts["blue"], abs=1e-6
    )


def test_facts_and_distributions_count_every_row_once():
    rows = [
        Row(f"{i}", FAKE if i % 2 else REAL, width=100 + i, height=50, format="PNG", mode="RGB", bytes=5000)
        for i in range(30)
    ]
    facts = file_facts(rows)
    assert facts["aspect"][10] == 2.2 and facts["bytes per pixel"][0] == 1.0
    spread = distributions(facts, np.array([row.label for row in rows]))
    alike = {"REAL": [50.0] * 3, "FAKE": [50.0] * 3}
    assert "format" not in spread
    assert spread["height"] == {"REAL": [15], "FAKE": [15], "edges": [49.5, 50.5], "quartiles": alike}
    assert spread["width"]["quartiles"]["REAL"] == [107.0, 114.0, 121.0]  # of 100, 102 to 128
    lone = distributions({"width": facts["width"]}, np.zeros(30))["width"]
    assert lone["quartiles"]["FAKE"] == [] and sum(lone["FAKE"]) == 0
    for counts in spread.values():
        assert sum(counts["REAL"]) == sum(counts["FAKE"]) == 15
        assert len(counts["edges"]) == len(counts["REAL"]) + 1


def test_scaling_says_how_much_of_the_original_is_left():
    out = io.BytesIO()
    Image.fromarray(scene(0, side=400)).crop((0, 0, 400, 200)).save(out, "PNG")
    law = EqualizeSettings(sizes=((64, 96),), long_side=(160, 160))
    facts = scaling_facts([Row("1", REAL, was=json.dumps({"made": equalize(out.getvalue(), law).facts}))])
    assert {name: values.tolist() for name, values in facts.items()} == {
        "scale": [0.4],
        "width kept": pytest.approx([96 / 160]),
        "height kept": pytest.approx([64 / 80]),
    }


@pytest.mark.parametrize("was", ["no JSON", "[]", "{}", '{"made": {"scale": 0.5, "box": [1, 2], "width": 4}}'])
def test_a_row_that_does_not_say_how_it_was_scaled_is_named(was):
    with pytest.raises(DataError, match=r"^images/7\.jpg: .*build the set again$"):
        scaling_facts([Row("images/7.jpg", REAL, was=was)])
