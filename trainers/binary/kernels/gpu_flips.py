"""Draws and flips on a GPU, in Triton: a whole layer in one launch, and nothing that the host has to ask for.

What is computed is said in `trainers.binary.kernels.philox` and `.flips`; the twin is the same as the CPU's. A program
takes one output channel and walks along its columns; flips and moments are left on the device, channel by channel. The
temperature is read from device memory, so that one that follows from a gradient never passes through the host.

Without a GPU they run through Triton's interpreter (`TRITON_INTERPRET=1`), which is how they are tested.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from trainers.binary.kernels.erf import BELOW_ONE, FROM_ONE

_B0, _B1, _B2, _B3, _B4, _B5 = (tl.constexpr(value) for value in BELOW_ONE)
_F0, _F1, _F2, _F3, _F4, _F5, _F6 = (tl.constexpr(value) for value in FROM_ONE)
_EWM, _WPM = tl.constexpr(0), tl.constexpr(1)
_ERFINV_HALF = tl.constexpr(0.4769362762044699)
COLUMNS = 1024  # of a channel that a program works on at a time: eight for each of 128 threads


@triton.jit
def _draw(column, stretch, row, step, stream, k0, k1):  # type: ignore[no-untyped-def]
    """The word of each column of a channel; all counters' other words are made too, and three of four not used."""
    c0, which = (column % stretch).to(tl.uint32), column // stretch
    c1 = tl.zeros_like(c0) + row.to(tl.uint32)
    c2, c3 = tl.zeros_like(c0) + step.to(tl.uint32), tl.zeros_like(c0) + stream
    a, b = k0.to(tl.uint32), k1.to(tl.uint32)
    for _ in tl.static_range(10):
        h0, l0 = tl.umulhi(c0, tl.full(c0.shape, 0xD2511F53, tl.uint32)), c0 * 0xD2511F53
        h1, l1 = tl.umulhi(c2, tl.full(c2.shape, 0xCD9E8D57, tl.uint32)), c2 * 0xCD9E8D57
        c0, c1, c2, c3 = h1 ^ c1 ^ a, l1, h0 ^ c3 ^ b, l0
        a, b = a + 0x9E3779B9, b + 0xBB67AE85
    return tl.where(which == 0, c0, tl.where(which == 1, c1, tl.where(which == 2, c2, c3)))


@triton.jit
def _erf(x):  # type: ignore[no-untyped-def]
    z = x * x
    small = ((((_B5 * z + _B4) * z + _B3) * z + _B2) * z + _B1) * z + _B0
    power = (((((_F6 * x + _F5) * x + _F4) * x + _F3) * x + _F2) * x + _F1) * x + _F0
    power = power * power
    power = power * power
    power = power * power
    power = power * power
    return tl.where(x < 1.0, small * x, 1.0 - tl.div_rn(1.0, power))


