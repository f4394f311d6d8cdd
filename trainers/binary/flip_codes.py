"""Which of many bits differ, coded about as short as can be: Golomb-Rice coded gaps between flipped positions.

A gap g >= 0 is the number of unflipped weights before a flip. With parameter k it is written as g >> k ones'
complement in unary, q zeros and a one, and its k low bits as they are. Where each weight has flipped with probability
p, gaps are geometric, and k near log2(ln 2 / p) comes within a few per cent of the entropy H(p) a weight: 0.081 bits at
p = 1 %. k = 0 is a bitmap, so that no layer takes more than 1 bit a weight. Unary and low bits are two streams, which
whole arrays of gaps are written to and read from at once.

Source: S. W. Golomb, Run-length encodings, 1966; R. F. Rice, Some practical universal noiseless coding techniques
(JPL 79-22), 1979.
"""

import math
from dataclasses import dataclass

import numpy as np

from trainers.errors import UserError

MOST_WEIGHTS = 1 << 31  # of one layer; sums of gaps stay far within 64 bits
MOST_LOW_BITS = 32


@dataclass(frozen=True)
class FlipCode:
    """The flipped ones among `size` bits.

    Attributes:
        size: how many bits there are.
        count: how many are flipped.
        low_bits: Rice's parameter k.
        unary, low: the two streams, whole bytes each.
    """

    size: int
    count: int
    low_bits: int
    unary: bytes
    low: bytes

    @property
    def nbytes(self) -> int:
        return len(self.unary) + len(self.low)


def encode(flipped: np.ndarray) -> FlipCode:
    """The code of ascending positions.

    Args:
        flipped: booleans (n,), which bits are flipped.
    """
    positions = np.flatnonzero(flipped)
    size, count = len(flipped), len(positions)
    if not count:
        return FlipCode(size, 0, 0, b"", b"")
    gaps = np.diff(positions, prepend=-1) - 1
    low_bits = min(_candidates(size, count), key=lambda k: _length(gaps, k))
    high = gaps >> low_bits
    ends = np.cumsum(high + 1) - 1  # where each gap's one stands
    unary = np.zeros(int(ends[-1]) + 1, dtype=np.uint8)
    unary[ends] = 1
    low = (gaps[:, None] >> np.arange(low_bits)) & 1
    return FlipCode(size, count, low_bits, _packed(unary), _packed(low.astype(np.uint8).reshape(-1)))


def decode(code: FlipCode) -> np.ndarray:
    """Booleans (size,): the inverse of `encode`. What is allocated is bounded by `size`, whatever the code says.

    Raises:
        UserError: it is the code of no such bits.
    """
    possible = 0 <= code.count <= code.size <= MOST_WEIGHTS and 0 <= code.low_bits <= MOST_LOW_BITS
    # An encoder's k leaves about as many low bits as pays; a larger one would make much of few bytes.
    if not possible or code.count << code.low_bits > 2 * code.size:
        raise UserError(f"{code.count} flips among {code.size} bits, with {code.low_bits} low bits, cannot be")
    # No more unary bits than there are weights, as every zero stands for 2^k of them and every one for a flip.
    if len(code.unary) > code.size // 8 + 1 or len(code.low) != -(-code.count * code.low_bits // 8):
        raise UserError(f"{code.nbytes} bytes are not {code.count} flips among {code.size} bits")
    ends = np.flatnonzero(_bits(code.unary))
    if len(ends) != code.count:
        raise UserError(f"{len(ends)} flips are coded and {code.count} are meant")
    flipped = np.zeros(code.size, dtype=bool)
    if not code.count:
        return flipped
    high = (np.diff(ends, prepend=-1) - 1).astype(np.int64)
    low = _bits(code.low)[: code.count * code.low_bits].reshape(code.count, code.low_bits)
    if int(high.sum()) > code.size >> code.low_bits:
        raise UserError(f"its gaps are wider than the {code.size} bits")
    gaps = (high << code.low_bits) + (low.astype(np.int64) << np.arange(code.low_bits)).sum(axis=1)
    positions = np.cumsum(gaps + 1) - 1
    if positions[-1] >= code.size:
        raise UserError(f"flip {positions[-1]} is beyond the {code.size} bits")
    flipped[positions] = True
    return flipped


def entropy_bits(size: int, count: int) -> float:
    """size·H(count/size): what no code of independent flips goes below on average."""
    if not 0 < count < size:
        return 0.0
    p = count / size
    return -size * (p * math.log2(p) + (1 - p) * math.log2(1 - p))


def _candidates(size: int, count: int) -> range:
    best = max(0, math.floor(math.log2(max(1.0, math.log(2) * size / count))))
    return range(max(0, best - 1), best + 2)


def _length(gaps: np.ndarray, low_bits: int) -> int:
    return int((gaps >> low_bits).sum()) + len(gaps) * (1 + low_bits)


def _packed(bits: np.ndarray) -> bytes:
    return np.packbits(bits, bitorder="little").tobytes()


def _bits(content: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(content, dtype=np.uint8), bitorder="little")
