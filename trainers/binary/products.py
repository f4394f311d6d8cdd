"""Products with a weight store's signs, block by block of output channels, and their two adjoints.

Only one block of the weights, or of their gradient, exists as floats at a time (the store says how large a block is).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainers.binary.weights import WeightStore


class ProductOperator(Protocol):
    """A bilinear operator with its two adjoints."""

    def forward(self, inputs: Tensor, weight: Tensor) -> Tensor: ...

    def input_gradient(self, grad: Tensor, inputs: Tensor, weight: Tensor) -> Tensor: ...

    def weight_gradient(self, grad: Tensor, inputs: Tensor, shape: torch.Size) -> Tensor: ...

    def per_channel(self, scale: Tensor) -> Tensor:
        """`scale` (out,) shaped to multiply the operator's output."""


class MatrixProduct:
    """z = s W^T: (N, in) x (out, in) -> (N, out)."""

    def forward(self, inputs: Tensor, weight: Tensor) -> Tensor:
        return inputs @ weight.T

    def input_gradient(self, grad: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
        return grad @ weight

    def weight_gradient(self, grad: Tensor, inputs: Tensor, shape: torch.Size) -> Tensor:
        return grad.T @ inputs

    def per_channel(self, scale: Tensor) -> Tensor:
        return scale


class Convolution:
    """z = W * s, zero padding: (N, in, H, W) x (out, in, k, k) -> (N, out, H', W')."""

    def __init__(self, stride: int, padding: int) -> None:
        self.stride = stride
        self.padding = padding

    def forward(self, inputs: Tensor, weight: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(inputs, weight, stride=self.stride, padding=self.padding)

    def _backward(self, grad: Tensor, inputs: Tensor, weight: Tensor, wanted: int) -> Tensor:
        mask = [index == wanted for index in range(3)]
        stride, padding = [self.stride] * 2, [self.padding] * 2
        return torch.ops.aten.convolution_backward(
            grad, inputs, weight, None, stride, padding, [1, 1], False, [0, 0], 1, mask
        )[wanted]

    def input_gradient(self, grad: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
        return self._backward(grad, inputs, weight, 0)

    def weight_gradient(self, grad: Tensor, inputs: Tensor, shape: torch.Size) -> Tensor:
        # Only the weight's shape matters here, not its values: one element expanded costs no memory.
        return self._backward(grad, inputs, inputs.new_zeros(()).expand(shape), 1)

    def per_channel(self, scale: Tensor) -> Tensor:
        return scale.view(-1, 1, 1)


def multiply(inputs: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor:
    """op(inputs, w), unscaled: an exact integer where the inputs are signs."""
    parts = [operator.forward(inputs, store.signs(rows, inputs.dtype)) for rows in store.blocks()]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


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
