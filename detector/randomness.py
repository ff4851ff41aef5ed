"""One seed per run, split by purpose, so that what one purpose draws never moves what another draws."""

import hashlib
import json

import torch
from torch import Tensor

# splitmix64 (Steele, Lea and Flood 2014): the step of its counter and the two multipliers of its mixer
STEP = 0x9E3779B97F4A7C15
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB
WORD = 2**64


def derive(seed: int, *purpose: str | int) -> int:
    """A number of 63 bits for one purpose of a run, such as derive(seed, "weights") or derive(seed, "dropout", epoch).

    The same on every machine and for ever: old runs are repeated by it.
    """
    text = json.dumps([seed, *purpose], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order of an epoch: 0..n-1 shuffled, int64 on the CPU; no other generator is touched."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(n, generator=generator)


def uniform(key: int | Tensor, indices: Tensor, slot: int) -> Tensor:
    """Uniform float32 numbers in [0, 1) for the images `indices` (int64 (B,)), on their device.

    Each is a hash of (key, index, slot) alone: the company in a batch, the order and the device change nothing.
    key: a number, or int64 on the device of `indices` for a key that changes while the step stands still, or one an
    image; it is broadcast with `indices`. slot tells apart the several numbers one image needs. Multiples of 2**-24,
    so every value is exact.
    """
    return _shifted(numbers(_start(key, slot), indices), 40).float() * 2**-24


def numbers(start: int | Tensor, places: Tensor) -> Tensor:
    """What splitmix64 gives at `places` (int64) of its streams from `start` (broadcast with them): uniform over int64,
    better in the upper bits, and each the start of a stream itself."""
    assert places.dtype == torch.int64, places.dtype
    # int64 wraps around, as the 64-bit words of the original do. Its last step is left out: it changes only the lower
    # bits, and draws hang on the upper ones
    return _multiplied(places * _signed(STEP) + start)


def _start(key: int | Tensor, slot: int) -> int | Tensor:
    """Where the counter of this key and slot begins."""
    if isinstance(key, Tensor):
        return _mixed_words(_mixed_words(key) + slot)
    return _signed(_mixed(_mixed(key) + slot))


def _multiplied(words: Tensor) -> Tensor:
    """splitmix64's mixer without its last step, on the words in int64."""
    words = (words ^ _shifted(words, 30)) * _signed(FIRST)
    return (words ^ _shifted(words, 27)) * _signed(SECOND)


def _mixed_words(words: Tensor) -> Tensor:
    """`_mixed` on the words in int64."""
    words = _multiplied(words)
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Right shift that brings in zeros; torch's own brings in the sign."""
    return (words >> bits) & (2 ** (64 - bits) - 1)


def _signed(word: int) -> int:
    """The int64 with the same bits."""
    return word - WORD if word >= WORD // 2 else word


def _mixed(word: int) -> int:
    """splitmix64's mixer on one unsigned word, in Python's integers."""
    word %= WORD
    word = (word ^ word >> 30) * FIRST % WORD
    word = (word ^ word >> 27) * SECOND % WORD
    return word ^ word >> 31
