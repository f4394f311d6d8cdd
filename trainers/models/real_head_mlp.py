"""The MLP with a real head, as binary networks usually have one: fine-tuning may keep its binary layers and learn the
head alone, which is what a control without flips does."""

import torch
from torch import Tensor, nn

from trainers.binary.layers import binary_layers
from trainers.model import Model, Pretrained
from trainers.models.mlp import DEPTH, HID_DIM, hidden_layers, run_packed


class RealHeadMLP(nn.Module):
    """`depth` layers of BinaryLinear, batch norm without affine and sign, then a real linear map.

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
        self.feature = hidden_layers(in_features, hid_dim, depth, approx)
        self.fc = nn.Linear(hid_dim, num_classes)
        next(layer for _, layer in binary_layers(self)).sign_inputs = False  # the image

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        packed = self.packed_activations and torch.is_grad_enabled()
        return self.fc(run_packed(x, self.feature) if packed else self.feature(x))


MODEL = Model(
    name="RealHeadMLP",
    help="binary layers and batch norm, then a real linear head",
    build=RealHeadMLP,
    settings=(HID_DIM, DEPTH),
    image_options=lambda channels, side: {"in_features": channels * side**2},
    binary_rate=1.0,
    pretrained=Pretrained(heads=("fc.",)),
    recognises=lambda names: {"fc.weight", "feature.0.weight"} <= set(names),
)
