"""A binary dense layer that keeps almost nothing for backward: the packed-activation path of the MLP.

    z = scale·(s W^T)      n = (z - mean)/sqrt(var + eps)      next s = sgn(n), or n itself after the last layer

Stock autograd keeps s, z and n as floats. Here s is kept in bits (the first layer's real-valued image as it is), z in
16 bits where it is an integer up to one scale (|z| <= the layer's inputs), as floats otherwise, and n is worked out
again.
"""

from typing import Any

import torch
from torch import Tensor, nn

from trainers.batch_norm import normalised
from trainers.binary.bits import pack_bits, sgn, unpack_signs
from trainers.binary.functional import surrogate_gradient
from trainers.binary.layers import BinaryLinear, SignActivation
from trainers.binary.products import WeightGradients, multiply, multiply_back, scaled
from trainers.models.branch import INT16_LIMIT


class _PackedDense(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        anchor: Tensor | None,
        layer: BinaryLinear,
        norm: nn.Module,
        sign: SignActivation | None,
        binary_inputs: bool,
    ) -> Tensor:
        product = multiply(inputs, layer.store, layer.operator)
        n = norm(scaled(product, layer.store, layer.operator))
        ctx.exact = binary_inputs and inputs.shape[1] <= INT16_LIMIT
        ctx.layer, ctx.norm, ctx.sign, ctx.binary_inputs = layer, norm, sign, binary_inputs
        ctx.shape, ctx.dtype = inputs.shape, inputs.dtype
        ctx.save_for_backward(
            pack_bits(inputs > 0) if binary_inputs else inputs,
            product.round().to(torch.int16) if ctx.exact else product,
        )
        return n if sign is None else sgn(n)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kept, product = ctx.saved_tensors
        store, operator = ctx.layer.store, ctx.layer.operator
        with torch.enable_grad():
            z = scaled(product.to(ctx.dtype), store, operator).requires_grad_()
            n = normalised(ctx.norm, z)
        grad = grads[0]
        if ctx.sign is not None:
            grad = grad * surrogate_gradient(n.detach(), ctx.sign.approx, ctx.sign.order)
        (grad_z,) = torch.autograd.grad(n, z, grad)
        del n, z, grad
        inputs = unpack_signs(kept, ctx.shape, ctx.dtype) if ctx.binary_inputs else kept
        grad_inputs = grad_anchor = None
        if ctx.needs_input_grad[0]:
            grad_inputs = multiply_back(scaled(grad_z, store, operator), inputs, store, operator)
        if ctx.needs_input_grad[1]:
            grad_anchor = store.receive(WeightGradients(grad_z, inputs, store, operator))
        return grad_inputs, grad_anchor, None, None, None, None


def packed_dense(
    inputs: Tensor,
    layer: BinaryLinear,
    norm: nn.Module,
    sign: SignActivation | None,
    binary_inputs: bool,
) -> Tensor:
    """The layer, its batch norm without affine and its sign: (N, in) -> (N, out) in {-1, +1}, or n where `sign` is
    None.

    Args:
        norm: a batch norm without affine; its running statistics move in the forward pass.
        binary_inputs: whether `inputs` are signs, which bits hold exactly.
    """
    output: Tensor = _PackedDense.apply(inputs, layer.store.anchor(), layer, norm, sign, binary_inputs)
    return output
