"""Forward and backward of the sign activation and of the product with binary weights.

z = op(s, W) with s the inputs, W = scale·w and w in {-1, +1}; op is a convolution or a matrix product. The forward pass
computes op(s, w), an exact integer for binary s, and multiplies it by the scale. Backward:
dL/ds = op^T(scale·dL/dz, w); the weight's gradient is dL/dW, as if W itself were the parameter, and passes to w
unscaled (algorithm, section 7).
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from trainers.binary.bits import sgn
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


class _BinaryProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, anchor: Tensor | None, store: WeightStore, operator: ProductOperator
    ) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.store, ctx.operator = store, operator
        parts = [operator.forward(inputs, store.signs(rows, inputs.dtype)) for rows in store.blocks()]
        return _scaled(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), store, operator)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (inputs,) = ctx.saved_tensors
        store, operator, grad = ctx.store, ctx.operator, grads[0]
        grad_inputs = grad_anchor = None
        if ctx.needs_input_grad[0]:  # before the update: dL/ds belongs to the weights of the forward pass
            grad_inputs = _input_gradient(_scaled(grad, store, operator), inputs, store, operator)
        if ctx.needs_input_grad[1]:
            grad_anchor = store.receive(_weight_gradients(grad, inputs, store, operator))
        return grad_inputs, grad_anchor, None, None


def _input_gradient(grad: Tensor, inputs: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor:
    """dL/ds, summed over the blocks of output channels."""
    first, *others = store.blocks()
    total = operator.input_gradient(grad[:, first], inputs, store.signs(first, inputs.dtype))
    for rows in others:
        total += operator.input_gradient(grad[:, rows], inputs, store.signs(rows, inputs.dtype))
    return total


def _weight_gradients(
    grad: Tensor, inputs: Tensor, store: WeightStore, operator: ProductOperator
) -> Iterator[tuple[slice, Tensor]]:
    """dL/dW block by block, each computed when it is asked for."""
    for rows in store.blocks():
        part = grad[:, rows]
        yield rows, operator.weight_gradient(part, inputs, torch.Size((part.shape[1], *store.shape[1:])))


def _scaled(tensor: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor:
    scale = store.scale()
    if scale is None:
        return tensor
    return tensor * (operator.per_channel(scale) if scale.dim() else scale)


def binary_product(inputs: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor:
    """op(inputs, scale·w) for the weights of `store`; in backward the store receives dL/dW."""
    output: Tensor = _BinaryProduct.apply(inputs, store.anchor(), store, operator)
    return output


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, approx: str, order: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.approx, ctx.order = approx, order
        return sgn(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return grads[0] * surrogate_gradient(x, ctx.approx, ctx.order), None, None


def surrogate_gradient(x: Tensor, approx: str, order: float = 1.0) -> Tensor:
    """What stands for d sgn(x)/dx in backward, in x's shape and dtype.

    STE: 1 where |x| <= 1. ApproxSign (Bi-Real Net, ECCV 2018): 2 - 2|x| where |x| <= 1. ReSTE (ICCV 2023), of order o:
    (1/o)·|x|^(1/o - 1) for 0.1 < |x| <= 1.5, its value at 0.1 nearer to 0, and 0 beyond 1.5.
    """
    magnitude = x.abs()
    if approx == "STE":
        return (magnitude <= 1).to(x.dtype)
    if approx == "ApproxSign":
        return (2 - 2 * magnitude).clamp_(min=0)
    slope = magnitude.clamp(min=0.1).pow_(1 / order - 1).mul_(1 / order)
    return slope.masked_fill_(magnitude > 1.5, 0)


def sign_activation(x: Tensor, approx: str = "STE", order: float = 1.0) -> Tensor:
    """s = sgn(x), sgn(0) = +1, with `surrogate_gradient` in backward. `order` is ReSTE's o."""
    output: Tensor = _Sign.apply(x, approx, order)
    return output
