"""Tensors that are known to hold signs: marked where they are made, so that whoever keeps one may keep its bits.

A sign activation's output is floats, -1 and +1, and looks like any other. Asking its values would cost a pass over them
and, on a GPU, a wait for the device. So the activation leaves a mark on the tensor itself, and the product that must
keep its input for backward finds it. A tensor derived from a marked one (a view, a shifted copy) carries no mark and is
kept as floats; nor is a mark believed once the tensor has been changed in place.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.binary.bits import pack_bits, unpack_signs


@dataclass
class _Mark:
    version: int
    bits: Tensor | None = None


def mark_signs(tensor: Tensor, bits: Tensor | None = None) -> Tensor:
    """Say that every entry of `tensor` is -1 or +1; returns it.

    Args:
        tensor: (N, ...).
        bits: what `pack_bits(tensor > 0)` would give, where it is known already.
    """
    if not tensor.is_inference():  # those have no version, and nothing is kept of them
        tensor._signs = _Mark(tensor._version, bits)  # type: ignore[attr-defined]
    return tensor


def sign_bits(tensor: Tensor) -> Tensor | None:
    """The bits of a marked tensor (N, ...), uint8 (N, ceil(n/8)), packed once; None for any other tensor."""
    mark = getattr(tensor, "_signs", None)
    if mark is None or mark.version != tensor._version:
        return None
    if mark.bits is None:
        mark.bits = pack_bits(tensor > 0)
    return mark.bits


@dataclass(frozen=True)
class Kept:
    """How a tensor that is kept for backward is read again: as it is, or from its bits."""

    shape: torch.Size
    dtype: torch.dtype
    as_bits: bool

    def read(self, kept: Tensor) -> Tensor:
        """The tensor, marked again where it is made from bits."""
        return mark_signs(unpack_signs(kept, self.shape, self.dtype), kept) if self.as_bits else kept


def to_keep(tensor: Tensor, bits: Tensor | None) -> tuple[Tensor, Kept]:
    """What to save of `tensor`, its `bits` where there are any, and how to read it again."""
    kept = tensor if bits is None else bits
    return kept, Kept(tensor.shape, tensor.dtype, bits is not None)
