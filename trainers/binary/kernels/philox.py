"""Draws that depend on nothing but their place: Philox 4x32-10, a generator that is a function of a counter.

Ten rounds of two 32-bit multiplications turn a key and a counter into four 32-bit words that pass every statistical
test known (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011). Nothing is kept
from one draw to the next, so a weight's draw is the same whatever is drawn beside it: for any size of block, number of
threads or workers, on a CPU or a GPU, in a run that was resumed. A weight (out, ...) of n columns an output channel,
in four stretches of h = ceil(n/4) columns, takes

    word    column div h
    of      counter (column mod h, output channel, step, stream)
    by      key, two words from (seed, layer): `key_of`

so that each of a counter's words lies in a stretch of its own, side by side. Streams keep the uses of a step apart.
"""

import torch
from torch import Tensor

Key = tuple[int, int]

MASKS, ROUNDING = 0, 1
"""Streams: which weights are masked, and how what cannot be kept exactly is rounded."""

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what the key moves on by after each round: golden ratio, sqrt(3) - 1
ROUNDS = 10
LOW = 0xFFFFFFFF

# A draw of exactly 0, one in 2^24, would be below every probability that is not quite 0: that of a gradient's rounding
# error, say. Half of the draws' spacing is below what is nearer to one in 2^24 than to never.
SMALLEST_DRAW = 2.0**-25


def key_of(seed: int) -> Key:
    """The key from a derived seed (`trainers.methods.draws.derived_seed`): its low and its high 32 bits."""
    return seed & LOW, seed >> 32 & LOW


def uniform(words: Tensor) -> Tensor:
    """Words as float32 in (0, 1): their highest 24 bits, every multiple of 2^-24 as likely, `SMALLEST_DRAW` for 0."""
    return (words.bitwise_right_shift(8).bitwise_and_(0xFFFFFF) * 2.0**-24).clamp_(min=SMALLEST_DRAW)


def words_reference(key: Key, step: int, stream: int, rows: slice, columns: int, device: torch.device) -> Tensor:
    """The draws of some output channels, 32 random bits each, as int32 (rows, columns): the kernels' plain twin.

    Args:
        key: of the layer.
        step, stream: of the run, and what the draws are for.
        rows: the output channels.
        columns: n, weights an output channel.
        device: where the draws are wanted.
    """
    stretch = -(-columns // 4)
    shape = (rows.stop - rows.start, stretch)
    c0 = torch.arange(stretch, device=device).expand(shape)
    c1 = torch.arange(rows.start, rows.stop, device=device).unsqueeze(1).expand(shape)
    c2, c3 = (torch.full(shape, word & LOW, device=device) for word in (step, stream))
    k0, k1 = key
    for _ in range(ROUNDS):
        (high0, low0), (high1, low1) = _product(MULTIPLIERS[0], c0), _product(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    drawn = torch.cat([c0, c1, c2, c3], dim=1)[:, :columns]
    return torch.where(drawn > 0x7FFFFFFF, drawn - (1 << 32), drawn).to(torch.int32)


def _product(factor: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """(high, low) 32 bits of a product of two 32-bit words, in int64, which the whole product would overflow."""
    low = factor * (word & 0xFFFF)
    high = factor * (word >> 16) + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)
