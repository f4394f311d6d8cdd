"""Products with a weight store's signs, and their two adjoints.

Signs meet packed weights on their bits (`trainers.binary.kernels`). Everything else is a float product, block by block
of output channels: only one block of the weights, or of their gradient, exists as floats at a time (the store says how
large a block is).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainers.binary import kernels
from trainers.binary.kernels import Geometry
from trainers.binary.weights import PackedWeight, WeightStore


class ProductOperator(Protocol):
    """A bilinear operator with its two adjoints."""

    def geometry(self, shape: torch.Size) -> Geometry:
        """Its window, for a weight of `shape`."""

    def forward(self, inputs: Tensor, weight: Tensor) -> Tensor: ...

    def input_gradient(self, grad: Tensor, inputs: Tensor, weight: Tensor) -> Tensor: ...

    def weight_gradient(self, grad: Tensor, inputs: Tensor, shape: torch.Size) -> Tensor: ...

    def per_channel(self, scale: Tensor) -> Tensor:
        """`scale` (out,) shaped to multiply the operator's output."""


class MatrixProduct:
    """z = s W^T: (N, in) x (out, in) -> (N, out)."""

    def geometry(self, shape: torch.Size) -> Geometry:
        return Geometry()

    def forward(self, inputs: Tensor, weight: Tensor) -> Tensor:
        return inputs @ weight.T

    def input_gradient(self, grad: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
        return grad @ weight

    def weight_gradient(self, grad: Tensor, inputs: Tensor, shape: torch.Size) -> Tensor:
        return grad.T @ inputs

    def per_channel(self, scale: Tensor) -> Tensor:
        return scale


class Convolution:
    """z = W * s: (N, in, H, W) x (out, in, k, k) -> (N, out, H', W').

    Args:
        stride, padding: of the window.
        ones: whether what lies outside an image counts as +1; otherwise as 0.
    """

    def __init__(self, stride: int, padding: int, ones: bool = False) -> None:
        self.stride = stride
        self.padding = padding
        self.ones = ones and padding > 0

    def geometry(self, shape: torch.Size) -> Geometry:
        return Geometry(shape[2], self.stride, self.padding, self.ones)

    def forward(self, inputs: Tensor, weight: Tensor) -> Tensor:
        if self.ones:
            return torch.nn.functional.conv2d(self._padded(inputs), weight, stride=self.stride)
        return torch.nn.functional.conv2d(inputs, weight, stride=self.stride, padding=self.padding)

    def _padded(self, inputs: Tensor) -> Tensor:
        return torch.nn.functional.pad(inputs, [self.padding] * 4, value=1.0)

    def _backward(self, grad: Tensor, inputs: Tensor, weight: Tensor, wanted: int) -> Tensor:
        mask = [index == wanted for index in range(3)]
        stride, padding = [self.stride] * 2, [0 if self.ones else self.padding] * 2
        return torch.ops.aten.convolution_backward(
            grad, inputs, weight, None, stride, padding, [1, 1], False, [0, 0], 1, mask
        )[wanted]

    def input_gradient(self, grad: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
        if not self.ones:
            return self._backward(grad, inputs, weight, 0)
        images, channels, high, wide = inputs.shape
        edge = self.padding
        # Of the inputs too only the shape matters.
        padded = inputs.new_zeros(()).expand(images, channels, high + 2 * edge, wide + 2 * edge)
        return self._backward(grad, padded, weight, 0)[:, :, edge:-edge, edge:-edge]

    def weight_gradient(self, grad: Tensor, inputs: Tensor, shape: torch.Size) -> Tensor:
        # Only the weight's shape matters here, not its values: one element expanded costs no memory.
        unread = inputs.new_zeros(()).expand(shape)
        return self._backward(grad, self._padded(inputs) if self.ones else inputs, unread, 1)

    def per_channel(self, scale: Tensor) -> Tensor:
        return scale.view(-1, 1, 1)


def multiply(inputs: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor:
    """op(inputs, w), unscaled: an exact integer where the inputs are signs."""
    on_bits = _multiply_bits(inputs, store, operator)
    if on_bits is not None:
        return on_bits
    parts = [operator.forward(inputs, store.signs(rows, inputs.dtype)) for rows in store.blocks()]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def _multiply_bits(inputs: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor | None:
    """The same from bits alone; None where the inputs are no signs, or no kernel takes them.

    Latent weights are packed for it in evaluation only: conventional training is measured as it is.
    """
    layer = store.layer
    if not getattr(layer, "sign_inputs", True) or (layer.training and not isinstance(store, PackedWeight)):
        return None
    geometry, kind = operator.geometry(store.shape), getattr(layer, "kernels", "auto")
    if (gpu := kernels.on_gpu(inputs, kind)) is not None:
        product: Tensor = gpu.sign_product(inputs, store.bits, geometry)
        return product if _signs_seen(store, inputs) else None
    if geometry.taps > kernels.MOST_TAPS or not kernels.usable(inputs, kind):
        return None
    return kernels.sign_product(inputs, store.bits, geometry)


def _signs_seen(store: WeightStore, inputs: Tensor) -> bool:
    """Whether a layer on a GPU is given signs; looked at once, for to look is to wait for the GPU."""
    if store.signs_seen is None:
        store.signs_seen = bool((inputs.abs() == 1).all())
    return store.signs_seen


def scaled(tensor: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor:
    """`tensor`, of the product's shape, times the weight scale; itself where the scale is 1."""
    scale = store.scale()
    if scale is None:
        return tensor
    return tensor * (operator.per_channel(scale) if scale.dim() else scale)


def multiply_back(grad: Tensor, inputs: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor:
    """The adjoint in the inputs, dL/ds from dL/d(op(s, w)), summed over the blocks of output channels."""
    first, *others = store.blocks()
    total = operator.input_gradient(grad[:, first], inputs, store.signs(first, inputs.dtype))
    for rows in others:
        total += operator.input_gradient(grad[:, rows], inputs, store.signs(rows, inputs.dtype))
    return total


@dataclass(frozen=True)
class WeightGradients:
    """The adjoint in the weights, dL/dW, block by block, each computed when it is asked for, as often as it is."""

    grad: Tensor
    inputs: Tensor
    store: WeightStore
    operator: ProductOperator

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        for rows in self.store.blocks():
            part = self.grad[:, rows]
            shape = torch.Size((part.shape[1], *self.store.shape[1:]))
            yield rows, self.operator.weight_gradient(part, self.inputs, shape)
