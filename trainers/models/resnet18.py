"""ResNet18: the binary pre-activation ResNet-18 that BMXNet publishes, 11.2 M binary weights at width 1.

Batch norm, sign, convolution: a unit is

    s1 = sgn(bn1(x))    s2 = sgn(bn2(conv1(s1)))    y = conv2(s2) + r

with r the 1x1 binary convolution of s1 in each stage's first unit and x in its second. A binary convolution counts how
many of its K inputs agree with its weights, (K + w·s)/2, and what lies outside an image is +1, which is what sgn(0) is.

Source: Yang et al., "BMXNet: An Open-Source Binary Neural Network Implementation Based on MXNet", ACM Multimedia 2017;
the shape is that of He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016. Stages 64 (after a real stem),
128, 256, 512, two units each.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.binary.layers import BinaryConv2d, SignActivation
from trainers.model import Model, Mxnet, Normalisation, Pretrained
from trainers.models.blocks import LearnableBias
from trainers.models.chunked_stem import PoolingStem, run_chunked
from trainers.models.fused_preactivation import FusedPreactivation, run_preactivation
from trainers.models.network import WIDTH
from trainers.models.pixels import Pixels
from trainers.models.recompute import PackedBlock
from trainers.settings import Setting, one_of

EPS = 2e-5  # of every batch norm, as published
BASE_CHANNELS = 64
STAGES = 4
STEMS = ("imagenet", "cifar")
FIRST_STAGES = ("binary", "real")
MEAN = (123.68, 116.779, 103.939)  # of red, green and blue, 0 to 255, which is all that the published input is less by


class AgreementConv2d(BinaryConv2d):
    """How many inputs of a window agree with the weights, (K + op(s, w))/2 with K = in·k²; +1 outside the image."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, ones=True)
        self.inputs = in_channels * kernel_size**2

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).mul(0.5).add_(self.inputs / 2)


class PreactivationUnit(PackedBlock):
    """Two 3x3 binary convolutions and their shortcut: (N, in, H, W) -> (N, out, ceil(H/t), ceil(W/t)).

    Args:
        in_channels, out_channels: equal without projection.
        stride: t; 1 without projection.
        projects: whether the shortcut is a binary 1x1 convolution of the first signs; else it is the input.
        approx: gradient surrogate of the signs.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, projects: bool, approx: str) -> None:
        super().__init__()
        self.projects = projects
        self.sign = SignActivation(approx)
        self.bn1 = nn.BatchNorm2d(in_channels, eps=EPS)
        self.binary_conv1 = AgreementConv2d(in_channels, out_channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(out_channels, eps=EPS)
        self.binary_conv2 = AgreementConv2d(out_channels, out_channels, 3)
        if projects:
            self.binary_sc = AgreementConv2d(in_channels, out_channels, 1, stride)

    def compute(self, x: Tensor) -> Tensor:
        s = self.sign(self.bn1(x))
        y = self.binary_conv2(self.sign(self.bn2(self.binary_conv1(s))))
        return y + (self.binary_sc(s) if self.projects else x)

    def fused(self) -> FusedPreactivation:
        """The same on packed bits."""
        layers, shortcut = (self.binary_conv1, self.binary_conv2), self.binary_sc if self.projects else None
        return FusedPreactivation(self.sign, (self.bn1, self.bn2), layers, shortcut)

    def packed(self, x: Tensor) -> Tensor:
        unit = self.fused()
        return run_preactivation(x, unit) if unit.fits(x) else super().packed(x)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            unit = self.fused()
            if unit.packed and unit.fits(x):
                return unit.forward(Pixels.of(x))[0].planes()
        return super().forward(x)


class RealUnit(PackedBlock):
    """The same with real weights and rectified activations, as the first stage of one published network has it."""

    def __init__(self, in_channels: int, out_channels: int, projects: bool) -> None:
        super().__init__()
        self.projects = projects
        self.bn1 = nn.BatchNorm2d(in_channels, eps=EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, eps=EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        if projects:
            self.sc = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def compute(self, x: Tensor) -> Tensor:
        a = functional.relu(self.bn1(x))
        y = self.conv2(functional.relu(self.bn2(self.conv1(a))))
        return y + (self.sc(a) if self.projects else x)


class Stem(PackedBlock):
    """Batch norm of the image, with a bias and no factor, and a real convolution.

    `imagenet`: 7x7 of stride 2, batch norm, rectifier and 3x3 maxima of stride 2, (N, in, H, W) ->
    (N, out, ceil(H/4), ceil(W/4)). `cifar`: 3x3 of stride 1 and nothing else, (N, in, H, W) -> (N, out, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, kind: str) -> None:
        super().__init__()
        self.bn_data = nn.BatchNorm2d(in_channels, eps=EPS, affine=False)
        self.bn_data_beta = LearnableBias(in_channels)
        self.pools = kind == "imagenet"
        if self.pools:
            self.conv0 = nn.Conv2d(in_channels, out_channels, 7, stride=2, padding=3, bias=False)
            self.bn0 = nn.BatchNorm2d(out_channels, eps=EPS)
        else:
            self.conv0 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)

    def compute(self, x: Tensor) -> Tensor:
        y = self.conv0(self.bn_data_beta(self.bn_data(x)))
        if self.pools:
            y = functional.max_pool2d(functional.relu(self.bn0(y)), 3, stride=2, padding=1)
        return y

    def pooling(self) -> PoolingStem:
        """The same chunk by chunk, where it pools."""
        return PoolingStem(self.bn_data, self.bn_data_beta.bias, self.conv0, self.bn0)

    def packed(self, x: Tensor) -> Tensor:
        return super().packed(x) if not self.pools or x.requires_grad else run_chunked(x, self.pooling())

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or not self.pools or self.bn_data.training or self.bn0.training:
            return super().forward(x)
        # No image depends on another, so that as few exist between the layers as a device works on at a time.
        chunks = (x[images].contiguous(memory_format=torch.channels_last) for images in self.pooling().chunks(x))
        return torch.cat([self.compute(images) for images in chunks])


