"""How weights change: BinSFO, Bop, real-space SGD and Adam, and the frozen control. One contract, one registry."""

from collections.abc import Callable

from torch import Tensor, nn

from trainers.binary.layers import binary_layers
from trainers.config import TrialConfig
from trainers.methods.binsfo import BinsfoLayer
from trainers.methods.bop import BopLayer
from trainers.methods.contract import Average, LayerRule, PackedRule, UpdateRule
from trainers.methods.real import RealSpace

LayerRuleFactory = Callable[[TrialConfig, str, Tensor, bool], LayerRule]

# Algorithms that keep 1 bit a weight: what each does to a trainable layer, from its real weights before they are
# packed and whether those are pretrained. None: the bits never change (`frozen`, the control that any training of
# bits must beat).
PACKED_RULES: dict[str, LayerRuleFactory | None] = {
    "binary": lambda config, name, latent, pretrained: BinsfoLayer(config, name, latent),
    "bop": lambda config, name, latent, pretrained: BopLayer(config, name, latent, pretrained),
    "frozen": None,
}


def make_update_rule(config: TrialConfig, model: nn.Module, average: Average, pretrained: bool = False) -> UpdateRule:
    """Give every trainable parameter of `model` its one owner; packed algorithms binarize the model's layers here.

    Args:
        config: the run; its algorithm chooses the rule.
        model: with latent weight stores, on its device.
        average: completes a worker's share of a gradient in place (sum over workers).
        pretrained: whether the binary layers hold a pretrained file's real weights.
    """
    if config.algorithm == "real":
        return RealSpace(config, model, average)
    factory = PACKED_RULES[config.algorithm]
    rules: dict[str, LayerRule] = {}
    for name, layer in binary_layers(model):
        latent = layer.get_parameter("weight")
        if factory is not None and latent.requires_grad:
            rules[name] = factory(config, name, latent.detach(), pretrained)
        layer.pack()
    return PackedRule(config, model, average, rules)


__all__ = ["PACKED_RULES", "UpdateRule", "make_update_rule"]
