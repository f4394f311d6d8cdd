"""Packed counters come back as they were put in, whatever the row's length."""

import pytest
import torch

from trainers.binary.counters import counter_bytes, pack_counters, unpack_counters

SHAPES = [(3, 8), (5, 7), (2, 3, 3, 3), (4, 1), (1, 13)]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_packing_and_unpacking_are_inverse_and_take_the_given_bits(shape: tuple[int, ...], bits: int) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), shape, generator=generator, dtype=torch.int8)
    packed = pack_counters(values, bits)
    assert packed.dtype is torch.uint8
    assert tuple(packed.shape) == (shape[0], counter_bytes(shape, bits))
    least = -(-values[0].numel() * bits // 8)
    assert counter_bytes(shape, bits) == (bits * -(-values[0].numel() // 8) if 8 % bits else least)
    assert torch.equal(unpack_counters(packed, shape, bits), values)
    assert torch.equal(unpack_counters(packed[1:], shape, bits), values[1:])  # a block of channels: a block of bytes


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7, 8])
def test_what_fills_up_a_row_and_a_counter_at_rest_are_zero_bytes(bits: int) -> None:
    assert not pack_counters(torch.zeros(3, 5, dtype=torch.int8), bits).any()
    low = pack_counters(torch.full((1, 5), -1, dtype=torch.int8), bits)
    assert sum(int(byte).bit_count() for byte in low.flatten()) == 5 * bits


def test_counters_of_eight_bits_are_unpacked_without_a_copy() -> None:
    packed = torch.zeros(2, 6, dtype=torch.uint8)
    unpack_counters(packed, (2, 3, 2), 8).sub_(1)
    assert (packed == 255).all()
