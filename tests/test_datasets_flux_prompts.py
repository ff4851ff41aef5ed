"""Prompts: what a file may hold, and that an image's prompt and seed depend on nothing but what they should."""

import itertools
from collections import Counter

import pytest

from datasets.flux import prompts
from datasets.manifest import DataError


@pytest.fixture
def write(tmp_path):
    def call(data):
        path = tmp_path / "prompts.txt"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return call


def test_the_default_theme_is_the_parents():
    theme = prompts.read(prompts.DEFAULT_THEME)
    assert theme.base == "woman presenting on stage" and len(theme.lines) == 15
    assert theme.lines[0] == "close-up shot" and theme.lines[-1] == "walking across the stage"


def test_a_prompt_of_a_theme_is_the_base_and_two_modifiers_and_every_pair_is_equally_likely(write):
    theme = prompts.read(write("# why\nbase: a market\n\n  red  \ngreen, wet\nblue\nold\n"))
    assert (theme.base, theme.lines) == ("a market", ("red", "green, wet", "blue", "old"))
    drawn = Counter(theme.draw(7, index) for index in range(6000))
    pairs = {f"a market, {first}, {second}" for first, second in itertools.combinations(theme.lines, 2)}
    assert set(drawn) == pairs and all(880 < count < 1120 for count in drawn.values())


def test_prompt_and_seed_are_the_same_on_every_machine_and_differ_from_seed_to_seed():
    theme = prompts.read(prompts.DEFAULT_THEME)
    assert [theme.draw(0, index) for index in (0, 1, 999_999)] == [
        "woman presenting on stage, wide angle view, walking across the stage",
        "woman presenting on stage, side view, in front of a large screen",
        "woman presenting on stage, wide angle view, mid-speech",
    ]
    assert [prompts.image_seed(0, "000000", attempt) for attempt in (0, 1)] == [1599024611, 2081111316]
    assert [theme.draw(1, index) for index in range(9)] != [theme.draw(0, index) for index in range(9)]
    seeds = {prompts.image_seed(s, f"{i:06d}", a) for s in range(2) for i in range(1000) for a in range(2)}
    assert len(seeds) == 4000 and min(seeds) >= 0 and max(seeds) < 2**31


def test_prompts_one_a_line_come_in_order_and_begin_again(write):
    listed = prompts.read(write("\ufeffa dog\r\n# not this\r\n\r\na cat at base: two\r\n"))
    assert [listed.draw(0, index) for index in range(3)] == ["a dog", "a cat at base: two", "a dog"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "holds no prompt; expected one a line"),
        (b"\n # nothing\n\n", "holds no prompt"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not a text file"),
        (b"a dog\na\0cat\n", "prompts.txt:2: holds control characters"),
        ("a dog\n" + "x" * 10_000, "prompts.txt:2: 10,000 characters; accepted are 2,000"),
        ("base:\nred\nblue", "nothing stands behind base:"),
        ("base: a market\nred\n", "a theme needs at least 2 different modifiers, this has 1"),
        ("base: a market\n", "this has 0"),
        ("base: a market\nred\nred\n", "'red' stands there twice"),
        ("base: " + "x" * 1000 + "\n" + "y" * 600 + "\n" + "z" * 600, "makes prompts of 2,204 characters"),
    ],
)
def test_a_file_that_is_no_list_of_prompts_is_refused_in_one_line(write, data, reason):
    with pytest.raises(DataError) as caught:
        prompts.read(write(data))
    assert reason in str(caught.value) and "--prompts" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"--prompts .*nowhere\.txt: no such file"):
        prompts.read(tmp_path / "nowhere.txt")
