"""Draws and flips on the CPU, compiled: see `trainers.binary.kernels.philox` and `.flips` for what they compute.

Each stage of a channel is a plain loop over its columns, which LLVM turns into vectors; between stages lie buffers of
one channel, which stay in a processor's cache. Everything is in float32 and nothing is reordered (no fast math), so
that bits are those of the twin in torch.
"""

from typing import Any

import numpy as np

from trainers.binary.kernels.erf import BELOW_ONE, FROM_ONE
from trainers.binary.kernels.jit import Compiled, inlined
from trainers.binary.kernels.philox import SMALLEST_DRAW

EWM, WPM, RAND = 0, 1, 2
_LANES = 16  # partial sums of a channel that are taken side by side

_B0, _B1, _B2, _B3, _B4, _B5 = (np.float32(value) for value in BELOW_ONE)
_F0, _F1, _F2, _F3, _F4, _F5, _F6 = (np.float32(value) for value in FROM_ONE)
_ONE, _ZERO, _SPACING = np.float32(1), np.float32(0), np.float32(2.0**-24)
_SMALLEST_DRAW = np.float32(SMALLEST_DRAW)
_ERFINV_HALF = np.float32(0.4769362762044699)
_GATHER, _TOP = np.uint64(0x0102040810204080), np.uint64(56)  # eight bytes of 0 and 1 -> the bits of one byte


@inlined
def _fill(drawn: Any, row: Any, step: Any, stream: Any, k0: Any, k1: Any) -> None:
    """The words of one output channel, uint32 (4, h)."""
    for place in range(drawn.shape[1]):
        c0, c1, c2, c3 = np.uint32(place), np.uint32(row), step, stream
        a, b = k0, k1
        for _ in range(10):
            p0 = np.uint64(0xD2511F53) * np.uint64(c0)
            p1 = np.uint64(0xCD9E8D57) * np.uint64(c2)
            c0 = np.uint32(p1 >> np.uint64(32)) ^ c1 ^ a
            c2 = np.uint32(p0 >> np.uint64(32)) ^ c3 ^ b
            c1 = np.uint32(p1)
            c3 = np.uint32(p0)
            a = np.uint32(a + np.uint32(0x9E3779B9))
            b = np.uint32(b + np.uint32(0xBB67AE85))
        drawn[0, place] = c0
        drawn[1, place] = c1
        drawn[2, place] = c2
        drawn[3, place] = c3


@inlined
def _erf(x: Any) -> Any:
    z = x * x
    small = ((((_B5 * z + _B4) * z + _B3) * z + _B2) * z + _B1) * z + _B0
    power = (((((_F6 * x + _F5) * x + _F4) * x + _F3) * x + _F2) * x + _F1) * x + _F0
    power = power * power
    power = power * power
    power = power * power
    power = power * power
    return small * x if x < _ONE else _ONE - _ONE / power


@inlined
def _take_moments(grad: Any, lanes: Any, moments: Any) -> None:
    """moments[0] = mean g, moments[1] = sum (g - mean)^2 of one channel, in float64, relative to its first entry."""
    n, origin = grad.shape[0], np.float64(grad[0])
    lanes[:] = 0.0
    for start in range(0, n - _LANES + 1, _LANES):
        for lane in range(_LANES):
            value = np.float64(grad[start + lane]) - origin
            lanes[0, lane] += value
            lanes[1, lane] += value * value
    for column in range(n - n % _LANES, n):
        value = np.float64(grad[column]) - origin
        lanes[0, 0] += value
        lanes[1, 0] += value * value
    total, squares = 0.0, 0.0
    for lane in range(_LANES):
        total += lanes[0, lane]
        squares += lanes[1, lane]
    moments[0] = origin + total / n
    moments[1] = squares - total * total / n


@inlined
def _events(grad: Any, words: Any, kind: Any, temperature: Any, event: Any) -> None:
    """event = [u < p(|g|, T)], 0 or 1 a column; RAND's p whatever g."""
    for column in range(grad.shape[0]):
        u = np.float32(np.int32(words[column] >> np.uint32(8))) * _SPACING
        u = u if u > _SMALLEST_DRAW else _SMALLEST_DRAW
        size = abs(grad[column]) * temperature
        if kind == EWM:
            event[column] = u < _erf(size)
        elif kind == WPM:
            event[column] = size >= _ERFINV_HALF
        else:
            event[column] = u < temperature


@inlined
def _byte(flags: Any, place: Any) -> Any:
    """Eight flags as the bits of a byte, the first in the lowest."""
    return np.uint8((flags[place] * _GATHER) >> _TOP)


