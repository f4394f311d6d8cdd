"""BOLD's accumulator: Boolean variations pile up a weight, which flips when their sum speaks against it.

    m <- beta·m + eta·g;  flip where m·w >= 1, and m <- 0 there
    beta = 1 - (share of the layer's weights that flipped in the step before)

beta forgets the more, the more has just changed. eta is a setting of its own: the learning rate moves real
parameters at most. State: 1 bit a weight plus m, in 32-bit floats, or in b = 8 or 4 bits as whole numbers c = m·K,
K = 2^(b-1) - 1, that saturate at ±K. They are rounded stochastically, or small steps eta·g would all be lost:

    c <- floor(beta·c + K·eta·g + r), r uniform in [0, 1);  flip where c·w >= K

Source: Nguyen et al., *BOLD: Boolean Logic Deep Learning*, NeurIPS 2024.
"""

import torch
from torch import Tensor

from trainers.binary.counters import counter_bytes, pack_counters, unpack_counters
from trainers.binary.kernels.philox import ROUNDING, uniform
from trainers.binary.parts import settled
from trainers.config import TrialConfig
from trainers.method import Fixed, Look, Method, PackedNumbers, Range, SearchSpace, real_parameters_lr
from trainers.methods.contract import LayerRule
from trainers.methods.temperature import ANNEAL
from trainers.model import Model
from trainers.settings import Setting


def largest(bits: int) -> int:
    """K = 2^(b-1) - 1: the whole number that stands for m = 1."""
    return (1 << (bits - 1)) - 1


class BoldLayer(LayerRule):
    """BOLD's accumulator on one layer; arguments as of `LayerRule`.

    Attributes:
        accumulator: m, float32 in the weight's shape; or c packed, uint8 (out, ceil(n·b/8)), see
            `trainers.binary.counters`.
        beta: what m is multiplied by in this step.
        eta: in this step, annealed if asked for.
    """

    def __init__(self, config: TrialConfig, name: str, latent: Tensor, pretrained: bool = False) -> None:
        super().__init__(config, name, latent, pretrained)
        self.bits, self.shape = config.bold_bits, latent.shape
        if self.bits == 32:
            self.accumulator = torch.zeros_like(latent)
        else:
            width = counter_bytes(latent.shape, self.bits)
            self.accumulator = torch.zeros(latent.shape[0], width, dtype=torch.uint8, device=latent.device)
        self.beta: float | Tensor = 1.0
        self._flipped: float | Tensor = 0.0
        self.eta = config.bold_eta

    def start(self, rate: float, step: int, annealing: float = 1.0) -> None:
        super().start(rate, step, annealing)
        self.eta = self.config.bold_eta * annealing

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        weight = positive.to(grad.dtype).mul_(2).sub_(1)
        if self.bits == 32:
            m = self.accumulator[rows].mul_(self.beta).add_(grad, alpha=self.eta)
            flip = weight.mul_(m) >= 1
            m.masked_fill_(flip, 0)
        else:
            limit = largest(self.bits)
            m = unpack_counters(self.accumulator[rows], self.shape, self.bits).to(grad.dtype)
            m.mul_(self.beta).add_(grad, alpha=limit * self.eta)
            m.add_(uniform(self.words(rows, grad, ROUNDING))).floor_().clamp_(-limit, limit)
            flip = weight.mul_(m) >= limit
            self.accumulator[rows] = pack_counters(m.masked_fill_(flip, 0).to(torch.int8), self.bits)
        self._flipped = self._flipped + settled(torch.count_nonzero(flip).double())
        return positive ^ flip

    def finish(self) -> None:
        self.beta, self._flipped = 1 - self._flipped / self.shape.numel(), 0.0

    def tensors(self) -> dict[str, Tensor]:
        return {"accumulator": self.accumulator}

    def packed_numbers(self) -> dict[str, PackedNumbers]:
        if self.bits == 32:
            return {}
        limit = largest(self.bits)
        return {"accumulator": PackedNumbers(self.accumulator, self.bits, -limit, limit)}

    def scalars(self) -> dict[str, float | None]:
        return {"beta": float(self.beta)}

    def load_scalars(self, values: dict[str, float | None]) -> None:
        assert values["beta"] is not None
        self.beta = values["beta"]


def _space(model: Model, fixed: Fixed) -> SearchSpace:
    # In fine-tuning fewer weights are to flip, and gradients are smaller: the two leave eta where it was.
    return {"bold_eta": Range(1.0, 1e5), **real_parameters_lr(model, fixed)}


METHOD = Method(
    name="bold",
    help="BOLD: flip where accumulated variations speak against the weight",
    layer_rule=BoldLayer,
    settings=(
        Setting(
            "bold_eta", float, "eta, by which BOLD's accumulator takes gradients", 1e2, "nuisance", above=0, short="eta"
        ),
        Setting(
            "bold_bits",
            int,
            "of BOLD's accumulator: 32 (floats), or 8 or 4 (saturating whole numbers, stochastically rounded)",
            32,
            choices=(32, 8, 4),
            short="accumulator bits",
            memory="more",
            offered=True,
            ablatable=True,
        ),
        ANNEAL,
    ),
    space=_space,
    follows_lr=lambda settings: False,
    state_bits=lambda config: 1 + config.bold_bits,
    looks={"bold": Look("#56B4E9", "v")},
)
