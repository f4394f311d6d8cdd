"""Products of signs on packed bits, on the CPU: 64 signs a word, XOR and population counts, exact integers out.

For a and w in {-1, +1}^K as bits, sum_k a_k·w_k = K - 2·popcount(a xor w). Activations are words along the channels:
(pixels, words), 64 channels a word, +1 as 1, the first channel in the lowest bit, what fills up the last word 0.
Weights lie as the innermost loop reads them: (blocks, taps·words, LANES), a block of LANES output channels side by
side, so that one word of activations meets LANES words of weights.

Zero padding: a tap outside the image contributes 0, which no bit stands for. Its words are 0 there, so that it counts
popcount(w), and that is taken out again. Padding with +1: its words are ones.
"""

from typing import Any

import numpy as np

from trainers.binary.kernels import WORD
from trainers.binary.kernels.jit import Compiled
from trainers.binary.kernels.vectors import LANES, PIXELS, biased_word, count_ones, nine_words, product_tile, sign_word

_GATHERED = 32  # output pixels whose words are gathered at a time: they stay in the first-level cache


@Compiled
def pack_biased(start: int, stop: int, x: Any, bias: Any, words: Any) -> None:
    """words[p] = bits of sgn(x[p] + bias): x (pixels, C), bias (C,), words (pixels, ceil(C/64))."""
    channels, size = x.shape[1], x.itemsize
    whole = channels // WORD
    for pixel in range(start, stop):
        row = x.ctypes.data + pixel * channels * size
        for word in range(whole):
            offset = word * WORD * size
            words[pixel, word] = biased_word(x, row + offset, bias.ctypes.data + offset)
        if whole < words.shape[1]:
            rest = np.uint64(0)
            for channel in range(whole * WORD, channels):
                if x[pixel, channel] + bias[channel] >= 0:
                    rest |= np.uint64(1) << np.uint64(channel - whole * WORD)
            words[pixel, whole] = rest


@Compiled
def pack_signs(start: int, stop: int, x: Any, words: Any, strays: Any) -> None:
    """words[p] = bits of x[p], (pixels, C); strays[p] = 1 where x[p] holds anything but -1 and +1."""
    channels, size = x.shape[1], x.itemsize
    whole = channels // WORD
    for pixel in range(start, stop):
        row = x.ctypes.data + pixel * channels * size
        signs = ~np.uint64(0)
        for word in range(whole):
            bits, ones = sign_word(x, row + word * WORD * size)
            words[pixel, word] = bits
            signs &= ones
        stray = signs != ~np.uint64(0)
        if whole < words.shape[1]:
            rest = np.uint64(0)
            for channel in range(whole * WORD, channels):
                value = x[pixel, channel]
                stray |= (value != 1) & (value != -1)
                if value >= 0:
                    rest |= np.uint64(1) << np.uint64(channel - whole * WORD)
            words[pixel, whole] = rest
        strays[pixel] = stray


@Compiled
def pack_planes(start: int, stop: int, x: Any, words: Any, strays: Any) -> None:
    """As `pack_signs` for channels that lie plane by plane: x (N, C, pixels), words (N, pixels, ceil(C/64)).

    Works on the pairs (image, word) from `start` to `stop`; strays has an entry for each.
    """
    channels, pixels, width = x.shape[1], x.shape[2], words.shape[2]
    bits: Any = np.empty(pixels, np.uint64)
    for pair in range(start, stop):
        image, word = pair // width, pair % width
        bits[:] = 0
        stray = False
        for channel in range(word * WORD, min(channels, (word + 1) * WORD)):
            shift = np.uint64(channel - word * WORD)
            for pixel in range(pixels):
                value = x[image, channel, pixel]
                bits[pixel] |= np.uint64(value >= 0) << shift
                stray |= (value != 1) & (value != -1)
        for pixel in range(pixels):
            words[image, pixel, word] = bits[pixel]
        strays[pair] = stray


@Compiled
def pack_weights(start: int, stop: int, bits: Any, inner: int, taps: int, packed: Any, first: int) -> None:
    """Weight bits as a layer keeps them, (out, ceil(inner·taps/8)) bytes, the taps of a channel together, to words.

    Rows `start` to `stop` of `bits` become output channels first + start, ... of packed (blocks, taps·words, LANES).
    """
    width = (inner + WORD - 1) // WORD
    row_bytes = bits.shape[1]
    words = np.empty(taps, np.uint64)
    for row in range(start, stop):
        block, lane = (first + row) // LANES, (first + row) % LANES
        for word in range(width):
            words[:] = 0
            if taps == 9 and (word + 1) * WORD <= inner:
                nine_words(bits.ctypes.data + row * row_bytes + word * 72, words.ctypes.data)
            elif taps == 1:
                for byte in range(word * 8, min(row_bytes, word * 8 + 8)):
                    words[0] |= np.uint64(bits[row, byte]) << np.uint64(8 * (byte - word * 8))
            else:
                for channel in range(word * WORD, min(inner, (word + 1) * WORD)):
                    bit = channel * taps
                    window = np.uint64(0)  # taps + 7 bits at most, so taps of up to 57
                    byte = bit >> 3
                    for ahead in range(min((taps + 14) >> 3, row_bytes - byte)):
                        window |= np.uint64(bits[row, byte + ahead]) << np.uint64(8 * ahead)
                    window >>= np.uint64(bit & 7)
                    place = np.uint64(channel - word * WORD)
                    for tap in range(taps):
                        words[tap] |= ((window >> np.uint64(tap)) & np.uint64(1)) << place
            for tap in range(taps):
                packed[block, tap * width + word, lane] = words[tap]


