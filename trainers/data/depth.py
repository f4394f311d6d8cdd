"""Pictures deeper than eight bits: which of their values become black and which white.

A network is fed uint8. A 16-bit grey picture may hold 12 bits of a camera, 8 bits that a program widened, or all 16;
its header does not say, and a fixed shift by eight turns the first two nearly or wholly black (Pillow's own conversion
turns all of them white). So the largest value in the whole data set decides, once, for all of its pictures:

* integers from 0: the smallest of 8, 10, 12, 14, 16, ... bits that holds every value; value >> (bits - 8),
* floats within 0..1: that range; within 0..255: that range,
* anything else (negative values, floats beyond): from the smallest value to the largest.

The range is said when a data set is prepared and stands in its manifest. Nothing but its extremes is looked at, so a
test picture can change what others become only by being the brightest of all.
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image

INTEGER, FLOAT = "integer", "float"
INTEGER_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
FLOAT_MODE = "F"

GreyRanges = Mapping[str, tuple[float, float]]
"""Black and white by kind of value, `integer` or `float`."""

# Without a range, for a picture of unknown company: all sixteen bits.
WITHOUT_RANGE: GreyRanges = {INTEGER: (0, 65535), FLOAT: (0.0, 1.0)}
_BITS = (8, 10, 12, 14, 16, 24, 31)


def deep_kind(mode: str) -> str | None:
    """`integer` or `float` for grey deeper than eight bits; None for every other mode."""
    if mode in INTEGER_MODES:
        return INTEGER
    return FLOAT if mode == FLOAT_MODE else None


def is_deep_colour(picture: Image.Image) -> bool:
    """Whether the file holds 16 bits a channel, of which Pillow passes on the upper eight."""
    tiles = getattr(picture, "tile", None) or ()
    arguments = [tile[3] for tile in tiles]
    raw = [argument if isinstance(argument, str) else (argument or ("",))[0] for argument in arguments]
    return deep_kind(picture.mode) is None and any(";16" in str(mode) for mode in raw)


def grey_range(kind: str, low: float, high: float) -> tuple[float, float]:
    """The range for values of this kind that lie from `low` to `high` over the whole data set."""
    if low >= 0:
        tops = [2**bits - 1 for bits in _BITS] if kind == INTEGER else [1.0, 255.0]
        top = next((top for top in tops if high <= top), None)
        if top is not None:
            return (0, top) if kind == INTEGER else (0.0, top)
    return (low, high)


def told_range(kind: str, low: float, high: float) -> str:
    """A range in words, e.g. `0..4095 (12 bits)`."""
    bits = int(high + 1).bit_length() - 1
    if kind == INTEGER and low == 0 and high + 1 == 2**bits:
        return f"0..{high:.0f} ({bits} bits)"
    return f"{low:g}..{high:g}"


def eight_bits(values: np.ndarray, kind: str, ranges: GreyRanges) -> np.ndarray:
    """Deep grey values (H, W) as uint8, black and white as `ranges` says; values beyond are clipped."""
    low, high = ranges.get(kind, WITHOUT_RANGE[kind])
    bits = int(high + 1).bit_length() - 1
    if kind == INTEGER and low == 0 and high + 1 == 2**bits and bits >= 8:
        return (values.astype(np.int64) >> (bits - 8)).clip(0, 255).astype(np.uint8)
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.rint((values.astype(np.float64) - low) * scale).clip(0, 255).astype(np.uint8)
