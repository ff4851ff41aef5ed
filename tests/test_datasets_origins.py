"""What a word on the command line means, and what the images of a collection bring along."""

import hashlib

import pytest
from PIL import Image

from datasets import assemble, flux, origins
from datasets.ledger import Ledger
from datasets.manifest import FAKE, REAL, DataError
from datasets.photos import page_key

PAGES = [page_key(f"https://example.org/{i}") for i in range(4)]


def collection(data_root, name, kind, events):
    folder = data_root / "collections" / name
    with Ledger(folder, kind=kind) as ledger:
        for number, facts in enumerate(events):
            file = folder / "images" / f"{number}.png"
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (9, 9), (number, 0, 0)).save(file)
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            ledger.append("saved", file=f"images/{number}.png", sha256=sha256, **facts)
    return folder


@pytest.fixture
def data_root(tmp_path):
    prompts = ["a stage", "a stage", "a lamp", "a lamp at noon"]
    generated = [
        {"prompt": prompt, "page": page, "record": {"model": "m"}} for prompt, page in zip(prompts, PAGES, strict=True)
    ]
    photograph = {"key": PAGES[0], "page": "", "author": "Ada", "license": "CC0", "source": "commons", "query": "stage"}
    collection(tmp_path, "flux", "flux", generated)
    collection(tmp_path, "photos", "photos", [photograph | {"uploaded": "2015-03-01"}])
    return tmp_path


def test_a_collection_is_of_one_class_and_is_not_taken_for_the_other(data_root):
    assert [origins.find(word, data_root).kind for word in ("flux", "photos")] == ["flux", "photos"]
    with pytest.raises(DataError, match=r"photos: holds REAL images \(photos\), not the other"):
        origins.find("photos", data_root, label=FAKE)
    with pytest.raises(DataError, match=r"flux: holds FAKE images"):
        origins.find("flux", data_root, label=REAL)
    with pytest.raises(DataError, match=r"flax: expected a collection in .*\(flux, photos\), cifake, or the path"):
        origins.find("flax", data_root)


def test_images_of_one_prompt_are_tied_and_one_of_its_own_prompt_to_its_photograph_too(data_root):
    rows = [row for row, _ in origins.listing(origins.find("flux", data_root), data_root)]
    assert [row.path for row in rows] == [f"flux/images/{i}.png" for i in range(4)]
    ties = [set(row.ties.split()) for row in rows]
    assert ties[0] == ties[1] and len(ties[0]) == 1  # else all photographs of that title would hang together
    assert f"page:{PAGES[2]}" in ties[2] and not ties[2] & ties[3]
    [photograph] = [row for row, _ in origins.listing(origins.find("photos", data_root), data_root)]
    assert {row.label for row in rows} == {FAKE} and photograph.label == REAL and photograph.license == "CC0"
    assert f"page:{PAGES[0]}" in photograph.ties.split()


def test_a_picture_that_is_no_longer_what_the_ledger_noted_is_left_out(data_root):
    for i in range(4):  # so that both classes have some left
        Image.new("RGB", (60, 60), (0, 9 * i, 0)).save(data_root / f"{i}.png")
    (data_root / "more").mkdir()
    for i in range(4):
        (data_root / f"{i}.png").rename(data_root / "more" / f"{i}.png")
    Image.new("RGB", (9, 9), (0, 0, 77)).save(data_root / "collections" / "flux" / "images" / "2.png")
    found = [origins.find("flux", data_root), origins.find(f"shot={data_root / 'more'}", data_root, label=REAL)]
    made = assemble.assemble("mine", found, None, data_root=data_root)
    assert made.quarantine == [("flux/images/2.png", "its bytes are not those that were noted when it was collected")]
    assert [row.path for row in made.rows if row.label == REAL] == [f"shot/{i}.png" for i in range(4)]


def test_the_card_learns_how_images_came_to_be(data_root):
    assert flux.describe(data_root / "collections" / "flux") == ["4 images of 3 prompts; model: m"]
    assert origins.describe(origins.find("photos", data_root), data_root) == [
        "1 photographs by 1 authors; commons: stage, made public from 2015-03-01 to 2015-03-01"
    ]


def test_a_line_of_a_ledger_that_lacks_a_fact_is_named(data_root):
    path = data_root / "collections" / "photos" / "ledger.jsonl"
    with path.open("a") as file:
        file.write('{"event": "saved", "file": "images/0.png"}\n')
    with pytest.raises(DataError, match=r"photos/ledger.jsonl:3: the event saved has no key that can be one: None"):
        origins.listing(origins.find("photos", data_root), data_root)
