"""What a trained model is beside its weights, and the network that the two make.

The network is built without memory (on torch's meta device) with packed stores, and the tensors become its parameters
and buffers: at no time do binary weights exist as floats, but for the block that a product works on.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainers.binary.layers import binary_layers
from trainers.errors import UserError
from trainers.models import build_model, check_image_size
from trainers.registry import model_named

_SHOWN = 5  # names in an error message


@dataclass(frozen=True)
class ModelDescription:
    """What a packed model is, beside its weights.

    Args:
        model: a network's name.
        options: `build_model`'s options but for those that the image decides (`in_features`, `in_channels`).
        image_size: side in pixels of the square images that it takes.
        channels: 1 (grey) or 3 (RGB).
        mean, std: per channel, for `trainers.data.loader.normalise`.
        class_names: the name of each logit.
        dataset: what it was trained on.
        origin: where it comes from: trial, commit, accuracies, configuration, as plain values.
        grey_ranges: black and white of grey deeper than eight bits, by kind of value, as in training; for
            `trainers.data.pictures.pixels`.

    Raises:
        UserError: a field that cannot be, or an image size that the model cannot take.
    """

    model: str
    options: Mapping[str, Any]
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    dataset: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    grey_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_image_size(self.model, self.image_size)
        if self.channels not in (1, 3):
            raise UserError(f"channels {self.channels!r} is not 1 (grey) or 3 (RGB); give one of them")
        for name in ("mean", "std"):
            values = tuple(getattr(self, name))
            finite = all(isinstance(value, (int, float)) and abs(value) <= sys.float_info.max for value in values)
            if len(values) != self.channels or not finite or (name == "std" and min(values) <= 0):
                kind = "positive " if name == "std" else ""
                raise UserError(f"{name} {values} is not {self.channels} finite {kind}numbers, one a channel")
            object.__setattr__(self, name, values)
        names = self.class_names
        if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
            raise UserError(f"class_names {names!r} are not one text a class; give at least one")
        object.__setattr__(self, "class_names", tuple(names))
        if not isinstance(self.options, Mapping):
            raise UserError(f"options {self.options!r} are no mapping of names to values; give one, empty for defaults")

        for kind, ends in self.grey_ranges.items():
            low, high = ends
            if not -sys.float_info.max <= low <= high <= sys.float_info.max:
                raise UserError(f"grey_ranges: {kind} {ends!r} is no range; give two finite numbers, black and white")

    def build(self) -> nn.Module:
        """The network that this describes, with latent stores; on the meta device where that is the default one.

        Raises:
            UserError: an option that the model does not have or cannot take.
        """
        image = model_named(self.model).image_options(self.channels, self.image_size)
        taken = [name for name in self.options if name in ("name", "num_classes")]
        if taken:
            raise UserError(f"{self.model} has no option {', '.join(taken)}; the class names decide it, leave it out")
        return build_model(self.model, len(self.class_names), **{**self.options, **image})


def restored_model(about: ModelDescription, tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """A packed model in evaluation mode whose state is `tensors`, which it takes over without a copy.

    Latent weights (`NAME.weight` of a binary layer) are binarized here: their signs, and the weight scale as a
    constant. Nothing in the model takes a gradient.

    Args:
        about: the network.
        tensors: a state dict of it, with latent or packed binary weights.
        where: what `tensors` were read from, for messages.

    Raises:
        UserError: names, shapes or types differ from the network's, or a value is not finite.
    """
    with torch.device("meta"):  # names and shapes without memory
        model = about.build()
        if any(name.endswith(".weight_bits") for name in tensors):
            for _, layer in binary_layers(model):
                layer.pack()
    _check_fits(model, tensors, where, about.model)
    model.load_state_dict(dict(tensors), assign=True)
    for _, layer in binary_layers(model):
        layer.pack()
    return model.eval().requires_grad_(False)


def _check_fits(model: nn.Module, tensors: Mapping[str, Tensor], where: str, name: str) -> None:
    expected = model.state_dict()
    fitting = [
        key
        for key, value in tensors.items()
        if key in expected and (value.shape, value.dtype) == (expected[key].shape, expected[key].dtype)
    ]
    problems = {
        "missing": [key for key in expected if key not in tensors],
        "unexpected": [key for key in tensors if key not in expected],
        "of another shape or type": [
            f"{key} {tuple(value.shape)} {value.dtype} instead of {tuple(expected[key].shape)} {expected[key].dtype}"
            for key, value in tensors.items()
            if key in expected and key not in fitting
        ],
        "not finite": [key for key in fitting if not bool(torch.isfinite(tensors[key]).all())],
    }
    found = [
        f"{', '.join(keys[:_SHOWN])}{f' and {len(keys) - _SHOWN} more' if len(keys) > _SHOWN else ''} {problem}"
        for problem, keys in problems.items()
        if keys
    ]
    if found:
        raise UserError(f"{where} does not hold the described {name}: {'; '.join(found)}; export the run again")
