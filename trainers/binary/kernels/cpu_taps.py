"""One tap of a window at a time, on the CPU: rows of numbers or of signs moved to where a matrix product meets them."""

from typing import Any

import numpy as np

from trainers.binary.kernels import WORD
from trainers.binary.kernels.jit import Compiled


@Compiled
def tap_signs(start: int, stop: int, words: Any, image: Any, geometry: Any, tap: int, signs: Any) -> None:
    """signs[q] = what the tap of output pixel q falls on, as floats: words (N·H·W, words), signs (N·H'·W', C).

    Outside the image it is 0, or +1 where geometry (k, stride, padding, ones) says so.
    """
    high, wide, high_out, wide_out = image
    kernel, stride, padding, ones = geometry
    channels = signs.shape[1]
    minus, plus = signs.dtype.type(-1), signs.dtype.type(1)
    for pixel in range(start, stop):
        number, place = pixel // (high_out * wide_out), pixel % (high_out * wide_out)
        y = place // wide_out * stride - padding + tap // kernel
        x = place % wide_out * stride - padding + tap % kernel
        if not (0 <= y < high and 0 <= x < wide):
            signs[pixel] = ones
            continue
        source = (number * high + y) * wide + x
        for word in range(words.shape[1]):
            bits = words[source, word]
            for channel in range(word * WORD, min(channels, (word + 1) * WORD)):
                positive = bits >> np.uint64(channel - word * WORD) & np.uint64(1)
                signs[pixel, channel] = plus if positive else minus


@Compiled
def tap_gradients(
    start: int, stop: int, grad: Any, columns: Any, image: Any, geometry: Any, tap: int, moved: Any
) -> None:
    """moved[p] = dL/dz of the output pixel whose tap falls on pixel p of the input, 0 where there is none.

    grad (N·H'·W', all O), of which `columns` (first, count) are moved; moved (N·H·W, count).
    """
    high, wide, high_out, wide_out = image
    kernel, stride, padding = geometry
    first, count = columns
    for pixel in range(start, stop):
        number, place = pixel // (high * wide), pixel % (high * wide)
        above, left = place // wide + padding - tap // kernel, place % wide + padding - tap % kernel
        y, x = above // stride, left // stride
        if above % stride or left % stride or not (0 <= y < high_out and 0 <= x < wide_out):
            moved[pixel] = 0
            continue
        source = (number * high_out + y) * wide_out + x
        for column in range(count):
            moved[pixel, column] = grad[source, first + column]
