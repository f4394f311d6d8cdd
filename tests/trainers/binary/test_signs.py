"""Bits in place of floats: a sign that keeps bits, and a product that keeps its input's, give the stock gradients."""

import pytest
import torch
from torch import Tensor, nn

from trainers.binary.functional import sign_activation
from trainers.binary.layers import BinaryConv2d, BinaryLinear, SignActivation
from trainers.binary.signs import sign_bits


def saved(model: nn.Module, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """What autograd keeps of one forward pass, and its output."""
    kept: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        return kept, model(x)


@pytest.mark.parametrize("approx", ["STE", "ApproxSign", "ReSTE"])
def test_a_packed_sign_has_the_stock_signs_output_and_gradient_bit_for_bit(approx: str) -> None:
    special = [-2.0, -1.5, -1.0, -0.1, -0.0, 0.0, 0.05, 1.0, 1.5, float("inf"), float("-inf")]
    x = torch.cat([torch.randn(7, 11), torch.tensor([special])])
    weights = torch.randn(8, 11)
    results = []
    for packed in (False, True):
        leaf = x.clone().requires_grad_()
        s = sign_activation(leaf, approx, 1.7, packed)
        (s * weights).sum().backward()
        results.append((s.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(*(grad for _, grad in results))


@pytest.mark.parametrize("pack", [False, True], ids=["latent", "bits"])
def test_a_product_that_keeps_bits_has_the_stock_gradients_bit_for_bit(pack: bool) -> None:
    torch.manual_seed(1)
    layer = BinaryConv2d(5, 6, kernel_size=3, stride=2)
    if pack:
        layer.pack()
    x, found = torch.randn(3, 5, 7, 7), []
    for packed in (False, True):
        sign = SignActivation()
        sign.packed_activations = packed
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        (layer(sign(leaf)) ** 2).sum().backward()
        found.append([leaf.grad, *(parameter.grad for parameter in layer.parameters())])
    assert all(torch.equal(stock, packed) for stock, packed in zip(*found, strict=True))


def test_a_packed_sign_and_the_layers_behind_it_share_one_copy_of_the_bits() -> None:
    model = nn.Sequential(SignActivation(), BinaryLinear(64, 8))
    model[0].packed_activations = True
    x = torch.randn(4, 64, requires_grad=True)
    kept, _ = saved(model, x)
    assert [tensor.dtype for tensor in kept] == [torch.uint8] * 2
    assert sum(tensor.nbytes for tensor in kept) == 2 * 4 * 64 // 8  # of the surrogate and of the signs
    s = model[0](x)
    first, second = (saved(BinaryLinear(64, 8), s)[0][0] for _ in range(2))
    assert first.data_ptr() == second.data_ptr()


def test_only_marked_tensors_are_kept_as_bits_and_only_as_long_as_they_are_unchanged() -> None:
    s = sign_activation(torch.randn(3, 9), packed=True)
    assert sign_bits(s) is not None
    assert sign_bits(s.view(3, 9)) is None
    assert sign_bits(torch.ones(3, 9)) is None
    assert sign_bits(sign_activation(torch.randn(3, 9))) is None
    s.mul_(0.5)
    assert sign_bits(s) is None


def test_signs_changed_in_place_are_kept_as_they_are() -> None:
    layer, grads = BinaryLinear(9, 4), []
    mask = torch.arange(9) % 2
    for packed in (False, True):
        s = sign_activation(torch.linspace(-1, 1, 18).view(2, 9), packed=packed)
        layer.zero_grad()
        layer(s.mul_(mask)).square().sum().backward()
        grads.append(layer.weight.grad)
    assert torch.equal(*grads)


def test_inference_takes_packed_signs_too() -> None:
    with torch.inference_mode():
        assert sign_bits(sign_activation(torch.randn(2, 8), packed=True)) is None
