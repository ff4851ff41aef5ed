"""The report: one page that stands alone, whose numbers are the tables', made again from its own tables."""

import base64
import dataclasses
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from experiments import comparison, outcomes, tables
from experiments.report import __main__ as verb
from experiments.report import blocks, document, examples, html, instrument, markdown, origin
from tests.trees import make_tree

ARMS = {
    "none": 0.93,
    "none_again": 0.93,
    "invert": 0.93,
    "saturate_x8": 0.90,
    "saturate_x2": 0.92,
    "saturate_x500": 0.8,
}
VOID = {"meta", "img", "br", "link", "hr"}
WRITTEN = ("report.html", "report.md", "runs.csv", "images.csv", "provenance.json")


class Page(HTMLParser):
    """Every tag closed in order; keeps tags with their attributes, and the words."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / "runs"
    make_tree(root, arms=ARMS)
    return root


@pytest.fixture
def report(called, monkeypatch, tmp_path):
    """report(*words) -> (exit status, stdout, stderr) of `python -m experiments.report words`, where no data lie."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: called("experiments.report", verb.main, *words)


@pytest.fixture(scope="module")
def made(tree, tmp_path_factory):
    """The folder of one report."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiments.report", str(tree), "--out", str(folder)])
        patch.chdir(folder)  # where no data lie
        assert verb.main() == 0
    return folder


@pytest.fixture(scope="module")
def compared(tree):
    (found,), _ = comparison.compare(outcomes.find(tree).outcomes)
    return found


def of_several(compared):
    """A report of comparisons, without data and provenance."""
    return document.report(compared, facts={}, left_out=[], examples=lambda *_: [], again=[])


def of(compared):
    return of_several([compared])


def test_the_page_closes_every_tag_and_needs_nothing_from_outside(made):
    text = (made / "report.html").read_text()
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", text)
    assert not page.all("script") and not page.all("link")
    assert page.all("html")[0]["lang"] == "en"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")


def test_pictures_lie_inside_the_page_with_words_for_who_cannot_see_them(made):
    pictures = Page((made / "report.html").read_text()).all("img")
    assert len(pictures) >= 4
    for picture in pictures:
        assert len(picture["alt"]) > 20
        kind, data = picture["src"].split(";base64,")
        inside = base64.b64decode(data)
        assert kind == ("data:image/svg+xml" if b"<svg" in inside else "data:image/png")


def test_every_header_cell_says_what_it_heads(made):
    cells = Page((made / "report.html").read_text()).all("th")
    assert cells and {cell["scope"] for cell in cells} == {"col", "row"}


def test_page_and_markdown_hold_every_number_of_the_tables_and_every_reason(made, compared):
    words = "".join(Page((made / "report.html").read_text()).words)
    marked = (made / "report.md").read_text()
    for row in tables.rows(compared):
        for shown in row.values():
            assert shown in words
        assert f"| {' | '.join(map(markdown.plain, row.values()))} |" in marked
    for arm in compared.arms:
        assert arm.verdict.kind in words and arm.verdict.reason in words
        assert markdown.plain(arm.verdict.reason) in marked


def test_markdown_links_only_to_pictures_that_were_written_as_png_and_svg(made):
    linked = re.findall(r"\]\((.*?)\)", (made / "report.md").read_text())
    assert {"figures/forest.png", "figures/dose.png", "figures/learning.png", "figures/confusions.png"} <= set(linked)
    for name in linked:
        assert (made / name).read_bytes().startswith(b"\x89PNG")
        assert (made / name).with_suffix(".svg").read_bytes().startswith(b"<?xml")


def test_written_twice_a_report_has_the_same_bytes(tree, made, tmp_path, report):
    assert report(tree, "--out", tmp_path / made.name)[0] == 0
    for path in sorted(made.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / made.name / path.relative_to(made)).read_bytes(), path.name


def test_a_written_folder_is_read_again_to_the_same_report_but_for_the_pictures(made, tmp_path, report):
    status, said, _ = report(made, "--out", tmp_path / made.name)
    assert status == 0 and "result:" in said.splitlines()[-2] and "next:" in said.splitlines()[-1]
    again = tmp_path / made.name
    for name in ("runs.csv", "images.csv", "provenance.json"):
        assert (again / name).read_bytes() == (made / name).read_bytes()
    first, second = ((folder / "report.md").read_text().split("## ") for folder in (made, again))
    differing = [section.split("\n")[0] for section, other in zip(first, second, strict=True) if section != other]
    assert differing in ([], ["Example pictures"])


def test_the_answer_comes_first_in_one_sentence_that_leaves_controls_out(compared):
    few = dataclasses.replace(
        compared, arms=[arm for arm in compared.arms if arm.name in ("none_again", "saturate_x8")]
    )
    first = of(few).sections[0]
    assert first.title == "The answer"
    (answer,) = (block.words for block in first.blocks)
    loser = next(arm for arm in few.arms if arm.name == "saturate_x8")
    assert f"saturate_x8 loses ({100 * loser.differences.mean():+.2f} points" in answer
    assert "none_again" not in answer and answer.count(". ") == 0


def test_checks_of_the_instrument_pass_fail_or_stay_open(compared):
    table, _ = instrument.checks(compared)
    results = {row[0]: row[-1] for row in table.rows}
    assert set(results) == {"none_again", "invert"}
    again = next(arm for arm in compared.arms if arm.name == "none_again")
    lost = dataclasses.replace(again, verdict=dataclasses.replace(again.verdict, kind="loss"))
    table, _ = instrument.checks(dataclasses.replace(compared, arms=[lost]))
    assert table.rows[0][-1] == instrument.FAILED
    few = dataclasses.replace(again, verdict=dataclasses.replace(again.verdict, kind="undecided", exploratory=True))
    table, _ = instrument.checks(dataclasses.replace(compared, arms=[few]))
    assert table.rows[0][-1] == instrument.OPEN  # no number of this arm could have made it fail
    shuffled = dataclasses.replace(again, view={"shuffle_labels": True, "train": [], "eval": []})
    table, _ = instrument.checks(dataclasses.replace(compared, arms=[shuffled]))
    assert table.rows[0][-1] == instrument.FAILED  # it is right nine times in ten


def test_invert_outside_the_margin_fails_and_a_wide_interval_stays_open(compared):
    arm = next(arm for arm in compared.arms if arm.name == "invert")

    def result(low, high, kind):
        evidence = dataclasses.replace(arm.evidence, equivalent_low=low, equivalent_high=high)
        changed = dataclasses.replace(arm, evidence=evidence, verdict=dataclasses.replace(arm.verdict, kind=kind))
        return instrument.checks(dataclasses.replace(compared, arms=[changed]))[0].rows[0][-1]

    assert result(-0.004, 0.004, "undecided") == instrument.PASSED
    assert result(-0.02, -0.01, "loss") == instrument.FAILED
    assert result(-0.02, 0.01, "undecided") == instrument.OPEN


def test_names_and_words_from_outside_are_escaped(compared):
    bold = dataclasses.replace(compared.arms[0], name="<b>&|`x`")
    found = of(dataclasses.replace(compared, arms=[bold], notes=["<script>alert(1)</script>"]))
    page = html.page(found)
    assert not Page(page).all("b") and not Page(page).all("script")
    assert "&lt;b&gt;&amp;|`x`" in page
    assert "<b>" not in markdown.page(found) and r"&lt;b&gt;&amp;\|\`x\`" in markdown.page(found)


def test_what_the_reader_must_know_is_said(compared, made):
    words = " ".join("".join(Page((made / "report.html").read_text()).words).split())
    said = ["sign-flip", "BCa", "max-t", "Holm", "near-duplicates", "Margin: 0.5 points", "One data set"]
    said.append(compared.plan["question"])
    assert [phrase for phrase in said if phrase not in words] == []
    changed = dataclasses.replace(compared, changes=["metric: auc now, accuracy when the runs were made"])
    page = html.page(of(changed))
    assert "metric: auc now" in page and "exploratory" in page and "what is asked was changed afterwards" in page


def test_fewer_than_six_pairs_are_named_as_explored_only(tmp_path):
    make_tree(tmp_path, seeds=range(3))
    (few,), _ = comparison.compare(outcomes.find(tmp_path).outcomes)
    page = html.page(of(few))
    assert "Fewer than 6 pairs: all arms" in page and "was explored only, which claims nothing" in page


def test_provenance_names_code_and_commands_but_no_place_of_the_machine(made, tree):
    text = (made / "provenance.json").read_text()
    facts = json.loads(text)
    assert facts["runs"] == 6 * len(ARMS) and facts["seconds"] == 6.0 * len(ARMS)
    assert facts["code"][0]["commit"] == "c0ffee" * 6
    for name in WRITTEN[:2] + WRITTEN[-1:]:
        assert str(tree.parent) not in (made / name).read_text()
    assert origin.command(["-m", "data=folder", "data.root=/home/me/my set", "runs_root=x", "a=b/c"]) == (
        "python -m experiments.run -m data=folder 'data.root=my set' a=b/c"
    )


def test_families_stand_one_after_the_other_each_with_its_own_figures(tmp_path):
    for recipe in ("parent", "fast"):
        make_tree(tmp_path, recipe=recipe, images=40, duplicates=2)
    compared, _ = comparison.compare(outcomes.find(tmp_path).outcomes)
    made = of_several(compared)
    assert [block.heading for block in made.sections[0].blocks] == [True, False] * 2
    names = [picture.name for picture in made.pictures]
    assert len(names) == len(set(names)) and {"forest", "forest-2"} <= set(names)


@pytest.mark.parametrize(
    "words", [["nowhere"], [".", "--metric", "charm"], [".", "--baseline", "nobody"], [".", "--margin", "x"]]
)
def test_a_mistake_is_one_line_and_status_2(words, tree, tmp_path, report, monkeypatch):
    monkeypatch.chdir(tree)
    status, _, errors = report(*words, "--out", tmp_path / "out")
    assert status == 2 and errors.strip() and not (tmp_path / "out").exists()
    assert len(errors.strip().splitlines()) == 1 or errors.startswith("usage:")


def test_without_the_data_one_sentence_stands_in_for_the_pictures(compared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (said,) = examples.blocks(compared, "")
    assert isinstance(said, blocks.Text) and said.words.startswith("No pictures are shown:")


def test_examples_show_what_the_network_saw_of_right_and_wrong_ones(train, tmp_path):
    assert train("aug=invert", "train.epochs=1")[0] == 0
    (run,) = outcomes.find(tmp_path / "runs").outcomes
    shown = examples.of_run(run, "invert", "examples")
    pictures = [block for block in shown if isinstance(block, blocks.Picture)]
    assert pictures and all(picture.png.startswith(b"\x89PNG") and picture.svg is None for picture in pictures)
    counts = [int(re.search(r"([\d,]+) of", picture.caption)[1].replace(",", "")) for picture in pictures]
    assert sum(counts) == len(run.test.labels)
    before, after, looked = examples.seen(run, np.array([0, 5]))
    assert (after == 255 - before).all() and looked.shape == before.shape and (looked != before).any()
    next((tmp_path / "runs").rglob("last.pt")).unlink()
    assert examples.seen(run, np.array([0, 5]))[2] is None


@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser_the_page_never_scrolls_sideways_and_its_pictures_are_there(browser, made, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((made / "report.html").as_uri())
    page.wait_for_function("[...document.images].every(it => it.complete && it.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert not errors
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    page.close()
