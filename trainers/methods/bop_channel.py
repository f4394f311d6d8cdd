"""Bop whose threshold is in deviations: one second moment a channel, and the momentum in 8 bits.

    m <- (1 - u)·m + u·g            in 8 bits, block-wise (`trainers.methods.blockwise`)
    v <- 0.99·v + 0.01·mean(g²)     one number an output channel
    flip where |m| > threshold·sqrt(v^) and sgn(m) = w,    v^ = v / (1 - 0.99^(t+1)) in step t = 0, 1, ...

Bop's threshold is a gradient, which differs by decades between layers and falls as training goes on; here one threshold
serves all layers. State: 1 bit a weight plus 8 of m; 32 of v for each channel, and 32 for each block of 256.
Sources: Helwegen et al., *Latent Weights Do Not Exist*, NeurIPS 2019; the second moment, there one a weight, from
Suarez-Ramirez et al., *A Bop and Beyond*, CVPR workshops 2021.
"""

import torch
from torch import Tensor

from trainers.binary.kernels.philox import ROUNDING, uniform
from trainers.config import TrialConfig
from trainers.method import Fixed, Look, Method, Range, SearchSpace, SimulatedCurve, fine_tunes
from trainers.methods.blockwise import Moments
from trainers.methods.bop import bop_update, check_adaptivity_rate
from trainers.methods.contract import LayerRule
from trainers.model import Model
from trainers.settings import Setting

DECAY = 0.99
"""Of the second moment: the mean over about a hundred steps."""


class BopChannelLayer(LayerRule):
    """The rule on one layer; arguments as of `LayerRule`.

    Attributes:
        momentum: m, which starts as Bop's does: minus a pretrained file's real weights, else 0.
        second: v, float32 (out, 1).
    """

    def __init__(self, config: TrialConfig, name: str, latent: Tensor, pretrained: bool = False) -> None:
        super().__init__(config, name, latent, pretrained)
        self.momentum = Moments(latent.shape, latent.device)
        if pretrained:
            self.momentum.write(slice(None), -latent.detach(), torch.full_like(latent, 0.5))  # to the nearest
        self.second = torch.zeros(latent.shape[0], 1, device=latent.device)

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        v = self.second[rows].mul_(DECAY).add_(grad.flatten(1).square().mean(dim=1, keepdim=True), alpha=1 - DECAY)
        limit = (v / (1 - DECAY ** (self.step + 1))).sqrt_().mul_(self.config.bop_deviations)
        m = self.momentum.read(rows)
        after = bop_update(positive, m, grad, self.rate, limit.view(-1, *[1] * (m.dim() - 1)))
        self.momentum.write(rows, m, uniform(self.words(rows, grad, ROUNDING)))
        return after

    def tensors(self) -> dict[str, Tensor]:
        return {**self.momentum.tensors("momentum"), "second": self.second}


def _space(model: Model, fixed: Fixed) -> SearchSpace:
    # Of noise alone m deviates by sqrt(u/2): in fine-tuning a flip is to take several times as much.
    deviations = Range(1e-2, 3.0) if fine_tunes(fixed) else Range(1e-3, 1.0)
    return {"lr": Range(1e-4, 1e-1), "bop_deviations": deviations}


METHOD = Method(
    name="bop_channel",
    help="Bop with a threshold in deviations of a channel's gradient, momentum in 8 bits",
    layer_rule=BopChannelLayer,
    settings=(
        Setting(
            "bop_deviations",
            float,
            "|m| above which Bop with a second moment a channel flips, in root mean squares of its gradient",
            0.1,
            "nuisance",
            above=0,
            short="threshold in deviations",
            shown=True,
        ),
    ),
    space=_space,
    check_step=check_adaptivity_rate,
    state_bits=lambda config: 9,
    simulated=SimulatedCurve({"bop_channel": 0.94}, lambda config: [(config.lr, 1e-2), (config.bop_deviations, 0.1)]),
    looks={"bop_channel": Look("#8C510A", "P")},
)
