"""The MLP: every weight binary, no real parameter at all; batch norm without affine between the layers."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trainers.binary.layers import BinaryLinear, SignActivation, binary_layers
from trainers.model import Model
from trainers.models.packed_dense import packed_dense
from trainers.settings import Setting


def hidden_layers(in_features: int, hid_dim: int, layers: int, approx: str) -> nn.Sequential:
    """`layers` times BinaryLinear, batch norm without affine and sign: (N, in_features) -> (N, hid_dim) in {-1, +1}."""
    modules: list[nn.Module] = []
    for features in [in_features, *[hid_dim] * (layers - 1)][:layers]:
        modules += [BinaryLinear(features, hid_dim), nn.BatchNorm1d(hid_dim, affine=False), SignActivation(approx)]
    return nn.Sequential(*modules)


def run_packed(x: Tensor, modules: Iterable[Any]) -> Tensor:
    """Binary layer, norm and sign (or None) after each other, as `hidden_layers` has them, from the images on; what is
    kept for backward are bits and 16-bit integers instead of floats."""
    every = list(modules)
    for index in range(0, len(every), 3):
        layer, norm, sign = every[index : index + 3]
        x = packed_dense(x, layer, norm, sign, binary_inputs=index > 0)
    return x


class MLP(nn.Module):
    """`depth` layers of BinaryLinear, batch norm without affine and sign, no sign after the last.

    (N, ...) -> logits (N, num_classes). The first layer takes the real-valued image, flattened.

    Args:
        num_classes: logits.
        in_features: channels·height·width of an image.
        hid_dim: features between the layers.
        depth: binary layers, at least 1.
        approx: gradient surrogate of the sign activations.
    """

    def __init__(
        self, num_classes: int, in_features: int, hid_dim: int = 2048, depth: int = 4, approx: str = "STE"
    ) -> None:
        super().__init__()
        self.packed_activations = False
        self.feature = hidden_layers(in_features, hid_dim, depth - 1, approx)
        last = nn.BatchNorm1d(num_classes, affine=False)
        self.classifier = nn.Sequential(BinaryLinear(hid_dim if depth > 1 else in_features, num_classes), last)
        next(layer for _, layer in binary_layers(self)).sign_inputs = False  # the image

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.packed_activations and torch.is_grad_enabled():
            return self._packed(x)
        return self.classifier(self.feature(x))

    def _packed(self, x: Tensor) -> Tensor:
        return run_packed(x, [*self.feature, *self.classifier, None])


HID_DIM = Setting(
    "hid_dim", int, "hidden width of the MLP", 2048, "workload", least=1, short="hidden", memory="more", since=1
)
DEPTH = Setting("depth", int, "binary layers of the MLP", 4, "workload", least=1, memory="more", since=1)

MODEL = Model(
    name="MLP",
    help="binary layers and batch norm; every weight is binary",
    build=MLP,
    settings=(HID_DIM, DEPTH),
    image_options=lambda channels, side: {"in_features": channels * side**2},
    binary_rate=1.0,
    real_parameters=False,
    recognises=lambda names: {"classifier.0.weight", "feature.0.weight"} <= set(names),
)
