"""The MLP: every weight binary, no real parameter at all; batch norm without affine between the layers."""

from typing import Any

import torch
from torch import Tensor, nn

from trainers.binary.layers import BinaryLinear, SignActivation, binary_layers
from trainers.model import Model
from trainers.models.packed_dense import packed_dense
from trainers.settings import Setting


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
        modules: list[nn.Module] = []
        features = in_features
        for _ in range(depth - 1):
            modules += [BinaryLinear(features, hid_dim), nn.BatchNorm1d(hid_dim, affine=False), SignActivation(approx)]
            features = hid_dim
        self.feature = nn.Sequential(*modules)
        last = nn.BatchNorm1d(num_classes, affine=False)
        self.classifier = nn.Sequential(BinaryLinear(features, num_classes), last)
        next(layer for _, layer in binary_layers(self)).sign_inputs = False  # the image

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.packed_activations and torch.is_grad_enabled():
            return self._packed(x)
        return self.classifier(self.feature(x))

    def _packed(self, x: Tensor) -> Tensor:
        """The same, with bits and 16-bit integers kept for backward instead of floats."""
        modules: list[Any] = [*self.feature, *self.classifier, None]
        for index in range(0, len(modules), 3):
            layer, norm, sign = modules[index : index + 3]
            x = packed_dense(x, layer, norm, sign, binary_inputs=index > 0)
        return x


MODEL = Model(
    name="MLP",
    help="binary layers and batch norm; every weight is binary",
    build=MLP,
    settings=(
        Setting(
            "hid_dim",
            int,
            "hidden width of the MLP",
            2048,
            "workload",
            least=1,
            short="hidden",
            memory="more",
            since=1,
        ),
        Setting("depth", int, "binary layers of the MLP", 4, "workload", least=1, memory="more", since=1),
    ),
    image_options=lambda channels, side: {"in_features": channels * side**2},
    binary_rate=1.0,
    real_parameters=False,
    recognises=lambda names: {"classifier.0.weight", "feature.0.weight"} <= set(names),
)
