"""AdamBNN: the MobileNet-v1 shape with binary convolutions (ReActNet-A), 28 M binary weights at width 1.

Source: Liu et al., "How Do Adam and Training Strategies Help BNNs Optimization?", ICML 2021; the structure is that of
Liu et al., "ReActNet", ECCV 2020. Stages 32 (real), 64, 128x2, 256x2, 512x6, 1024x2.
"""

from trainers.model import Model, Pretrained
from trainers.models.network import FREEZE_NUM, WIDTH, ConvolutionalNetwork, sides, takes_side

BLOCK_MULTIPLES = (2, 4, 4, 8, 8, *[16] * 6, 32, 32)


class AdamBNN(ConvolutionalNetwork):
    """Stem and 13 separable blocks: (N, in_channels, H, W) -> logits (N, num_classes). See `ConvolutionalNetwork`."""

    def __init__(
        self, num_classes: int, width: float = 1.0, approx: str = "STE", freeze_num: int = 0, in_channels: int = 3
    ) -> None:
        super().__init__(num_classes, BLOCK_MULTIPLES, width, approx, freeze_num, in_channels)


MODEL = Model(
    name="AdamBNN",
    help="the MobileNet-v1 shape with binary convolutions",
    build=AdamBNN,
    settings=(WIDTH, FREEZE_NUM),
    takes=takes_side,
    sides=sides,
    pretrained=Pretrained(heads=("fc.",)),
    recognises=lambda names: (
        "feature.1.binary_3x3.weight" in names and not any(name.startswith("mlp_layer.") for name in names)
    ),
)