@Compiled
def count_weights(start: int, stop: int, packed: Any, taps: int, counts: Any) -> None:
    """counts[tap, out] = how many weights of a tap are +1: packed (blocks, taps·words, LANES), counts (taps, out)."""
    width = packed.shape[1] // taps
    for block in range(start, stop):
        for tap in range(taps):
            for lane in range(LANES):
                total = 0
                for word in range(width):
                    total += count_ones(packed[block, tap * width + word, lane])
                counts[tap, block * LANES + lane] = total


@Compiled
def products(
    start: int,
    stop: int,
    words: Any,
    image: Any,
    weights: Any,
    counts: Any,
    geometry: Any,
    out: Any,
    adds: bool,
) -> None:
    """Convolutions (or, of 1x1 images, matrix products) of signs, for groups of `_GATHERED` output pixels.

    Args:
        words: (N·H·W, words) of the activations.
        image: (H, W, H', W').
        weights: (blocks, taps·words, LANES).
        counts: (taps, blocks·LANES) of `count_weights`, read where a tap lies outside the image and counts as 0.
        geometry: (channels, k, stride, padding, 1 where padding is +1).
        out: (N·H'·W', O) integers; O <= blocks·LANES.
        adds: whether out is added to.
    """
    high, wide, high_out, wide_out = image
    channels, kernel, stride, padding, padded_by_one = geometry
    width, taps = words.shape[1], kernel * kernel
    length = taps * width
    pixels, outputs = out.shape
    flat = words.reshape(-1)
    ones: Any = np.empty(width, np.uint64)
    for word in range(width):
        left = channels - word * WORD
        ones[word] = ~np.uint64(0) if left >= WORD else (np.uint64(1) << np.uint64(left)) - np.uint64(1)
    gathered = np.zeros((_GATHERED, length), np.uint64)
    outside = np.zeros(_GATHERED, np.uint64)  # the taps outside the image, as bits
    tile = np.empty((PIXELS, LANES), np.int32)
    for group in range(start, stop):
        base = group * _GATHERED
        count = min(_GATHERED, pixels - base)
        for index in range(count):
            pixel = base + index
            number, place = pixel // (high_out * wide_out), pixel % (high_out * wide_out)
            top = (place // wide_out) * stride - padding
            left = (place % wide_out) * stride - padding
            missing = np.uint64(0)
            if top >= 0 and top + kernel <= high and left >= 0 and left + kernel <= wide:
                for line in range(kernel):
                    source = ((number * high + top + line) * wide + left) * width
                    for word in range(kernel * width):
                        gathered[index, line * kernel * width + word] = flat[source + word]
                outside[index] = missing
                continue
            for tap in range(taps):
                y, x = top + tap // kernel, left + tap % kernel
                if 0 <= y < high and 0 <= x < wide:
                    source = (number * high + y) * wide + x
                    for word in range(width):
                        gathered[index, tap * width + word] = words[source, word]
                elif padded_by_one:
                    for word in range(width):
                        gathered[index, tap * width + word] = ones[word]
                else:
                    missing |= np.uint64(1) << np.uint64(tap)
                    for word in range(width):
                        gathered[index, tap * width + word] = 0
            outside[index] = missing
        for block in range(weights.shape[0]):
            lanes = min(LANES, outputs - block * LANES)
            weight = weights.ctypes.data + block * length * LANES * 8
            for first in range(0, count, PIXELS):
                row = gathered.ctypes.data + first * length * 8
                whole = lanes == LANES and first + PIXELS <= count and not adds
                for index in range(first, first + PIXELS):
                    whole &= outside[index] == 0
                if whole:
                    place = out.ctypes.data + ((base + first) * outputs + block * LANES) * out.itemsize
                    product_tile(out, row, length * 8, weight, length, taps * channels, place, outputs * out.itemsize)
                    continue
                product_tile(tile, row, length * 8, weight, length, taps * channels, tile.ctypes.data, LANES * 4)
                for index in range(first, min(count, first + PIXELS)):
                    for tap in range(taps):
                        if outside[index] >> np.uint64(tap) & np.uint64(1):
                            # Its zeros differed from the weights that are +1, where 0 was to be counted.
                            for lane in range(lanes):
                                tile[index - first, lane] += 2 * counts[tap, block * LANES + lane] - channels
                    if adds:
                        for lane in range(lanes):
                            out[base + index, block * LANES + lane] += tile[index - first, lane]
                    else:
                        for lane in range(lanes):
                            out[base + index, block * LANES + lane] = tile[index - first, lane]


@Compiled
def to_planes(start: int, stop: int, z: Any, planes: Any) -> None:
    """planes (N, O, pixels) floats from z (N, pixels, O) integers, for the pairs (image, 16 channels) given."""
    outputs, pixels = planes.shape[1], planes.shape[2]
    groups = (outputs + 15) // 16
    for pair in range(start, stop):
        image, first = pair // groups, 16 * (pair % groups)
        for base in range(0, pixels, 64):
            for channel in range(first, min(outputs, first + 16)):
                for pixel in range(base, min(pixels, base + 64)):
                    planes[image, channel, pixel] = z[image, pixel, channel]


def groups(pixels: int) -> int:
    """How many groups of output pixels `products` splits its work into."""
    return -(-pixels // _GATHERED)
