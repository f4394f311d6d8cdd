"""Pack small signed counters and back: 8, 4, 2 or 1 a byte, in 1, 2, 4 or 8 bits each, as two's complement.

A tensor (out, ...) of n counters an output channel is packed row by row, as bits are: each output channel starts on a
byte of its own, so that a block of output channels is a block of bytes. Within a row the counters do not lie side by
side: of the h = ceil(n·b/8) bytes, the lowest b bits of each hold counters 0 to h-1, the next b bits counters h to
2h-1, and so on. So a row is unpacked and packed by few operations on whole stretches of bytes. What fills up a row is
0, as is a counter that has not counted yet. Of numbers of bits that do not divide a byte (3, 5, 6, 7) a row holds each
bit as a row of its own, the lowest first (`trainers.binary.bits`).
"""

import math

import torch
from torch import Tensor

from trainers.binary.bits import pack_bits, row_bytes, unpack_bits

_SHIFTS: dict[tuple[torch.device, int], Tensor] = {}


def _shifts(device: torch.device, bits: int) -> Tensor:
    """(8/bits, 1): by how much each of a byte's counters is below the top of the byte."""
    key = (device, bits)
    if key not in _SHIFTS:
        _SHIFTS[key] = torch.arange(8 - bits, -1, -bits, dtype=torch.int8, device=device).unsqueeze(1)
    return _SHIFTS[key]


def counter_bytes(shape: torch.Size | tuple[int, ...], bits: int) -> int:
    """Bytes of the packed counters of one output channel of a weight of `shape` (out, ...)."""
    return -(-math.prod(shape[1:]) * bits // 8) if 8 % bits == 0 else bits * row_bytes(shape)


def pack_counters(values: Tensor, bits: int) -> Tensor:
    """Pack int8 (out, ...), each within -2^(bits-1) .. 2^(bits-1) - 1, into uint8 (out, ceil(n·bits/8))."""
    rows = values.reshape(values.shape[0], -1)
    if bits == 8:
        return rows.view(torch.uint8)
    if 8 % bits:
        return torch.cat([pack_bits((rows >> bit & 1).view(torch.bool)) for bit in range(bits)], dim=1)
    width, planes = counter_bytes(values.shape, bits), 8 // bits
    padding = width * planes - rows.shape[1]
    if padding:
        rows = torch.nn.functional.pad(rows, (0, padding))
    stretches = rows.split(width, dim=1)
    packed = stretches[-1] << (8 - bits)  # the bits above are shifted out
    for plane in range(planes - 1):
        packed |= (stretches[plane] & (2**bits - 1)) << (plane * bits)
    return packed.view(torch.uint8)


def unpack_counters(packed: Tensor, shape: torch.Size | tuple[int, ...], bits: int) -> Tensor:
    """The inverse of `pack_counters`: int8 of `shape`, whose first entry may be a block of output channels.

    A new tensor, but for 8 bits: there a view of `packed`.
    """
    n, signed = math.prod(shape[1:]), packed.view(torch.int8)
    if 8 % bits:
        planes = packed.split(row_bytes(shape), dim=1)
        ones = (unpack_bits(plane, (len(packed), n)).view(torch.int8) << bit for bit, plane in enumerate(planes))
        signed = sum(ones, torch.zeros(len(packed), n, dtype=torch.int8, device=packed.device))
        return (signed << (8 - bits)).bitwise_right_shift_(8 - bits).reshape(packed.shape[0], *shape[1:])
    if bits < 8:
        # Each counter to the top of a byte of its own, and down again with its sign.
        signed = (signed.unsqueeze(1) << _shifts(packed.device, bits)).bitwise_right_shift_(8 - bits).flatten(1)
    return signed[:, :n].reshape(packed.shape[0], *shape[1:])
