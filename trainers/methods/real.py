"""Real-space baselines: latent weights trained by SGD or Adam through the sign, straight-through.

SGD: v <- v - u·g. Adam (torch's defaults): every parameter at plain lr, cosine decay to 0, one step an epoch.
Source: algorithm, section 6.
"""

import math

import torch
from torch import Tensor, nn

from trainers.binary.bits import pack_bits
from trainers.binary.layers import binary_layers
from trainers.config import TrialConfig
from trainers.method import Look, Method, SimulatedCurve
from trainers.methods.contract import Average, UpdateRule
from trainers.settings import Setting


def cosine_rate(lr: float, epoch: int, epochs: int) -> float:
    """lr·(1 + cos(pi·e/epochs))/2 in epoch e = 0, 1, ...: lr at first, towards 0 after the last."""
    return lr * (1 + math.cos(math.pi * epoch / epochs)) / 2


class RealSpace(UpdateRule):
    """One torch optimizer over latent weights and real parameters."""

    def __init__(self, config: TrialConfig, model: nn.Module, average: Average) -> None:
        super().__init__(config, model, average)
        self.latents = {
            name: layer.get_parameter("weight") for name, layer in binary_layers(model) if layer.weight.requires_grad
        }
        owned = {id(parameter) for parameter in self.latents.values()}
        real = [p for p in model.parameters() if p.requires_grad and id(p) not in owned]
        groups = [{"params": real}, {"params": list(self.latents.values())}]
        self.optimizer = (
            torch.optim.Adam(groups, lr=config.lr)
            if config.optimizer == "Adam"
            else torch.optim.SGD(groups, lr=config.lr)
        )

    def start_step(self, step: int, step_batch: int, epoch: int) -> None:
        super().start_step(step, step_batch, epoch)
        if self.config.optimizer == "Adam":
            self.lr = self.real_rate = self.binary_rate = cosine_rate(self.config.lr, epoch, self.config.epochs)

    def finish_step(self) -> None:
        assert self.optimizer is not None
        for group, rate in zip(self.optimizer.param_groups, (self.real_rate, self.binary_rate), strict=True):
            group["lr"] = rate
        before = {name: self._bits(latent) for name, latent in self.latents.items()}
        self._step_optimizer()
        self.flips = sum(_differing(before[name], self._bits(latent)) for name, latent in self.latents.items())

    @staticmethod
    def _bits(latent: Tensor) -> Tensor:
        """The signs now, packed: counting flips costs 1 bit a weight, not a second copy."""
        return pack_bits(latent.detach() >= 0)


def _differing(a: Tensor, b: Tensor) -> int:
    """In how many bits two packed tensors differ."""
    changed = a ^ b
    return int(sum(((changed >> bit) & 1).sum() for bit in range(8)))


METHOD = Method(
    name="real",
    help="training in real space through the sign, by SGD or Adam",
    update_rule=RealSpace,
    settings=(
        Setting(
            "optimizer",
            str,
            "of algorithm real: SGD or Adam",
            "SGD",
            choices=("SGD", "Adam"),
            shown=True,
            memory="other",
            set_by="cells: methods (real-SGD or real-Adam)",
            since=1,
        ),
    ),
    variant="optimizer",
    describe=lambda config: f"{config.optimizer} lr={config.lr:.3g}",
    state_bits=lambda config: 96 if config.optimizer == "Adam" else 32,
    simulated=SimulatedCurve(
        {"real-SGD": 0.96, "real-Adam": 0.97},
        lambda config: [(config.lr, 1e-3 if config.optimizer == "Adam" else 0.1)],
    ),
    looks={"real-SGD": Look("#009E73", "^"), "real-Adam": Look("#CC79A7", "D")},
)
