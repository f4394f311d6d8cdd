"""What the convolutional binary networks are made of: stem, separable blocks, shift and point blocks, head.

Every residual half has one shape (algorithm, section 7): sign of a biased input, binary convolution, batch norm, plus
the input, then PReLU between two biases. Attribute names are the parameter names of the authors' checkpoints.
"""

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trainers.binary.layers import BinaryConv2d, SignActivation
from trainers.models.fused_residual import Chain, fused, run_fused
from trainers.models.packed_residual import Branch, ResidualUnit, run_units, shift
from trainers.models.recompute import PackedBlock


class LearnableBias(nn.Module):
    """x + b, one b a channel: (N, C, H, W) -> (N, C, H, W). It moves the point where the next sign or PReLU bends."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Stem(PackedBlock):
    """Real 3x3 convolution, stride 2, and batch norm, no activation: (N, C, H, W) -> (N, out, ceil(H/2), ceil(W/2)).

    With packed activations it keeps the images, and not its convolution's output, which is several times as large.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)

    def compute(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x))


class ResidualBlock(PackedBlock):
    """Residual units one after the other; with packed activations a path written for them replaces the generic one."""

    @abstractmethod
    def units(self) -> list[ResidualUnit]:
        """The block as units that share its modules."""

    def chains(self, x: Tensor) -> bool:
        """Whether the block trains in the fused form, in which several may keep one input."""
        return self.packed_activations and torch.is_grad_enabled() and fused(x, self.units())

    def packed(self, x: Tensor) -> Tensor:
        units = self.units()
        return run_fused(x, units) if fused(x, units) else run_units(x, units)

    def forward(self, x: Tensor) -> Tensor:
        units = self.units()
        if not _takes_gradient(x, units) and all(unit.packed for unit in units) and fused(x, units):
            return run_fused(x, units)
        return super().forward(x)


def _takes_gradient(x: Tensor, units: list[ResidualUnit]) -> bool:
    """Whether backward will come by: a model whose tensors want no gradient computes alike with autograd on and off."""
    tensors = [x, *(tensor for unit in units for tensor in unit.tensors())]
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


CHAINED = 4  # units of which one input is kept: two blocks of two, or four of one


def run_blocks(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Modules one after the other; with packed activations one input is kept for `CHAINED` residual units."""
    chain: Chain | None = None
    for block in blocks:
        if not isinstance(block, ResidualBlock) or not block.chains(x):
            chain, x = None, block(x)
            continue
        units = block.units()
        if chain is None or len(chain.units) + len(units) > CHAINED:
            chain = Chain(x)
        for unit in units:  # one at a time, so that nothing holds what went before
            x = chain.run(x, unit)
    return x


class SeparableBlock(ResidualBlock):
    """A binary 3x3 and a binary pointwise convolution, each with its shortcut: (N, in, H, W) -> (N, out, H/t, W/t).

    y = prelu1(bn1(binary_3x3(sgn(x + move11))) + pool_t(x) + move12) + move13, and the same again with `binary_pw`.
    Where the width doubles there are two pointwise convolutions; each adds y, and their outputs are concatenated.

    Args:
        in_channels, out_channels: out is in or twice in, for the shortcut to fit.
        stride: t; for t = 2 the shortcut is a 2x2 average, so H and W must be even.
        approx: gradient surrogate of the signs.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, approx: str) -> None:
        super().__init__()
        self.widens = out_channels == 2 * in_channels
        self.sign = SignActivation(approx)
        self.pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
        self.move11 = LearnableBias(in_channels)
        self.binary_3x3 = BinaryConv2d(in_channels, in_channels, kernel_size=3, stride=stride)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.move12 = LearnableBias(in_channels)
        self.prelu1 = nn.PReLU(in_channels)
        self.move13 = LearnableBias(in_channels)
        self.move21 = LearnableBias(in_channels)
        if self.widens:
            self.binary_pw_down1 = BinaryConv2d(in_channels, in_channels, kernel_size=1)
            self.binary_pw_down2 = BinaryConv2d(in_channels, in_channels, kernel_size=1)
            self.bn2_1 = nn.BatchNorm2d(in_channels)
            self.bn2_2 = nn.BatchNorm2d(in_channels)
        else:
            self.binary_pw = BinaryConv2d(in_channels, out_channels, kernel_size=1)
            self.bn2 = nn.BatchNorm2d(out_channels)
        self.move22 = LearnableBias(out_channels)
        self.prelu2 = nn.PReLU(out_channels)
        self.move23 = LearnableBias(out_channels)

    def units(self) -> list[ResidualUnit]:
        if self.widens:
            pairs = [(self.binary_pw_down1, self.bn2_1), (self.binary_pw_down2, self.bn2_2)]
        else:
            pairs = [(self.binary_pw, self.bn2)]
        first = Branch(((self.binary_3x3, 0),), self.bn1)
        second = tuple(Branch(((layer, 0),), norm) for layer, norm in pairs)
        pools = isinstance(self.pool, nn.AvgPool2d)
        return [
            self._unit(self.move11, (first,), pools, self.move12, self.prelu1, self.move13),
            self._unit(self.move21, second, False, self.move22, self.prelu2, self.move23),
        ]

    def _unit(
        self,
        bias_in: LearnableBias,
        branches: tuple[Branch, ...],
        pools: bool,
        bias_mid: LearnableBias,
        prelu: nn.PReLU,
        bias_out: LearnableBias,
    ) -> ResidualUnit:
        return ResidualUnit(self.sign, bias_in.bias, branches, pools, bias_mid.bias, prelu.weight, bias_out.bias)

    def compute(self, x: Tensor) -> Tensor:
        y = self.bn1(self.binary_3x3(self.sign(self.move11(x)))) + self.pool(x)
        y = self.move13(self.prelu1(self.move12(y)))
        s = self.sign(self.move21(y))
        if self.widens:
            halves = (self.bn2_1(self.binary_pw_down1(s)) + y, self.bn2_2(self.binary_pw_down2(s)) + y)
            z = torch.cat(halves, dim=1)
        else:
            z = self.bn2(self.binary_pw(s)) + y
        return self.move23(self.prelu2(self.move22(z)))


