"""What the audit sees of pixels: on which square, and when a codec's traces are excused by equalising."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from datasets import audit
from datasets.audit.pixels import squares
from datasets.audit.verdicts import judge
from datasets.manifest import FAKE, REAL, Row

MADE = {"width": 120, "height": 120, "scale": 0.8, "size": [64, 64], "box": [16, 16, 80, 80]}
EQUALISED = json.dumps({"path": "photos/1.jpg", "made": MADE})


def drawn(number: int, *, earlier_codec: bool) -> bytes:
    """A PNG of 64x64, of what was a JPEG of quality 40 or not."""
    random = np.random.default_rng(number)
    smooth = Image.fromarray(random.integers(40, 220, (9, 9, 3), np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
    picture = Image.fromarray((smooth + random.normal(0, 6, (64, 64, 3))).clip(0, 255).astype(np.uint8))
    if earlier_codec:
        first = io.BytesIO()
        picture.save(first, "JPEG", quality=40)
        picture = Image.open(first)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def drawn_set(sources: tuple[str, str], *, was: str, fakes_differ: bool, start: int) -> list[tuple[Row, bytes]]:
    """60 REAL of one source and 60 FAKE of the other."""
    found = []
    for number in range(start, start + 120):
        label = FAKE if number % 2 else REAL
        data = drawn(number, earlier_codec=fakes_differ and label == FAKE)
        facts = {"width": 64, "height": 64, "format": "PNG", "mode": "RGB", "bytes": 9000}
        found.append((Row(f"{number}", label, source=sources[label], sha256=f"{number}", was=was, **facts), data))
    return found


def verdicts(pairs: list[tuple[Row, bytes]]) -> dict[str, str]:
    rows, files = [row for row, _ in pairs], [data for _, data in pairs]
    report = audit.audit(rows, np.zeros((len(rows), 4, 4, 3), np.uint8), files.__getitem__)
    return {line["part"]: line["verdict"] for line in report["lines"]} | {"": report["verdict"]}


def test_traces_of_equalised_pictures_are_suspicious_at_most_also_beside_others():
    flux = drawn_set(("photos", "flux"), was=EQUALISED, fakes_differ=True, start=0)
    assert verdicts(flux)["codec traces"] == "suspicious"
    cifake = drawn_set(("cifake", "cifake"), was="", fakes_differ=False, start=1000)
    both = verdicts([*flux, *cifake])
    assert both["codec traces (flux + photos)"] == both[""] == "suspicious"
    assert both["codec traces"] != "confounded" and both["codec traces (cifake)"] == "clean"


def test_equalised_pictures_do_not_excuse_others():
    flux = drawn_set(("photos", "flux"), was=EQUALISED, fakes_differ=True, start=0)
    half = [
        (row if row.label else Row(row.path, REAL, source="photos", width=64, height=64), data) for row, data in flux
    ]
    assert verdicts(half)["codec traces"] == "confounded"
    cifake = drawn_set(("cifake", "cifake"), was="", fakes_differ=True, start=1000)
    both = verdicts([*flux, *cifake])
    assert both["codec traces (cifake)"] == both["codec traces"] == both[""] == "confounded"
    assert both["codec traces (flux + photos)"] == "suspicious"


def test_equalised_photographs_without_fakes_excuse_nothing():
    rows = [Row(f"cifake/{i}", i % 2, source="cifake") for i in range(200)]
    rows += [Row(f"photos/{i}", REAL, source="photos", was=EQUALISED) for i in range(300)]
    equalised = np.array([bool(row.was) for row in rows])
    trace = np.random.default_rng(0).normal(size=500) + 5 * equalised
    lines = judge("trace", {"trace": trace}, rows, 0, because="innocent", of=equalised)
    assert [(line["part"], line["verdict"]) for line in lines] == [("trace", "confounded"), ("trace (cifake)", "clean")]


def sized(side: int, count: int, label: int, source: str = "set") -> list[Row]:
    return [
        Row(f"{source}/{label}/{side}/{i}", label, source=source, width=side + 7, height=side) for i in range(count)
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*sized(256, 60, REAL), *sized(256, 60, FAKE), *sized(33, 1, FAKE)], {"set": 256}),
        ([*sized(256, 60, REAL), *sized(256, 50, FAKE), *sized(100, 10, FAKE)], {"set": 96}),
        ([*sized(256, 900, REAL), *sized(64, 30, FAKE)], {"set": 64}),  # a small class is not left out as a whole
        ([*sized(256, 9, REAL), *sized(16, 90, FAKE)], {"set": 256}),
        (sized(16, 9, REAL), {"set": 32}),
        ([*sized(2000, 60, REAL), *sized(1000, 60, FAKE)], {"set": 512}),
        (
            sized(32, 60, REAL, "cifake")
            + sized(32, 60, FAKE, "cifake")
            + sized(400, 60, REAL, "photos")
            + sized(400, 60, FAKE, "flux"),
            {"cifake": 32, "flux + photos": 400},
        ),
    ],
    ids=["one small", "many small", "small class", "tiny class", "all tiny", "large", "two sources"],
)
def test_a_source_is_seen_on_the_square_that_95_of_100_of_each_class_contain(rows, expected):
    sides, each = squares(rows)
    assert sides == expected
    assert each.tolist() == [sides.get(row.source, sides.get("flux + photos")) for row in rows]


def test_one_small_picture_is_left_out_and_counted_and_the_others_are_seen_whole():
    pairs = drawn_set(("photos", "flux"), was="", fakes_differ=False, start=0)
    small = io.BytesIO()
    Image.new("RGB", (33, 40)).save(small, "PNG")
    pairs.append((Row("small", FAKE, source="flux", width=33, height=40), small.getvalue()))
    rows, files = [row for row, _ in pairs], [data for _, data in pairs]
    report = audit.audit(rows, np.zeros((len(rows), 4, 4, 3), np.uint8), files.__getitem__)
    assert report["read"] == {"files": 121, "unreadable": 0, "too small": 1, "squares": {"flux + photos": 64}}
    [seen] = [line["because"] for line in report["lines"] if line["part"] == "pixels seen"]
    assert seen.startswith("120 of 121 on a square of 64 pixels; left out: 1 smaller")
