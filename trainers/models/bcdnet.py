"""BCDNet: separable blocks, then groups of shift blocks that stand for a binary MLP; 44 M binary weights at width 1.

Source: Xing et al., "Towards Accurate Binary Neural Networks via Modeling Contextual Dependencies", ECCV 2022. Stages
32 (real), 64, 128x2, 256x2, 512x4, 1024, then three groups of (three shift blocks and a point block) at 1024.
"""

from torch import Tensor, nn

from trainers.model import Model, Pretrained
from trainers.models.blocks import ShiftGroup
from trainers.models.network import FREEZE_NUM, WIDTH, ConvolutionalNetwork, sides, takes_side

BLOCK_MULTIPLES = (2, 4, 4, 8, 8, *[16] * 4, 32)
GROUPS = 3


class BCDNet(ConvolutionalNetwork):
    """Stem, 10 separable blocks, 3 shift groups: (N, in_channels, H, W) -> logits (N, num_classes).

    See `ConvolutionalNetwork`; the last stage's channels, 32 times the stem's, always fall into four equal quarters.
    """

    def __init__(
        self, num_classes: int, width: float = 1.0, approx: str = "STE", freeze_num: int = 0, in_channels: int = 3
    ) -> None:
        super().__init__(num_classes, BLOCK_MULTIPLES, width, approx, freeze_num, in_channels)

    def add_trunk(self, channels: int, approx: str) -> None:
        self.mlp_layer = nn.Sequential(*[ShiftGroup(channels, approx) for _ in range(GROUPS)])

    def trunk(self, x: Tensor) -> Tensor:
        return self.mlp_layer(x)


MODEL = Model(
    name="BCDNet",
    help="separable blocks, then groups of shift blocks that stand for a binary MLP",
    build=BCDNet,
    settings=(WIDTH, FREEZE_NUM),
    takes=takes_side,
    sides=sides,
    pretrained=Pretrained(heads=("fc.", "fc_dist.")),
    recognises=lambda names: any(name.startswith("mlp_layer.") for name in names),
)
