"""The audit on planted shortcuts: it names them, and after equalising it finds them gone."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from datasets import audit
from datasets.audit import pixels
from datasets.audit.separation import Separation
from datasets.audit.verdicts import verdict_of
from datasets.equalize import EqualizeSettings, equalize
from datasets.manifest import FAKE, REAL, Row

PER_CLASS = 80


def row_of(data: bytes, number: int, label: int, **more) -> Row:
    with Image.open(io.BytesIO(data)) as image:
        size = {"width": image.width, "height": image.height, "format": str(image.format), "mode": image.mode}
    sha256 = hashlib.sha256(data).hexdigest()
    return Row(f"{number}.jpg", label, sha256=sha256, group=sha256[:20], bytes=len(data), source="set", **size, **more)


def shown(random: np.random.Generator, width: int, height: int, **save) -> bytes:
    """Smooth colours, alike in both classes."""
    coarse = Image.fromarray(random.integers(40, 220, (9, 12, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(out, **save)
    return out.getvalue()


@pytest.fixture(scope="module")
def planted() -> tuple[list[Row], list[bytes]]:
    """What the parent had: fakes of one size and JPEG 100, reals of many sizes and qualities."""
    random = np.random.default_rng(0)
    rows, files = [], []
    for number in range(2 * PER_CLASS):
        label = FAKE if number % 2 else REAL
        width, height = (
            (1344, 768) if label == FAKE else (int(random.integers(700, 1700)), int(random.integers(500, 1100)))
        )
        quality = 100 if label == FAKE else int(random.integers(60, 101))
        files.append(shown(random, width, height, format="JPEG", quality=quality))
        rows.append(row_of(files[-1], number, label, quality=quality, sampling="4:2:0"))
    return rows, files


@pytest.fixture(scope="module")
def equalized(planted) -> tuple[list[Row], list[bytes]]:
    rows, files = planted
    law = EqualizeSettings(sizes=((256, 256),), long_side=(400, 600))
    made = [equalize(data, law) for data in files]
    files = [one.data for one in made]
    return [
        row_of(
            one.data,
            number,
            row.label,
            quality=one.facts["quality"],
            sampling="4:2:0",
            was=json.dumps({"path": row.path, "made": one.facts}),
        )
        for number, (one, row) in enumerate(zip(made, rows, strict=True))
    ], files


def thumbs_of(files: list[bytes]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(data)).resize((32, 32))) for data in files])


def line_of(report: dict, part: str) -> dict:
    [line] = [line for line in report["lines"] if line["part"] == part]
    return line


def without_shortcut(count: int, seed: int, source: str = "set", **more) -> list[Row]:
    """Rows of both classes whose facts are drawn alike."""
    random = np.random.default_rng(seed)
    return [
        Row(
            f"{source}/{i}",
            i % 2,
            source=source,
            sha256=f"{source}{i}",
            width=int(random.integers(300, 900)),
            height=int(random.integers(300, 900)),
            format=str(random.choice(["JPEG", "PNG"])),
            mode="RGB",
            quality=int(random.integers(60, 100)),
            bytes=int(random.integers(50_000, 90_000)),
            **more,
        )
        for i in range(count)
    ]


def was(scale: float) -> str:
    """Of a row that was equalised from 1200x900 to 128x128."""
    made = {"width": 1200, "height": 900, "scale": scale, "size": [128, 128], "box": [10, 20, 138, 148]}
    return json.dumps({"path": "photos/1.jpg", "made": made})


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 256, (count, 32, 32, 3), np.uint8)


def test_the_planted_set_is_confounded_and_named(planted, monkeypatch):
    rows, files = planted
    monkeypatch.setattr(pixels, "MOST_READ", 25)  # decoding a megapixel takes its time
    report = audit.audit(rows, thumbs_of(files), files.__getitem__)
    facts = line_of(report, "file facts")
    assert report["verdict"] == facts["verdict"] == "confounded"
    assert facts["auc"] > 0.95 and facts["because"].startswith("size (")
    assert facts["alone"]["width"] > 0.95 and "JPEG quality" in facts["because"]
    assert "size (" in audit.warning(report) and "\n" not in audit.warning(report)
    assert line_of(report, "swap test")["verdict"] == "not judged"


def test_after_equalising_nothing_of_it_is_left(equalized):
    rows, files = equalized
    report = audit.audit(rows, thumbs_of(files), files.__getitem__)
    for part in ("file facts", "codec traces"):
        line = line_of(report, part)
        assert line["auc"] < 0.6 and line["low"] <= 0.5 <= line["high"], line
    assert report["verdict"] != "confounded" and audit.warning(report) == ""
    swap = line_of(report, "swap test")
    assert swap["low"] > 0.9 and swap["verdict"] == "clean" and "from 0." in swap["because"]


def test_a_codec_that_was_decoded_again_shows_in_the_pixels(equalized):
    rows, files = equalized
    hidden = []
    for row, data in zip(rows, files, strict=True):
        picture = Image.open(io.BytesIO(data)).resize((96, 96))  # nothing is left of its grid
        if row.label == FAKE:
            first = io.BytesIO()
            picture.save(first, "JPEG", quality=40)
            picture = Image.open(first)
        out = io.BytesIO()
        picture.save(out, "PNG")
        hidden.append(out.getvalue())
    rows = [row_of(data, number, row.label) for number, (data, row) in enumerate(zip(hidden, rows, strict=True))]
    report = audit.audit(rows, thumbs_of(hidden), hidden.__getitem__)
    assert line_of(report, "file facts")["verdict"] == "clean"
    traces = line_of(report, "codec traces")
    assert traces["verdict"] == "confounded" and "grid" in traces["because"]


def test_unreadable_and_tiny_files_are_counted_and_left_out(equalized):
    rows, files = equalized
    broken = [b"no picture", *files[1:]]
    tiny = [rows[0], rows[1]._replace(width=8), *rows[2:]]
    report = audit.audit(tiny, thumbs_of(files), broken.__getitem__)
    assert report["read"] == {"files": len(files), "unreadable": 1, "too small": 1, "squares": {"set": 256}}
    assert "left out: 1 smaller than it, 1 unreadable" in line_of(report, "pixels seen")["because"]


def test_too_few_images_are_too_few_to_say():
    report = audit.short(without_shortcut(38, 0), noise(38))
    facts = line_of(report, "file facts")
    assert facts["verdict"] == "too few to say" and facts["auc"] is None and "19 REAL and 19 FAKE" in facts["because"]
    assert report["verdict"] == "too few to say"
    one_class = [row for row in without_shortcut(100, 0) if row.label == REAL]
    assert line_of(audit.short(one_class, noise(50)), "file facts")["verdict"] == "too few to say"


def test_a_small_confounded_source_does_not_hide_in_a_large_one():
    photographs = [row._replace(source="photos") for row in without_shortcut(200, 1, "flux") if row.label == REAL]
    made = [row._replace(width=1344, height=768) for row in without_shortcut(200, 1, "flux") if row.label == FAKE]
    rows = [*without_shortcut(4000, 2, "cifake"), *photographs, *made]
    report = audit.short(rows, noise(len(rows)))
    assert line_of(report, "file facts")["auc"] < 0.6
    assert line_of(report, "file facts (cifake)")["verdict"] == "clean"
    assert line_of(report, "file facts (flux + photos)")["verdict"] == report["verdict"] == "confounded"


def test_a_source_of_one_class_is_not_judged_alone():
    photographs = [row for row in without_shortcut(200, 1, "photos") if row.label == REAL]
    report = audit.short([*without_shortcut(400, 2, "cifake"), *photographs], noise(500))
    assert line_of(report, "file facts (cifake)") and not any("photos" in line["part"] for line in report["lines"])
    assert "photos: 100 REAL, 0 FAKE" in line_of(report, "counts")["because"]


@pytest.mark.parametrize("labels", [[], [REAL], [FAKE], [REAL, FAKE], [REAL, FAKE] * 4, [FAKE] * 5], ids=str)
def test_a_handful_of_pictures_is_too_few_to_say(labels):
    files = [shown(np.random.default_rng(i), 64, 48, format="PNG") for i in range(len(labels))]
    rows = [row_of(data, i, label) for i, (data, label) in enumerate(zip(files, labels, strict=True))]
    rows = [row._replace(was=was(0.5)) for row in rows]
    for report in (
        audit.short(rows, noise(len(rows))),
        audit.audit(rows, noise(len(rows)), files.__getitem__),
        audit.audit(rows, noise(len(rows)), lambda file: b"no picture"),
    ):
        assert line_of(report, "file facts")["verdict"] == "too few to say"
        assert report["verdict"] in ("too few to say", "suspicious") and audit.lines(report)  # counts may be uneven
        assert json.loads(json.dumps(report)) == report


def test_a_scale_that_tells_the_classes_apart_is_said_and_suspicious_at_most():
    random = np.random.default_rng(0)
    plain = without_shortcut(400, 6)
    alike = [row._replace(was=was(random.uniform(0.2, 0.9))) for row in plain]
    apart = [
        row._replace(was=was(random.uniform(0.5, 0.7) if row.label else random.uniform(0.2, 0.3))) for row in plain
    ]
    assert not [line for line in audit.short(plain, noise(400))["lines"] if line["part"] == "scaling"]
    assert line_of(audit.short(alike, noise(400)), "scaling")["auc"] < 0.6
    beside = [*without_shortcut(400, 7, "cifake"), *(row._replace(source="flux") for row in apart)]
    for report in (audit.short(apart, noise(400)), audit.audit(beside, noise(800), None)):
        line = line_of(report, "scaling")
        assert line["low"] > 0.9 and line["verdict"] == "suspicious" and "generator's size" in line["because"]
        assert sum(report["distributions"]["scale"]["REAL"]) == 200


def test_bytes_alone_are_innocent_where_the_codec_is_known():
    heavy = [row._replace(format="JPEG", bytes=row.bytes + 200_000 * row.label) for row in without_shortcut(400, 3)]
    assert line_of(audit.short(heavy, noise(400)), "bytes per pixel")["verdict"] == "suspicious"
    of_unknown_quality = [row._replace(format="WEBP", quality=0) for row in heavy]
    assert line_of(audit.short(of_unknown_quality, noise(400)), "bytes per pixel")["verdict"] == "confounded"


def test_colour_is_suspicious_at_most():
    thumbs = noise(400)
    thumbs[1::2, ..., 0] = 255
    line = line_of(audit.short(without_shortcut(400, 4), thumbs), "colour")
    assert line["auc"] > 0.99 and line["verdict"] == "suspicious" and "red (alone" in line["because"]


def test_copies_splits_and_licences_are_counted_and_unused_rows_are_not():
    rows = without_shortcut(100, 5, license="CC0", split="train")
    rows[1] = rows[1]._replace(sha256=rows[0].sha256, group="twins")  # FAKE, and rows[0] is REAL
    rows[0] = rows[0]._replace(group="twins", split="test", license="")
    unused = [rows[3]._replace(path=f"unused {i}", width=5000, split="unused") for i in range(50)]
    report = audit.short([*rows, *unused], noise(150))
    assert report["lines"] == audit.short(rows, noise(150)[:100])["lines"]
    counts = report["counts"]
    assert counts["images"] == {"REAL": 50, "FAKE": 50} and counts["exact copies"] == 1
    assert counts["copies in both classes"] == counts["groups across splits"] == 1
    assert counts["without a licence"] == {"REAL": 1, "FAKE": 0}
    assert line_of(report, "duplicates")["verdict"] == "suspicious"
    assert line_of(report, "licences")["verdict"] == "not judged"
    uneven = [row for number, row in enumerate(rows) if row.label == REAL or number < 50]
    assert line_of(audit.short(uneven, noise(len(uneven))), "counts")["verdict"] == "suspicious"


@pytest.mark.parametrize(
    ("auc", "low", "high", "verdict"),
    [
        (0.52, 0.516, 0.524, "clean"),  # certain, and too little to matter
        (0.52, 0.42, 0.62, "clean"),
        (0.52, 0.38, 0.66, "too few to say"),
        (0.58, 0.52, 0.64, "suspicious"),
        (0.70, 0.59, 0.81, "suspicious"),
        (0.70, 0.61, 0.79, "confounded"),
        (1.0, 1.0, 1.0, "confounded"),
    ],
)
def test_a_verdict_goes_by_size_and_certainty(auc, low, high, verdict):
    assert verdict_of(Separation(auc, low, high)) == verdict


def test_the_report_is_json_the_same_each_time_and_a_table_with_a_line_for_each_part(equalized):
    rows, files = equalized
    report = audit.audit(rows, thumbs_of(files), files.__getitem__)
    table = audit.lines(report)
    assert [line.split("  ")[0] for line in table[1:-1]] == [line["part"] for line in report["lines"]]
    assert table[-1] == f"verdict: {report['verdict']}"
    assert json.loads(json.dumps(report)) == report
    assert report == audit.audit(rows, thumbs_of(files), files.__getitem__)
