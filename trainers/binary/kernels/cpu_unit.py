"""The passes of a residual unit over pixels, on the CPU: what lies between its products, one pass each way.

With z the integer products of all branches side by side, (pixels, O), r the shortcut of the unit's input x (pixels, C),
repeated for every branch, and a number a channel each of scale, mean, inverse, gamma, offset, slope and bias:

    hat = (z·scale - mean)·inverse    v = hat·gamma + r + offset    y = prelu(v) + bias

Channels lie side by side. Sums over pixels are taken in blocks of `BLOCK`, which do not depend on the number of threads
or on how a batch is cut; each thread's own sums are in x's type over `_STRETCH` pixels, then in float64.
"""

from typing import Any

import numpy as np

from trainers.binary.kernels.jit import Compiled

BLOCK = 1024  # pixels whose sums are one entry
_STRETCH = 64  # pixels that are added up in x's own type

STE, APPROX_SIGN, RESTE = 0, 1, 2


@Compiled
def moments(start: int, stop: int, z: Any, most: int, sums: Any, squares: Any) -> None:
    """Sums of z and z² over the blocks of pixels from `start` to `stop`: z (pixels, O), sums and squares (blocks, O).

    `most` pixels' squares fit in 32 bits.
    """
    pixels, channels = z.shape
    some, some_squares = np.empty(channels, np.int32), np.empty(channels, np.int32)
    for block in range(start, stop):
        sums[block] = 0
        squares[block] = 0
        first, last = block * BLOCK, min(pixels, (block + 1) * BLOCK)
        while first < last:
            some[:] = 0
            some_squares[:] = 0
            until = min(last, first + most)
            for pixel in range(first, until):
                for channel in range(channels):
                    value = np.int32(z[pixel, channel])
                    some[channel] += value
                    some_squares[channel] += value * value
            for channel in range(channels):
                sums[block, channel] += some[channel]
                squares[block, channel] += some_squares[channel]
            first = until


@Compiled
def shortcut(start: int, stop: int, x: Any, image: Any, pooled: Any) -> None:
    """pooled[p] = mean of the 2x2 pixels of x that output pixel p stands for; image is (H, W, H/2, W/2)."""
    _, wide, _, wide_out = image
    channels = x.shape[1]
    quarter = x.dtype.type(0.25)
    for pixel in range(start, stop):
        row = pixel // wide_out
        corner = 2 * row * wide + 2 * (pixel - row * wide_out)
        for channel in range(channels):
            upper = x[corner, channel] + x[corner + 1, channel]
            lower = x[corner + wide, channel] + x[corner + wide + 1, channel]
            pooled[pixel, channel] = (upper + lower) * quarter


@Compiled
def output(start: int, stop: int, z: Any, r: Any, numbers: Any, y: Any) -> None:
    """y from z and r; numbers (7, O): scale, mean, inverse, gamma, offset, slope, bias."""
    channels, outputs = r.shape[1], z.shape[1]
    zero = r.dtype.type(0)
    for pixel in range(start, stop):
        for first in range(0, outputs, channels):
            for channel in range(channels):
                o = first + channel
                hat = (z[pixel, o] * numbers[0, o] - numbers[1, o]) * numbers[2, o]
                v = hat * numbers[3, o] + r[pixel, channel] + numbers[4, o]
                y[pixel, o] = max(v, zero) + min(v, zero) * numbers[5, o] + numbers[6, o]


@Compiled
def backward_sums(start: int, stop: int, z: Any, r: Any, numbers: Any, grad: Any, sums: Any) -> None:
    """Sums over blocks of pixels, with g = dL/dv: sums (blocks, 4, O) of g·hat, g, min(v, 0)·dL/dy and dL/dy."""
    channels, outputs = r.shape[1], z.shape[1]
    zero = r.dtype.type(0)
    some = np.empty((4, outputs), r.dtype)
    for block in range(start, stop):
        sums[block] = 0
        last = min(len(z), (block + 1) * BLOCK)
        for base in range(block * BLOCK, last, _STRETCH):
            some[:] = 0
            for pixel in range(base, min(last, base + _STRETCH)):
                for first in range(0, outputs, channels):
                    for channel in range(channels):
                        o = first + channel
                        hat = (z[pixel, o] * numbers[0, o] - numbers[1, o]) * numbers[2, o]
                        v = hat * numbers[3, o] + r[pixel, channel] + numbers[4, o]
                        g_y = grad[pixel, o]
                        g = g_y if v > zero else g_y * numbers[5, o]
                        some[0, o] += g * hat
                        some[1, o] += g
                        some[2, o] += min(v, zero) * g_y
                        some[3, o] += g_y
            for kind in range(4):
                for o in range(outputs):
                    sums[block, kind, o] += some[kind, o]


@Compiled
def backward_products(
    start: int, stop: int, z: Any, r: Any, numbers: Any, grad: Any, means: Any, grad_z: Any, grad_r: Any
) -> None:
    """dL/dz and dL/dr of some pixels, from dL/dy.

    dL/d(op) = factor·(g - mean(g) - hat·mean(g·hat)), its factor gamma·inverse; dL/dr is the sum of g over
    branches. All but `numbers` and `means` (3, O; mean(g), mean(g·hat), factor) hold the same pixels.
    """
    channels, outputs = r.shape[1], z.shape[1]
    zero = r.dtype.type(0)
    for pixel in range(start, stop):
        for first in range(0, outputs, channels):
            for channel in range(channels):
                o = first + channel
                hat = (z[pixel, o] * numbers[0, o] - numbers[1, o]) * numbers[2, o]
                v = hat * numbers[3, o] + r[pixel, channel] + numbers[4, o]
                g_y = grad[pixel, o]
                g = g_y if v > zero else g_y * numbers[5, o]
                grad_z[pixel, o] = (g - means[0, o] - hat * means[1, o]) * means[2, o]
                grad_r[pixel, channel] = g if first == 0 else grad_r[pixel, channel] + g


