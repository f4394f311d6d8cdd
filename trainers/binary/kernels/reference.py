"""The plain twin of the compiled kernels: the same words and the same integers, in a few lines of torch on floats."""

import torch
from torch import Tensor
from torch.nn import functional

from trainers.binary.kernels import WORD, Geometry, SignWords


def pack_signs(x: Tensor) -> SignWords:
    """The words of the signs of (N, C) or (N, C, H, W), +1 where x >= 0."""
    images, channels = x.shape[:2]
    high, wide = x.shape[2:] if x.dim() == 4 else (1, 1)
    positive = x.reshape(images, channels, high * wide).transpose(1, 2).reshape(-1, channels) >= 0
    filled = functional.pad(positive, (0, -channels % WORD)).view(-1, -(-channels // WORD), WORD)
    # As int64 the highest bit is the sign: sums of distinct powers of two wrap round to the same word.
    return SignWords((filled.long() << torch.arange(WORD)).sum(dim=2), images, channels, high, wide)


def unpack_signs(signs: SignWords, dtype: torch.dtype) -> Tensor:
    """The inverse of `pack_signs`: (N, C, H, W) in {-1, +1}."""
    bits = (signs.words.unsqueeze(2) >> torch.arange(WORD)) & 1
    rows = (2 * bits - 1).flatten(1)[:, : signs.channels].to(dtype)
    return rows.view(signs.images, signs.high, signs.wide, signs.channels).permute(0, 3, 1, 2)


def product(signs: SignWords, weight: Tensor, geometry: Geometry) -> Tensor:
    """op(signs, weight) for weights (out, in, k, k) in {-1, +1}: int64 (N·H'·W', out)."""
    outside = 1.0 if geometry.ones else 0.0
    s = functional.pad(unpack_signs(signs, torch.float64), [geometry.padding] * 4, value=outside)
    z = functional.conv2d(s, weight.to(torch.float64), stride=geometry.stride)
    return z.permute(0, 2, 3, 1).reshape(-1, len(weight)).round().long()