@inlined
def _count_by_bit(counters: Any, bits: Any, event: Any, same: Any, flip: Any, n: Any) -> None:
    """`_count` for counters whose bits lie in rows of their own."""
    width = counters.shape[0] // bits
    limit = (1 << (bits - 1)) - 1
    for column in range(n):
        place, shift = column >> 3, np.uint8(column & 7)
        count: Any = np.int32(0)
        for bit in range(bits):
            count |= np.int32((counters[bit * width + place] >> shift) & np.uint8(1)) << bit
        count = (count ^ (limit + 1)) - (limit + 1)
        count += np.int32(event[column]) * (2 * np.int32(same[column]) - 1)
        count = max(count, -limit)
        reached = count == limit
        flip[column] = reached
        count = 0 if reached else count
        for bit in range(bits):
            at = bit * width + place
            one = np.uint8((count >> bit) & 1)
            counters[at] = (counters[at] & ~(np.uint8(1) << shift)) | (one << shift)


@inlined
def _count(counters: Any, bits: Any, event: Any, same: Any, flip: Any, n: Any) -> None:
    """Counters take note of the events of one channel; flip = [c has reached K], where c starts at 0 again."""
    width = counters.shape[0]
    limit = (1 << (bits - 1)) - 1
    low = (1 << bits) - 1
    for plane in range(8 // bits):
        shift, begin = plane * bits, plane * width
        for place in range(min(width, n - begin)):
            old = np.int32(counters[place])
            count = (((old >> shift) & low) ^ (limit + 1)) - (limit + 1)  # its sign carried up
            heard = np.int32(event[begin + place])
            count += heard * (2 * np.int32(same[begin + place]) - 1)
            count = max(count, -limit)
            reached = count == limit
            flip[begin + place] = reached
            count = 0 if reached else count
            counters[place] = np.uint8((old & ~(low << shift)) | ((count & low) << shift))


def _flip_rows(
    start: Any, stop: Any, bits: Any, grad: Any, counters: Any, counter_bits: Any, kind: Any, temperature: Any,
    first: Any, step: Any, stream: Any, k0: Any, k1: Any, flips: Any, moments: Any,
) -> None:  # fmt: skip
    n, width = grad.shape[1], bits.shape[1]
    drawn = np.empty((4, (n + 3) // 4), np.uint32)
    words = drawn.reshape(drawn.size)
    lanes = np.empty((2, _LANES))
    event, up, same, flip = (
        np.zeros(8 * width, np.uint8), np.zeros(8 * width, np.uint8),
        np.zeros(8 * width, np.uint8), np.zeros(8 * width, np.uint8),
    )  # fmt: skip
    events, ups, flagged = event.view(np.uint64), up.view(np.uint64), flip.view(np.uint64)
    for row in range(start, stop):
        g = grad[row]
        _take_moments(g, lanes, moments[row])
        if kind != WPM:
            _fill(drawn, first + row, step, stream, k0, k1)
        _events(g, words, kind, temperature, event)
        if counter_bits > 0:
            for column in range(n):
                event[column] = event[column] & (g[column] != _ZERO)
                w = (bits[row, column >> 3] >> np.uint8(column & 7)) & np.uint8(1)
                same[column] = (g[column] > _ZERO) == (w == 1)
            if 8 % counter_bits == 0:
                _count(counters[row], counter_bits, event, same, flip, n)
            else:
                _count_by_bit(counters[row], counter_bits, event, same, flip, n)
        else:
            for column in range(n):
                up[column] = g[column] > _ZERO
        changed = 0
        for place in range(width):
            w = bits[row, place]
            # Without counters a masked weight becomes sgn(-g): it flips where W = [g > 0].
            f = _byte(flagged, place) if counter_bits > 0 else _byte(events, place) & ~(w ^ _byte(ups, place))
            bits[row, place] = w ^ f
            f = f - ((f >> 1) & 0x55)
            f = (f & 0x33) + ((f >> 2) & 0x33)
            changed += (f + (f >> 4)) & 0x0F
        flips[row] = changed


def _fill_rows(start: Any, stop: Any, drawn: Any, first: Any, step: Any, stream: Any, k0: Any, k1: Any) -> None:
    for row in range(start, stop):
        _fill(drawn[row], first + row, step, stream, k0, k1)


def _moment_rows(start: Any, stop: Any, grad: Any, moments: Any) -> None:
    lanes = np.empty((2, _LANES))
    for row in range(start, stop):
        _take_moments(grad[row], lanes, moments[row])


flip_rows = Compiled(_flip_rows)
moment_rows = Compiled(_moment_rows)
fill_rows = Compiled(_fill_rows)