@Compiled
def backward_signs(
    start: int, stop: int, x: Any, bias: Any, grad_s: Any, approx: int, order: float, grad_x: Any, sums: Any
) -> None:
    """Through the sign, for blocks of pixels: grad_x += dL/ds·surrogate(x + bias); sums (blocks, C) of what is added.

    The surrogate is that of `trainers.binary.functional.surrogate_gradient`, with ReSTE's order.
    """
    channels = x.shape[1]
    some: Any = np.empty(channels, x.dtype)
    one, kind = x.dtype.type(1), x.dtype.type
    for block in range(start, stop):
        sums[block] = 0
        last = min(len(x), (block + 1) * BLOCK)
        for base in range(block * BLOCK, last, _STRETCH):
            some[:] = 0
            for pixel in range(base, min(last, base + _STRETCH)):
                if approx == STE:
                    for channel in range(channels):
                        inside = abs(x[pixel, channel] + bias[channel]) <= one
                        g = grad_s[pixel, channel] if inside else kind(0)
                        some[channel] += g
                        grad_x[pixel, channel] += g
                elif approx == APPROX_SIGN:
                    for channel in range(channels):
                        slope = max(kind(2) - kind(2) * abs(x[pixel, channel] + bias[channel]), kind(0))
                        g = grad_s[pixel, channel] * slope
                        some[channel] += g
                        grad_x[pixel, channel] += g
                else:
                    for channel in range(channels):
                        size = abs(x[pixel, channel] + bias[channel])
                        slope = kind(0)
                        if size <= kind(1.5):
                            slope = kind(max(size, kind(0.1)) ** kind(1 / order - 1) * kind(1 / order))
                        g = grad_s[pixel, channel] * slope
                        some[channel] += g
                        grad_x[pixel, channel] += g
            for channel in range(channels):
                sums[block, channel] += some[channel]


@Compiled
def unpool(start: int, stop: int, grad_r: Any, image: Any, grad_x: Any) -> None:
    """The adjoint of `shortcut`: a quarter of dL/dr to each of the four pixels; grad_x is set."""
    _, wide, _, wide_out = image
    channels = grad_r.shape[1]
    quarter = grad_r.dtype.type(0.25)
    for pixel in range(start, stop):
        row = pixel // wide_out
        corner = 2 * row * wide + 2 * (pixel - row * wide_out)
        for channel in range(channels):
            part = grad_r[pixel, channel] * quarter
            grad_x[corner, channel] = part
            grad_x[corner + 1, channel] = part
            grad_x[corner + wide, channel] = part
            grad_x[corner + wide + 1, channel] = part


@Compiled
def unpack(start: int, stop: int, words: Any, signs: Any) -> None:
    """signs[p] = -1 and +1 of words[p]: words (pixels, ceil(C/64)), signs (pixels, C)."""
    channels = signs.shape[1]
    minus, plus = signs.dtype.type(-1), signs.dtype.type(1)
    for pixel in range(start, stop):
        for word in range(words.shape[1]):
            bits = words[pixel, word]
            for channel in range(word * 64, min(channels, (word + 1) * 64)):
                set_bit = bits >> np.uint64(channel - word * 64) & np.uint64(1)
                signs[pixel, channel] = plus if set_bit else minus


@Compiled
def shift_words(start: int, stop: int, words: Any, image: Any, distance: int, masks: Any, shifted: Any) -> None:
    """Roll four quarters of the channels by `distance` pixels down, up, right and left, round the edge.

    words and shifted (N·H·W, words); masks (4, words) are the bits of each quarter; image is (H, W).
    """
    high, wide = image
    for pixel in range(start, stop):
        base = pixel // (high * wide) * (high * wide)
        y, x = (pixel - base) // wide, (pixel - base) % wide
        down = base + (y - distance) % high * wide + x
        up = base + (y + distance) % high * wide + x
        right = base + y * wide + (x - distance) % wide
        left = base + y * wide + (x + distance) % wide
        for word in range(words.shape[1]):
            shifted[pixel, word] = (
                (words[down, word] & masks[0, word])
                | (words[up, word] & masks[1, word])
                | (words[right, word] & masks[2, word])
                | (words[left, word] & masks[3, word])
            )


@Compiled
def add_shifted(start: int, stop: int, grad: Any, image: Any, distance: int, total: Any) -> None:
    """total[p] += grad of the pixels that the quarters of p's channels are rolled to; the adjoint of `shift_words`.

    grad and total (N·H·W, C), C a multiple of 4; image is (H, W).
    """
    high, wide = image
    quarter = grad.shape[1] // 4
    for pixel in range(start, stop):
        base = pixel // (high * wide) * (high * wide)
        y, x = (pixel - base) // wide, (pixel - base) % wide
        sources = (
            base + (y + distance) % high * wide + x,
            base + (y - distance) % high * wide + x,
            base + y * wide + (x + distance) % wide,
            base + y * wide + (x - distance) % wide,
        )
        for part in range(4):
            source = sources[part]
            for channel in range(part * quarter, (part + 1) * quarter):
                total[pixel, channel] += grad[source, channel]
