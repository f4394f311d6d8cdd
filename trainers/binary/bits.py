"""Pack signs into bits and back: 8 weights a byte, +1 as 1 and -1 as 0, the first weight in the lowest bit.

A weight tensor (out, ...) is packed row by row: each output channel starts on a byte of its own, so that a block of
output channels is a block of bytes. A row whose length is no multiple of 8 is padded with 0 bits.
"""

import math

import torch
from torch import Tensor

# Eight booleans are eight bytes, and so one 64-bit number, the first of them lowest. Times _GATHER their bits meet in
# its highest byte, the first lowest, without a carry. And a byte times _REPEAT, masked, leaves its bit i in byte i.
_GATHER = sum(1 << (56 - 7 * bit) for bit in range(8))
_REPEAT = sum(1 << 8 * byte for byte in range(8))
_OWN_BIT = sum(1 << 9 * bit for bit in range(8)) - (1 << 64)  # as a signed number

_SIGN_TABLES: dict[tuple[torch.device, torch.dtype], Tensor] = {}


def _sign_table(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(256, 8): row b holds the eight signs that byte b stands for."""
    key = (device, dtype)
    if key not in _SIGN_TABLES:
        values = torch.arange(256, device=device, dtype=torch.int32).unsqueeze(1)
        bits = (values >> torch.arange(8, device=device, dtype=torch.int32)) & 1
        _SIGN_TABLES[key] = (2 * bits - 1).to(dtype)
    return _SIGN_TABLES[key]


def sgn(x: Tensor) -> Tensor:
    """Sign with sgn(0) = +1, in x's dtype."""
    return (x >= 0).to(x.dtype).mul_(2).sub_(1)


def row_bytes(shape: torch.Size | tuple[int, ...]) -> int:
    """Bytes of one packed output channel of a weight of `shape` (out, ...)."""
    return (math.prod(shape[1:]) + 7) // 8


def pack_bits(positive: Tensor) -> Tensor:
    """Pack a boolean tensor (out, ...), True where w = +1, into uint8 (out, ceil(n/8)), n entries an output channel."""
    rows = positive.reshape(positive.shape[0], -1)
    padding = -rows.shape[1] % 8
    if padding:
        rows = torch.nn.functional.pad(rows, (0, padding))
    if rows.storage_offset() % 8 or not rows.is_contiguous():
        rows = rows.clone(memory_format=torch.contiguous_format)
    octets = rows.view(torch.uint8).view(torch.int64)
    return (octets * _GATHER).bitwise_right_shift_(56).to(torch.uint8)


def differing(a: Tensor, b: Tensor) -> Tensor:
    """In how many bits two packed tensors of one shape differ, int64 ()."""
    changed = a ^ b
    return torch.stack([((changed >> bit) & 1).sum() for bit in range(8)]).sum()


def unpack_bits(packed: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """The inverse of `pack_bits`: booleans of `shape`, whose first entry may be a block of output channels."""
    octets = packed.to(torch.int64).mul_(_REPEAT).bitwise_and_(_OWN_BIT)
    n = math.prod(shape[1:])
    return (octets.view(torch.uint8)[:, :n] != 0).reshape(packed.shape[0], *shape[1:])


def unpack_signs(packed: Tensor, shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The packed weights as -1 and +1 of `dtype`, in `shape`."""
    n = math.prod(shape[1:])
    signs = torch.nn.functional.embedding(packed.to(torch.int32), _sign_table(packed.device, dtype))
    return signs.reshape(packed.shape[0], -1)[:, :n].reshape(packed.shape[0], *shape[1:])
