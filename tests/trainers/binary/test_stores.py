"""Both weight stores compute the same; the packed one keeps neither a float copy nor a gradient."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainers.gradient_receiver import GradientReceiver
from trainers.binary import kernels
from trainers.binary.bits import sgn
from trainers.binary.functional import sign_activation, surrogate_gradient
from trainers.binary.layers import BinaryConv2d, BinaryLayer, BinaryLinear
from trainers.settings import WEIGHT_SCALES


def layers() -> list[tuple[BinaryLayer, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 16, 8, 8, generator=generator)
    return [
        (BinaryConv2d(16, 24, 3, stride=2), images),
        (BinaryConv2d(16, 24, 1), images),
        (BinaryLinear(20, 7), torch.randn(5, 20, generator=generator)),
    ]


@pytest.mark.parametrize("scale", WEIGHT_SCALES)
def test_packed_and_latent_weights_give_equal_outputs_and_gradients(scale: str) -> None:
    for latent, inputs in layers():
        latent.set_weight_scale(scale)
        packed = copy.deepcopy(latent)
        received = GradientReceiver()
        packed.pack().consumer = received
        x = inputs.clone().requires_grad_()
        expected, got = latent(sign_activation(x)), packed(sign_activation(x))
        assert torch.equal(expected, got)
        weights = torch.randn_like(expected)
        grad_x, grad_weight = torch.autograd.grad(expected, [x, latent.weight], weights)
        (packed_grad_x,) = torch.autograd.grad(got, x, weights)
        assert torch.equal(grad_x, packed_grad_x)
        assert torch.equal(grad_weight, received.grad)


def test_a_packed_layer_owns_bits_and_no_float_of_its_size() -> None:
    for layer, _ in layers():
        weights = layer.weight.numel()
        layer.pack()
        assert list(layer.parameters()) == []
        assert [buffer.dtype for buffer in layer.buffers()] == [torch.uint8]
        assert sum(buffer.numel() for buffer in layer.buffers()) * 8 < 1.25 * weights  # rows end on a byte


def test_a_first_layer_receives_its_gradient_though_its_input_needs_none() -> None:
    layer = BinaryLinear(6, 4)
    received = GradientReceiver()
    layer.pack().consumer = received
    layer(torch.randn(3, 6)).sum().backward()
    assert received.finished
    assert received.grad.shape == (4, 6)


def test_a_large_layer_is_worked_on_in_blocks_and_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for latent, inputs in layers():
        monkeypatch.setattr("trainers.binary.weights.BLOCK_WEIGHTS", 2 * latent.weight[0].numel())
        packed = copy.deepcopy(latent)
        received = GradientReceiver()
        packed.pack().consumer = received
        x = inputs.double().requires_grad_()
        latent.double()
        expected, got = latent(sign_activation(x)), packed(sign_activation(x))
        assert torch.equal(expected, got)
        weights = torch.randn_like(expected)
        grad_x, grad_weight = torch.autograd.grad(expected, [x, latent.weight], weights)
        (packed_grad_x,) = torch.autograd.grad(got, x, weights)
        assert all(len(grad) <= 2 for _, grad in received.blocks)
        torch.testing.assert_close(packed_grad_x, grad_x, rtol=1e-12, atol=1e-12)  # a sum over blocks, float64
        torch.testing.assert_close(received.grad, grad_weight, rtol=1e-12, atol=1e-12)


def test_a_layer_without_consumer_takes_no_gradient() -> None:
    layer = BinaryLinear(6, 4)
    layer.pack()
    assert not layer(torch.randn(3, 6)).requires_grad


def test_a_latent_gradient_stops_where_the_latent_exceeds_one() -> None:
    layer = BinaryLinear(2, 1)
    layer.weight.data = torch.tensor([[0.5, -1.5]])
    layer(torch.tensor([[2.0, 3.0]])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[2.0, 0.0]]


def test_the_scale_of_packed_weights_is_a_constant_of_the_real_ones() -> None:
    layer = BinaryLinear(2, 2)
    layer.weight.data = torch.tensor([[0.5, -1.5], [1.0, 1.0]])
    layer.set_weight_scale("channel")
    store = layer.pack()
    assert store.scale() is not None
    assert layer(torch.tensor([[1.0, 1.0]])).tolist() == [[0.0, 2.0]]
    with pytest.raises(RuntimeError, match="keeps bits only"):
        layer.set_weight_scale("none")


def test_surrogate_gradients_follow_their_formulas() -> None:
    x = torch.tensor([0.0, 0.05, -0.5, 1.0, 1.2, -1.6], dtype=torch.float64)
    assert surrogate_gradient(x, "STE").tolist() == [1, 1, 1, 1, 0, 0]
    assert surrogate_gradient(x, "ApproxSign").tolist() == pytest.approx([2, 1.9, 1, 0, 0, 0])
    assert surrogate_gradient(x, "ReSTE", 1.0).tolist() == [1, 1, 1, 1, 1, 0]
    order = 2.0
    near = 0.5 * 0.1**-0.5
    expected = [near, near, 0.5 * 0.5**-0.5, 0.5, 0.5 * 1.2**-0.5, 0]
    assert surrogate_gradient(x, "ReSTE", order).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("scale", ["none", "channel"])
def test_latent_weights_are_evaluated_on_their_bits_and_give_the_same(
    scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = BinaryConv2d(70, 20, 3, stride=2)
    layer.set_weight_scale(scale)
    s = sgn(torch.randn(3, 70, 9, 9, generator=torch.Generator().manual_seed(1)))
    trained = layer(s)
    asked: list[Tensor] = []
    on_bits = kernels.sign_product

    def counted(inputs: Tensor, *others: Any) -> Tensor | None:
        asked.append(inputs)
        return on_bits(inputs, *others)

    monkeypatch.setattr(kernels, "sign_product", counted)
    assert torch.equal(layer(s), trained) and not asked
    assert torch.equal(layer.eval()(s), trained) and len(asked) == (kernels.compiled() is not None)
