"""Equalising: one law for both classes, drawn from the bytes; a picture keeps its content and its colours."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from datasets.equalize import EqualizeSettings, equalize
from datasets.images import BadImage

SMALL = {"sizes": ((64, 64),), "long_side": (80, 120)}


def picture(width: int, height: int, *, seed: int = 0, **save) -> bytes:
    """Smooth colours with some noise, as a file; PNG unless `format` says otherwise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (6, 6, 3), np.uint8)).resize((width, height))
    noisy = np.asarray(coarse) + random.normal(0, 4, (height, width, 3))
    out = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, **{"format": "PNG", **save})
    return out.getvalue()


def flat(color: tuple[int, ...], **save) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", (200, 200), color).save(out, format="PNG", **save)
    return out.getvalue()


def middle_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)[32, 32].astype(int)


def adobe_rgb() -> bytes:
    """A minimal ICC profile of Adobe RGB (1998): primaries adapted to D50 as Adobe publishes them, gamma 563/256."""
    columns = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
        b"wtpt": (0.9642, 1.0, 0.8249),
    }
    tags = {name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(x * 65536) for x in at)) for name, at in columns.items()}
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, 563)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    text = b"Adobe RGB (1998)\0"
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += name + struct.pack(">2I", start + len(body), len(content))
        body += padded
    head = bytes(8) + struct.pack(">I", 0x02100000) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    profile = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


def test_the_same_bytes_give_the_same_bytes_and_another_seed_gives_others():
    data = picture(200, 150)
    settings = EqualizeSettings(**SMALL)
    assert equalize(data, settings) == equalize(data, settings)
    assert equalize(data, settings).facts != equalize(data, EqualizeSettings(**SMALL, seed=1)).facts


def test_what_comes_out_is_a_bare_jpeg_of_the_common_size_and_the_drawn_quality():
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    made = equalize(picture(300, 200, format="JPEG", exif=exif, comment=b"hello"), EqualizeSettings(**SMALL))
    with Image.open(io.BytesIO(made.data)) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (64, 64), "RGB")
        assert not image.getexif() and not {"icc_profile", "comment", "progressive"} & set(image.info)
        assert [part[1:3] for part in image.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0
        again = io.BytesIO()
        image.save(again, "JPEG", quality=made.facts["quality"])
        assert Image.open(again).quantization == image.quantization
    assert json.loads(json.dumps(made.facts)) == made.facts
    assert (made.facts["width"], made.facts["height"], made.facts["format"]) == (300, 200, "JPEG")


def test_lots_fill_their_bands_evenly_and_do_not_hang_together():
    settings = EqualizeSettings(**SMALL, crop="drawn")
    facts = [equalize(picture(200, 160, seed=seed), settings).facts for seed in range(300)]
    qualities = np.array([fact["quality"] for fact in facts])
    long_sides = np.array([200 * fact["scale"] for fact in facts])
    lefts = np.array([fact["box"][0] / (200 * fact["scale"] - 64) for fact in facts])
    assert qualities.min() == 70 and qualities.max() == 95 and abs(qualities.mean() - 82.5) < 2
    assert 80 <= long_sides.min() < 84 and 116 < long_sides.max() <= 120 and abs(long_sides.mean() - 100) < 3
    assert abs(lefts.mean() - 0.5) < 0.08
    assert np.abs(np.corrcoef([qualities, long_sides, lefts]) - np.eye(3)).max() < 0.25


def test_nothing_is_enlarged_and_everything_is_scaled_down_a_little():
    settings = EqualizeSettings(sizes=((64, 64),), long_side=(500, 600))  # out of reach of the first picture
    assert equalize(picture(100, 90), settings).facts["scale"] == 0.9
    wide = EqualizeSettings(sizes=((64, 64),), long_side=(10, 20))  # too little for the crop
    assert equalize(picture(400, 128), wide).facts["scale"] == 0.5


def test_a_picture_too_small_is_refused_with_both_sizes_whatever_size_it_would_draw():
    settings = EqualizeSettings(sizes=((64, 64), (64, 96)), long_side=(80, 120))
    for seed in range(5):
        with pytest.raises(BadImage, match=r"^90x90 pixels; to cover 96x64 .* 0\.9 it needs 107x72$"):
            equalize(picture(90, 90, seed=seed), settings)
    assert equalize(picture(107, 72), settings)


def test_the_content_stays_where_it_was_with_its_aspect():
    ramp = np.repeat(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    out = io.BytesIO()
    Image.fromarray(ramp).save(out, "PNG")
    made = equalize(out.getvalue(), EqualizeSettings(sizes=((64, 64),), long_side=(160, 160)))
    assert made.facts["box"] == [48, 8, 112, 72]
    row = np.asarray(Image.open(io.BytesIO(made.data)))[32, :, 1].astype(float)
    assert np.abs(row - np.linspace(255 * 48 / 160, 255 * 112 / 160, 64)).max() < 6


def test_transparency_becomes_white():
    made = equalize(flat((200, 0, 0, 0)), EqualizeSettings(**SMALL))
    assert (middle_of(made.data) >= 254).all()


def test_adobe_rgb_becomes_srgb_as_the_formula_says():
    color = np.array([90, 160, 70])
    made = equalize(flat(tuple(color.tolist()), icc_profile=adobe_rgb()), EqualizeSettings(**SMALL, quality=(95, 95)))
    to_xyz = [[0.5767309, 0.1855540, 0.1881852], [0.2973769, 0.6273491, 0.0752741], [0.0270343, 0.0706872, 0.9911085]]
    to_srgb = [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
    linear = (np.array(to_srgb) @ np.array(to_xyz) @ (color / 255) ** (563 / 256)).clip(0, 1)
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert made.facts["profile"] == "Adobe RGB (1998)"
    assert np.abs(middle_of(made.data) - expected).max() < 3
    assert np.abs(color - expected).max() > 20  # what a dropped profile would have cost


def test_a_damaged_profile_leaves_the_pixels_and_a_note():
    made = equalize(flat((90, 160, 70), icc_profile=adobe_rgb()[:200]), EqualizeSettings(**SMALL))
    assert made.facts["profile"] == "not applied: the profile is damaged"
    assert np.abs(middle_of(made.data) - [90, 160, 70]).max() < 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": ()},
        {"sizes": (512, 512)},
        {"sizes": ((512, 0),)},
        {"long_side": (960, 640)},
        {"long_side": 640},
        {"quality": (0, 95)},
        {"quality": (70.0, 95)},
        {"codec": "WEBP"},
        {"max_scale": 1.1},
        {"crop": "left"},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_by_its_name(wrong):
    [(key, value)] = wrong.items()
    with pytest.raises(ValueError, match=rf"equalize\.{key} is .*; expected ") as error:
        EqualizeSettings(**wrong)
    assert str(value) in str(error.value) and "\n" not in str(error.value)
