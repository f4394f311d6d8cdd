"""The GPU's products of packed signs are exact; without a GPU the kernels run through Triton's interpreter."""

import os

import pytest
import torch
from torch.nn import functional

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, and where a kernel is defined
pytest.importorskip("triton", reason="Triton comes with torch's CUDA build, or with the test extra on Linux")

from trainers.binary import kernels
from trainers.binary.bits import pack_bits, sgn
from trainers.binary.kernels import Geometry, gpu
from trainers.binary.layers import BinaryConv2d, BinaryLinear
from trainers.binary.products import multiply

pytestmark = [pytest.mark.integration, pytest.mark.cuda]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("images", "channels", "outputs", "side", "window"),
    [
        (2, 3, 5, 5, Geometry(3, 1, 1)),
        (1, 64, 70, 8, Geometry(3, 2, 1)),
        (2, 70, 33, 7, Geometry(3, 1, 1, ones=True)),
        (1, 130, 20, 6, Geometry(1, 2)),
        (9, 100, 50, 1, Geometry()),
    ],
)
def test_products_are_those_of_the_signs(images: int, channels: int, outputs: int, side: int, window: Geometry) -> None:
    draws = torch.Generator().manual_seed(channels)
    x = torch.randn(images, channels, side, side, generator=draws)
    bias = 0.3 * torch.randn(channels, generator=draws)
    x[:, :, 0, 0] = -bias  # a sum of exactly 0, whose sign is +1
    positive = torch.rand(outputs, channels, window.kernel, window.kernel, generator=draws) < 0.5
    signs = functional.pad(sgn(x + bias.view(1, -1, 1, 1)), [window.padding] * 4, value=float(window.ones))
    expected = functional.conv2d(signs, positive.float() * 2 - 1, stride=window.stride)

    words = gpu.pack_signs(x.to(DEVICE), bias.to(DEVICE))
    weights = gpu.pack_weights(pack_bits(positive).to(DEVICE), channels, window.kernel**2)
    z = torch.empty(images * window.side(side) ** 2, outputs, dtype=torch.int16, device=DEVICE)
    for times in (1, 2):  # the second product is added to the first
        gpu.product(words, (images, side, side), weights, channels, window, z, add=times == 2)
        planes = z.cpu().view(images, window.side(side), window.side(side), outputs).permute(0, 3, 1, 2)
        assert torch.equal(planes.float(), times * expected)


def test_a_layers_product_runs_on_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = BinaryConv2d(70, 20, 3, stride=2)
    layer.pack()
    x = sgn(torch.randn(2, 70, 9, 9, generator=torch.Generator().manual_seed(1)))
    expected = multiply(x, layer.store, layer.operator)
    asked: list[str] = []

    def on_gpu(tensor: torch.Tensor, kind: str) -> object:
        asked.append(kind)
        return gpu

    monkeypatch.setattr(kernels, "on_gpu", on_gpu)
    layer.to(DEVICE)
    assert torch.equal(multiply(x.to(DEVICE), layer.store, layer.operator).cpu(), expected)
    halves = x.to(DEVICE).to(torch.bfloat16)
    assert multiply(halves, layer.store, layer.operator).dtype == torch.bfloat16
    assert asked == ["auto"] * 2


def test_a_layer_that_is_not_given_signs_is_multiplied_in_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = BinaryLinear(70, 20)
    layer.pack()
    x = torch.randn(4, 70, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(kernels, "on_gpu", lambda tensor, kind: gpu)
    layer.to(DEVICE)
    found = multiply(x.to(DEVICE), layer.store, layer.operator).cpu()
    assert torch.allclose(found, x @ layer.store.signs(slice(0, 20), torch.float32).cpu().T, atol=1e-4)


def test_products_are_tried_out_before_they_are_used() -> None:
    assert gpu.exact(DEVICE)
