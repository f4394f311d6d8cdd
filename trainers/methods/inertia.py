"""Flips with inertia: each binary weight remembers, in a few bits, what its latest gradients wanted.

BinSFO decides every flip on one batch's gradient and forgets it. A smaller temperature makes such decisions rarer, but
no better founded: a batch's noise flips a weight as easily as the next one flips it back. Here a weight has a counter
c in {-K, ..., K-1}, K = 2^(b-1) - 1, kept in b bits, and the temperature says how often a gradient is *heard*, no
longer how often a weight flips:

    an event happens with probability p(|g|, T)          EWM erf(T·|g|), WPM and RAND by their own rule, 0 where g = 0
    w·g > 0 (the event wants a flip):       c <- c + 1
    w·g < 0 (it speaks against one):        c <- max(c - 1, -K)
    c = K:                                  w <- -w, c <- 0

b = 2 (K = 1) flips at the first event that finds nothing against it; without counters (b = 0) every event for a flip
is one, which is the paper's rule.

Why it helps. Let a weight's events be for a flip at rate p+ and against one at rate p- a step. Without a counter the
weight flips at rate p+ though the difference p+ - p- is all that the batches agree on: it is on the wrong side for a
share min(p+, p-)/(p+ + p-) of the time, from which the temperature, a factor of both rates, cancels. With one, c is a
random walk with drift p+ - p-; a flip takes K net events, and against the drift its probability falls as (p+/p-)^K. The
noise is averaged over about K/p steps, at the price of as many steps' delay. (`notebooks/inertia.ipynb` solves this
chain and trains with it.)

Relatives. For T·|g| << 1 the event of EWM is a *stochastic rounding* of a gradient step to one unit of a grid: c is a
latent weight of a few bits, clipped as in BinaryConnect (Courbariaux et al., NeurIPS 2015) and rounded as in Gupta et
al., *Deep Learning with Limited Numerical Precision*, ICML 2015. Yet unlike a latent, which a single step may carry
back over zero, a weight that has flipped starts at c = 0 and owes K events either way: *hysteresis*, as in the hidden
states of binary synapses (Fusi, Drew and Abbott, Neuron 2005; Baldassi et al., PNAS 2007). Bop (Helwegen et al.,
NeurIPS 2019) averages too and flips at a threshold, with a 32-bit moving average of the gradients' values where this
counts their signs, and without forgetting the average at a flip. BOLD (Nguyen et al., NeurIPS 2024) accumulates Boolean
variations a weight and flips where their sum speaks against it. Beside these: an event is drawn by BinSFO's hypermask,
so that the flip rule needs neither a real number a weight nor a learning rate, b = 0 is the limit without memory, and
T relative to the deviation of the layer's gradient (`trainers.methods.temperature`) serves all layers at once.
"""

import torch
from torch import Tensor

from trainers.binary.counters import counter_bytes, pack_counters, unpack_counters
from trainers.method import PackedNumbers

INERTIA_BITS = (0, 2, 3, 4, 8)  # 0: no counters, the paper's rule


def threshold(bits: int) -> int:
    """K = 2^(b-1) - 1: the count at which a weight flips."""
    return (1 << (bits - 1)) - 1


def counted_update(
    positive: Tensor, counters: Tensor, grad: Tensor, event: Tensor, limit: int
) -> tuple[Tensor, Tensor]:
    """The rule itself, on plain whole numbers: the new W = [w = +1] and the new counters.

    `Inertia.update` computes the same on packed counters.

    Args:
        positive: W, booleans.
        counters: c, any signed whole numbers, as all others of W's shape.
        grad: g, not 0 where there is an event.
        event: whether one happens, booleans.
        limit: K.
    """
    weight = torch.where(positive, 1, -1)
    votes = torch.where(event, torch.sign(weight * grad), 0).to(counters.dtype)
    counted = (counters + votes).clamp(min=-limit)
    flip = counted == limit
    return positive ^ flip, torch.where(flip, 0, counted)


class Inertia:
    """The counters of one layer, packed.

    Args:
        shape: of the layer's weight (out, ...), n weights an output channel.
        bits: b of each counter: 2, 3, 4 or 8.
        device: where they lie.

    Attributes:
        counters: uint8 (out, bytes of n counters), see `trainers.binary.counters`.
    """

    def __init__(self, shape: torch.Size, bits: int, device: torch.device) -> None:
        self.shape, self.bits = shape, bits
        self.counters = torch.zeros(shape[0], counter_bytes(shape, bits), dtype=torch.uint8, device=device)

    @property
    def packed(self) -> PackedNumbers:
        """The counters as what they are: K flips, so that none is ever as large."""
        return PackedNumbers(self.counters, self.bits, -threshold(self.bits), threshold(self.bits) - 1)

    def values(self, rows: slice) -> Tensor:
        """The counters of some output channels, int8 (rows, ...)."""
        return unpack_counters(self.counters[rows], self.shape, self.bits)

    def update(self, rows: slice, positive: Tensor, grad: Tensor, event: Tensor) -> Tensor:
        """Count the events of some output channels and return their new W; all (rows, ...), see `counted_update`.

        Only these channels' counters are unpacked. Truth values are counted as the bytes 0 and 1 that they are:
        comparing and choosing take several times as long as adding.
        """
        limit, happened = threshold(self.bits), event.view(torch.int8)
        wants_flip = ((grad > 0) == positive).view(torch.int8)
        counters = self.values(rows)
        counters.sub_(happened).add_(happened & wants_flip, alpha=2).clamp_(min=-limit)
        flip = counters.clamp(min=limit - 1).sub_(limit - 1)  # 1 where c = K, else 0
        counters.sub_(flip, alpha=limit)
        if self.bits < 8:  # else they were counted where they lie
            self.counters[rows] = pack_counters(counters, self.bits)
        return positive ^ flip.view(torch.bool)
