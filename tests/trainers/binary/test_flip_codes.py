"""Flipped positions come back as they were, in about as few bits as there can be; and what is no code is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trainers.binary.flip_codes import FlipCode, decode, encode, entropy_bits
from trainers.errors import UserError


def flips(size: int, share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(size) < share


@pytest.mark.parametrize("size", [0, 1, 7, 8, 1000])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.03, 0.5, 0.97, 1.0])
def test_what_was_coded_is_decoded(size: int, share: float) -> None:
    for seed in range(3):
        flipped = flips(size, share, seed)
        assert (decode(encode(flipped)) == flipped).all()


@pytest.mark.parametrize("position", [0, 8, 4095, 99_999])
def test_one_flip_anywhere_takes_a_few_bytes(position: int) -> None:
    flipped = np.zeros(100_000, dtype=bool)
    flipped[position] = True
    code = encode(flipped)
    assert (decode(code) == flipped).all() and code.nbytes <= 4


@pytest.mark.parametrize(("share", "excess"), [(1e-4, 1.05), (0.01, 1.01), (0.05, 1.02), (0.2, 1.03), (0.5, 1.0001)])
def test_its_length_is_within_a_few_per_cent_of_the_entropy(share: float, excess: float) -> None:
    """Rice's codes lie within 3 % of a geometric source's entropy up to p = 0.2; so few flips are themselves random."""
    flipped = flips(1_000_000, share)
    code = encode(flipped)
    assert 8 * code.nbytes <= excess * entropy_bits(code.size, code.count) + 16


def test_one_weight_in_a_hundred_takes_eight_hundredths_of_a_bit_a_weight() -> None:
    code = encode(flips(1_000_000, 0.01))
    assert 8 * code.nbytes / code.size == pytest.approx(0.081, abs=0.001)


def test_no_layer_takes_more_than_a_bitmap() -> None:
    for share in (0.3, 0.5, 0.8, 1.0):
        assert encode(flips(8000, share)).nbytes <= 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"count": -1},
        {"count": 10_000},
        {"count": 3},
        {"low_bits": -1},
        {"low_bits": 33},
        {"low_bits": 0},
        {"unary": b""},
        {"unary": b"\x00" * 2000},
        {"unary": b"\xff" * 2000},
        {"low": b""},
        {"size": 20},
        {"size": 2**40},
    ],
)
def test_what_is_no_code_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        decode(replace(encode(flips(1000, 0.05)), **changes))


def test_a_flip_beyond_the_weights_is_refused() -> None:
    code = encode(np.arange(100) == 99)
    with pytest.raises(UserError, match=r"beyond the 90 bits|wider than"):
        decode(FlipCode(90, code.count, code.low_bits, code.unary, code.low))
