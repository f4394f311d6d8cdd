"""Bop, the Binary Optimizer: flip a weight when the moving average of its gradients says so, strongly enough.

m <- (1 - u)·m + u·g; flip where |m| > threshold and sgn(m) = w. State: 1 bit a weight plus the 32-bit m.
Source: Helwegen et al., *Latent Weights Do Not Exist*, NeurIPS 2019 (algorithm, section 6).
"""

import torch
from torch import Tensor

from trainers.config import TrialConfig
from trainers.update_rules.contract import LayerRule


def bop_update(positive: Tensor, momentum: Tensor, grad: Tensor, adaptivity_rate: float, threshold: float) -> Tensor:
    """The new W = [w = +1]; `momentum` is updated in place. All tensors of one shape."""
    momentum.mul_(1 - adaptivity_rate).add_(grad, alpha=adaptivity_rate)
    flip = (momentum.abs() > threshold) & ((momentum >= 0) == positive)
    return positive ^ flip


class BopLayer(LayerRule):
    """Bop on one layer; u is the adaptivity rate.

    Args:
        config: the threshold is read.
        latent: the layer's real weights before they are packed.
        pretrained: whether they are a pretrained file's real weights, of which m starts as the negative; else m is 0.
    """

    def __init__(self, config: TrialConfig, latent: Tensor, pretrained: bool) -> None:
        self.threshold = config.bop_threshold
        self.rate = 0.0
        self.momentum = -latent.detach() if pretrained else torch.zeros_like(latent)

    def start(self, rate: float, step: int) -> None:
        self.rate = rate

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        return bop_update(positive, self.momentum[rows], grad, self.rate, self.threshold)

    def finish(self) -> None:
        """Nothing is left to do: m took each block as it came."""

    def tensors(self) -> dict[str, Tensor]:
        return {"momentum": self.momentum}
