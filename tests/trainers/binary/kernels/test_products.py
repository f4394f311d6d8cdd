"""Compiled products of bits give the integers of the plain float twin, whatever the shape."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainers.binary import kernels
from trainers.binary.bits import pack_bits
from trainers.binary.kernels import Geometry, reference
from trainers.binary.layers import BinaryConv2d, BinaryLinear, set_kernels


def signs(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    bits = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed))
    return (2 * bits - 1).to(dtype)


def test_numba_compiles_here() -> None:
    assert kernels.compiled() is not None


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_products_are_the_plain_twins_integers(data: Any) -> None:
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    kernel = data.draw(st.sampled_from([1, 2, 3, 5]))
    geometry = Geometry(kernel, draw(1, 3), draw(0, kernel // 2), data.draw(st.booleans()))
    channels, outputs = draw(1, 200), draw(1, 70)
    high, wide = draw(kernel, 9), draw(kernel, 9)
    x, weight = signs(draw(1, 3), channels, high, wide), signs(outputs, channels, kernel, kernel, seed=1)
    words = kernels.pack_signs(x)
    assert words is not None
    twin = reference.pack_signs(x)
    assert torch.equal(words.words, twin.words)
    assert torch.equal(reference.unpack_signs(words, x.dtype), x)
    packed = kernels.pack_weights([pack_bits(weight > 0)], channels, geometry)
    z = kernels.product(words, packed, geometry)
    assert torch.equal(z.long(), reference.product(twin, weight, geometry))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 70), (3, 128), (2, 70, 6, 5), (2, 64, 1, 1)])
def test_anything_but_signs_is_noticed(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = signs(*shape, dtype=dtype)
    assert kernels.pack_signs(x) is not None
    for value in (0.0, 0.5, float("nan"), 2.0):
        for place in ((0,) * len(shape), tuple(side - 1 for side in shape)):
            strange = x.clone()
            strange[place] = value
            assert kernels.pack_signs(strange) is None


def test_products_beyond_sixteen_bits_are_exact() -> None:
    x = torch.ones(1, 4096, 3, 3)
    weight = torch.ones(2, 4096, 3, 3)
    geometry = Geometry(3, 1, 1)
    words = kernels.pack_signs(x)
    assert words is not None
    z = kernels.product(words, kernels.pack_weights([pack_bits(weight > 0)], 4096, geometry), geometry)
    assert z.dtype is torch.int32 and int(z.max()) == 9 * 4096


def test_a_product_may_be_added_to_another() -> None:
    geometry = Geometry(1)
    x, first, second = signs(2, 72, 4, 4), signs(40, 72, 1, 1, seed=1), signs(40, 72, 1, 1, seed=2)
    words = kernels.pack_signs(x)
    assert words is not None
    z = kernels.product(words, kernels.pack_weights([pack_bits(first > 0)], 72, geometry), geometry)
    alone = z.clone()
    both = kernels.product(words, kernels.pack_weights([pack_bits(second > 0)], 72, geometry), geometry, z)
    assert both is z
    assert torch.equal(z.long() - alone, reference.product(words, second, geometry))


def test_weights_of_several_layers_stand_side_by_side() -> None:
    geometry = Geometry(3, 2, 1)
    x, layers = signs(2, 33, 7, 7), [signs(outputs, 33, 3, 3, seed=outputs) for outputs in (20, 45, 1)]
    words = kernels.pack_signs(x)
    assert words is not None
    z = kernels.product(words, kernels.pack_weights([pack_bits(w > 0) for w in layers], 33, geometry), geometry)
    assert torch.equal(z.long(), reference.product(words, torch.cat(layers), geometry))


LAYERS = {
    "3x3": lambda: (BinaryConv2d(40, 24, 3, 2), signs(3, 40, 8, 8)),
    "1x1": lambda: (BinaryConv2d(128, 64, 1), signs(3, 128, 5, 5)),
    "linear": lambda: (BinaryLinear(100, 30), signs(4, 100)),
    "real inputs": lambda: (BinaryLinear(100, 30), torch.randn(4, 100)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_a_packed_layer_gives_the_same_bits_by_either_kind(
    name: str, threads: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = LAYERS[name]()
    layer, x = layer.to(dtype), x.to(dtype)
    layer.pack()
    other = copy.deepcopy(layer)
    set_kernels(other, "torch")
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found, expected = layer(x), other(x)
    assert found.dtype is dtype and found.is_contiguous()
    assert torch.equal(found, expected) or (name == "real inputs" and torch.allclose(found, expected))


def test_latent_weights_and_other_types_keep_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a compiled product where there should be none")

    monkeypatch.setattr(kernels, "sign_product", refuse)
    layer = BinaryLinear(64, 8)
    layer(signs(2, 64))
    layer.pack()
    layer(signs(2, 64, dtype=torch.bfloat16))
    set_kernels(nn.Sequential(layer), "torch")
    layer(signs(2, 64))
    set_kernels(layer, "auto")
    with pytest.raises(AssertionError, match="compiled product"):
        layer(signs(2, 64))
