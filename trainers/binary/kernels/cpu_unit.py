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
                row = z[pixel]
                for channel in range(channels):
                    value = np.int32(row[channel])
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
    quarter = x.dtype.type(0.25)
    for pixel in range(start, stop):
        line = pixel // wide_out
        corner = 2 * line * wide + 2 * (pixel - line * wide_out)
        a, b, c, d = x[corner], x[corner + 1], x[corner + wide], x[corner + wide + 1]
        mean = pooled[pixel]
        for channel in range(len(mean)):
            mean[channel] = ((a[channel] + b[channel]) + (c[channel] + d[channel])) * quarter


@Compiled
def output(start: int, stop: int, z: Any, r: Any, numbers: Any, y: Any) -> None:
    """y from z and r; numbers (7, O): scale, mean, inverse, gamma, offset, slope, bias."""
    channels, outputs = r.shape[1], z.shape[1]
    kind, zero = r.dtype.type, r.dtype.type(0)
    for first in range(0, outputs, channels):
        last = first + channels
        scale, mean, inverse = numbers[0][first:last], numbers[1][first:last], numbers[2][first:last]
        gamma, offset = numbers[3][first:last], numbers[4][first:last]
        slope, bias = numbers[5][first:last], numbers[6][first:last]
        for pixel in range(start, stop):
            z_row, r_row, y_row = z[pixel][first:last], r[pixel], y[pixel][first:last]
            for c in range(channels):
                hat = (kind(z_row[c]) * scale[c] - mean[c]) * inverse[c]
                v = hat * gamma[c] + r_row[c] + offset[c]
                low = v * slope[c]
                y_row[c] = (v if v > zero else low) + bias[c]


@Compiled
def backward_sums(start: int, stop: int, z: Any, r: Any, numbers: Any, grad: Any, sums: Any) -> None:
    """Sums over blocks of pixels, with g = dL/dv: sums (blocks, 4, O) of g·hat, g, min(v, 0)·dL/dy and dL/dy."""
    channels, outputs = r.shape[1], z.shape[1]
    kind, zero = r.dtype.type, r.dtype.type(0)
    gammas, betas = np.empty(channels, r.dtype), np.empty(channels, r.dtype)
    slopes, biases = np.empty(channels, r.dtype), np.empty(channels, r.dtype)
    for block in range(start, stop):
        sums[block] = 0
        end = min(len(z), (block + 1) * BLOCK)
        for first in range(0, outputs, channels):
            last = first + channels
            scale, mean, inverse = numbers[0][first:last], numbers[1][first:last], numbers[2][first:last]
            gamma, offset, slope = numbers[3][first:last], numbers[4][first:last], numbers[5][first:last]
            for base in range(block * BLOCK, end, _STRETCH):
                gammas[:] = 0
                betas[:] = 0
                slopes[:] = 0
                biases[:] = 0
                for pixel in range(base, min(end, base + _STRETCH)):
                    z_row, r_row, g_row = z[pixel][first:last], r[pixel], grad[pixel][first:last]
                    for c in range(channels):
                        hat = (kind(z_row[c]) * scale[c] - mean[c]) * inverse[c]
                        v = hat * gamma[c] + r_row[c] + offset[c]
                        g_y = g_row[c]
                        low, below = g_y * slope[c], v * g_y
                        g = g_y if v > zero else low
                        gammas[c] += g * hat
                        betas[c] += g
                        slopes[c] += zero if v > zero else below
                        biases[c] += g_y
                for c in range(channels):
                    sums[block, 0, first + c] += gammas[c]
                    sums[block, 1, first + c] += betas[c]
                    sums[block, 2, first + c] += slopes[c]
                    sums[block, 3, first + c] += biases[c]


