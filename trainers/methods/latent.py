"""A latent weight of few bits: what training in real space becomes when its latent weight is simply quantised.

A latent weight of b bits in all, its sign the binary weight, on a grid of width Delta that has no zero. In units of
Delta it is h in {±1/2, ±3/2, ..., ±(2^(b-1) - 1/2)}, and SGD's step on it is rounded stochastically to the grid:

    h <- clip(h - sgn(g)·ceil(|s| - r)),   s = u·g/Delta,   r uniform in [0, 1);   w = sgn(h)

ceil(|s| - r) is |s| on average, so that small steps are not lost. Without a zero, w is never in doubt, both signs have
the same number of places, and h + 1/2 is a number of b bits in two's complement whose highest bit says whether w = -1.
The bit of w is that bit; the rule keeps the b - 1 others: the distance from a flip, d = |h| - 1/2 in 0 .. K,
K = 2^(b-1) - 1. State: b bits.

Delta = 2·mean|v| / 2^(b-1) over the layer's real weights v at the start, so that the average weight begins in the
middle of its places (all of them, where a file holds signs alone). u is the layer's learning rate, as of SGD in real
space, annealed if asked for.

For b = 2 and |s| <= 1 this is, draw for draw, a counter of 2 bits (`trainers.methods.inertia`) whose events have the
probability |s|; with more bits a counter differs, since a weight that has flipped begins K events away from flipping
back and not one.

Sources: stochastic rounding, Gupta et al., *Deep Learning with Limited Numerical Precision*, ICML 2015; clipped latent
weights, Courbariaux et al., *BinaryConnect*, NeurIPS 2015.
"""

import torch
from torch import Tensor

from trainers.binary.counters import counter_bytes, pack_counters, unpack_counters
from trainers.binary.kernels.philox import ROUNDING, uniform
from trainers.config import TrialConfig
from trainers.method import (
    LATENT_SGD,
    LATENT_SGD_FINE_TUNING,
    Look,
    Method,
    PackedNumbers,
    SimulatedCurve,
    fine_tunes,
)
from trainers.methods.contract import LayerRule
from trainers.methods.temperature import ANNEAL
from trainers.settings import Setting


def latent_update(
    positive: Tensor, distance: Tensor, step: Tensor, draws: Tensor, furthest: int
) -> tuple[Tensor, Tensor]:
    """The new W = [w = +1] and the new distances from a flip.

    Args:
        positive: W, booleans.
        distance: d, whole numbers in 0 .. K, as all others of W's shape.
        step: s, in places of the grid.
        draws: r, uniform in [0, 1).
        furthest: K.
    """
    place = torch.where(positive, distance, -distance - 1).to(step.dtype)  # h - 1/2
    moved = (step.abs() - draws).ceil_().mul_(step.sign())
    place.sub_(moved).clamp_(-furthest - 1, furthest)
    after = place >= 0
    return after, torch.where(after, place, -place - 1).to(distance.dtype)


class LatentLayer(LayerRule):
    """A latent weight of few bits on one layer; arguments as of `LayerRule`.

    Attributes:
        distances: d packed, the lowest b - 1 bits of each, uint8 (out, ...), see `trainers.binary.counters`.
        width: Delta.
    """

    def __init__(self, config: TrialConfig, name: str, latent: Tensor, pretrained: bool = False) -> None:
        super().__init__(config, name, latent, pretrained)
        self.bits, self.shape = config.latent_bits - 1, latent.shape
        self.furthest = (1 << self.bits) - 1
        magnitude = latent.abs()
        self.width = 2 * float(magnitude.mean()) / (self.furthest + 1) or 1.0
        row = counter_bytes(latent.shape, self.bits)
        self.distances = torch.empty(latent.shape[0], row, dtype=torch.uint8, device=latent.device)
        # Equal weights, as a file of signs has, must not be told apart by the rounding of their quotient.
        places = magnitude.div_(self.width).mul_(1 + 1e-5).floor_().clamp_(max=self.furthest)
        self._write(slice(None), places)

    def start(self, rate: float, step: int, annealing: float = 1.0) -> None:
        super().start(rate * annealing, step)

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        distance = unpack_counters(self.distances[rows], self.shape, self.bits) & self.furthest
        draws = uniform(self.words(rows, grad, ROUNDING))
        after, distance = latent_update(positive, distance, grad * (self.rate / self.width), draws, self.furthest)
        self._write(rows, distance)
        return after

    def _write(self, rows: slice, distance: Tensor) -> None:
        # As signed numbers of b - 1 bits, which is what counters are.
        signed = distance.to(torch.int16)
        signed = torch.where(signed > self.furthest >> 1, signed - self.furthest - 1, signed)
        self.distances[rows] = pack_counters(signed.to(torch.int8), self.bits)

    def tensors(self) -> dict[str, Tensor]:
        return {"distances": self.distances}

    def packed_numbers(self) -> dict[str, PackedNumbers]:
        half = 1 << (self.bits - 1)
        return {"distances": PackedNumbers(self.distances, self.bits, -half, half - 1)}


METHOD = Method(
    name="latent",
    help="a latent weight of few bits, stochastically rounded: its sign is the binary weight",
    layer_rule=LatentLayer,
    settings=(
        Setting(
            "latent_bits",
            int,
            "of a latent weight in all, its sign included: 2, 4 or 8",
            4,
            choices=(2, 4, 8),
            short="latent bits",
            shown=True,
            memory="more",
            offered=True,
            ablatable=True,
        ),
        ANNEAL,
    ),
    space=lambda model, fixed: {"lr": LATENT_SGD_FINE_TUNING if fine_tunes(fixed) else LATENT_SGD},
    state_bits=lambda config: config.latent_bits,
    simulated=SimulatedCurve({"latent": 0.93}, lambda config: [(config.lr, 0.1)]),
    looks={"latent": Look("#E69F00", "<")},
)
