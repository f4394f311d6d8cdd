"""The two backward products of a binary layer by table look-up, on torch tensors.

Tables lie in registers where the processor permutes 16 floats at once (`trainers.binary.kernels.cpu_tables`), in memory
elsewhere (`trainers.binary.kernels.cpu_lane_tables`). dL/dz comes as rows of pixels (N·H'·W', O), float32; some of its
columns belong to the weights in question.
"""

import importlib
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from trainers.binary import kernels
from trainers.binary.kernels import WORD, Geometry, SignWords, WeightWords, array, simulated

Image = tuple[int, int, int, int]

_LEAST_COLUMNS = 256  # fewer do not pay for the tables (measured on an EPYC of 2023)
_ROOM = 1 << 16  # floats of one thread's sums for dL/dW: they stay in the second-level cache


def _compiled(name: str) -> Any:
    """One of the modules of kernels; they are imported when they are needed, since that takes numba a second."""
    return importlib.import_module(f"trainers.binary.kernels.{name}")


@lru_cache(maxsize=1)
def permutes() -> bool:
    """Whether the processor permutes 16 floats at once, as tables in registers need it."""
    binding = importlib.import_module("llvmlite.binding")
    return bool(binding.get_host_cpu_features().get("avx512f", False))


def worthwhile(tensor: Tensor, channels: int, geometry: Geometry) -> bool:
    """Whether tables are faster than torch's products: they must serve some columns."""
    return tensor.dtype is torch.float32 and channels * geometry.taps >= _LEAST_COLUMNS


def image_of(signs: SignWords, geometry: Geometry) -> Image:
    """(H, W, H', W')."""
    return signs.high, signs.wide, geometry.side(signs.high), geometry.side(signs.wide)


def sign_gradients(grad: Tensor, columns: slice, weights: WeightWords, signs: SignWords, geometry: Geometry) -> Tensor:
    """dL/ds (N·H·W, C) from dL/dz, for the weights to which `columns` of it belong."""
    image, shared = image_of(signs, geometry), _compiled("cpu_sign_codes")
    words, parts = -(-signs.channels // WORD), -(-weights.outputs // shared.CODED)
    codes = torch.empty((words, geometry.taps, parts, WORD), dtype=torch.int32)
    grad_s = grad.new_empty((len(signs.words), signs.channels))
    threads, shape = torch.get_num_threads(), _shape(geometry)
    if permutes():
        tables = _compiled("cpu_tables")
        row = image[3] * parts * shared.CODED * (tables.TABLE // 4)
        room, items = geometry.kernel * row + row // image[3], signs.images * signs.high
    else:
        tables = _compiled("cpu_lane_tables")
        room = parts * tables.TABLES + 2 * tables.TILE
        # Whole images, so that no two threads add to one pixel; small ones share a row of lanes.
        together = max(1, tables.LANES // (image[2] * image[3]))
        items, shape = -(-signs.images // together), (*shape, together)
    rooms = torch.empty((threads, room), dtype=torch.float32)
    if not simulated(grad):
        shared.weight_codes.split(
            words, array(weights.words), signs.channels, geometry.taps, kernels.loaded().LANES, codes.numpy()
        )
        tables.sign_gradients.split(
            items,
            *(grad.numpy(), (columns.start, weights.outputs), codes.numpy(), image, shape),
            list(rooms.numpy()),
            grad_s.numpy(),
        )
    return grad_s


class TableProduct:
    """dL/dW of one layer from dL/dz and signs, block by block of output channels.

    Args:
        grad: dL/dz; `columns` of it are the layer's.
        signs: the layer's inputs.
        geometry: of its product.
    """

    def __init__(self, grad: Tensor, columns: slice, signs: SignWords, geometry: Geometry) -> None:
        self.grad, self.columns, self.geometry, self.channels = grad, columns, geometry, signs.channels
        self.image, self.shared = image_of(signs, geometry), _compiled("cpu_sign_codes")
        pixels, tiles = len(grad), -(-signs.channels * geometry.taps // WORD)
        blocks, parts = -(-pixels // self.shared.PIXELS), self.shared.PIXELS // self.shared.CODED
        self.codes = torch.empty((blocks, tiles, parts, WORD), dtype=torch.int32)
        if not simulated(grad):
            shape = (signs.channels, *_shape(geometry))
            self.shared.pixel_codes.split(
                -(-pixels // self.shared.CODED), array(signs.words), self.image, shape, self.codes.numpy()
            )

    def rows(self, rows: slice, added_to: Tensor | None = None) -> Tensor:
        """dL/dW (rows, C, k, k) of some output channels, added to an earlier one if there is one."""
        count, taps = rows.stop - rows.start, self.geometry.taps
        grad_w = added_to
        if grad_w is None:
            grad_w = self.grad.new_empty((count, self.channels, self.geometry.kernel, self.geometry.kernel))
        outside = self.grad.new_zeros((count, taps))
        if permutes():
            tables = _compiled("cpu_tables")
            outputs, room = tables.OUTPUTS, tables.OUTPUTS * (self.shared.PIXELS // 4) * tables.TABLE
        else:
            tables = _compiled("cpu_lane_tables")
            outputs, room = tables.LANES, tables.TABLES + tables.TILE
        rooms = torch.empty((torch.get_num_threads(), room + _ROOM))
        if not simulated(self.grad):
            columns = (self.columns.start + rows.start, count)
            if self.geometry.padding and not self.geometry.ones:
                self.shared.outside_sums.split(
                    taps, self.grad.numpy(), columns, self.image, _shape(self.geometry), outside.numpy()
                )
            tables.weight_gradients.split(
                -(-count // outputs),
                *(self.grad.numpy(), columns, self.codes.numpy(), outside.numpy()),
                list(rooms.numpy()),
                added_to is not None,
                grad_w.view(count, -1).numpy(),
            )
        return grad_w


def _shape(geometry: Geometry) -> tuple[int, ...]:
    return geometry.kernel, geometry.stride, geometry.padding
