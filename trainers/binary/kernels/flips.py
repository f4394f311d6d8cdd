"""BinSFO's step on some output channels in one pass: probability, draw, flip or count, and sigma(g)'s share.

The plain twin is `trainers.methods.masks` and `trainers.methods.inertia` on unpacked weights with the same draws: both
change the same bits. The pass reads the gradient, once, and the bits; nothing of their size is written beside them.

    e = [u < p(|g|, T)]     an event: EWM erf(T·|g|), WPM [T·|g| >= erfinv(1/2)], RAND clip(T, 0, 1)
    b = 0                   a weight with an event becomes sgn(-g): W <- W xor (e and [W = [g > 0]])
    b = 2, 3, 4, 8          its counter takes note of e, as in `trainers.methods.inertia`

Mean and sum of squared deviations of g are taken channel by channel, in float64: they are the same for any division of
a layer into blocks of channels.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from trainers.binary import kernels
from trainers.binary.bits import pack_bits
from trainers.binary.counters import pack_counters
from trainers.binary.kernels.philox import LOW, MASKS, Key, words_reference

try:
    from trainers.binary.kernels import cpu_flips
except ImportError:  # without numba the twin does it
    cpu_flips = None  # type: ignore[assignment]

KINDS = {"EWM": 0, "WPM": 1, "RAND": 2}


@dataclass(frozen=True)
class Event:
    """What decides a layer's events at one step.

    Attributes:
        mask_type: EWM, WPM or RAND.
        temperature: T; on a GPU where it follows from a gradient, a tensor () there, which the host never reads.
        key, step: where its draws come from (`trainers.binary.kernels.philox`).
    """

    mask_type: str
    temperature: float | Tensor
    key: Key
    step: int


@lru_cache(maxsize=1)
def _on_gpu() -> Any | None:
    """The module of GPU kernels, where they flip what the CPU's do; imported when a gradient lies on a GPU."""
    if cpu_flips is None:
        return None
    return kernels.tried(
        "gpu_flips", lambda module: agrees(module, torch.device("cuda")), "weights are flipped by tensor operations"
    )


def takes(grad: Tensor) -> bool:
    """Whether `flip_channels` works on such a gradient: in float32, on a CPU with numba or on a GPU with Triton."""
    if grad.dtype != torch.float32:
        return False
    if grad.device.type == "cpu":
        return cpu_flips is not None
    return grad.device.type == "cuda" and _on_gpu() is not None


def flip_channels(
    bits: Tensor, grad: Tensor, first: int, event: Event, counters: Tensor | None = None, counter_bits: int = 0
) -> tuple[int | Tensor, Tensor]:
    """Update the packed weights of some output channels in place.

    Args:
        bits: uint8 (rows, ceil(n/8)), as `trainers.binary.bits` packs them; changed in place.
        grad: g (rows, ...), n entries a channel, which `takes`.
        first: the number of the first channel within its layer.
        event: of this step.
        counters: uint8 (rows, ceil(n·b/8)) of `trainers.binary.counters`, changed in place; None without counters.
        counter_bits: b.

    Returns:
        How many weights flipped (on a GPU a tensor (), not read), and each channel's mean of g and sum of
        (g - mean)^2, float64 (rows, 2).
    """
    rows = len(grad)
    if grad.device.type == "cuda":
        temperature = event.temperature
        if not isinstance(temperature, Tensor):
            temperature = torch.full((), temperature, dtype=torch.float64, device=grad.device)
        arguments = (KINDS[event.mask_type], temperature, event.key, event.step)
        counts, moments = _gpu_kernels().flip_channels(bits, grad, first, *arguments, counters, counter_bits)
        return counts.sum(), moments
    flat = grad.reshape(rows, -1).contiguous()
    flips, moments = torch.zeros(rows, dtype=torch.int64), torch.zeros(rows, 2, dtype=torch.float64)
    if isinstance(flat, FakeTensor):  # where memory is predicted, nothing is computed
        return 0, moments
    g = flat.numpy()
    cpu_flips.flip_rows.split(
        rows,
        bits.numpy(),
        g,
        np.zeros((rows, 0), np.uint8) if counters is None else counters.numpy(),
        counter_bits,
        KINDS[event.mask_type],
        np.float32(event.temperature),
        first,
        *_words(event.step, MASKS, *event.key),
        flips.numpy(),
        moments.numpy(),
        least=max(1, 4096 // g.shape[1]),
    )
    return int(flips.sum()), moments


def agrees(module: Any, device: torch.device) -> bool:
    """Whether a module's `flip_channels` changes the same bits and counters on a device as the one here on the CPU."""
    draws = torch.Generator().manual_seed(1)
    shape = (5, 70)
    grad, temperature, key, step = torch.randn(shape, generator=draws), 0.7, (2**31 + 5, 7), 2**32 + 3
    for mask_type, bits in itertools.product(KINDS, (0, 3, 4)):
        here = pack_bits(torch.rand(shape, generator=draws) < 0.5)
        counters = pack_counters(torch.zeros(shape, dtype=torch.int8), bits).clone() if bits else None
        there, counters_there = here.to(device, copy=True), None if counters is None else counters.to(device, copy=True)
        flip_channels(here, grad, 3, Event(mask_type, temperature, key, step), counters, bits)
        event = (KINDS[mask_type], torch.full((), temperature, dtype=torch.float64, device=device), key, step)
        module.flip_channels(there, grad.to(device), 3, *event, counters_there, bits)
        same = torch.equal(here, there.cpu())
        if counters is not None and counters_there is not None:
            same &= torch.equal(counters, counters_there.cpu())
        if not same:
            return False
    return True


def _gpu_kernels() -> Any:
    module = _on_gpu()
    assert module is not None, "asked for GPU kernels where `takes` says there are none"
    return module


def channel_moments(grad: Tensor) -> Tensor:
    """Mean of g and sum of (g - mean)^2 of each output channel of a block (rows, ...), float64 (rows, 2)."""
    if not (takes(grad) and grad.device.type == "cpu"):
        wide = grad.flatten(1).double()
        mean = wide.mean(dim=1)
        return torch.stack([mean, (wide - mean.unsqueeze(1)).square_().sum(dim=1)], dim=1)
    flat = grad.reshape(len(grad), -1).contiguous()
    moments = torch.zeros(len(grad), 2, dtype=torch.float64)
    if not isinstance(flat, FakeTensor):
        cpu_flips.moment_rows.split(len(grad), flat.numpy(), moments.numpy(), least=max(1, 4096 // flat.shape[1]))
    return moments


def words(key: Key, step: int, stream: int, rows: slice, columns: int, device: torch.device) -> Tensor:
    """The draws of some output channels, by the fastest way there is; arguments as in `philox.words_reference`."""
    if cpu_flips is None or device.type != "cpu":
        return words_reference(key, step, stream, rows, columns, device)
    count = rows.stop - rows.start
    drawn = torch.empty(count, 4, -(-columns // 4), dtype=torch.int32)
    if not isinstance(drawn, FakeTensor):
        place = drawn.numpy().view(np.uint32)
        cpu_flips.fill_rows.split(count, place, rows.start, *_words(step, stream, *key), least=max(1, 4096 // columns))
    return drawn.flatten(1)[:, :columns]


def _words(*values: int) -> list[np.uint32]:
    return [np.uint32(value & LOW) for value in values]
