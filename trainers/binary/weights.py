"""The two weight stores: what a binary layer owns instead of a float parameter.

`LatentWeight` keeps a real-valued tensor v and shows its sign: real-space SGD and Adam train v. `PackedWeight` keeps 1
bit a weight; backward hands it the layer's gradient block by block (of output channels), and it hands each block to its
consumer (an update rule) at once and drops it, so that no gradient buffer and no latent copy is ever as large as a
large layer.

Both show the same face to `trainers.binary.functional`: blocks, signs, scale, an anchor for autograd, and what becomes
of a gradient. Tensors are registered on the layer itself (`weight`, or `weight_bits` and `weight_scale`), so that
parameter names are those of the models' published checkpoints.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from trainers.binary.bits import pack_bits, sgn, unpack_bits, unpack_signs
from trainers.binary.parts import part_size

# Float weights or gradients of a packed layer that exist at a time on a CPU (`part_size`): few enough not to show in
# the peak, enough for a product over a block to run at full speed.
BLOCK_WEIGHTS = 1 << 19


class GradientConsumer(Protocol):
    """What an update rule is to a packed layer; called in this order within one backward pass."""

    def start(self) -> bool:
        """The layer's gradient is about to come; returns whether it must come twice, to `look` first."""

    def look(self, rows: slice, grad: Tensor) -> None:
        """The gradient (rows, ...) of some output channels, which is to be left as it is."""

    def take(self, rows: slice, grad: Tensor) -> None:
        """The gradient (rows, ...) of some output channels; every channel comes once, in order."""

    def finish(self) -> None:
        """The whole gradient has come."""


class WeightStore(Protocol):
    """What a binary product asks of its weights.

    Attributes:
        layer: whose weights they are.
        shape: of the weights.
        signs_seen: whether the layer was given signs when a GPU's products asked; None before.
    """

    layer: nn.Module
    shape: torch.Size
    signs_seen: bool | None

    @property
    def bits(self) -> Tensor:
        """The signs packed, uint8 (out, ceil(n/8))."""

    def blocks(self) -> list[slice]:
        """The output channels in the blocks that a product works on, in order."""

    def signs(self, rows: slice, dtype: torch.dtype) -> Tensor:
        """The weights of some output channels as -1 and +1, (rows, ...)."""

    def scale(self) -> Tensor | None:
        """The weight scale: () for one a layer, (out,) for one a channel, None for 1."""

    def anchor(self) -> Tensor | None:
        """The tensor through which autograd reaches this store; None where the weights take no gradient."""

    def receive(self, grads: Iterable[tuple[slice, Tensor]]) -> Tensor | None:
        """Take dL/dW at the binary point, block by block; return the anchor's gradient, if it has one.

        `grads` gives the same blocks again each time it is iterated.
        """


def scale_of(real_weight: Tensor, kind: str) -> Tensor | None:
    """mean |w_real| over the `layer` (XNOR-Net) -> (), or over each output `channel` -> (out,); `none` -> None."""
    if kind == "none":
        return None
    magnitude = real_weight.detach().abs()
    return magnitude.mean() if kind == "layer" else magnitude.flatten(1).mean(dim=1)


class LatentWeight:
    """Real-valued latent weights, of which the forward pass sees the signs; straight-through where |v| <= 1."""

    def __init__(self, layer: nn.Module, scale_kind: str = "none") -> None:
        self.layer = layer
        self.scale_kind = scale_kind
        self.shape = self.parameter.shape
        self.signs_seen: bool | None = None

    @property
    def parameter(self) -> nn.Parameter:
        """The latent tensor v, the layer's `weight`."""
        return self.layer.get_parameter("weight")

    @property
    def bits(self) -> Tensor:
        """Of the signs now, a new tensor."""
        return pack_bits(self.parameter.detach() >= 0)

    def blocks(self) -> list[slice]:
        return [slice(0, self.shape[0])]

    def signs(self, rows: slice, dtype: torch.dtype) -> Tensor:
        return sgn(self.parameter.detach()[rows]).to(dtype)

    def scale(self) -> Tensor | None:
        return scale_of(self.parameter, self.scale_kind)

    def anchor(self) -> Tensor | None:
        return self.parameter

    def receive(self, grads: Iterable[tuple[slice, Tensor]]) -> Tensor | None:
        ((_, grad),) = grads
        return grad.mul_(self.parameter.detach().abs() <= 1)


class PackedWeight:
    """1 bit a weight in the layer's `weight_bits` (uint8, (out, ceil(n/8))), and a constant scale.

    Attributes:
        consumer: takes the layer's gradients.
    """

    def __init__(self, layer: nn.Module, shape: torch.Size) -> None:
        self.layer = layer
        self.shape = shape
        self.consumer: GradientConsumer | None = None
        self.signs_seen: bool | None = None

    @classmethod
    def from_latent(cls, latent: LatentWeight) -> "PackedWeight":
        """Binarize: keep the signs as bits and the scale as a constant, and let the latent tensor go."""
        layer, shape, scale = latent.layer, latent.shape, latent.scale()
        bits = latent.bits
        del layer.weight
        layer.register_buffer("weight_bits", bits)
        if scale is not None:
            layer.register_buffer("weight_scale", scale.clone())
        return cls(layer, shape)

    @property
    def bits(self) -> Tensor:
        """The layer's own tensor, `weight_bits`."""
        return self.layer.get_buffer("weight_bits")

    @property
    def numel(self) -> int:
        """How many weights the bits hold, padding not counted."""
        return self.shape.numel()

    def blocks(self, weights: int | None = None) -> list[slice]:
        """The output channels in blocks of about `weights` weights each (`BLOCK_WEIGHTS`), at least one channel."""
        weights = weights or part_size(BLOCK_WEIGHTS, self.bits.device)
        rows = max(1, weights * self.shape[0] // self.numel)
        return [slice(start, min(start + rows, self.shape[0])) for start in range(0, self.shape[0], rows)]

    def positive(self, rows: slice) -> Tensor:
        """Booleans (rows, ...) of some output channels: W = [w = +1]."""
        return unpack_bits(self.bits[rows], self.shape)

    def write(self, rows: slice, positive: Tensor) -> None:
        """Replace the weights of some output channels by the booleans `positive` (rows, ...), in place."""
        self.bits[rows] = pack_bits(positive)

    def signs(self, rows: slice, dtype: torch.dtype) -> Tensor:
        return unpack_signs(self.bits[rows], self.shape, dtype)

    def scale(self) -> Tensor | None:
        return getattr(self.layer, "weight_scale", None)

    def anchor(self) -> Tensor | None:
        # A layer whose input takes no gradient (the first one) must be reached in backward all the same.
        return torch.zeros((), device=self.bits.device, requires_grad=True) if self.consumer is not None else None

    def receive(self, grads: Iterable[tuple[slice, Tensor]]) -> Tensor | None:
        if self.consumer is not None:
            if self.consumer.start():
                _give(grads, self.consumer.look)
            _give(grads, self.consumer.take)
            self.consumer.finish()
        return None


def _give(grads: Iterable[tuple[slice, Tensor]], to: Callable[[slice, Tensor], None]) -> None:
    """Hand over every block; none is kept when this returns."""
    for rows, grad in grads:
        to(rows, grad)