class PointBlock(ResidualBlock):
    """y = prelu(bn1(binary_conv(sgn(x + move0))) + x + move1) + move2: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, approx: str) -> None:
        super().__init__()
        self.sign = SignActivation(approx)
        self.move0 = LearnableBias(channels)
        self.add_convolutions(channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.move1 = LearnableBias(channels)
        self.prelu = nn.PReLU(channels)
        self.move2 = LearnableBias(channels)

    def add_convolutions(self, channels: int) -> None:
        """Register the block's binary convolutions; between `move0` and `bn1`, as the checkpoints order them."""
        self.binary_conv = BinaryConv2d(channels, channels, kernel_size=1)

    def mix(self, s: Tensor) -> Tensor:
        """The sum of the block's convolutions of the signs s."""
        first, *others = [layer(shift(s, distance)) for layer, distance in self.products()]
        return sum(others, first)

    def products(self) -> tuple[tuple[BinaryConv2d, int], ...]:
        """The block's convolutions, each with the distance that the signs are shifted by."""
        return ((self.binary_conv, 0),)

    def units(self) -> list[ResidualUnit]:
        branch = Branch(self.products(), self.bn1)
        biases = (self.move0.bias, self.move1.bias, self.move2.bias)
        return [ResidualUnit(self.sign, biases[0], (branch,), False, biases[1], self.prelu.weight, biases[2])]

    def compute(self, x: Tensor) -> Tensor:
        y = self.bn1(self.mix(self.sign(self.move0(x)))) + x
        return self.move2(self.prelu(self.move1(y)))


class ShiftBlock(PointBlock):
    """A point block that sums three 1x1 binary convolutions: of s, of s shifted by 1 and of s shifted by 3 pixels.

    C must be a multiple of 4.
    """

    def add_convolutions(self, channels: int) -> None:
        super().add_convolutions(channels)
        self.binary_conv1 = BinaryConv2d(channels, channels, kernel_size=1)
        self.binary_conv2 = BinaryConv2d(channels, channels, kernel_size=1)

    def products(self) -> tuple[tuple[BinaryConv2d, int], ...]:
        return ((self.binary_conv, 0), (self.binary_conv1, 1), (self.binary_conv2, 3))


class ShiftGroup(nn.Module):
    """Three shift blocks and a point block."""

    def __init__(self, channels: int, approx: str) -> None:
        super().__init__()
        shifts = [ShiftBlock(channels, approx) for _ in range(3)]
        self.mlp_layer = nn.Sequential(*shifts, PointBlock(channels, approx))

    def forward(self, x: Tensor) -> Tensor:
        return run_blocks(self.mlp_layer, x)


def head(channels: int, num_classes: int) -> nn.Sequential:
    """Linear map without bias, then batch norm without affine: (N, channels) -> (N, num_classes)."""
    return nn.Sequential(nn.Linear(channels, num_classes, bias=False), nn.BatchNorm1d(num_classes, affine=False))
