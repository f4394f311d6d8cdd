"""Signs as codes, in which tables of sums are looked up: what both kinds of tables share, on a CPU.

32 signs along the summed dimension lie in a word, 64 columns side by side; four of them are the index of one table
(`trainers.binary.kernels.cpu_tables`, `trainers.binary.kernels.cpu_lane_tables`). Numbers beyond the end of the summed
dimension are 0, so their signs do not matter.
"""

from typing import Any

import numpy as np

from trainers.binary.kernels import WORD
from trainers.binary.kernels.jit import Compiled, inlined
from trainers.binary.kernels.vectors import COLUMNS, turn_words

CODED = 32  # signs in a word of codes
PIXELS = 256  # pixels whose codes lie together for dL/dW


@Compiled
def weight_codes(start: int, stop: int, packed: Any, channels: int, taps: int, lanes: int, codes: Any) -> None:
    """Weights as `pack_weights` lays them, (blocks, taps·words, lanes), to codes along the output channels.

    codes (words, taps, out/32, 64): for the 64 channels of a word, tap and 32 output channels. Works on the words
    from `start` to `stop`; output channels beyond the last one are -1.
    """
    width = (channels + WORD - 1) // WORD
    column = np.empty(CODED, np.uint64)
    for word in range(start, stop):
        for tap in range(taps):
            for part in range(codes.shape[2]):
                for row in range(CODED):
                    output = part * CODED + row
                    block, lane = output // lanes, output % lanes
                    column[row] = packed[block, tap * width + word, lane] if block < len(packed) else np.uint64(0)
                place = (word * taps + tap) * codes.shape[2] + part
                turn_words(column.ctypes.data, codes.ctypes.data + place * COLUMNS * 4)


@inlined
def window_corners(first: int, last: int, image: Any, stride: int, padding: int, corners: Any) -> None:
    """corners (n, 3): image, top and left of the windows of n output pixels from `first`, none beyond `last`."""
    _, _, high_out, wide_out = image
    for index in range(len(corners)):
        pixel = min(first + index, last)
        number, place = pixel // (high_out * wide_out), pixel % (high_out * wide_out)
        corners[index, 0] = number
        corners[index, 1] = place // wide_out * stride - padding
        corners[index, 2] = place % wide_out * stride - padding


@inlined
def tap_pixels(corners: Any, tap: int, image: Any, kernel: int, pixels: Any) -> None:
    """pixels[n] = the input pixel that a tap of each window falls on, -1 outside the image."""
    high, wide, _, _ = image
    for index in range(len(corners)):
        y, x = corners[index, 1] + tap // kernel, corners[index, 2] + tap % kernel
        inside = 0 <= y < high and 0 <= x < wide
        pixels[index] = (corners[index, 0] * high + y) * wide + x if inside else -1


@Compiled
def pixel_codes(start: int, stop: int, words: Any, image: Any, geometry: Any, codes: Any) -> None:
    """Words of signs to codes along the output pixels, for groups of 32 of them from `start` to `stop`.

    codes (pixels/PIXELS, C·taps/64, PIXELS/32, 64): a channel's taps are neighbouring columns, as they are in dL/dW.
    The sign of a tap is that of the pixel that it falls on; outside the image it is +1.
    """
    high, wide, high_out, wide_out = image
    channels, kernel, stride, padding = geometry
    pixels = len(words) // (high * wide) * (high_out * wide_out)
    width, taps, tiles, parts = words.shape[1], kernel * kernel, codes.shape[1], codes.shape[2]
    flat = codes.reshape(-1)
    turned = np.empty(COLUMNS, np.int32)
    corners = np.empty((CODED, 3), np.int64)
    sources = np.empty(CODED, np.int64)
    column = np.empty(CODED, np.uint64)
    for group in range(start, stop):
        window_corners(group * CODED, pixels - 1, image, stride, padding, corners)
        for tap in range(taps):
            tap_pixels(corners, tap, image, kernel, sources)
            for word in range(width):
                for index in range(CODED):
                    source = sources[index]
                    column[index] = words[source, word] if source >= 0 else ~np.uint64(0)
                turn_words(column.ctypes.data, turned.ctypes.data)
                for channel in range(min(WORD, channels - word * WORD)):
                    place = (word * WORD + channel) * taps + tap
                    tile = (group // parts * tiles + place // COLUMNS) * parts + group % parts
                    flat[tile * COLUMNS + place % COLUMNS] = turned[channel]


@Compiled
def outside_sums(start: int, stop: int, grad: Any, columns: Any, image: Any, geometry: Any, sums: Any) -> None:
    """sums[o, tap] = sum of dL/dz over the output pixels whose tap lies outside the image; taps from start to stop."""
    high, wide, high_out, wide_out = image
    kernel, stride, padding = geometry
    first, count = columns
    total = np.empty(count, np.float32)
    for tap in range(start, stop):
        total[:] = 0
        for y in range(high_out):
            line = y * stride - padding + tap // kernel
            for x in range(wide_out):
                across = x * stride - padding + tap % kernel
                if 0 <= line < high and 0 <= across < wide:
                    continue
                for pixel in range(y * wide_out + x, len(grad), high_out * wide_out):
                    for output in range(count):
                        total[output] += grad[pixel, first + output]
        for output in range(count):
            sums[output, tap] = total[output]
