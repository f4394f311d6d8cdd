"""What lies outside an image counts as +1 where a layer says so: in the product and in both of its adjoints."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.trainers.gradient_receiver import GradientReceiver
from trainers.binary.bits import sgn
from trainers.binary.layers import BinaryConv2d, set_kernels


def twin(s: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The product by definition."""
    return functional.conv2d(functional.pad(s, [weight.shape[2] // 2] * 4, value=1.0), weight, stride=stride)


@pytest.mark.parametrize("kernels", ["auto", "torch"])
@pytest.mark.parametrize("pack", [False, True], ids=["latent", "packed"])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (5, 2)])
def test_padding_with_ones_is_that_of_the_definition(kernel: int, stride: int, pack: bool, kernels: str) -> None:
    draw = torch.Generator().manual_seed(kernel + stride)
    s = sgn(torch.randn(3, 70, 7, 6, generator=draw, dtype=torch.float64)).requires_grad_()
    layer = BinaryConv2d(70, 9, kernel, stride, ones=True).double()
    weight = sgn(layer.get_parameter("weight").detach()).requires_grad_()
    expected = twin(s, weight, stride)
    upstream = torch.randn(expected.shape, generator=draw, dtype=torch.float64)
    grad_s, grad_w = torch.autograd.grad(expected, (s, weight), upstream)
    receiver = GradientReceiver()
    if pack:
        layer.pack().consumer = receiver
    set_kernels(layer, kernels)
    z = layer(s)
    assert torch.equal(z, expected)  # integers
    (found_s,) = torch.autograd.grad(z, s, upstream) if pack else (None,)
    if not pack:
        z.backward(upstream)
        found_s, found_w = s.grad, layer.get_parameter("weight").grad
    else:
        found_w = receiver.grad
    torch.testing.assert_close(found_s, grad_s, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found_w, grad_w, rtol=1e-12, atol=1e-12)


def test_padding_with_zeros_stays_what_it_was() -> None:
    s, layer = sgn(torch.randn(2, 8, 5, 5)), BinaryConv2d(8, 4, 3)
    weight = sgn(layer.get_parameter("weight").detach())
    assert torch.equal(layer(s), functional.conv2d(s, weight, padding=1))
    assert not torch.equal(layer(s), twin(s, weight, 1))
