"""Products of float32 numbers and signs, on CPUs with AVX-512: sums of four numbers at a time, looked up in tables.

A sum of four numbers with signs has 16 possible values, one vector register full. So with the tables of a row of A,

    (A·B)[m, n] = sum_g T_m,g[code of B's four signs in column n]       A (M, K) floats, B (K, N) in {-1, +1}

costs one permutation and one addition for 4 x 16 multiply-accumulates, where a fused multiply-add does 16. Tables are
made once and serve all columns. The sums are float32 sums in another order. (The idea is old as the method of the four
Russians, 1970; with tables in registers for binary weights it is that of T-MAC, EuroSys 2025.)

Both backward products of a binary layer are of this kind: dL/ds = dL/dz·W, with tables over four output channels, and
dL/dW = dL/dz^T·S, with tables over four pixels. Signs lie as codes: 32 of them along K in a word, 64 columns side by
side. Numbers beyond the end of K are 0, so their signs do not matter.
"""

from typing import Any

import numpy as np

from trainers.binary.kernels import WORD
from trainers.binary.kernels.jit import Compiled
from trainers.binary.kernels.vectors import COLUMNS, ROWS, TABLE, look_up_tile, sign_table, turn_words

CODED = 32  # signs in a word of codes
OUTPUTS = 32  # rows of dL/dW that are summed up at a time
PIXELS = 256  # pixels whose tables exist at a time for dL/dW


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
    corners = np.empty((CODED, 3), np.int64)  # of each pixel's window: image, top, left
    sources = np.empty(CODED, np.int64)
    column = np.empty(CODED, np.uint64)
    for group in range(start, stop):
        for index in range(CODED):
            pixel = min(group * CODED + index, pixels - 1)
            number, place = pixel // (high_out * wide_out), pixel % (high_out * wide_out)
            corners[index, 0] = number
            corners[index, 1] = place // wide_out * stride - padding
            corners[index, 2] = place % wide_out * stride - padding
        for tap in range(taps):
            line, across = tap // kernel, tap % kernel
            for index in range(CODED):
                y, x = corners[index, 1] + line, corners[index, 2] + across
                inside = 0 <= y < high and 0 <= x < wide
                sources[index] = (corners[index, 0] * high + y) * wide + x if inside else -1
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
def sign_gradients(
    start: int, stop: int, grad: Any, columns: Any, codes: Any, image: Any, geometry: Any, tables: Any, grad_s: Any
) -> None:
    """dL/ds for rows of pixels of the input, (image, y) from `start` to `stop`.

    Args:
        grad: dL/dz, (pixels', all O).
        columns: (first, count) of grad's columns that belong to these weights.
        codes: of `weight_codes`.
        image, geometry: (H, W, H', W') and (k, stride, padding).
        tables: room for this thread: (k rows of pixels' + 1, a row's tables).
        grad_s: (pixels, C), set.
    """
    high, wide, high_out, wide_out = image
    kernel, stride, padding = geometry
    first, count = columns
    channels = grad_s.shape[1]
    taps, parts = codes.shape[1], codes.shape[2]
    groups = parts * (CODED // 4)
    per_pixel = groups * TABLE * 4  # bytes
    zeros = tables.ctypes.data + kernel * wide_out * per_pixel
    flat = tables.reshape(-1)
    flat[kernel * wide_out * groups * TABLE : (kernel * wide_out + 1) * groups * TABLE] = 0
    kept = np.full(kernel, -1, np.int64)  # which row of dL/dz each room holds the tables of
    four = np.zeros(4, np.float32)
    sums = np.empty((ROWS, COLUMNS), np.float32)
    places = np.empty(ROWS, np.int64)
    for item in range(start, stop):
        number, y = item // high, item % high
        for line in range(kernel):
            above = y + padding - line
            if above % stride or not 0 <= above // stride < high_out:
                continue
            row = number * high_out + above // stride
            room = row % kernel
            if kept[room] == row:
                continue
            kept[room] = row
            for pixel in range(wide_out):
                address = tables.ctypes.data + (room * wide_out + pixel) * per_pixel
                source = row * wide_out + pixel
                for group in range(groups):
                    if 4 * group + 4 <= count:
                        place = first + 4 * group
                        sign_table(
                            address + group * TABLE * 4,
                            grad[source, place],
                            grad[source, place + 1],
                            grad[source, place + 2],
                            grad[source, place + 3],
                        )
                    else:
                        for index in range(4):
                            inside = 4 * group + index < count
                            four[index] = grad[source, first + 4 * group + index] if inside else np.float32(0)
                        sign_table(address + group * TABLE * 4, four[0], four[1], four[2], four[3])
        for phase in range(stride):
            across = (wide - phase + stride - 1) // stride  # pixels of this row that meet the same taps
            for base in range(0, across, ROWS):
                for word in range(len(codes)):
                    sums[:] = 0
                    for line in range(kernel):
                        above = y + padding - line
                        if above % stride or not 0 <= above // stride < high_out:
                            continue
                        room = (number * high_out + above // stride) % kernel
                        for tap in range(kernel):
                            if (phase + padding - tap) % stride:
                                continue
                            met = False
                            for index in range(ROWS):
                                left = (phase + (base + index) * stride + padding - tap) // stride
                                places[index] = zeros
                                if base + index < across and 0 <= left < wide_out:
                                    places[index] = tables.ctypes.data + (room * wide_out + left) * per_pixel
                                    met = True
                            if met:
                                look_up_tile(
                                    sums.ctypes.data,
                                    COLUMNS * 4,
                                    places[0],
                                    places[1],
                                    places[2],
                                    places[3],
                                    codes.ctypes.data + (word * taps + line * kernel + tap) * parts * COLUMNS * 4,
                                    parts,
                                )
                    last = min(channels - word * WORD, WORD)
                    for index in range(min(ROWS, across - base)):
                        pixel = item * wide + phase + (base + index) * stride
                        for channel in range(last):
                            grad_s[pixel, word * WORD + channel] = sums[index, channel]


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


@Compiled
def weight_gradients(
    start: int, stop: int, grad: Any, columns: Any, codes: Any, outside: Any, room: Any, adds: bool, grad_w: Any
) -> None:
    """dL/dW for blocks of OUTPUTS rows of grad_w from `start` to `stop`.

    Args:
        grad, columns: as for `sign_gradients`.
        codes: of `pixel_codes`.
        outside: (rows, taps) of `outside_sums`, which every channel's +1 outside the image added too much.
        room: for this thread, float32: OUTPUTS·(PIXELS/4)·TABLE for tables, the rest for sums of as many tiles of
            OUTPUTS x COLUMNS as fit.
        adds: whether grad_w is added to.
        grad_w: (rows, C·taps), a channel's taps together.
    """
    first, count = columns
    pixels, tiles, whole_parts = len(grad), codes.shape[1], codes.shape[2]
    width, taps = grad_w.shape[1], outside.shape[1]
    groups = PIXELS // 4
    tables = room[: OUTPUTS * groups * TABLE]
    together = min(tiles, (len(room) - len(tables)) // (OUTPUTS * COLUMNS))
    wide = together * COLUMNS
    sums = room[len(tables) : len(tables) + OUTPUTS * wide].reshape((OUTPUTS, wide))
    zero = np.float32(0)
    for block in range(start, stop):
        rows = min(OUTPUTS, count - block * OUTPUTS)
        for tile in range(0, tiles, together):
            some = min(together, tiles - tile)
            for row in range(rows):
                period = taps * COLUMNS
                for column in range(min(period, some * COLUMNS)):
                    sums[row, column] = -outside[block * OUTPUTS + row, (tile * COLUMNS + column) % taps]
                for column in range(period, some * COLUMNS):
                    sums[row, column] = sums[row, column - period]
            for base in range(0, pixels, PIXELS):
                length = min(PIXELS, pixels - base)
                parts = (length + CODED - 1) // CODED
                for group in range(parts * (CODED // 4)):
                    pixel = base + 4 * group
                    for row in range(rows):
                        o = first + block * OUTPUTS + row
                        table = tables.ctypes.data + (row * groups + group) * TABLE * 4
                        if pixel + 4 <= pixels:
                            sign_table(
                                table, grad[pixel, o], grad[pixel + 1, o], grad[pixel + 2, o], grad[pixel + 3, o]
                            )
                        else:
                            sign_table(
                                table,
                                grad[pixel, o] if pixel < pixels else zero,
                                grad[pixel + 1, o] if pixel + 1 < pixels else zero,
                                grad[pixel + 2, o] if pixel + 2 < pixels else zero,
                                zero,
                            )
                for column in range(some):
                    source = (base // PIXELS * tiles + tile + column) * whole_parts
                    for row in range(0, rows, ROWS):
                        table = tables.ctypes.data + row * groups * TABLE * 4
                        look_up_tile(
                            sums.ctypes.data + (row * wide + column * COLUMNS) * 4,
                            wide * 4,
                            table,
                            table + groups * TABLE * 4,
                            table + 2 * groups * TABLE * 4,
                            table + 3 * groups * TABLE * 4,
                            codes.ctypes.data + source * COLUMNS * 4,
                            parts,
                        )
            begin = tile * COLUMNS
            for row in range(rows):
                o = block * OUTPUTS + row
                if adds:
                    for column in range(min(some * COLUMNS, width - begin)):
                        grad_w[o, begin + column] += sums[row, column]
                else:
                    for column in range(min(some * COLUMNS, width - begin)):
                        grad_w[o, begin + column] = sums[row, column]
