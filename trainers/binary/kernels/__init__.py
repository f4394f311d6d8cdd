"""Products of signs computed on the bits themselves: what may run them, chosen here, and the tensors they work on.

`trainers.binary.kernels.cpu` holds the compiled functions, `gpu` and `gpu_unit` those for GPUs, `reference` says the
same in plain torch. A product of signs is an exact integer, so all give the same; `torch` as a layer's kind keeps to
torch's own float products, as does a tensor or a machine that the compiled functions do not serve.

Every buffer is a torch tensor made here, so that whoever counts memory sees it. On simulated tensors
(`trainers.memory.predict`) the buffers are made and nothing is computed.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

KINDS = ("auto", "torch")
WORD = 64  # signs a word
MOST_TAPS = 49  # of a kernel: as many as fit in a word beside what precedes them in a byte

_INT16_MOST = torch.iinfo(torch.int16).max


@lru_cache(maxsize=1)
def compiled() -> Any | None:
    """The module of compiled functions; None where numba is missing or cannot compile, which a warning says once."""
    try:
        cpu = importlib.import_module("trainers.binary.kernels.cpu")
        count = np.empty((1, cpu.LANES), np.int32)  # not torch's: simulated tensors may be in force
        cpu.count_weights(0, 1, np.full((1, 1, cpu.LANES), 3, np.uint64), 1, count)
        works = bool((count == 2).all())
    except Exception as error:  # whatever keeps numba or LLVM from compiling here
        warnings.warn(f"products of bits run as float products, which are slower: {error!r}", stacklevel=2)
        return None
    return cpu if works else None


def usable(tensor: Tensor, kind: str) -> bool:
    """Whether compiled functions take tensors such as this one, under a layer's `kind` (auto or torch)."""
    floats = tensor.dtype in (torch.float32, torch.float64)
    return kind == "auto" and tensor.device.type == "cpu" and floats and compiled() is not None


def on_gpu(tensor: Tensor, kind: str) -> Any | None:
    """The module of Triton's products, for tensors on a GPU under a layer's `kind`; None where they do not run."""
    return _triton() if kind == "auto" and tensor.device.type == "cuda" else None


def tried(name: str, works: Callable[[Any], bool], otherwise: str) -> Any | None:
    """The module `name` of GPU kernels, for one that `works` on this GPU; else None, which a warning says.

    Args:
        name: of a module of this package.
        works: tries it out against what is known to be right.
        otherwise: what is done without it, for the warning.
    """
    try:
        module = importlib.import_module(f"{__name__}.{name}")
        reason = "" if works(module) else "they give other results than the CPU"
    except Exception as error:  # Triton is missing, or whatever keeps it from compiling for this GPU
        reason = repr(error)
    if reason:
        warnings.warn(f"{otherwise} on this GPU, without kernels of its own: {reason}", stacklevel=3)
    return None if reason else module


@lru_cache(maxsize=1)
def _triton() -> Any | None:
    """The module of products, where a small one comes out right."""
    return tried("gpu", lambda gpu: bool(gpu.exact(torch.device("cuda"))), "products of bits run as float products")


def fuses(tensor: Tensor, kind: str) -> bool:
    """Whether a fused unit's products and passes take tensors such as this one, under a layer's `kind`."""
    floats = tensor.dtype in (torch.float32, torch.float64)
    return usable(tensor, kind) or (floats and kind == "auto" and units_on_gpu(tensor) is not None)


def units_on_gpu(tensor: Tensor) -> Any | None:
    """The module of Triton's passes of a fused unit, for tensors on a GPU; None where they do not run."""
    return _triton_unit() if tensor.device.type == "cuda" else None


@lru_cache(maxsize=1)
def _triton_unit() -> Any | None:
    """The module of passes, where every one gives what its compiled twin gives on the CPU; so that must be there."""
    if _triton() is None or compiled() is None:
        return None
    agrees = importlib.import_module(f"{__name__}.unit_passes").agrees
    return tried("gpu_unit", lambda unit: bool(agrees(unit, torch.device("cuda"))), "residual units are not fused")


