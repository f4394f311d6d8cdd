"""What CPU kernels take for themselves within one call, which simulated tensors cannot show.

Two of the operators of a training step take much. The convolution: torch hands it to oneDNN, which first copies its
operands into layouts of its own, with channels padded to the width of a vector, and copies the result back (not so
where they lie channels last). And a sum in another type than its input's, which converts the whole input first. The
sizes below follow the allocations that the profiler sees within one call (torch 2.13, AVX-512 and AVX2); reduction
buffers of several threads, at most a few weight tensors in size, are left out, as are convolutions in float64. On CUDA
the library's workspaces are not known beforehand and not predicted.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# float32 lanes of a vector: oneDNN's channel blocks. Elsewhere its layouts are not blocked so.
_LANES = {"AVX512": 16, "AVX2": 8}

# oneDNN reads images of up to this many channels as they are.
_PLAIN_CHANNELS = 3


_SUMS = (torch.ops.aten.sum, torch.ops.aten.mean, torch.ops.aten.cumsum)


@dataclass(frozen=True)
class Scratch:
    """The most bytes alive at once within a call that were not before it.

    Attributes:
        before: until its results are made.
        beside: from then on, results included.
    """

    before: int = 0
    beside: int = 0


def kernel_scratch(func: Any, args: tuple[Any, ...], outcome: Any, threads: int) -> Scratch:
    """What a call `outcome = func(*args)` takes; nothing for every operator that takes nothing beside its results."""
    if func.overloadpacket in _SUMS:
        x, result = args[0], outcome
        converted = x.numel() * result.element_size()
        return Scratch() if x.dtype == result.dtype else Scratch(converted, converted + _bytes(result))
    if func is torch.ops.aten.convolution.default:
        x, weight, stride, padding = args[0], args[1], args[3], args[4]
        if not _by_onednn(x, weight, stride, threads):
            return Scratch()
        return _forward(x, weight, _output_bytes(x, weight, stride, padding))
    if func is torch.ops.aten.convolution_backward.default:
        grad, x, weight, stride, (input_wanted, weight_wanted, _) = args[0], args[1], args[2], args[4], args[10]
        if not _by_onednn(x, weight, stride, threads):
            return Scratch(beside=2 * _bytes(weight)) if weight_wanted else Scratch()
        if not weight_wanted:
            return _input_gradient(grad, x, weight, stride) if input_wanted else Scratch()
        of_weight = _weight_gradient(grad, x, weight, threads)
        if not input_wanted:
            return of_weight
        of_input = _input_gradient(grad, x, weight, stride)
        then = _bytes(x) + max(of_weight.before, of_weight.beside)
        return Scratch(of_input.before, max(of_input.beside, then))
    return Scratch()


def _forward(x: Tensor, weight: Tensor, output: int) -> Scratch:
    """Copies of both operands and the result in blocks; then the result plain beside itself in blocks."""
    blocked_output = output * _padded(weight.shape[0]) // weight.shape[0]
    operands = _blocked(x) + _bytes(weight, padded=True)
    return Scratch(operands + blocked_output, blocked_output + output)


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: list[int]) -> Scratch:
    """As forward; with a stride the plain result is made twice."""
    made = _bytes(x) if x.shape[1] <= _PLAIN_CHANNELS else _blocked(x)
    plain = _bytes(x) * (2 if max(stride) > 1 else 1)
    return Scratch(_blocked(grad) + _bytes(weight, padded=True) + made, made + plain)


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, threads: int) -> Scratch:
    """Copies of both operands and the result in blocks, then the result plain beside it; with them a copy of a weight
    that does not lie in one piece, though no value of it is read. (On AVX-512 that was always seen.)

    An image narrower than the weight AVX2 has no vectors for: it is unfolded, and multiplied into four sums a thread.
    """
    own, blocked = _bytes(weight), _bytes(weight, padded=True)
    avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
    copied = 0 if avx2 and weight.is_contiguous() else own
    if avx2 and x.shape[-1] < weight.shape[-1]:
        unfolded = weight[0].numel() * math.prod(grad.shape[2:]) * x.element_size()
        return Scratch(copied + own + threads * (4 * own + unfolded), copied + 2 * own)
    return Scratch(copied + _blocked(grad) + _blocked(x) + blocked, copied + own + blocked)


def _by_onednn(x: Tensor, weight: Tensor, stride: list[int], threads: int) -> bool:
    """torch's own choice for float32 convolutions (`ConvParams::use_mkldnn` in its `Convolution.cpp`)."""
    if x.dtype is torch.bfloat16:
        return torch.backends.mkldnn.is_available()
    if x.dtype is not torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    worthwhile = max(stride) > 1 or len(x) >= 16 or max(weight.shape[2:]) > 1 or threads > 1
    return worthwhile and (len(x) > 1 or x.numel() > 20480)


def _padded(channels: int) -> int:
    lanes = _LANES.get(torch.backends.cpu.get_cpu_capability(), 1)
    return -(-channels // lanes) * lanes


def _blocked(x: Tensor) -> int:
    """Bytes of the copy of (N, C, H, W) in blocks of channels; 0 where it is read as it is."""
    channels = x.shape[1]
    if channels <= _PLAIN_CHANNELS or (not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)):
        return 0
    return _bytes(x) * _padded(channels) // channels


def _bytes(tensor: Tensor, padded: bool = False) -> int:
    """Bytes of a tensor's entries, wherever they lie; of a weight (out, in, k, k) `padded` to blocks in both."""
    whole = tensor.numel() * tensor.element_size()
    if not padded:
        return whole
    out, inner = tensor.shape[:2]
    inner_padded = inner if inner <= _PLAIN_CHANNELS else _padded(inner)
    return whole * _padded(out) * inner_padded // (out * inner)


def _output_bytes(x: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> int:
    """Bytes of the result of a convolution without dilation."""
    sides = [
        (side + 2 * pad - kernel) // step + 1
        for side, kernel, pad, step in zip(x.shape[2:], weight.shape[2:], padding, stride, strict=True)
    ]
    return len(x) * weight.shape[0] * math.prod(sides) * x.element_size()
