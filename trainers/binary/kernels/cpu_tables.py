"""Products of float32 numbers and signs, on CPUs with AVX-512: sums of four numbers at a time, looked up in tables.

A sum of four numbers with signs has 16 possible values, one vector register full. So with the tables of a row of A,

    (A·B)[m, n] = sum_g T_m,g[code of B's four signs in column n]       A (M, K) floats, B (K, N) in {-1, +1}

costs one permutation and one addition for 4 x 16 multiply-accumulates, where a fused multiply-add does 16. Tables are
made once and serve all columns. The sums are float32 sums in another order. (The idea is old as the method of the four
Russians, 1970; with tables in registers for binary weights it is that of T-MAC, EuroSys 2025.)

Both backward products of a binary layer are of this kind: dL/ds = dL/dz·W, with tables over four output channels, and
dL/dW = dL/dz^T·S, with tables over four pixels. Signs lie as codes (`trainers.binary.kernels.cpu_sign_codes`).
"""

from typing import Any

import numpy as np

from trainers.binary.kernels import WORD
from trainers.binary.kernels.cpu_sign_codes import CODED, PIXELS
from trainers.binary.kernels.jit import Compiled
from trainers.binary.kernels.vectors import COLUMNS, ROWS, TABLE, look_up_tile, sign_table

OUTPUTS = 32  # rows of dL/dW that are summed up at a time


@Compiled
def sign_gradients(
    start: int, stop: int, grad: Any, columns: Any, codes: Any, image: Any, geometry: Any, tables: Any, grad_s: Any
) -> None:
    """dL/ds for rows of pixels of the input, (image, y) from `start` to `stop`.

    Args:
        grad: dL/dz, (pixels', all O).
        columns: (first, count) of grad's columns that belong to these weights.
        codes: of `cpu_sign_codes.weight_codes`.
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
def weight_gradients(
    start: int, stop: int, grad: Any, columns: Any, codes: Any, outside: Any, room: Any, adds: bool, grad_w: Any
) -> None:
    """dL/dW for blocks of OUTPUTS rows of grad_w from `start` to `stop`.

    Args:
        grad, columns: as for `sign_gradients`.
        codes: of `cpu_sign_codes.pixel_codes`.
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
