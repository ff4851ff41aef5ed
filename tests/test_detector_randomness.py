"""Randomness split by purpose: hashes that are uniform, independent and for ever the same."""

import itertools

import pytest
import torch
from scipy import stats

from detector.randomness import derive, numbers, permutation, uniform

IMAGES = torch.arange(20_000)


def splitmix64(word: int) -> int:
    """The output function of splitmix64 as published, in whole numbers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    return word ^ (word >> 31)


def test_derived_seeds_are_the_same_for_ever():
    # printf '[0,"weights"]' | sha256sum, its first 16 digits halved
    assert derive(0, "weights") == 0xEAAA3F6D29FCA251 // 2
    assert derive(7, "augmentation", 3) == 0x98364787A2F47C21 // 2


def test_every_seed_and_purpose_has_its_own_derived_seed():
    purposes = [("weights",), ("dropout", 1), ("dropout", "1"), ("dropout", 11), ("dropout", 1, 1), ("dropout",)]
    derived = {derive(seed, *purpose) for seed in (-1, 0, 1, 11) for purpose in purposes}
    assert len(derived) == 4 * len(purposes)
    assert all(0 <= number < 2**63 for number in derived)


def test_an_order_is_a_permutation_of_its_seed_and_epoch_and_touches_no_other_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    order = permutation(3, 1, 1000)
    assert torch.equal(before, torch.get_rng_state())
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(1000))
    torch.manual_seed(6)
    assert torch.equal(order, permutation(3, 1, 1000))
    assert not torch.equal(order, permutation(3, 2, 1000))
    assert not torch.equal(order, permutation(4, 1, 1000))


def test_uniform_equals_splitmix64_in_whole_numbers_and_is_the_same_for_ever():
    indices = [0, 1, 2, 89_948, 2**40]
    for key, slot in ((0, 0), (12345, 3), (2**63 - 1, 40)):
        start = splitmix64((splitmix64(key) + slot) % 2**64)
        expected = [(splitmix64((start + i * 0x9E3779B97F4A7C15) % 2**64) >> 40) / 2**24 for i in indices]
        assert uniform(key, torch.tensor(indices), slot).tolist() == expected
    assert uniform(1, torch.tensor([0, 1]), 0).tolist() == [0.4445001482963562, 0.25588518381118774]


def test_a_key_on_the_device_draws_what_the_same_key_in_python_draws():
    keys = [0, 12345, 2**63 - 1, derive(7, "augmentation", 3)]
    for slot in (0, 3, 1000):
        expected = torch.stack([uniform(key, IMAGES[:50], slot) for key in keys])
        assert torch.equal(torch.stack([uniform(torch.tensor(key), IMAGES[:50], slot) for key in keys]), expected)
        assert torch.equal(uniform(torch.tensor(keys)[:, None], IMAGES[:50], slot), expected)  # a key an image


def test_numbers_are_splitmix64_up_to_its_last_step_and_start_streams_themselves():
    for start in (0, 12345, -5):
        expected = [splitmix64((start + i * 0x9E3779B97F4A7C15) % 2**64) for i in (0, 1, 2**40)]
        found = [number % 2**64 for number in numbers(start, torch.tensor([0, 1, 2**40])).tolist()]
        assert [number ^ number >> 31 for number in found] == expected
    starts = numbers(5, IMAGES)
    assert len(starts.unique()) == len(IMAGES)
    draws = numbers(starts[:300, None], torch.arange(300)).double() * 2.0**-64 + 0.5
    for flat in (draws.flatten(), draws.T.flatten()):
        assert stats.kstest(flat.numpy(), "uniform").pvalue > 1e-3
        assert abs(torch.corrcoef(torch.stack([flat[1:], flat[:-1]]))[0, 1]) < 5 / 90_000**0.5


def test_uniform_is_uniform_over_images_keys_and_slots():
    over_keys = torch.cat([uniform(derive(0, "augmentation", epoch), IMAGES[:1], 0) for epoch in range(2000)])
    over_slots = torch.cat([uniform(9, IMAGES[:1], slot) for slot in range(2000)])
    for draws in (uniform(0, IMAGES, 0), uniform(derive(1, "augmentation", 1), IMAGES, 1), over_keys, over_slots):
        assert draws.dtype == torch.float32
        assert draws.min() >= 0
        assert draws.max() < 1
        assert stats.kstest(draws.numpy(), "uniform").pvalue > 1e-3


def test_neighbouring_keys_slots_and_images_are_independent():
    draws = [uniform(key, IMAGES, slot) for key in range(4) for slot in range(4)]
    draws.append(draws[0].roll(1))
    # 136 correlations of 20,000 pairs: one beyond five standard errors would come up once in 10,000 tests
    for left, right in itertools.combinations(draws, 2):
        assert abs(torch.corrcoef(torch.stack([left, right]))[0, 1]) < 5 / 20_000**0.5


def test_an_image_is_drawn_alike_in_any_company():
    draws = uniform(4, IMAGES, 2)
    some = torch.tensor([19_999, 3, 77, 3])
    assert torch.equal(uniform(4, some, 2), draws[some])
    assert torch.equal(uniform(4, some[:1], 2), draws[some[:1]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_draws_are_the_same_on_the_gpu():
    assert torch.equal(uniform(4, IMAGES.cuda(), 2).cpu(), uniform(4, IMAGES, 2))
