"""The two backward products of a binary layer by table look-up: `trainers.binary.kernels.cpu_tables` on torch tensors.

dL/dz comes as rows of pixels (N·H'·W', O), float32; some of its columns belong to the weights in question.
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
_ROOM = (
    1 << 16
)  # floats of one thread's sums for dL/dW, beside half as many of tables: they stay in the second-level cache


@lru_cache(maxsize=1)
def _tables() -> Any:
    return importlib.import_module("trainers.binary.kernels.cpu_tables")


@lru_cache(maxsize=1)
def _permutes() -> bool:
    """Whether the processor permutes 16 floats at once; elsewhere tables are slower than float products."""
    binding = importlib.import_module("llvmlite.binding")
    return bool(binding.get_host_cpu_features().get("avx512f", False))


def worthwhile(tensor: Tensor, channels: int, geometry: Geometry) -> bool:
    """Whether tables are faster than torch's products: they must serve some columns, on a processor that permutes."""
    return tensor.dtype is torch.float32 and channels * geometry.taps >= _LEAST_COLUMNS and _permutes()


def image_of(signs: SignWords, geometry: Geometry) -> Image:
    """(H, W, H', W')."""
    return signs.high, signs.wide, geometry.side(signs.high), geometry.side(signs.wide)


def sign_gradients(grad: Tensor, columns: slice, weights: WeightWords, signs: SignWords, geometry: Geometry) -> Tensor:
    """dL/ds (N·H·W, C) from dL/dz, for the weights to which `columns` of it belong."""
    image = image_of(signs, geometry)
    words, parts = -(-signs.channels // WORD), -(-weights.outputs // _tables().CODED)
    codes = torch.empty((words, geometry.taps, parts, WORD), dtype=torch.int32)
    row = image[3] * parts * _tables().CODED * (_tables().TABLE // 4)
    threads = torch.get_num_threads()
    rooms = torch.empty((threads, geometry.kernel * row + row // image[3]), dtype=torch.float32)
    grad_s = grad.new_empty((len(signs.words), signs.channels))
    if not simulated(grad):
        _tables().weight_codes.split(
            words, array(weights.words), signs.channels, geometry.taps, kernels.loaded().LANES, codes.numpy()
        )
        _tables().sign_gradients.split(
            signs.images * signs.high,
            *(grad.numpy(), (columns.start, weights.outputs), codes.numpy(), image, _shape(geometry)),
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
        self.image = image_of(signs, geometry)
        pixels, tiles = len(grad), -(-signs.channels * geometry.taps // WORD)
        blocks, parts = -(-pixels // _tables().PIXELS), _tables().PIXELS // _tables().CODED
        self.codes = torch.empty((blocks, tiles, parts, WORD), dtype=torch.int32)
        if not simulated(grad):
            shape = (signs.channels, *_shape(geometry))
            _tables().pixel_codes.split(
                -(-pixels // _tables().CODED), array(signs.words), self.image, shape, self.codes.numpy()
            )

    def rows(self, rows: slice, added_to: Tensor | None = None) -> Tensor:
        """dL/dW (rows, C, k, k) of some output channels, added to an earlier one if there is one."""
        count, taps = rows.stop - rows.start, self.geometry.taps
        grad_w = added_to
        if grad_w is None:
            grad_w = self.grad.new_empty((count, self.channels, self.geometry.kernel, self.geometry.kernel))
        outside = self.grad.new_zeros((count, taps))
        tables = _tables().OUTPUTS * (_tables().PIXELS // 4) * _tables().TABLE
        rooms = torch.empty((torch.get_num_threads(), tables + _ROOM))
        if not simulated(self.grad):
            columns = (self.columns.start + rows.start, count)
            if self.geometry.padding and not self.geometry.ones:
                _tables().outside_sums.split(
                    taps, self.grad.numpy(), columns, self.image, _shape(self.geometry), outside.numpy()
                )
            _tables().weight_gradients.split(
                -(-count // _tables().OUTPUTS),
                *(self.grad.numpy(), columns, self.codes.numpy(), outside.numpy()),
                list(rooms.numpy()),
                added_to is not None,
                grad_w.view(count, -1).numpy(),
            )
        return grad_w


def _shape(geometry: Geometry) -> tuple[int, int, int]:
    return geometry.kernel, geometry.stride, geometry.padding
