"""Bits are exact: what is packed comes back, 8 weights a byte."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.binary.bits import pack_bits, row_bytes, sgn, unpack_bits, unpack_signs


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**31))
def test_packing_and_unpacking_any_shape_gives_the_same_signs(out: int, inputs: int, seed: int) -> None:
    weight = torch.randn(out, inputs, generator=torch.Generator().manual_seed(seed))
    packed = pack_bits(weight >= 0)
    assert packed.dtype == torch.uint8
    assert packed.shape == (out, row_bytes(weight.shape))
    assert torch.equal(unpack_bits(packed, weight.shape), weight >= 0)
    assert torch.equal(unpack_signs(packed, weight.shape, torch.float64), sgn(weight.double()))


def test_a_convolution_of_multiples_of_eight_takes_one_bit_a_weight() -> None:
    weight = torch.randn(16, 8, 3, 3)
    assert pack_bits(weight >= 0).numel() * 8 == weight.numel()


def test_a_block_of_output_channels_is_a_block_of_bytes() -> None:
    weight = torch.randn(6, 5, 3, 3)
    packed = pack_bits(weight >= 0)
    assert torch.equal(unpack_bits(packed[2:4], (2, 5, 3, 3)), weight[2:4] >= 0)


def test_the_first_weight_lies_in_the_lowest_bit() -> None:
    # Every byte, against Python's own numbers.
    weights = torch.tensor([[bool(byte >> bit & 1) for bit in range(8)] for byte in range(256)])
    assert pack_bits(weights).flatten().tolist() == list(range(256))
    assert torch.equal(unpack_bits(torch.arange(256).to(torch.uint8).unsqueeze(1), (256, 8)), weights)


def test_part_of_a_tensor_is_packed_as_a_copy_of_it_is() -> None:
    weight = torch.randn(6, 24) >= 0
    for part in (weight[1:, 3:], weight[1:, 3:11], weight[:, 8:], weight.T, weight[::2]):
        assert torch.equal(pack_bits(part), pack_bits(part.clone(memory_format=torch.contiguous_format)))


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_the_sign_of_zero_is_plus_one(zero: float) -> None:
    assert sgn(torch.tensor([zero, -1e-30, 1e-30])).tolist() == [1.0, -1.0, 1.0]
