"""How weights change: one file a method, each with its rule and all that anybody has to know of it.

A module with a `METHOD` is a method; the others help. `docs/methods.md` lists them, and `docs/your-own-rule.md` shows
how to write one.
"""

from torch import nn

from trainers.binary.layers import binary_layers
from trainers.config import TrialConfig
from trainers.method import Choice, Look, Method, PackedNumbers, Range, SimulatedCurve
from trainers.methods.contract import Average, LayerRule, PackedRule, UpdateRule
from trainers.registry import method_named
from trainers.settings import Setting


def make_update_rule(config: TrialConfig, model: nn.Module, average: Average, pretrained: bool = False) -> UpdateRule:
    """Give every trainable parameter of `model` its one owner; packed methods binarize the model's layers here.

    Args:
        config: the run; its algorithm chooses the rule.
        model: with latent weight stores, on its device.
        average: completes a worker's share of a gradient in place (sum over workers).
        pretrained: whether the binary layers hold a pretrained file's real weights.
    """
    method = method_named(config.algorithm)
    if method.update_rule is not None:
        rule: UpdateRule = method.update_rule(config, model, average)
        return rule
    rules: dict[str, LayerRule] = {}
    for name, layer in binary_layers(model):
        latent = layer.get_parameter("weight")
        if method.layer_rule is not None and latent.requires_grad:
            rules[name] = method.layer_rule(config, name, latent.detach(), pretrained)
        layer.pack()
    if method.trains_real is not None:
        learning = {id(parameter) for parameter in method.trains_real(model)}
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in learning)
    return PackedRule(config, model, average, rules)


__all__ = [
    "Choice",
    "LayerRule",
    "Look",
    "Method",
    "PackedNumbers",
    "Range",
    "Setting",
    "SimulatedCurve",
    "UpdateRule",
    "make_update_rule",
]