class ResNet18(nn.Module):
    """Stem, four stages of two units, batch norm, rectifier, average, linear map: (N, in_channels, H, W) -> logits.

    Args:
        num_classes: logits.
        width: multiplier of every stage's channels, see `stage_channels`.
        stem: `imagenet` or `cifar`, see `Stem`.
        first_stage: `binary`, or `real`: its convolutions have real weights and real inputs.
        approx: gradient surrogate of the sign activations.
        in_channels: of the image.

    Raises:
        UserError: a stem or first stage that there is not.
    """

    def __init__(
        self,
        num_classes: int,
        width: float = 1.0,
        stem: str = "imagenet",
        first_stage: str = "binary",
        approx: str = "STE",
        in_channels: int = 3,
    ) -> None:
        one_of("stem", stem, STEMS)
        one_of("first_stage", first_stage, FIRST_STAGES)
        super().__init__()
        channels = stage_channels(width)
        self.stem = Stem(in_channels, channels, stem)
        inner = channels
        for number in range(1, STAGES + 1):
            units: list[nn.Module] = []
            for projects in (True, False):
                if number == 1 and first_stage == "real":
                    units.append(RealUnit(inner, channels, projects))
                else:
                    stride = 2 if projects and number > 1 else 1
                    units.append(PreactivationUnit(inner, channels, stride, projects, approx))
                inner = channels
            named = OrderedDict((f"unit{index}", unit) for index, unit in enumerate(units, start=1))
            self.add_module(f"stage{number}", nn.Sequential(named))
            channels *= 2
        self.bn1 = nn.BatchNorm2d(inner, eps=EPS)
        self.fc = nn.Linear(inner, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number in range(1, STAGES + 1):
            x = self.get_submodule(f"stage{number}")(x)
        return self.fc(functional.relu(self.bn1(x)).mean(dim=(2, 3)))


def stage_channels(width: float) -> int:
    """Channels of the first stage at `width`: 64·width rounded to the nearest multiple of 8, at least 8; later stages
    double it."""
    return 8 * max(1, math.floor(BASE_CHANNELS * width / 8 + 0.5))


def variant(names: Collection[str]) -> Mapping[str, str]:
    """The settings under which a network has tensors of these names."""
    return {
        "stem": "imagenet" if "stem.bn0.weight" in names else "cifar",
        "first_stage": "real" if "stage1.unit1.conv1.weight" in names else "binary",
    }


def own_name(layer: str, binary: bool) -> str:
    """What the published graph's layer is called here: `stage1_unit1_conv1`, where binary, is
    `stage1.unit1.binary_conv1`."""
    inside = re.fullmatch(r"(stage\d+)_(unit\d+)_(\w+)", layer)
    if inside:
        stage, unit, own = inside.groups()
        return f"{stage}.{unit}.{'binary_' if binary else ''}{own}"
    return {"bn1": "bn1", "fc1": "fc"}.get(layer, f"stem.{layer}")


MODEL = Model(
    name="ResNet18",
    help="the pre-activation ResNet-18 with binary convolutions that BMXNet publishes",
    build=ResNet18,
    settings=(
        WIDTH,
        Setting(
            "stem",
            str,
            "first layers of ResNet18: imagenet, 7x7 of stride 2 and pooling, or cifar, 3x3 at full size",
            "imagenet",
            "workload",
            STEMS,
            memory="other",
        ),
        Setting(
            "first_stage",
            str,
            "first stage of ResNet18: binary, or real, whose weights and activations are real",
            "binary",
            "workload",
            FIRST_STAGES,
            short="first stage",
            memory="other",
        ),
    ),
    normalisation=Normalisation(mean=tuple(value / 255 for value in MEAN), std=(1 / 255,) * 3),
    pretrained=Pretrained(heads=("fc.",), keeps_head=True, variant=variant, mxnet=Mxnet(own_name, EPS)),
    recognises=lambda names: {"stem.conv0.weight", "stage1.unit1.bn1.weight"} <= set(names),
)
