"""The passes of `trainers.binary.kernels.cpu_unit` on torch tensors: buffers are made here, and sums put together.

On tensors of a GPU the functions of `trainers.binary.kernels.gpu_unit` stand for those here, name by name.
"""

import importlib
import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from trainers.binary import kernels
from trainers.binary.kernels import WORD, Geometry, SignWords, array, simulated

_LEAST_PIXELS = 256  # of a thread
APPROXIMATIONS = ("STE", "ApproxSign", "ReSTE")

Pass = TypeVar("Pass", bound=Callable[..., Any])


def _where_it_lies(here: Pass) -> Pass:
    """A pass that is done where its first argument lies."""

    @wraps(here)
    def chosen(first: Any, *others: Any) -> Any:
        module = kernels.units_on_gpu(first.words if isinstance(first, SignWords) else first)
        return (here if module is None else getattr(module, here.__name__))(first, *others)

    return cast(Pass, chosen)


@lru_cache(maxsize=1)
def _passes() -> Any:
    return importlib.import_module("trainers.binary.kernels.cpu_unit")


@lru_cache(maxsize=1)
def _taps() -> Any:
    return importlib.import_module("trainers.binary.kernels.cpu_taps")


@_where_it_lies
def pack_biased(x: Tensor, bias: Tensor) -> Tensor:
    """Words (pixels, ceil(C/64)) of sgn(x + bias): x (pixels, C), bias (C,)."""
    words = torch.empty((len(x), -(-x.shape[1] // WORD)), dtype=torch.int64)
    if not simulated(x):
        kernels.loaded().pack_biased.split(len(x), x.numpy(), bias.numpy(), array(words), least=_LEAST_PIXELS)
    return words


@_where_it_lies
def shift(signs: SignWords, distance: int) -> SignWords:
    """`trainers.models.branch.shift` on words; the very same words where the distance is 0."""
    if distance == 0:
        return signs
    shifted = torch.empty_like(signs.words)
    if not simulated(shifted):
        quarters = torch.arange(signs.channels) // (signs.channels // 4)
        rows = [torch.where(quarters == quarter, 0.0, -1.0) for quarter in range(4)]
        masks = pack_biased(torch.stack(rows), torch.zeros(signs.channels))
        image = (signs.high, signs.wide)
        arguments = (array(signs.words), image, distance, array(masks), array(shifted))
        _passes().shift_words.split(len(shifted), *arguments, least=_LEAST_PIXELS)
    return SignWords(shifted, signs.images, signs.channels, signs.high, signs.wide)


@_where_it_lies
def unpack(signs: SignWords, dtype: torch.dtype) -> Tensor:
    """The signs as floats (pixels, C)."""
    return tap_signs(signs, Geometry(), 0, dtype)


def tap_signs(signs: SignWords, geometry: Geometry, tap: int, dtype: torch.dtype) -> Tensor:
    """What one tap of each output pixel falls on, as floats (N·H'·W', C); outside the image 0, or +1."""
    image = (signs.high, signs.wide, geometry.side(signs.high), geometry.side(signs.wide))
    floats = torch.empty((signs.images * image[2] * image[3], signs.channels), dtype=dtype)
    if not simulated(floats):
        shape = (geometry.kernel, geometry.stride, geometry.padding, int(geometry.ones))
        arguments = (array(signs.words), image, shape, tap, floats.numpy())
        _taps().tap_signs.split(len(floats), *arguments, least=_LEAST_PIXELS)
    return floats


def tap_gradients(grad: Tensor, columns: slice, signs: SignWords, geometry: Geometry, tap: int) -> Tensor:
    """dL/dz (N·H·W, columns) of the output pixels one of whose taps falls on each pixel of the input, else 0."""
    image = (signs.high, signs.wide, geometry.side(signs.high), geometry.side(signs.wide))
    count = columns.stop - columns.start
    moved = grad.new_empty((len(signs.words), count))
    if not simulated(moved):
        shape = (geometry.kernel, geometry.stride, geometry.padding)
        arguments = (grad.numpy(), (columns.start, count), image, shape, tap, moved.numpy())
        _taps().tap_gradients.split(len(moved), *arguments, least=_LEAST_PIXELS)
    return moved


@_where_it_lies
def moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over pixels of z and z², exact, (O,) each in float64."""
    blocks = -(-len(z) // _passes().BLOCK)
    sums = torch.empty((2, blocks, z.shape[1]), dtype=torch.int64)
    if not simulated(z):
        rows = z.numpy()
        largest = max(1, abs(int(rows.min())), abs(int(rows.max())))
        _passes().moments.split(blocks, rows, max(1, (2**31 - 1) // largest**2), sums[0].numpy(), sums[1].numpy())
    total, squares = sums.sum(dim=1).double()
    return total, squares


@_where_it_lies
def shortcut(x: Tensor, image: tuple[int, int, int, int]) -> Tensor:
    """2x2 averages (pixels/4, C) of x (pixels, C); image is (H, W, H/2, W/2)."""
    pooled = x.new_empty((len(x) // 4, x.shape[1]))
    if not simulated(x):
        _passes().shortcut.split(len(pooled), x.numpy(), image, pooled.numpy(), least=_LEAST_PIXELS)
    return pooled


@_where_it_lies
def output(z: Tensor, r: Tensor, numbers: Tensor, y: Tensor | None = None) -> Tensor:
    """y (pixels, O), into the one given if there is one."""
    if y is None:
        y = r.new_empty(z.shape)
    if not simulated(y):
        _passes().output.split(len(z), z.numpy(), r.numpy(), numbers.numpy(), y.numpy(), least=_LEAST_PIXELS)
    return y


@_where_it_lies
def backward_sums(z: Tensor, r: Tensor, numbers: Tensor, grad: Tensor) -> Tensor:
    """Sums over pixels of g·hat, g, min(v, 0)·dL/dy and dL/dy: (4, O) in float64."""
    blocks = -(-len(z) // _passes().BLOCK)
    sums = torch.empty((blocks, 4, z.shape[1]), dtype=torch.float64)
    if not simulated(z):
        arguments = [tensor.numpy() for tensor in (z, r, numbers, grad, sums)]
        _passes().backward_sums.split(blocks, *arguments)
    return sums.sum(dim=0)


@_where_it_lies
def backward_products(
    z: Tensor, r: Tensor, numbers: Tensor, grad: Tensor, means: Tensor, grad_z: Tensor, grad_r: Tensor
) -> None:
    """Set dL/dz and dL/dr."""
    if not simulated(z):
        arguments = [tensor.numpy() for tensor in (z, r, numbers, grad, means, grad_z, grad_r)]
        _passes().backward_products.split(len(z), *arguments, least=_LEAST_PIXELS)


@_where_it_lies
def unpool(grad_r: Tensor, image: tuple[int, int, int, int], grad_x: Tensor) -> None:
    """Set dL/dx from the gradient of its 2x2 averages."""
    if not simulated(grad_x):
        _passes().unpool.split(len(grad_r), grad_r.numpy(), image, grad_x.numpy(), least=_LEAST_PIXELS)


@_where_it_lies
def backward_signs(x: Tensor, bias: Tensor, grad_s: Tensor, approx: str, order: float, grad_x: Tensor) -> Tensor:
    """Add dL/d(x + bias) to dL/dx; returns its sum over pixels, (C,)."""
    blocks = -(-len(x) // _passes().BLOCK)
    sums = torch.empty((blocks, x.shape[1]), dtype=torch.float64)
    if not simulated(x):
        kind = dict(zip(APPROXIMATIONS, (_passes().STE, _passes().APPROX_SIGN, _passes().RESTE), strict=True))[approx]
        _passes().backward_signs.split(
            blocks, x.numpy(), bias.numpy(), grad_s.numpy(), kind, float(order), grad_x.numpy(), sums.numpy()
        )
    return sums.sum(dim=0).to(x.dtype)


@_where_it_lies
def add_shifted(grad: Tensor, image: tuple[int, int], distance: int, total: Tensor | None) -> Tensor:
    """`total`, or zeros, plus the adjoint of `shift` of grad (pixels, C)."""
    if total is None:
        total = torch.zeros_like(grad)
    if not simulated(grad):
        _passes().add_shifted.split(len(grad), grad.numpy(), image, distance, total.numpy(), least=_LEAST_PIXELS)
    return total


def agrees(module: Any, device: torch.device) -> bool:
    """Whether a module's passes give on a device what the compiled ones here give on the CPU."""
    draws = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draws)

    images, side, channels = 2, 6, 68
    pixels, halved = images * side**2, images * side**2 // 4
    x, bias, grad = normal(pixels, channels), normal(channels), normal(pixels, channels)
    z = (9 * normal(halved, 2 * channels)).to(torch.int16)
    numbers = torch.cat([normal(2, 2 * channels), normal(5, 2 * channels).abs()])
    image = (side, side, side // 2, side // 2)
    grad_y, means = normal(halved, 2 * channels), normal(3, 2 * channels)

    def all_passes(passes: Any, place: torch.device) -> list[Tensor]:
        moved = [tensor.to(place) for tensor in (x, bias, grad, z, numbers, grad_y, means)]
        own_x, own_bias, own_grad, own_z, own_numbers, own_grad_y, own_means = moved
        words = SignWords(passes.pack_biased(own_x, own_bias), images, channels, side, side)
        r = passes.shortcut(own_x, image)
        found = [words.words, passes.shift(words, 1).words, r, passes.output(own_z, r, own_numbers)]
        found.append(passes.unpack(words, torch.float32))
        found += [*passes.moments(own_z), passes.backward_sums(own_z, r, own_numbers, own_grad_y)]
        grad_z, grad_r, grad_x = torch.empty_like(own_grad_y), torch.empty_like(r), torch.empty_like(own_x)
        passes.backward_products(own_z, r, own_numbers, own_grad_y, own_means, grad_z, grad_r)
        passes.unpool(grad_r, image, grad_x)
        found += [passes.backward_signs(own_x, own_bias, own_grad, approx, 3.0, grad_x) for approx in APPROXIMATIONS]
        found += [grad_z, grad_r, grad_x, passes.add_shifted(own_grad, (side, side), 1, None)]
        return [tensor.cpu() for tensor in found]

    pairs = zip(all_passes(module, device), all_passes(sys.modules[__name__], torch.device("cpu")), strict=True)
    return all(torch.allclose(found.double(), twin.double(), rtol=1e-4, atol=1e-4) for found, twin in pairs)