@dataclass(frozen=True)
class Geometry:
    """A convolution's k x k window, its stride and its padding; 1x1 for a matrix product.

    Attributes:
        ones: whether what lies outside an image counts as +1; otherwise as 0.
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    ones: bool = False

    @property
    def taps(self) -> int:
        """k²."""
        return self.kernel**2

    def side(self, pixels: int) -> int:
        """Of the output, from the input's."""
        return (pixels + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class SignWords:
    """Signs (N, C, H, W) as words: (N·H·W, ceil(C/64)) int64, channels along the bits."""

    words: Tensor
    images: int
    channels: int
    high: int = 1
    wide: int = 1


@dataclass(frozen=True)
class WeightWords:
    """Signs (out, in, k, k) as the products read them (`trainers.binary.kernels.cpu`, or `gpu`, says how they lie)."""

    words: Tensor
    counts: Tensor
    outputs: int
    channels: int


def pack_signs(x: Tensor) -> SignWords | None:
    """The words of (N, C) or (N, C, H, W) floats; None if one of them is neither -1 nor +1."""
    images, channels = x.shape[:2]
    high, wide = x.shape[2:] if x.dim() == 4 else (1, 1)
    width = -(-channels // WORD)
    words = torch.empty((images * high * wide, width), dtype=torch.int64)
    by_rows = high * wide == 1
    strays = torch.empty(images if by_rows else images * width, dtype=torch.bool)
    if not simulated(x):
        x = x.detach().contiguous()
        if by_rows:
            loaded().pack_signs.split(images, x.view(images, channels).numpy(), array(words), strays.numpy())
        else:
            planes = x.view(images, channels, high * wide).numpy()
            places = array(words).reshape(images, high * wide, width)
            loaded().pack_planes.split(images * width, planes, places, strays.numpy())
        if strays.any():
            return None
    return SignWords(words, images, channels, high, wide)


def pack_weights(bits: list[Tensor], channels: int, geometry: Geometry) -> WeightWords:
    """The words of layers' packed weights, uint8 (out, ceil(channels·k²/8)) each, one after the other along `out`."""
    outputs = sum(len(rows) for rows in bits)
    if (gpu := on_gpu(bits[0], "auto")) is not None:
        words = torch.cat([gpu.pack_weights(rows, channels, geometry.taps) for rows in bits])
        return WeightWords(words, words.new_empty(0), outputs, channels)
    blocks, width, taps = -(-outputs // loaded().LANES), -(-channels // WORD), geometry.taps
    words = torch.zeros((blocks, taps * width, loaded().LANES), dtype=torch.int64)
    counts = torch.empty((taps, blocks * loaded().LANES), dtype=torch.int32)
    if not simulated(bits[0]):
        first = 0
        for rows in bits:
            loaded().pack_weights.split(len(rows), rows.numpy(), channels, taps, array(words), first, least=16)
            first += len(rows)
        if geometry.padding and not geometry.ones:
            loaded().count_weights.split(blocks, array(words), taps, counts.numpy())
    return WeightWords(words, counts, outputs, channels)


def product(signs: SignWords, weights: WeightWords, geometry: Geometry, added_to: Tensor | None = None) -> Tensor:
    """op(signs, weights) as integers, pixels first: (N·H'·W', out), int16 where |z| <= k²·channels fits, else int32.

    Args:
        added_to: an earlier product, to which this one is added in place; the sum must fit its type.
    """
    image = (signs.high, signs.wide, geometry.side(signs.high), geometry.side(signs.wide))
    z = added_to
    if z is None:
        kind = torch.int16 if geometry.taps * signs.channels <= _INT16_MOST else torch.int32
        z = torch.empty((signs.images * image[2] * image[3], weights.outputs), dtype=kind, device=signs.words.device)
    if (gpu := on_gpu(z, "auto")) is not None:
        sizes = (signs.images, signs.high, signs.wide)
        gpu.product(signs.words, sizes, weights.words, signs.channels, geometry, z, added_to is not None)
    elif not simulated(signs.words):
        shape = (signs.channels, geometry.kernel, geometry.stride, geometry.padding, int(geometry.ones))
        loaded().products.split(
            loaded().groups(len(z)),
            *(array(signs.words), image, array(weights.words), weights.counts.numpy(), shape, z.numpy()),
            added_to is not None,
        )
    return z


def sign_product(x: Tensor, bits: Tensor, geometry: Geometry) -> Tensor | None:
    """op(x, w) for signs x (N, C) or (N, C, H, W) and packed weights, as floats of x's type; None if x holds others."""
    signs = pack_signs(x)
    if signs is None:
        return None
    z = product(signs, pack_weights([bits], signs.channels, geometry), geometry)
    if x.dim() == 2:
        return z.to(x.dtype)
    high, wide = geometry.side(signs.high), geometry.side(signs.wide)
    planes = x.new_empty((signs.images, len(bits), high, wide))
    if not simulated(x):
        by_image = z.numpy().reshape(signs.images, high * wide, len(bits))
        loaded().to_planes.split(
            signs.images * -(-len(bits) // 16), by_image, planes.view(signs.images, len(bits), high * wide).numpy()
        )
    return planes


def loaded() -> Any:
    """The module of compiled functions, which must be there."""
    module = compiled()
    assert module is not None, "asked for compiled products where `usable` says there are none"
    return module


def simulated(tensor: Tensor) -> bool:
    """Whether a tensor has a shape and no values."""
    return isinstance(tensor, FakeTensor)


def array(words: Tensor) -> Any:
    """An int64 tensor as NumPy's unsigned words: shifts of those bring in zeros."""
    return words.numpy().view("uint64")
