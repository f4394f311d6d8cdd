"""Both backward products of a binary layer from rows of dL/dz and words of signs: dL/ds = dL/dz·W, dL/dW = dL/dz^T·S.

Rows are pixels (N·H'·W', O); some of their columns belong to the layer in question. On a CPU by table look-up where
that is faster (`trainers.binary.kernels.table_products`), else by matrix products of floats, one tap of a window after
the other, so that signs exist as floats for one tap of one chunk of images at a time. On a GPU by its library's
convolutions, on one chunk's signs as floats.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from trainers.binary import kernels
from trainers.binary.kernels import Geometry, SignWords, WeightWords, table_products, unit_passes
from trainers.binary.products import Convolution, multiply_back
from trainers.binary.weights import WeightStore


class WeightProduct(Protocol):
    """dL/dW of one layer, to be had block by block."""

    def rows(self, rows: slice, added_to: Tensor | None = None) -> Tensor:
        """dL/dW (rows, C, k, k) of some output channels, added to an earlier one if there is one."""


def weight_product(grad: Tensor, columns: slice, signs: SignWords, geometry: Geometry) -> WeightProduct:
    """dL/dW from dL/dz, of which `columns` are the layer's, and its inputs."""
    if kernels.units_on_gpu(grad) is not None:
        return _ConvolutionProduct(grad, columns, signs, geometry)
    if table_products.worthwhile(grad, signs.channels, geometry):
        return table_products.TableProduct(grad, columns, signs, geometry)
    return _FloatProduct(grad, columns, signs, geometry)


class _FloatProduct:
    def __init__(self, grad: Tensor, columns: slice, signs: SignWords, geometry: Geometry) -> None:
        self.grad, self.columns, self.signs, self.geometry = grad, columns, signs, geometry

    def rows(self, rows: slice, added_to: Tensor | None = None) -> Tensor:
        part = self.grad[:, self.columns.start + rows.start : self.columns.start + rows.stop]
        count, kernel = rows.stop - rows.start, self.geometry.kernel
        if self.geometry.taps == 1:
            s = unit_passes.tap_signs(self.signs, self.geometry, 0, part.dtype)
            if added_to is not None:
                added_to.view(count, -1).addmm_(part.T, s)
                return added_to
            return (part.T @ s).view(count, -1, 1, 1)
        total = added_to
        if total is None:
            total = part.new_empty((count, self.signs.channels, kernel, kernel))
        for tap in range(self.geometry.taps):
            s = unit_passes.tap_signs(self.signs, self.geometry, tap, part.dtype)
            place = total[:, :, tap // kernel, tap % kernel]
            found = part.T @ s
            place.copy_(found) if added_to is None else place.add_(found)
        return total


class _ConvolutionProduct:
    def __init__(self, grad: Tensor, columns: slice, signs: SignWords, geometry: Geometry) -> None:
        high, wide = geometry.side(signs.high), geometry.side(signs.wide)
        self.grad = _planes(grad, signs.images, high, wide)[:, columns]
        self.signs, self.geometry = signs, geometry

    def rows(self, rows: slice, added_to: Tensor | None = None) -> Tensor:
        s, kernel = unit_passes.unpack(self.signs, self.grad.dtype), self.geometry.kernel
        inputs = _planes(s, self.signs.images, self.signs.high, self.signs.wide)
        shape = torch.Size((rows.stop - rows.start, self.signs.channels, kernel, kernel))
        found = _convolution(self.geometry).weight_gradient(self.grad[:, rows], inputs, shape)
        return found if added_to is None else added_to.add_(found)


def _convolution(geometry: Geometry) -> Convolution:
    return Convolution(geometry.stride, geometry.padding, geometry.ones)


def _planes(rows: Tensor, images: int, high: int, wide: int) -> Tensor:
    """Rows of pixels as (N, C, H, W), channels last."""
    return rows.view(images, high, wide, -1).permute(0, 3, 1, 2)


def _sign_gradients_by_convolution(
    grad: Tensor, columns: slice, store: WeightStore, signs: SignWords, geometry: Geometry
) -> Tensor:
    own = _planes(grad, signs.images, geometry.side(signs.high), geometry.side(signs.wide))[:, columns]
    unread = grad.new_zeros(()).expand(signs.images, signs.channels, signs.high, signs.wide)
    total = multiply_back(own, unread, store, _convolution(geometry))
    return total.permute(0, 2, 3, 1).contiguous().view(-1, signs.channels)


def sign_gradients(
    grad: Tensor, columns: slice, store: WeightStore, weights: WeightWords, signs: SignWords, geometry: Geometry
) -> Tensor:
    """dL/ds (N·H·W, C) from dL/d(op(s, w)), of which `columns` are the layer's.

    Args:
        store, weights: the layer's weights and their words.
        signs: the layer's inputs; only their shape matters.
    """
    if kernels.units_on_gpu(grad) is not None:
        return _sign_gradients_by_convolution(grad, columns, store, signs, geometry)
    if table_products.worthwhile(grad, signs.channels, geometry):
        return table_products.sign_gradients(grad, columns, weights, signs, geometry)
    plain = geometry == Geometry()
    total: Tensor | None = None
    for rows in store.blocks():
        block = store.signs(rows, grad.dtype).flatten(2)
        own = slice(columns.start + rows.start, columns.start + rows.stop)
        for tap in range(geometry.taps):
            moved = grad[:, own] if plain else unit_passes.tap_gradients(grad, own, signs, geometry, tap)
            weight = block[:, :, tap] if block.dim() == 3 else block
            total = moved @ weight if total is None else total.addmm_(moved, weight)
    assert total is not None
    return total


class WeightBlocks:
    """What a store is given: dL/dW block by block of output channels, each computed when it is asked for."""

    def __init__(self, product: WeightProduct, store: WeightStore) -> None:
        self.product, self.store = product, store

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        for rows in self.store.blocks():
            count = rows.stop - rows.start
            yield rows, self.product.rows(rows).view(count, *self.store.shape[1:])


class WeightGradient:
    """The gradient of one layer's weights as the chunks of images pass; nothing for a store that takes none.

    Args:
        store: of the layer.
        geometry: of its product.
        images: how many there are in all chunks.
    """

    def __init__(self, store: WeightStore, geometry: Geometry, images: int) -> None:
        self.store, self.geometry, self.images = store, geometry, images
        self.wanted = store.anchor() is not None
        self.total: Tensor | None = None
        self.whole: WeightProduct | None = None

    def add(self, grad: Tensor, columns: slice, signs: SignWords) -> None:
        """dL/dz, of which `columns` are the layer's, and the signs of a chunk."""
        if not self.wanted:
            return
        product = weight_product(grad, columns, signs, self.geometry)
        if signs.images == self.images:  # all of them: the gradient may follow in blocks of weights, in `hand_over`
            self.whole = product
        else:
            self.total = product.rows(slice(0, self.store.shape[0]), self.total)

    def hand_over(self) -> Tensor | None:
        """Give the store its gradient; returns the anchor's, if it has one."""
        if self.whole is not None:
            return self.store.receive(WeightBlocks(self.whole, self.store))
        if self.total is not None:
            return self.store.receive([(slice(0, self.store.shape[0]), self.total)])
        return None
