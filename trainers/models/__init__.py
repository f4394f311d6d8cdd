"""The networks by name: one file a model, each with its options and all that anybody has to know of it.

A module with a `MODEL` is a model; the others help. Models are written once and do not know which weight store their
binary layers hold; they are built with latent stores. Parameter names, shapes and order are those of the authors'
checkpoints.
"""

import inspect
from typing import Any

from torch import nn

from trainers.binary.layers import binary_layers
from trainers.errors import UserError
from trainers.model import Model, Pretrained
from trainers.models.adambnn import AdamBNN
from trainers.models.bcdnet import BCDNet
from trainers.models.mlp import MLP
from trainers.models.resnet18 import ResNet18
from trainers.registry import model_named
from trainers.settings import ACTIVATION_MEMORY, APPROXIMATIONS, WEIGHT_SCALES, one_of

_LEAST = {"num_classes": 1, "in_channels": 1, "in_features": 1, "hid_dim": 1, "depth": 1, "freeze_num": 0}
# Far above any network here. Beyond, building alone would take minutes, or counts would no longer fit in 64 bits.
_MOST = {"num_classes": 10**6, "in_channels": 10**4, "in_features": 10**9, "hid_dim": 10**6, "depth": 1000}
_MOST_WIDTH = 100


def build_model(name: str, num_classes: int, *, weight_scale: str = "none", **options: Any) -> nn.Module:
    """A network with latent weights, N(0, 0.01^2) drawn from torch's global generator, in training mode.

    Args:
        name: of a model.
        num_classes: logits.
        weight_scale: what a binary product is multiplied by: none, layer (mean |w_real|) or channel.
        options: AdamBNN and BCDNet: `width` (1.0), `approx` (STE), `freeze_num` (0), `in_channels` (3).
            ResNet18: `width`, `stem` (imagenet), `first_stage` (binary), `approx`, `in_channels`.
            MLP: `in_features` (no default), `hid_dim` (2048), `depth` (4), `approx` (STE). Others: as `build` says.

    Raises:
        UserError: a name, option or value that is not allowed.
    """
    model = model_named(name)
    unknown = [option for option in options if option not in model.options]
    if unknown:
        raise UserError(f"{name} has no option {', '.join(unknown)}; use {', '.join((*model.options, 'weight_scale'))}")
    wanted = inspect.signature(model.build).parameters
    lacking = [option for option in model.options if wanted[option].default is inspect.Parameter.empty]
    if lacking := [option for option in lacking if option not in options]:
        raise UserError(f"{name} needs {', '.join(lacking)}, as an image and its settings have it; give it")
    one_of("approx", options.get("approx", "STE"), APPROXIMATIONS)
    one_of("weight_scale", weight_scale, WEIGHT_SCALES)
    _check_numbers({"num_classes": num_classes, **options})
    network: nn.Module = model.build(num_classes, **options)
    for _, layer in binary_layers(network):
        layer.set_weight_scale(weight_scale)
    return network


def set_activation_memory(model: nn.Module, kind: str) -> None:
    """Choose what a model keeps from forward to backward: `stock`, floats, or `packed`, bits and few floats.

    Both compute the same. Every module that has an attribute `packed_activations` is told: sign activations, blocks
    (`trainers.models.recompute.PackedBlock`) and the MLP.
    """
    one_of("activation_memory", kind, ACTIVATION_MEMORY)
    for module in model.modules():
        if hasattr(module, "packed_activations"):
            module.packed_activations = kind == "packed"  # type: ignore[assignment]


def _check_numbers(options: dict[str, Any]) -> None:
    for option, value in options.items():
        least = _LEAST.get(option)
        if least is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise UserError(f"{option} {value!r} is not a whole number of at least {least}")
        if option in _MOST and value > _MOST[option]:
            raise UserError(f"{option} {value!r} is above {_MOST[option]}; give a smaller one")
    width = options.get("width", 1.0)
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width <= _MOST_WIDTH:
        raise UserError(f"width {width!r} is not a number above 0, at most {_MOST_WIDTH}; 1 is the published network")


def check_image_size(name: str, image_size: int) -> None:
    """Raise `UserError` unless model `name` takes images of `image_size` x `image_size` pixels; cheap, builds nothing.

    AdamBNN and BCDNet: a multiple of 32 or one less (`trainers.models.network.takes_side` says why). The others: any.
    """
    model_named(name).check_side(image_size)


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """What `freeze_num` froze: parameters without gradient, batch norm in evaluation mode for good."""
    return list(getattr(model, "frozen", []))


def frozen_binary_layers(model: nn.Module) -> set[str]:
    """Names, as `binary_layers(model)` gives them, of the binary layers that never change because they are frozen."""
    frozen = {id(part) for module in frozen_modules(model) for part in module.modules()}
    return {name for name, layer in binary_layers(model) if id(layer) in frozen}


__all__ = [
    "Model",
    "Pretrained",
    "build_model",
    "check_image_size",
    "frozen_binary_layers",
    "frozen_modules",
    "set_activation_memory",
    "AdamBNN",
    "BCDNet",
    "MLP",
    "ResNet18",
]
