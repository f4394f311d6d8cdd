"""Pack signs into bits and back: 8 weights a byte, +1 as 1 and -1 as 0, the first weight in the lowest bit.

A weight tensor (out, ...) is packed row by row: each output channel starts on a byte of its own, so that a block of
output channels is a block of bytes. A row whose length is no multiple of 8 is padded with 0 bits.
"""

import math

import torch
from torch import Tensor

_SHIFTS: dict[torch.device, Tensor] = {}
_SIGN_TABLES: dict[tuple[torch.device, torch.dtype], Tensor] = {}


def _shifts(device: torch.device) -> Tensor:
    if device not in _SHIFTS:
        _SHIFTS[device] = torch.arange(8, dtype=torch.uint8, device=device)
    return _SHIFTS[device]


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
    octets = rows.view(torch.uint8).reshape(rows.shape[0], -1, 8)
    return (octets << _shifts(octets.device)).sum(dim=-1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """The inverse of `pack_bits`: booleans of `shape`, whose first entry may be a block of output channels."""
    octets = (packed.unsqueeze(-1) >> _shifts(packed.device)) & 1
    n = math.prod(shape[1:])
    return octets.reshape(packed.shape[0], -1)[:, :n].view(torch.bool).reshape(packed.shape[0], *shape[1:])


def unpack_signs(packed: Tensor, shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The packed weights as -1 and +1 of `dtype`, in `shape`."""
    n = math.prod(shape[1:])
    signs = torch.nn.functional.embedding(packed.to(torch.int32), _sign_table(packed.device, dtype))
    return signs.reshape(packed.shape[0], -1)[:, :n].reshape(packed.shape[0], *shape[1:])