@Compiled
def backward_products(
    start: int, stop: int, z: Any, r: Any, numbers: Any, grad: Any, means: Any, grad_z: Any, grad_r: Any
) -> None:
    """dL/dz and dL/dr of some pixels, from dL/dy.

    dL/d(op) = factor·(g - mean(g) - hat·mean(g·hat)), its factor gamma·inverse; dL/dr is the sum of g over branches.
    All but `numbers` and `means` (3, O; mean(g), mean(g·hat), factor) hold the same pixels.
    """
    channels, outputs = r.shape[1], z.shape[1]
    kind, zero = r.dtype.type, r.dtype.type(0)
    for first in range(0, outputs, channels):
        last = first + channels
        scale, mean, inverse = numbers[0][first:last], numbers[1][first:last], numbers[2][first:last]
        gamma, offset, slope = numbers[3][first:last], numbers[4][first:last], numbers[5][first:last]
        mean_g, mean_gh, factor = means[0][first:last], means[1][first:last], means[2][first:last]
        for pixel in range(start, stop):
            z_row, r_row, g_row = z[pixel][first:last], r[pixel], grad[pixel][first:last]
            z_grad, r_grad = grad_z[pixel][first:last], grad_r[pixel]
            if first == 0:
                r_grad[:] = 0
            for c in range(channels):
                hat = (kind(z_row[c]) * scale[c] - mean[c]) * inverse[c]
                v = hat * gamma[c] + r_row[c] + offset[c]
                g_y = g_row[c]
                low = g_y * slope[c]
                g = g_y if v > zero else low
                z_grad[c] = (g - mean_g[c] - hat * mean_gh[c]) * factor[c]
                r_grad[c] += g


@Compiled
def backward_signs(
    start: int, stop: int, x: Any, bias: Any, grad_s: Any, approx: int, order: float, grad_x: Any, sums: Any
) -> None:
    """Through the sign, for blocks of pixels: grad_x += dL/ds·surrogate(x + bias); sums (blocks, C) of what is added.

    The surrogate is that of `trainers.binary.functional.surrogate_gradient`, with ReSTE's order.
    """
    channels = x.shape[1]
    some: Any = np.empty(channels, x.dtype)
    kind, zero, one, two = x.dtype.type, x.dtype.type(0), x.dtype.type(1), x.dtype.type(2)
    for block in range(start, stop):
        sums[block] = 0
        last = min(len(x), (block + 1) * BLOCK)
        for base in range(block * BLOCK, last, _STRETCH):
            some[:] = 0
            for pixel in range(base, min(last, base + _STRETCH)):
                row, s_row, x_row = x[pixel], grad_s[pixel], grad_x[pixel]
                if approx == STE:
                    for c in range(channels):
                        g = s_row[c] if abs(row[c] + bias[c]) <= one else zero
                        some[c] += g
                        x_row[c] += g
                elif approx == APPROX_SIGN:
                    for c in range(channels):
                        slope = two - two * abs(row[c] + bias[c])
                        whole = s_row[c] * slope
                        g = whole if slope > zero else zero
                        some[c] += g
                        x_row[c] += g
                else:
                    for c in range(channels):
                        size = abs(row[c] + bias[c])
                        g = zero
                        if size <= kind(1.5):
                            g = s_row[c] * kind(max(size, kind(0.1)) ** kind(1 / order - 1) * kind(1 / order))
                        some[c] += g
                        x_row[c] += g
            for c in range(channels):
                sums[block, c] += some[c]


@Compiled
def unpool(start: int, stop: int, grad_r: Any, image: Any, grad_x: Any) -> None:
    """The adjoint of `shortcut`: a quarter of dL/dr to each of the four pixels; grad_x is set."""
    _, wide, _, wide_out = image
    quarter = grad_r.dtype.type(0.25)
    for pixel in range(start, stop):
        line = pixel // wide_out
        corner = 2 * line * wide + 2 * (pixel - line * wide_out)
        a, b, c, d = grad_x[corner], grad_x[corner + 1], grad_x[corner + wide], grad_x[corner + wide + 1]
        whole = grad_r[pixel]
        for channel in range(len(whole)):
            part = whole[channel] * quarter
            a[channel] = part
            b[channel] = part
            c[channel] = part
            d[channel] = part


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
