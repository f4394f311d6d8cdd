"""Hypermasks: with what probability a binary weight is masked, and what becomes of a masked one. Pure functions.

Source: *Binary Stochastic Flip Optimization for Training Binary Neural Networks*, ICASSP 2025 (algorithm, sections 2,
3).
"""

import torch
from torch import Tensor

from trainers.binary.kernels.erf import erf
from trainers.settings import one_of

MASK_TYPES = ("EWM", "WPM", "RAND")

ERFINV_HALF = 0.4769362762044699  # erfinv(1/2): where EWM's probability reaches one half


def flip_probability(mask_type: str, grad: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """The probability p with which each weight is masked at temperature T.

    EWM:  p = erf(T·|g|) where w·g > 0, else 0: the chance that an SGD step carries a Gaussian latent across zero.
    WPM:  p = 1 where T·w·g >= erfinv(1/2), else 0: EWM's probability rounded, so nothing to draw.
    RAND: p = clip(T, 0, 1) for every weight.

    Args:
        mask_type: EWM, WPM or RAND.
        grad: g = dL/dw at the binary point, mean over the global batch, any shape.
        weight: w in {-1, +1}, of grad's shape.
        temperature: T.

    Returns:
        p in grad's shape and dtype.

    Raises:
        UserError: `mask_type` is unknown.
    """
    one_of("mask_type", mask_type, MASK_TYPES)
    if mask_type == "RAND":
        return torch.full_like(grad, min(max(temperature, 0.0), 1.0))
    aligned = weight * grad
    if mask_type == "WPM":
        return (aligned * temperature >= ERFINV_HALF).to(grad.dtype)
    return erf(aligned.clamp(min=0) * temperature)


def event_probability(mask_type: str, grad: Tensor, temperature: float) -> Tensor:
    """The probability with which each weight's gradient makes itself felt at temperature T, whichever way it points.

    As `flip_probability` where w·g > 0, and the same where w·g < 0; 0 where g = 0.

    Args:
        mask_type: EWM, WPM or RAND.
        grad: g, any shape.
        temperature: T.

    Returns:
        p in grad's shape and dtype.

    Raises:
        UserError: `mask_type` is unknown.
    """
    one_of("mask_type", mask_type, MASK_TYPES)
    if mask_type == "RAND":
        return (grad != 0).to(grad.dtype).mul_(min(max(temperature, 0.0), 1.0))
    magnitude = grad.abs().mul_(temperature)
    return (magnitude >= ERFINV_HALF).to(grad.dtype) if mask_type == "WPM" else erf(magnitude)


def masked_update(positive: Tensor, grad: Tensor, mask: Tensor) -> Tensor:
    """A masked weight becomes sgn(-g): W <- (W and not M) or (D and M) with D = [g <= 0], all booleans of one shape.

    Where g = 0 exactly, a masked weight becomes +1, as in the published code's numbers: with sgn(0) = +1, sgn(-g) and
    -sgn(g) differ there. Only RAND can mask such a weight.
    """
    return (positive & ~mask) | ((grad <= 0) & mask)
