import hashlib
import io
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import PIL
import pytest
from PIL import Image

from datasets.manifest import FAKE, REAL
from datasets.synthetic import Drawing, SyntheticSettings, rows

FROZEN_PILLOW = "13.0.0"
FROZEN = "e12d5e47bf2c3d370e52d67d2a078796f256e2e7cd8f4bd16f423a2963ed3494"
ROUNDING = 1.01  # of grey: two pictures, half a level each


def drawing(**changes) -> Drawing:
    plain = Drawing("train", FAKE, 0, height=32, width=32, evidence="chroma", strength=0.6, data_seed=0)
    return replace(plain, **changes)


def planes(picture: Drawing) -> np.ndarray:
    """Y, Cb and Cr as they stand in the file."""
    image = Image.open(io.BytesIO(picture.read()))
    image.draft("YCbCr", image.size)
    assert image.mode == "YCbCr"
    return np.asarray(image).transpose(2, 0, 1)


def grey(picture: Drawing) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.read())).convert("RGB")) @ np.array([0.299, 0.587, 0.114])


def separations(evidence: str, num_pictures: int = 200) -> list[float]:
    """For Y, Cb and Cr: ROC-AUC of FAKE by the plane's energy at the highest frequency, along height and width."""
    energies = []
    for label in (REAL, FAKE):
        pictures = [drawing(label=label, index=index, evidence=evidence) for index in range(num_pictures)]
        values = np.stack([planes(picture) for picture in pictures]).astype(float)
        down = (values[:, :, ::2] - values[:, :, 1::2]).mean((2, 3))
        across = (values[:, :, :, ::2] - values[:, :, :, 1::2]).mean((2, 3))
        energies.append(down**2 + across**2)
    real, fake = energies
    return [float((fake[:, None, plane] > real[:, plane]).mean()) for plane in range(3)]


def rows_by_path(settings: SyntheticSettings) -> dict[str, Drawing]:
    return {row.path: picture for row, picture in rows(settings)}


def test_a_picture_depends_on_nothing_but_its_own_place():
    small = rows_by_path(SyntheticSettings(train=4, val=2, test=2))
    large = rows_by_path(SyntheticSettings(train=40, val=6, test=8))
    backwards = {path: large[path].read() for path in reversed(list(small))}
    assert {path: small[path].read() for path in small} == backwards
    assert pickle.loads(pickle.dumps(small["test/FAKE/00000.jpg"])).read() == backwards["test/FAKE/00000.jpg"]


def test_no_two_pictures_are_alike():
    settings = SyntheticSettings(train=20, val=20, test=20, evidence="none")
    others = [replace(picture, data_seed=1) for _, picture in rows(settings)]
    contents = [picture.read() for _, picture in rows(settings)] + [picture.read() for picture in others]
    assert len(set(contents)) == len(contents) == 120


@pytest.mark.skipif(
    PIL.__version__.split(".")[0] != FROZEN_PILLOW.split(".")[0],
    reason=f"the bytes were frozen with Pillow {FROZEN_PILLOW}; another JPEG encoder may write others",
)
def test_the_bytes_are_the_same_on_every_machine():
    settings = SyntheticSettings(train=6, val=2, test=2)
    pictures = [picture for _, picture in rows(settings)]
    pictures += [replace(pictures[3], evidence="luma"), replace(pictures[3], height=50, width=71)]
    digest = hashlib.sha256(b"".join(picture.read() for picture in pictures)).hexdigest()
    assert digest == FROZEN


@pytest.mark.parametrize("size", [(32, 32), (30, 41), (8, 8)])
def test_a_distortion_leaves_the_other_planes_untouched(size):
    for index in range(10):
        here = {"index": index, "strength": 1.0, "height": size[0], "width": size[1]}
        original, chroma, luma = (planes(drawing(evidence=name, **here)) for name in ("none", "chroma", "luma"))
        assert original.shape == (3, *size)
        assert np.array_equal(chroma[0], original[0])
        assert np.array_equal(luma[1:], original[1:])
        assert not np.array_equal(chroma[1], original[1])
        assert not np.array_equal(chroma[2], original[2])
        assert not np.array_equal(luma[0], original[0])


def test_chroma_evidence_does_not_leak_into_grey_by_clipping():
    for index in range(100):
        fake, original = (drawing(index=index, strength=1.0, evidence=name) for name in ("chroma", "none"))
        assert np.abs(grey(fake) - grey(original)).max() <= ROUNDING


def test_reals_are_the_same_whatever_is_done_to_fakes():
    real = drawing(label=REAL)
    assert real.read() == replace(real, evidence="luma").read() == replace(real, evidence="none").read()


@pytest.mark.parametrize("evidence", ["chroma", "luma"])
def test_strength_zero_is_no_evidence_and_more_strength_is_more(evidence):
    for index in range(5):
        original, untouched, weak, strong = (
            drawing(index=index, evidence=name, strength=strength)
            for name, strength in (("none", 0.6), (evidence, 0.0), (evidence, 0.3), (evidence, 1.0))
        )
        assert untouched.read() == original.read()
        weak_change, strong_change = (np.abs(planes(p) * 1.0 - planes(original)).mean() for p in (weak, strong))
        assert 0 < weak_change < strong_change


def test_evidence_lies_where_the_settings_say():
    found = {evidence: separations(evidence) for evidence in ("chroma", "luma", "none")}
    without = [*found["none"], found["chroma"][0], *found["luma"][1:]]
    assert without == pytest.approx([0.5] * 6, abs=0.08)  # 99 % of such numbers where the classes are equal
    assert min(*found["chroma"][1:], found["luma"][0]) > 0.75


def test_every_split_is_balanced_and_named_by_its_folders():
    listing = rows(SyntheticSettings(train=40, val=10, test=6, image_size=[8, 12]))
    counts = Counter((row.split, row.label) for row, _ in listing)
    assert counts == {
        (split, label): n for split, n in (("train", 20), ("val", 5), ("test", 3)) for label in (REAL, FAKE)
    }
    row, picture = listing[20 + 12]
    assert (row.path, row.source, row.category) == ("train/FAKE/00012.jpg", "synthetic", "")
    assert Image.open(io.BytesIO(picture.read())).size == (12, 8)


def test_a_stamp_changes_with_every_setting_that_changes_the_picture():
    changes = ({}, {"height": 40}, {"width": 40}, {"evidence": "luma"}, {"strength": 0.61}, {"data_seed": 1})
    assert len({drawing(**change).stamp for change in changes}) == len(changes)


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("evidence", "chrome", "expected chroma, luma, both or none"),
        ("strength", 1.5, "expected a number from 0 to 1"),
        ("strength", float("nan"), "expected a number from 0 to 1"),
        ("image_size", 7, "expected a whole number from 8 to 1024 or [height, width] of such"),
        ("image_size", [32, 32, 3], "expected a whole number from 8 to 1024 or [height, width] of such"),
        ("image_size", "large", "expected a whole number from 8 to 1024 or [height, width] of such"),
        ("train", 7, "expected an even whole number of at least 2"),
        ("val", 0, "expected an even whole number of at least 2"),
        ("test", True, "expected an even whole number of at least 2"),
        ("data_seed", -1, "expected a whole number from 0 to 4294967295"),
    ],
)
def test_a_bad_setting_gets_one_line_that_names_it(key, value, accepted):
    with pytest.raises(ValueError) as error:
        SyntheticSettings(**{key: value})
    assert str(error.value) == f"data.{key}={value}: {accepted}"
