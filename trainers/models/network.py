"""What AdamBNN and BCDNet share: stages of separable blocks under one width, and frozen first modules.

A network is `feature`, a sequence of a stem and separable blocks, then whatever the subclass puts behind it, global
average pooling and the head `fc`. Five modules of `feature` halve the image: the stem and four blocks.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from trainers.errors import UserError
from trainers.models.blocks import SeparableBlock, Stem, head, run_blocks
from trainers.settings import Setting

BASE_CHANNELS = 32  # of the stem at width 1; every stage is a power of two of it


def stem_channels(width: float) -> int:
    """Channels of the stem at `width`: 32·width rounded to the nearest multiple of 8, at least 8.

    Later stages stay exact doublings of it, as the blocks' shortcuts need. So width acts in steps of 0.25, from 0.25
    on, and every stage's channels are a multiple of 8.
    """
    return 8 * max(1, math.floor(BASE_CHANNELS * width / 8 + 0.5))


def takes_side(pixels: int) -> bool:
    """Whether an image's side of `pixels` fits the stages.

    The stem's convolution turns n pixels into ceil(n/2). In each of the four halving blocks after it the convolution
    gives ceil(n/2) and the shortcut's average floor(n/2), which must be equal (2 and 1 would even be added, by silent
    broadcasting). So the stem's ceil(n/2) is a multiple of 16, and n a multiple of 32 or one less.
    """
    return pixels > 0 and pixels % 32 in (0, 31)


def sides(pixels: int) -> str:
    """Which sides fit the stages, and the two nearest to one that does not."""
    below = 32 * (pixels // 32)
    near = f"{below} or {below + 31}" if below else "31 or 32"
    return (
        "it halves them five times, so image_size must be a multiple of 32 or one less (31, 32, 63, 64, ...); "
        f"use {near}, to which images are resized"
    )


WIDTH = Setting(
    "width",
    float,
    "multiplier of every convolution's channels; 1 is the published network",
    1.0,
    "workload",
    above=0,
    memory="more",
    offered=True,
    since=1,
)
FREEZE_NUM = Setting(
    "freeze_num",
    int,
    "first modules of `feature` that take no gradient and stay in evaluation mode",
    0,
    "workload",
    least=0,
    short="frozen modules",
    memory="less",
    offered=True,
    since=1,
)


class ConvolutionalNetwork(nn.Module):
    """Stem, separable blocks, `trunk`, global average pool, head: (N, in_channels, H, W) -> logits (N, num_classes).

    Args:
        num_classes: logits.
        multiples: output channels of each separable block in units of the stem's; each is the one before or twice it.
            A block that doubles the channels has stride 2, except the first one.
        width: multiplier of every stage's channels, see `stem_channels`.
        approx: gradient surrogate of the sign activations.
        freeze_num: the first n modules of `feature` that take no gradient and stay in evaluation mode.
        in_channels: of the image.

    Raises:
        UserError: `freeze_num` exceeds the number of modules in `feature`.
    """

    def __init__(
        self, num_classes: int, multiples: Sequence[int], width: float, approx: str, freeze_num: int, in_channels: int
    ) -> None:
        super().__init__()
        base = channels = stem_channels(width)
        modules: list[nn.Module] = [Stem(in_channels, base)]
        for index, multiple in enumerate(multiples):
            stride = 2 if index > 0 and multiple * base == 2 * channels else 1
            modules.append(SeparableBlock(channels, multiple * base, stride, approx))
            channels = multiple * base
        if freeze_num > len(modules):
            raise UserError(
                f"freeze_num {freeze_num} exceeds the {len(modules)} modules of {type(self).__name__}'s feature "
                f"(the stem and {len(multiples)} blocks); use 0 to {len(modules)}"
            )
        self.freeze_num = freeze_num
        self.feature = nn.Sequential(*modules)
        self.add_trunk(channels, approx)
        self.fc = head(channels, num_classes)
        for module in self.frozen:
            module.requires_grad_(False)
        self.train()

    def add_trunk(self, channels: int, approx: str) -> None:
        """Register what lies between `feature` and the pooling; nothing, unless a subclass says otherwise."""

    def trunk(self, x: Tensor) -> Tensor:
        """What `add_trunk` registered, applied: (N, C, H, W) -> (N, C, H, W)."""
        return x

    @property
    def frozen(self) -> list[nn.Module]:
        """The first `freeze_num` modules of `feature`."""
        return list(self.feature)[: self.freeze_num]

    def train(self, mode: bool = True) -> "ConvolutionalNetwork":
        """As any module's `train`, but frozen modules stay in evaluation mode: their running statistics don't move."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if not (takes_side(height) and takes_side(width)):
            raise UserError(
                f"{type(self).__name__} cannot take images of {height}x{width}: each side must be a multiple of 32 or "
                f"one less (31, 32, 63, 64, ...); resize them"
            )
        return self.fc(self.trunk(run_blocks(self.feature, x)).mean(dim=(2, 3)))