@triton.jit
def _events(g, inside, column, stretch, channel, step, k0, k1, t, KIND: tl.constexpr):  # type: ignore[no-untyped-def]
    """[u < p(|g|, T)], 0 or 1 a column; RAND's p whatever g."""
    size = tl.abs(g) * t
    if KIND == _WPM:
        event = size >= _ERFINV_HALF
    else:
        word = _draw(column, stretch, channel, step, 0, k0, k1)
        u = tl.maximum((word >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08, 2.98023223876953125e-08)
        event = u < (_erf(size) if KIND == _EWM else t)
    return (event & inside).to(tl.int32)


@triton.jit
def _heard(count, event, want, BITS: tl.constexpr):  # type: ignore[no-untyped-def]
    """c after an event, from its BITS bits, and whether it has reached K, where it starts at 0 again."""
    limit: tl.constexpr = (1 << (BITS - 1)) - 1
    count = (count ^ (limit + 1)) - (limit + 1)
    count = tl.maximum(count + event * (2 * want - 1), -limit)
    reached = count == limit
    return tl.where(reached, 0, count), reached


@triton.jit(do_not_specialize=["first", "step", "k0", "k1"])
def _count(  # type: ignore[no-untyped-def]
    bits, grad, counters, flags, temperature, n, width, counter_width, first, step, k0, k1,
    KIND: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Counters take note of the events of one channel; flags = [c has reached K], a byte a weight.

    A program takes bytes of counters, whose columns lie a plane apart, so that each byte is read and written once.
    """
    low: tl.constexpr = (1 << BITS) - 1
    row = tl.program_id(0)
    channel = (row + first).to(tl.uint32)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    t = tl.load(temperature).to(tl.float32)
    at = counters + row.to(tl.int64) * counter_width + place
    old = tl.load(at, mask=place < counter_width, other=0).to(tl.int32)
    new = tl.zeros_like(old)
    for plane in tl.static_range(8 // BITS):
        column = plane * counter_width + place
        inside = (place < counter_width) & (column < n)
        g = tl.load(grad + row.to(tl.int64) * n + column, mask=inside, other=0.0)
        byte = tl.load(bits + row.to(tl.int64) * width + column // 8, mask=inside, other=0).to(tl.int32)
        want = ((g > 0).to(tl.int32) == ((byte >> (column % 8)) & 1)).to(tl.int32)
        event = _events(g, inside & (g != 0), column, (n + 3) // 4, channel, step, k0, k1, t, KIND)
        count, reached = _heard((old >> (plane * BITS)) & low, event, want, BITS)
        new = new | ((count & low) << (plane * BITS))
        tl.store(flags + row.to(tl.int64) * n + column, reached.to(tl.int8), mask=inside)
    tl.store(at, new.to(tl.uint8), mask=place < counter_width)


@triton.jit(do_not_specialize=["first", "step", "k0", "k1"])
def _count_by_bit(  # type: ignore[no-untyped-def]
    bits, grad, counters, flags, temperature, n, width, counter_width, first, step, k0, k1,
    KIND: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """`_count` for counters whose bits lie in rows of their own, of which a program takes the bytes of one place."""
    row = tl.program_id(0)
    channel = (row + first).to(tl.uint32)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = place < width
    t = tl.load(temperature).to(tl.float32)
    at = counters + row.to(tl.int64) * counter_width + place
    packed = tl.load(bits + row.to(tl.int64) * width + place, mask=there, other=0).to(tl.int32)
    # A place's counters side by side: those of its lane l from bit l·BITS on.
    old, new = tl.zeros(place.shape, tl.int32), tl.zeros(place.shape, tl.int32)
    for bit in tl.static_range(BITS):
        byte = tl.load(at + bit * width, mask=there, other=0).to(tl.int32)
        for lane in tl.static_range(8):
            old = old | (((byte >> lane) & 1) << (lane * BITS + bit))
    for lane in tl.static_range(8):
        column = place * 8 + lane
        inside = there & (column < n)
        g = tl.load(grad + row.to(tl.int64) * n + column, mask=inside, other=0.0)
        want = ((g > 0).to(tl.int32) == ((packed >> lane) & 1)).to(tl.int32)
        event = _events(g, inside & (g != 0), column, (n + 3) // 4, channel, step, k0, k1, t, KIND)
        count, reached = _heard((old >> (lane * BITS)) & ((1 << BITS) - 1), event, want, BITS)
        new = new | ((count & ((1 << BITS) - 1)) << (lane * BITS))
        tl.store(flags + row.to(tl.int64) * n + column, reached.to(tl.int8), mask=inside)
    for bit in tl.static_range(BITS):
        byte = tl.zeros(place.shape, tl.int32)
        for lane in tl.static_range(8):
            byte = byte | (((new >> (lane * BITS + bit)) & 1) << lane)
        tl.store(at + bit * width, byte.to(tl.uint8), mask=there)


@triton.jit(do_not_specialize=["first", "step", "k0", "k1"])
def _flip(  # type: ignore[no-untyped-def]
    bits, grad, flags, temperature, flips, moments, n, width, first, step, k0, k1,
    KIND: tl.constexpr, COUNTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Flip the weights of one channel, by their events or where flags say so; count flips, take g's moments."""
    row = tl.program_id(0)
    channel = (row + first).to(tl.uint32)
    bits += row.to(tl.int64) * width
    grad += row.to(tl.int64) * n
    flags += row.to(tl.int64) * n
    t = tl.load(temperature).to(tl.float32)
    changed = tl.zeros((BLOCK // 8,), tl.int32)
    total, squares = tl.zeros((BLOCK // 8,), tl.float64), tl.zeros((BLOCK // 8,), tl.float64)
    origin = tl.load(grad).to(tl.float64)
    lane = tl.arange(0, 8)
    for start in range(0, n, BLOCK):
        byte = start // 8 + tl.arange(0, BLOCK // 8)
        column = byte[:, None] * 8 + lane[None, :]
        inside = column < n
        g = tl.load(grad + column, mask=inside, other=0.0)
        packed = tl.load(bits + byte, mask=byte < width, other=0).to(tl.int32)
        if COUNTED:
            flip = tl.load(flags + column, mask=inside, other=0).to(tl.int32)
        else:
            positive = (packed[:, None] >> lane[None, :]) & 1
            event = _events(g, inside, column, (n + 3) // 4, channel, step, k0, k1, t, KIND)
            flip = event & (1 - (positive ^ (g > 0).to(tl.int32)))
        mask = tl.sum(flip << lane[None, :], axis=1)
        tl.store(bits + byte, (packed ^ mask).to(tl.uint8), mask=byte < width)
        changed += tl.sum(flip, axis=1)
        wide = tl.where(inside, g.to(tl.float64) - origin, 0.0)
        total += tl.sum(wide, axis=1)
        squares += tl.sum(wide * wide, axis=1)
    tl.store(flips + row, tl.sum(changed, axis=0))
    mean = tl.sum(total, axis=0) / n
    tl.store(moments + 2 * row, origin + mean)
    tl.store(moments + 2 * row + 1, tl.sum(squares, axis=0) - mean * mean * n)


def flip_channels(
    bits: Tensor,
    grad: Tensor,
    first: int,
    kind: int,
    temperature: Tensor,
    key: tuple[int, int],
    step: int,
    counters: Tensor | None,
    counter_bits: int,
) -> tuple[Tensor, Tensor]:
    """As `trainers.binary.kernels.flips.flip_channels`, on tensors of one device; T is a tensor () there.

    Returns:
        Flips of each channel, int32 (rows,), its mean of g and sum of (g - mean)^2, float64 (rows, 2), on the device.
    """
    rows = len(grad)
    g = grad.reshape(rows, -1).contiguous()
    n = g.shape[1]
    flips = torch.empty(rows, dtype=torch.int32, device=g.device)
    moments = torch.empty(rows, 2, dtype=torch.float64, device=g.device)
    flags = bits
    # As signed 32-bit numbers, of one type whatever their value: a type of its own would be compiled for.
    step, k0, k1 = ((word & 0xFFFFFFFF ^ 0x80000000) - 0x80000000 for word in (step, *key))
    options = {"KIND": kind, "enable_fp_fusion": False}
    if counters is not None:
        flags = torch.empty(rows, n, dtype=torch.int8, device=g.device)
        kernel, places = (_count, counters.shape[1]) if 8 % counter_bits == 0 else (_count_by_bit, bits.shape[1])
        block = min(COLUMNS, triton.next_power_of_2(places))
        kernel[rows, triton.cdiv(places, block)](
            bits, g, counters, flags, temperature, n, bits.shape[1], counters.shape[1], first, step, k0, k1,
            BITS=counter_bits, BLOCK=block, **options,
        )  # fmt: skip
    block = min(COLUMNS, max(16, triton.next_power_of_2(n)))
    _flip[(rows,)](
        bits, g, flags, temperature, flips, moments, n, bits.shape[1], first, step, k0, k1,
        COUNTED=counters is not None, BLOCK=block, **options,
    )  # fmt: skip
    return flips, moments
