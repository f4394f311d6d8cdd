"""Bop, the Binary Optimizer: flip a weight when the moving average of its gradients says so, strongly enough.

m <- (1 - u)·m + u·g; flip where |m| > threshold and sgn(m) = w. State: 1 bit a weight plus m, in 32 or 16 bits.
Source: Helwegen et al., *Latent Weights Do Not Exist*, NeurIPS 2019 (algorithm, section 6).
"""

import torch
from torch import Tensor

from trainers.binary.kernels.philox import ROUNDING
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.method import Fixed, Look, Method, Range, SearchSpace, SimulatedCurve, fine_tunes
from trainers.methods.contract import LayerRule
from trainers.model import Model
from trainers.settings import Setting


def bop_update(
    positive: Tensor, momentum: Tensor, grad: Tensor, adaptivity_rate: float, threshold: float | Tensor
) -> Tensor:
    """The new W = [w = +1]; `momentum` is updated in place. All tensors of one shape, but a threshold a channel."""
    momentum.mul_(1 - adaptivity_rate).add_(grad, alpha=adaptivity_rate)
    flip = (momentum.abs() > threshold) & ((momentum >= 0) == positive)
    return positive ^ flip


def round_stochastically(x: Tensor, words: Tensor) -> Tensor:
    """float32 -> bfloat16, up or down with the probability that makes the expectation exact.

    Rounded to nearest, a moving average at rate u < 2^-9 would not move at all: each step's change would be lost.

    Args:
        x: what is rounded.
        words: 32 random bits an entry, int32 of its shape.
    """
    noise = words.bitwise_right_shift(16).bitwise_and_(0xFFFF)
    bits = (x.contiguous().view(torch.int32) + noise).bitwise_and_(-(1 << 16))
    return bits.view(torch.float32).to(torch.bfloat16)


class BopLayer(LayerRule):
    """Bop on one layer; u is the adaptivity rate.

    Args:
        config: the threshold, the momentum's precision and the seed are read.
        name: the layer's name, which seeds the rounding together with the run's seed and the step.
        latent: the layer's real weights before they are packed.
        pretrained: whether they are a pretrained file's real weights, of which m starts as the negative; else m is 0.
    """

    def __init__(self, config: TrialConfig, name: str, latent: Tensor, pretrained: bool) -> None:
        super().__init__(config, name, latent, pretrained)
        self.threshold = config.bop_threshold
        start = -latent.detach() if pretrained else torch.zeros_like(latent)
        self.momentum = start if config.bop_momentum_bits == 32 else start.to(torch.bfloat16)

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        if self.momentum.dtype != torch.bfloat16:
            return bop_update(positive, self.momentum[rows], grad, self.rate, self.threshold)
        momentum = self.momentum[rows].float()
        after = bop_update(positive, momentum, grad, self.rate, self.threshold)
        self.momentum[rows] = round_stochastically(momentum, self.words(rows, grad, ROUNDING))
        return after

    def tensors(self) -> dict[str, Tensor]:
        return {"momentum": self.momentum}


def check_adaptivity_rate(config: TrialConfig, rate: float) -> None:
    """Refuse an adaptivity rate above 1, under which m would be no average."""
    if rate > 1:
        raise UserError(
            f"lr {config.lr} makes Bop's adaptivity rate {rate:.3g}; it must be at most 1, use a smaller lr"
        )


def _space(model: Model, fixed: Fixed) -> SearchSpace:
    # A slower average flips fewer weights; the threshold is a gradient, and those of a pretrained network are smaller.
    low = 1e-1 if fine_tunes(fixed) else 1.0
    return {"lr": Range(1e-4 * low, 1e-1), "bop_threshold": Range(1e-8 * low, 1e-4)}


METHOD = Method(
    name="bop",
    help="Bop: flip where the moving average of the gradients says so",
    layer_rule=BopLayer,
    settings=(
        Setting(
            "bop_threshold",
            float,
            "|m| above which Bop flips",
            1e-6,
            "nuisance",
            above=0,
            short="threshold",
            shown=True,
            since=1,
        ),
        Setting(
            "bop_momentum_bits",
            int,
            "of Bop's m: 32, or 16 (bfloat16, stochastically rounded)",
            32,
            choices=(16, 32),
            short="momentum bits",
            memory="more",
            offered=True,
            ablatable=True,
            since=1,
        ),
    ),
    space=_space,
    check_step=check_adaptivity_rate,
    describe=lambda config: f"lr={config.lr:.3g} threshold={config.bop_threshold:.2g}",
    state_bits=lambda config: 1 + config.bop_momentum_bits,
    simulated=SimulatedCurve({"bop": 0.94}, lambda config: [(config.lr, 1e-2), (config.bop_threshold, 1e-6)]),
    looks={"bop": Look("#D55E00", "s")},
    title="Bop",
)
