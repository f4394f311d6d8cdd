"""Forward and backward of the sign activation and of the product with binary weights.

z = op(s, W) with s the inputs, W = scale·w and w in {-1, +1}; op is a convolution or a matrix product. The forward pass
computes op(s, w), an exact integer for binary s, and multiplies it by the scale. Backward:
dL/ds = op^T(scale·dL/dz, w); the weight's gradient is dL/dW, as if W itself were the parameter, and passes to w
unscaled (algorithm, section 7).

Autograd keeps the inputs of both as floats. With packed activations a sign keeps 1 bit an element where the surrogate's
gradient is 0 or 1, and a product whose inputs are such a sign's output keeps its bits; both are exact.
"""

from typing import Any

import torch
from torch import Tensor

from trainers.binary.bits import pack_bits, sgn, unpack_bits
from trainers.binary.products import ProductOperator, WeightGradients, multiply, multiply_back, scaled
from trainers.binary.signs import mark_signs, sign_bits, to_keep
from trainers.binary.weights import WeightStore


class _BinaryProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        anchor: Tensor | None,
        bits: Tensor | None,
        store: WeightStore,
        operator: ProductOperator,
    ) -> Tensor:
        kept, ctx.inputs = to_keep(inputs, bits)
        ctx.save_for_backward(kept)
        ctx.store, ctx.operator = store, operator
        return scaled(multiply(inputs, store, operator), store, operator)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.inputs.read(*ctx.saved_tensors)
        store, operator, grad = ctx.store, ctx.operator, grads[0]
        grad_inputs = grad_anchor = None
        if ctx.needs_input_grad[0]:  # before the update: dL/ds belongs to the weights of the forward pass
            grad_inputs = multiply_back(scaled(grad, store, operator), inputs, store, operator)
        if ctx.needs_input_grad[1]:
            grad_anchor = store.receive(WeightGradients(grad, inputs, store, operator))
        return grad_inputs, grad_anchor, None, None, None


def binary_product(inputs: Tensor, store: WeightStore, operator: ProductOperator) -> Tensor:
    """op(inputs, scale·w) for the weights of `store`; in backward the store receives dL/dW.

    Under autocast the product runs in its 16 bits, as a stock convolution's would: signs are exact in them.
    """
    kind = inputs.device.type
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            return binary_product(inputs.to(torch.get_autocast_dtype(kind)), store, operator)
    bits = sign_bits(inputs) if torch.is_grad_enabled() else None
    output: Tensor = _BinaryProduct.apply(inputs, store.anchor(), bits, store, operator)
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


class _PackedSign(torch.autograd.Function):
    """STE's sign: its gradient is 1 or 0, so what is kept is the bits of |x| <= 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(pack_bits((x >= -1) & (x <= 1)))
        ctx.shape = x.shape
        return sgn(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (bits,) = ctx.saved_tensors
        return grads[0] * unpack_bits(bits, ctx.shape)


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


def sign_activation(x: Tensor, approx: str = "STE", order: float = 1.0, packed: bool = False) -> Tensor:
    """s = sgn(x), sgn(0) = +1, with `surrogate_gradient` in backward.

    Args:
        x: (N, ...).
        approx: the surrogate.
        order: ReSTE's o.
        packed: keep bits in place of x for STE (the other surrogates need x), and mark s, so that a binary product
            keeps its bits too.
    """
    output: Tensor
    if packed and approx == "STE" and torch.is_grad_enabled():
        output = _PackedSign.apply(x)
    else:
        output = _Sign.apply(x, approx, order)
    return mark_signs(output) if packed else output
