"""The error function in float32, from additions and multiplications alone: the same bits on every device.

Libraries' erf differ in their last bits, and a flip that one device takes and another does not sends two runs apart.
For 0 <= x < 1 a polynomial in x^2 (fitted at Chebyshev's points), for x >= 1 Abramowitz and Stegun's 7.1.28,

    erf(x) = 1 - 1 / (1 + a1·x + ... + a6·x^6)^16.

Errors: below 1, at most 2e-7 of the value; from 1 on, at most 5e-7, eight spacings of a 24-bit draw.
"""

import torch
from torch import Tensor

BELOW_ONE = (
    1.1283791065216064,
    -0.37612348794937134,
    0.11280364543199539,
    -0.026716385036706924,
    0.004923277534544468,
    -0.0005654105916619301,
)
"""Coefficients of 1, x^2, x^4, ... of erf(x)/x."""
FROM_ONE = (1.0, 0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)
"""Coefficients of 1, x, x^2, ... of the polynomial whose 16th power divides."""


def erf(x: Tensor) -> Tensor:
    """erf(x) for x >= 0: in float32 as above, in other precisions torch's own."""
    if x.dtype != torch.float32:
        return torch.erf(x)
    square = x * x
    small = _polynomial(BELOW_ONE, square).mul_(x)
    power = _polynomial(FROM_ONE, x)
    for _ in range(4):
        power.mul_(power)
    return torch.where(x < 1, small, 1 - 1 / power)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """By Horner's rule, each product rounded before the next sum."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value.mul_(x).add_(coefficient)
    return value
