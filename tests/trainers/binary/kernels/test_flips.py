"""The fused flip changes the same bits, counters and moments as the plain rule on unpacked weights."""

import pytest
import torch
from torch import Tensor

from trainers.binary.bits import pack_bits, unpack_bits
from trainers.binary.counters import pack_counters, unpack_counters
from trainers.binary.kernels.erf import erf
from trainers.binary.kernels.flips import Event, channel_moments, flip_channels, takes, words
from trainers.binary.kernels.philox import MASKS, SMALLEST_DRAW, key_of, uniform
from trainers.methods.inertia import counted_update, threshold
from trainers.methods.masks import event_probability, flip_probability, masked_update

CPU = torch.device("cpu")
KEY = key_of(77)
SHAPES = [(1, 1), (3, 7), (5, 8), (4, 3, 3, 3), (2, 64, 3, 3), (6, 1001)]


def gradient(shape: tuple[int, ...]) -> Tensor:
    """Of many sizes, with exact zeros among them, as the borders of a rule are where a pass would slip."""
    draws = torch.Generator().manual_seed(len(shape) + shape[-1])
    g = torch.randn(shape, generator=draws) * torch.rand(shape, generator=draws) ** 4
    g[torch.rand(shape, generator=draws) < 0.1] = 0.0
    return g


def drawn(grad: Tensor, first: int, step: int) -> Tensor:
    rows = slice(first, first + len(grad))
    return uniform(words(KEY, step, MASKS, rows, grad[0].numel(), CPU)).view(grad.shape)


@pytest.mark.parametrize("mask_type", ["EWM", "WPM", "RAND"])
@pytest.mark.parametrize("shape", SHAPES)
def test_flips_are_those_of_the_plain_rule(shape: tuple[int, ...], mask_type: str) -> None:
    grad = gradient(shape)
    positive = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5
    for step, temperature in enumerate((1e-4, 0.3, 5.0, 1e30)):
        p = flip_probability(mask_type, grad, positive.float() * 2 - 1, temperature)
        mask = p > 0 if mask_type == "WPM" else drawn(grad, 9, step) < p
        expected = masked_update(positive, grad, mask)
        bits = pack_bits(positive)
        flips, moments = flip_channels(bits, grad, 9, Event(mask_type, temperature, KEY, step))
        assert torch.equal(unpack_bits(bits, grad.shape), expected)
        assert torch.equal(bits, pack_bits(expected)), "what fills up a channel's last byte stays 0"
        assert flips == int(torch.count_nonzero(expected ^ positive))
        assert torch.allclose(moments, channel_moments(grad.double()), rtol=1e-13, atol=1e-13), "the twin's"
        assert torch.equal(moments, channel_moments(grad)), "the same pass, alone"


@pytest.mark.parametrize(("size", "expected"), [(1e-20, 0), (1e-9, 0), (1e-6, 1)])
def test_a_draw_of_zero_flips_nothing_whose_probability_is_next_to_nothing(size: float, expected: int) -> None:
    grad = torch.full((1, 64), size)
    assert drawn(grad, 4913, 33).min() == SMALLEST_DRAW, "found by trying: one draw in 2^24 is zero"
    bits = pack_bits(grad > 0)
    assert flip_channels(bits, grad, 4913, Event("EWM", 1.0, KEY, 33))[0] == expected


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("mask_type", ["EWM", "WPM", "RAND"])
@pytest.mark.parametrize("shape", SHAPES)
def test_counters_take_note_as_in_the_plain_rule(shape: tuple[int, ...], mask_type: str, bits: int) -> None:
    grad, limit = gradient(shape), threshold(bits)
    draws = torch.Generator().manual_seed(2)
    positive = torch.rand(shape, generator=draws) < 0.5
    counters = torch.randint(-limit, limit, shape, generator=draws, dtype=torch.int8)
    packed, kept = pack_bits(positive), pack_counters(counters, bits).clone()
    for step in range(6):
        p = event_probability(mask_type, grad, 0.8)
        event = p > 0 if mask_type == "WPM" else drawn(grad, 0, step) < p
        after, counters = counted_update(positive, counters, grad, event, limit)
        flips, _ = flip_channels(packed, grad, 0, Event(mask_type, 0.8, KEY, step), kept, bits)
        assert flips == int(torch.count_nonzero(after ^ positive))
        positive = after
        assert torch.equal(unpack_bits(packed, grad.shape), positive)
        assert torch.equal(unpack_counters(kept, grad.shape, bits), counters)


def test_blocks_and_threads_change_nothing() -> None:
    grad = gradient((48, 513))
    event = Event("EWM", 2.0, KEY, 3)
    whole = pack_bits(grad > 0)
    flips, moments = flip_channels(whole, grad, 0, event)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        parted = pack_bits(grad > 0)
        pieces = [flip_channels(parted[s : s + 12], grad[s : s + 12], s, event) for s in range(0, 48, 12)]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(whole, parted) and flips == sum(count for count, _ in pieces)
    assert torch.equal(moments, torch.cat([part for _, part in pieces])), "to the last bit"


def test_erf_is_within_eight_spacings_of_a_draw() -> None:
    x = torch.cat([torch.linspace(0, 7, 200_001), torch.logspace(-30, 30, 10_001)])
    exact = torch.erf(x.double())
    error = (erf(x).double() - exact).abs()
    assert float(error.max()) < 8 * 2.0**-24
    below = x < 1
    assert float((error[below] / exact[below]).nan_to_num().max()) < 2e-7
    assert torch.equal(erf(x.double()), exact), "in float64 it is torch's own"


def test_only_float32_in_this_machines_memory_is_taken() -> None:
    assert takes(torch.zeros(2, 3)) and not takes(torch.zeros(2, 3, dtype=torch.float64))
