"""Both backward products of a binary layer, from words of signs, are those of the float convolution's adjoints."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainers.binary import kernels
from trainers.binary.backward import WeightBlocks, sign_gradients, weight_product
from trainers.binary.kernels import Geometry, table_products
from trainers.binary.layers import BinaryConv2d

# Sums of float32 in another order, relative to the largest; float64 likewise.
CLOSE = {torch.float32: 2e-6, torch.float64: 1e-13}


def signs(*shape: int, seed: int) -> Tensor:
    return 2.0 * torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)) - 1


def adjoints(grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """dL/ds (pixels, C) and dL/dW in float64, by torch."""
    x, weight = x.double().requires_grad_(), weight.double().requires_grad_()
    padded = torch.nn.functional.pad(x, [geometry.padding] * 4, value=float(geometry.ones))
    z = torch.nn.functional.conv2d(padded, weight, stride=geometry.stride)
    grad_x, grad_w = torch.autograd.grad(z, (x, weight), grad.double())
    return grad_x.permute(0, 2, 3, 1).flatten(0, 2), grad_w


def rows_of(planes: Tensor) -> Tensor:
    return planes.permute(0, 2, 3, 1).flatten(0, 2).contiguous()


def check(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    worst = (found.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
    assert float(worst) <= CLOSE[found.dtype]


@pytest.mark.parametrize("how", ["registers", "memory", "floats"])
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_both_products_are_the_convolutions_adjoints(how: str, data: Any) -> None:
    if how == "registers" and not table_products.permutes():
        pytest.skip("this processor does not permute 16 floats")
    tables = how != "floats"
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    kernel = data.draw(st.sampled_from([1, 3, 5]))
    geometry = Geometry(kernel, draw(1, 3), draw(0, kernel // 2), data.draw(st.booleans()))
    dtype = torch.float32 if tables else data.draw(st.sampled_from([torch.float32, torch.float64]))
    channels, outputs, images = draw(1, 140), draw(1, 80), draw(1, 3)
    high, wide = draw(kernel, 11), draw(kernel, 11)
    before, after = draw(0, 5), draw(0, 5)
    x, layer = signs(images, channels, high, wide, seed=1), BinaryConv2d(channels, outputs, kernel)
    store = layer.pack()
    shape = (images, outputs, geometry.side(high), geometry.side(wide))
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)
    expected_s, expected_w = adjoints(grad, x, store.signs(slice(0, outputs), dtype), geometry)

    rows = torch.nn.functional.pad(rows_of(grad), (before, after), value=7.0)  # the columns of other layers
    columns = slice(before, before + outputs)
    words, weights = kernels.pack_signs(x), kernels.pack_weights([store.bits], channels, geometry)
    assert words is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_products, "_LEAST_COLUMNS", 0 if tables else 1 << 40)
        patch.setattr(table_products, "permutes", lambda: how == "registers")
        patch.setattr("trainers.binary.weights.BLOCK_WEIGHTS", draw(1, 1 << 16))
        check(sign_gradients(rows, columns, store, weights, words, geometry), expected_s)
        product = weight_product(rows, columns, words, geometry)
        assert isinstance(product, table_products.TableProduct) == tables
        blocks = list(WeightBlocks(product, store))
        check(torch.cat([block for _, block in blocks]), expected_w)
        assert [rows for rows, _ in blocks] == store.blocks()
        part = slice(outputs // 2, outputs)
        check(product.rows(part, product.rows(part)), 2 * expected_w[part])


@pytest.mark.parametrize("side", [3, 12])  # several images share a row of lanes, or none
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("in_registers", [True, False], ids=["registers", "memory"])
def test_any_number_of_threads_gives_the_same_bits(
    in_registers: bool, threads: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_registers and not table_products.permutes():
        pytest.skip("this processor does not permute 16 floats")
    monkeypatch.setattr(table_products, "permutes", lambda: in_registers)
    geometry = Geometry(3, 1, 1)
    x, layer = signs(8, 64, side, side, seed=1), BinaryConv2d(64, 96, 3)
    store = layer.pack()
    grad = torch.randn(8 * side * side, 96)
    words, weights = kernels.pack_signs(x), kernels.pack_weights([store.bits], 64, geometry)
    assert words is not None

    def both() -> tuple[Tensor, Tensor]:
        columns = slice(0, 96)
        product = weight_product(grad, columns, words, geometry)
        return sign_gradients(grad, columns, store, weights, words, geometry), product.rows(columns)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = both()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert all(torch.equal(a, b) for a, b in zip(alone, both(), strict=True))
