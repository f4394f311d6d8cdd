"""The GPU's products of packed signs are exact; without a GPU the kernels run through Triton's interpreter."""

import os
from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, and where a kernel is defined
pytest.importorskip("triton", reason="Triton comes with torch's CUDA build, or with the test extra on Linux")

from trainers.binary.bits import pack_bits, sgn
from trainers.binary.kernels import gpu

pytestmark = [pytest.mark.integration, pytest.mark.cuda]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Window:
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    ones: bool = False

    def side(self, pixels: int) -> int:
        return (pixels + 2 * self.padding - self.kernel) // self.stride + 1


@pytest.mark.parametrize(
    ("images", "channels", "outputs", "side", "window"),
    [
        (2, 3, 5, 5, Window(3, 1, 1)),
        (1, 64, 70, 8, Window(3, 2, 1)),
        (2, 70, 33, 7, Window(3, 1, 1, ones=True)),
        (1, 130, 20, 6, Window(1, 2)),
        (9, 100, 50, 1, Window()),
    ],
)
def test_products_are_those_of_the_signs(images: int, channels: int, outputs: int, side: int, window: Window) -> None:
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
