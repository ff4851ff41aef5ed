"""What a search may vary: every choice composes into a run, and what is written wrongly is named."""

import random

import pytest
import yaml

from experiments import jobs, space
from experiments.config import ConfigError


class Dice:
    """A trial that chooses at random, and notes what it was asked."""

    def __init__(self, seed):
        self.random, self.asked = random.Random(seed), {}

    def suggest_int(self, name, low, high, *, step=1, log=False):
        self.asked[name] = (low, high, step)
        return self.random.randrange(low, high + 1, step)

    def suggest_float(self, name, low, high, *, step=None, log=False):
        self.asked[name] = (low, high, log)
        return self.random.uniform(low, high)

    def suggest_categorical(self, name, choices):
        self.asked[name] = tuple(choices)
        return self.random.choice(choices)


@pytest.mark.parametrize("name", sorted(path.stem for path in space.FOLDER.glob("*.yaml")))
def test_every_choice_of_every_space_is_a_run_of_its_own(name):
    found, model = space.read(name), "flexible" if name == "flexible" else "cnn32"
    configs = [jobs.configured([f"model={model}", *found.suggest(Dice(seed))]) for seed in range(30)]
    assert len({config.digest for config in configs}) > 20


def test_the_space_of_flexible_is_fakefinders():
    lengths, dice = set(), [Dice(seed) for seed in range(40)]
    for one in dice:
        words = dict(word.partition("=")[::2] for word in space.read("flexible").suggest(one))
        filters, kernels = yaml.safe_load(words["model.filters"]), yaml.safe_load(words["model.kernels"])
        assert len(filters) == len(kernels) and {*kernels} <= {3, 5}
        assert all(8 <= number <= 64 and number % 8 == 0 for number in filters)
        lengths.add(len(filters))
    assert lengths == {1, 2, 3}
    assert dice[0].asked["train.learning_rate"] == (1e-4, 1e-2, True)
    assert dice[0].asked["model.fc_size"] == (64, 512, 64) and dice[0].asked["data.image_size"] == (16, 32, 64)


def test_another_space_has_another_digest(tmp_path):
    file = tmp_path / "mine.yaml"
    digests = set()
    for text in ("seed: {low: 0, high: 5}", "seed: {low: 0, high: 6}", "threads: {low: 0, high: 5}"):
        file.write_text(text)
        digests.add(space.read(str(file)).digest)
    assert len(digests) == 3 and space.read(str(file)).digest in digests


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "expected settings and their values"),
        ("a: 3", "a: 3: expected a mapping of low, high"),
        ("a: {lowest: 3}", "a: lowest: expected a mapping of low, high"),
        ("a: {low: 3}", "low 3, high None: expected two numbers"),
        ("a: {low: 3, high: 2}", "low 3, high 2: expected two numbers"),
        ("a: {low: 0, high: 2, log: true}", "log: expected low above 0"),
        ("a: {choices: []}", "a.choices: []: expected a list"),
        ("a: {choices: [1], low: 2}", "expected either choices, or low and high"),
        ("a: {choices: [1], length: 3}", "a.length: 3: expected [least, most]"),
        ("a: {choices: [1], like: b}", "a.like: b: expected a key above"),
        ("a: [", "no yaml"),
        ("a: {low: 0, high: .inf}", "a.high: inf: expected a number"),
        ("a: {low: 0, high: 2, step: banana}", "a.step: banana: expected a number"),
        ("a: {low: 0, high: 2, step: 0}", "a.step: 0: expected more than 0"),
        ("a: {low: 1, high: 2, log: maybe}", "a.log: maybe: expected true or false"),
        ("a: {choices: [2020-01-01]}", "a.choices: 2020-01-01: expected numbers, text"),
        ("a: {choices: [[{b c: 1}]]}", "a.choices: {'b c': 1}: expected numbers, text"),
    ],
)
def test_a_space_that_is_written_wrongly_is_named(tmp_path, text, said):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        space.read(str(file))
    assert str(error.value).startswith(str(file)) and said in str(error.value)


def test_a_space_that_is_not_there_is_told_which_are():
    with pytest.raises(ConfigError, match="--space cnn33: no such space; expected one of flexible, recipe, or a yaml"):
        space.read("cnn33")


def chosen(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return [space.read(str(file)).suggest(Dice(seed)) for seed in range(30)]


@pytest.mark.parametrize(
    "choice", ["a=b,c", "it's", "back\\slash", "\\", "\\'", "", " x ", "{a: b}", "# x", "[1, 2]", "null?"]
)
def test_a_choice_of_odd_text_arrives_as_it_is(tmp_path, choice):
    [words, *_] = chosen(tmp_path, yaml.safe_dump({"plan.question": {"choices": [choice]}}))
    assert jobs.configured(words).plan.question == choice


def test_choices_may_be_null_and_lists_of_mappings(tmp_path):
    found = chosen(tmp_path, "train.patience: {choices: [null]}\ntrain.augment: {choices: [[{op: flip, p: 0.5}]]}")
    settings = jobs.configured(found[0]).train
    assert settings.patience is None and settings.augment == [{"op": "flip", "p": 0.5}]


def test_numbers_that_yaml_reads_as_text_and_steps_between_whole_numbers(tmp_path):
    dice = Dice(0)
    file = tmp_path / "mine.yaml"
    file.write_text("a: {low: 1e-4, high: 1e-2, log: true}\nb: {low: 0, high: 2, step: 0.5}")
    space.read(str(file)).suggest(dice)
    assert dice.asked == {"a": (1e-4, 1e-2, True), "b": (0, 2, False)}
