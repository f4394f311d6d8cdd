"""Real-space baselines: latent weights trained by SGD or Adam through the sign, straight-through.

SGD: v <- v - u·g. Adam (torch's defaults): at plain lr, cosine decay to 0, one step an epoch. Real parameters have an
optimizer of their own (`trainers.methods.real_parameters`), unless it is to be as published: then they follow the
latent weights' optimizer. Source: algorithm, section 6.
"""

import torch
from torch import Tensor, nn

from trainers.binary.bits import differing, pack_bits
from trainers.binary.layers import binary_layers
from trainers.binary.parts import settled
from trainers.config import TrialConfig
from trainers.method import Look, Method, SimulatedCurve
from trainers.methods.contract import Average, UpdateRule
from trainers.methods.real_parameters import cosine_rate, optimizer_of, own_optimizer
from trainers.settings import Setting


class RealSpace(UpdateRule):
    """Latent weights by torch's SGD or Adam; real parameters by the same optimizer, or by one of their own."""

    def __init__(self, config: TrialConfig, model: nn.Module, average: Average) -> None:
        super().__init__(config, model, average)
        self.latents = {
            name: layer.get_parameter("weight") for name, layer in binary_layers(model) if layer.weight.requires_grad
        }
        owned = {id(parameter) for parameter in self.latents.values()}
        real = [p for p in model.parameters() if p.requires_grad and id(p) not in owned]
        sides = [(real, own_optimizer(config) or config.optimizer), (list(self.latents.values()), config.optimizer)]
        kind = sides[0][1] if sides[0][1] == sides[1][1] else "Adam"
        # Where one side has Adam and the other SGD, the latter, which keeps no state, is stepped by hand.
        self._groups = [side for side in (0, 1) if sides[side][1] == kind]
        self._by_hand = {side: sides[side][0] for side in (0, 1) if side not in self._groups}
        self.optimizer = optimizer_of(kind, [{"params": sides[side][0]} for side in self._groups], config.lr)

    def start_step(self, step: int, step_batch: int, epoch: int) -> None:
        super().start_step(step, step_batch, epoch)
        if self.config.optimizer == "Adam":
            self.lr = self.binary_rate = cosine_rate(self.config.lr, epoch, self.config.epochs)
            if own_optimizer(self.config) is None:
                self.real_rate = self.lr

    def finish_step(self) -> None:
        assert self.optimizer is not None
        rates = (self.real_rate, self.binary_rate)
        for group, side in zip(self.optimizer.param_groups, self._groups, strict=True):
            group["lr"] = rates[side]
        before = {name: self._bits(latent) for name, latent in self.latents.items()}
        for side, parameters in self._by_hand.items():
            self._descend(parameters, rates[side])
        self._step_optimizer()
        changed = [differing(before[name], self._bits(latent)) for name, latent in self.latents.items()]
        self.flips = settled(torch.stack(changed).sum()) if changed else 0

    @torch.no_grad()
    def _descend(self, parameters: list[nn.Parameter], rate: float) -> None:
        """v <- v - u·g, each gradient averaged over workers and dropped."""
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.add_(self.average(parameter.grad), alpha=-rate)
                parameter.grad = None

    @staticmethod
    def _bits(latent: Tensor) -> Tensor:
        """The signs now, packed: counting flips costs 1 bit a weight, not a second copy."""
        return pack_bits(latent.detach() >= 0)


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
