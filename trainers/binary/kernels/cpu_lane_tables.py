"""Products of float32 numbers and signs, on any CPU: sums of four rows of numbers at a time, looked up in memory.

What `trainers.binary.kernels.cpu_tables` does where a processor permutes 16 floats at once, for those that do not. The
sum of four rows of LANES numbers, each row with a sign of its own, is one of 16 rows; these tables of 32 rows of A fill
half of a first-level cache, and a look-up is an addition whose second operand lies in memory:

    (A·B)[lanes, n] = sum_g T_g[code of B's four signs in column n][lanes]       A (M, K) floats, B (K, N) in {-1, +1}

so one addition of a vector register stands for four multiply-adds. For dL/dW the lanes are output channels, for dL/ds
they are output pixels; what a tap contributes is then added to the pixels of the input that it falls on.
"""

from typing import Any

import numpy as np

from trainers.binary.kernels import WORD
from trainers.binary.kernels.cpu_sign_codes import CODED, PIXELS, tap_pixels, window_corners
from trainers.binary.kernels.jit import Compiled, inlined
from trainers.binary.kernels.lane_vectors import (
    COLUMNS,
    LANES,
    SQUARE,
    TABLES,
    lane_tables,
    look_up_lanes,
    turn_square,
)

TILE = COLUMNS * LANES  # floats of one tile of sums


@inlined
def turn(source: int, row: int, target: int, high: int, wide: int) -> None:
    """Turn `high` rows of `wide` floats, `row` floats apart at one address, into `wide` rows of `high` at another."""
    for down in range(0, high, SQUARE):
        for across in range(0, wide, SQUARE):
            turn_square(source + (down * row + across) * 4, row * 4, target + (across * high + down) * 4, high * 4)


@Compiled
def sign_gradients(
    start: int, stop: int, grad: Any, columns: Any, codes: Any, image: Any, geometry: Any, room: Any, grad_s: Any
) -> None:
    """dL/ds for groups of images from `start` to `stop`.

    Args:
        grad: dL/dz, (pixels', all O).
        columns: (first, count) of grad's columns that belong to these weights.
        codes: of `cpu_sign_codes.weight_codes`.
        image, geometry: (H, W, H', W') and (k, stride, padding, images of a group).
        room: for this thread, float32: TABLES for every 32 output channels, twice a TILE.
        grad_s: (pixels, C), set.
    """
    high, wide, high_out, wide_out = image
    kernel, stride, padding, together = geometry
    first, count = columns
    channels, area = grad_s.shape[1], high_out * wide_out
    taps, parts = codes.shape[1], codes.shape[2]
    images = len(grad) // area
    tables = room.ctypes.data
    sums = room[parts * TABLES : parts * TABLES + TILE].reshape((COLUMNS, LANES))
    turned = room[parts * TABLES + TILE : parts * TABLES + 2 * TILE].reshape((LANES, COLUMNS))
    rows = np.zeros((CODED, LANES), np.float32)
    corners = np.empty((LANES, 3), np.int64)
    places = np.empty(LANES, np.int64)
    for group in range(start, stop):
        last = min((group + 1) * together, images)
        grad_s[group * together * high * wide : last * high * wide] = 0
        for base in range(group * together * area, last * area, LANES):
            length = min(LANES, last * area - base)
            window_corners(base, base + length - 1, image, stride, padding, corners)
            for part in range(parts):
                most = min(CODED, count - part * CODED)
                if length == LANES and most == CODED:
                    source = grad.ctypes.data + (base * grad.shape[1] + first + part * CODED) * 4
                    turn(source, grad.shape[1], rows.ctypes.data, LANES, CODED)
                else:
                    rows[:] = 0
                    for index in range(length):
                        for output in range(most):
                            rows[output, index] = grad[base + index, first + part * CODED + output]
                lane_tables(rows.ctypes.data, tables + part * TABLES * 4)
            for tap in range(taps):
                tap_pixels(corners, tap, image, kernel, places)
                if places.max() < 0:
                    continue
                for word in range(len(codes)):
                    sums[:] = 0
                    source = codes.ctypes.data + (word * taps + tap) * parts * COLUMNS * 4
                    for part in range(parts):
                        look_up_lanes(sums.ctypes.data, tables + part * TABLES * 4, source + part * COLUMNS * 4)
                    turn(sums.ctypes.data, LANES, turned.ctypes.data, COLUMNS, LANES)
                    begin = word * WORD
                    many = min(channels - begin, WORD)
                    for index in range(length):
                        pixel = places[index]
                        if pixel >= 0:
                            for channel in range(many):
                                grad_s[pixel, begin + channel] += turned[index, channel]


@Compiled
def weight_gradients(
    start: int, stop: int, grad: Any, columns: Any, codes: Any, outside: Any, room: Any, adds: bool, grad_w: Any
) -> None:
    """dL/dW for blocks of LANES rows of grad_w from `start` to `stop`.

    Args:
        grad, columns: as for `sign_gradients`.
        codes: of `cpu_sign_codes.pixel_codes`.
        outside: (rows, taps) of `cpu_sign_codes.outside_sums`, which every channel's +1 outside the image added too
            much.
        room: for this thread, float32: TABLES, a TILE, and sums of as many tiles as fit.
        adds: whether grad_w is added to.
        grad_w: (rows, C·taps), a channel's taps together.
    """
    first, count = columns
    pixels, tiles, whole_parts = len(grad), codes.shape[1], codes.shape[2]
    width, taps = grad_w.shape[1], outside.shape[1]
    tables = room.ctypes.data
    turned = room[TABLES : TABLES + TILE].reshape((LANES, COLUMNS))
    together = min(tiles, (len(room) - TABLES - TILE) // TILE)
    sums = room[TABLES + TILE : TABLES + TILE + together * TILE].reshape((together * COLUMNS, LANES))
    rows = np.zeros((CODED, LANES), np.float32)
    beyond = np.zeros((taps, LANES), np.float32)
    for block in range(start, stop):
        o, many = block * LANES, min(LANES, count - block * LANES)
        for tap in range(taps):
            for index in range(many):
                beyond[tap, index] = -outside[o + index, tap]
        for tile in range(0, tiles, together):
            some = min(together, tiles - tile)
            for column in range(some * COLUMNS):
                sums[column] = beyond[(tile * COLUMNS + column) % taps]
            for base in range(0, pixels, CODED):
                length = min(CODED, pixels - base)
                if length < CODED or many < LANES:
                    rows[:] = 0
                for pixel in range(length):
                    for index in range(many):
                        rows[pixel, index] = grad[base + pixel, first + o + index]
                lane_tables(rows.ctypes.data, tables)
                part = base % PIXELS // CODED
                for column in range(some):
                    source = (base // PIXELS * tiles + tile + column) * whole_parts + part
                    look_up_lanes(
                        sums.ctypes.data + column * TILE * 4, tables, codes.ctypes.data + source * COLUMNS * 4
                    )
            for column in range(some):
                turn(sums.ctypes.data + column * TILE * 4, LANES, turned.ctypes.data, COLUMNS, LANES)
                begin = (tile + column) * COLUMNS
                wide = min(COLUMNS, width - begin)
                for index in range(many):
                    if adds:
                        for place in range(wide):
                            grad_w[o + index, begin + place] += turned[index, place]
                    else:
                        for place in range(wide):
                            grad_w[o + index, begin + place] = turned[index, place]
