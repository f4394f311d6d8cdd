"""The two weight stores: what a binary layer owns instead of a float parameter.

`LatentWeight` keeps a real-valued tensor v and shows its sign: real-space SGD and Adam train v. `PackedWeight` keeps
1 bit a weight; its backward hands the layer's gradient to a consumer (an update rule) at once and drops it, so that
neither a gradient buffer nor a latent copy outlives the layer's own backward.

Both show the same face to `trainers.binary.functional`: signs, scale, an anchor for autograd, and what becomes of a
gradient. Tensors are registered on the layer itself (`weight`, or `weight_bits` and `weight_scale`), so that parameter
names are those of the models' published checkpoints.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from trainers.binary.bits import pack_bits, sgn, unpack_bits, unpack_signs

# Weights that an update works on at a time: few enough for its float temporaries to stay in a processor's cache and out
# of the peak, enough for the cost of a call not to show.
BLOCK_WEIGHTS = 1 << 16

GradientConsumer = Callable[[Tensor], None]


class WeightStore(Protocol):
    """What a binary product asks of its weights."""

    shape: torch.Size

    def signs(self, dtype: torch.dtype) -> Tensor:
        """The weights as -1 and +1, in `shape`."""

    def scale(self) -> Tensor | None:
        """The weight scale: () for one a layer, (out,) for one a channel, None for 1."""

    def anchor(self) -> Tensor | None:
        """The tensor through which autograd reaches this store; None where the weights take no gradient."""

    def receive(self, grad: Tensor) -> Tensor | None:
        """Take dL/dW at the binary point; return the anchor's gradient, if it has one."""


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

    @property
    def parameter(self) -> nn.Parameter:
        """The latent tensor v, the layer's `weight`."""
        return self.layer.get_parameter("weight")

    def signs(self, dtype: torch.dtype) -> Tensor:
        return sgn(self.parameter.detach()).to(dtype)

    def scale(self) -> Tensor | None:
        return scale_of(self.parameter, self.scale_kind)

    def anchor(self) -> Tensor | None:
        return self.parameter

    def receive(self, grad: Tensor) -> Tensor | None:
        return grad.mul_(self.parameter.detach().abs() <= 1)


class PackedWeight:
    """1 bit a weight in the layer's `weight_bits` (uint8, (out, ceil(n/8))), and a constant scale."""

    def __init__(self, layer: nn.Module, shape: torch.Size) -> None:
        self.layer = layer
        self.shape = shape
        self.consumer: GradientConsumer | None = None

    @classmethod
    def from_latent(cls, latent: LatentWeight) -> "PackedWeight":
        """Binarize: keep the signs as bits and the scale as a constant, and let the latent tensor go."""
        layer, shape, scale = latent.layer, latent.shape, latent.scale()
        bits = pack_bits(latent.parameter.detach() >= 0)
        del layer.weight
        layer.register_buffer("weight_bits", bits)
        if scale is not None:
            layer.register_buffer("weight_scale", scale.clone())
        return cls(layer, shape)

    @property
    def bits(self) -> Tensor:
        """The packed tensor, uint8 (out, ceil(n/8))."""
        return self.layer.get_buffer("weight_bits")

    @property
    def numel(self) -> int:
        """How many weights the bits hold, padding not counted."""
        return self.shape.numel()

    def row_blocks(self) -> Iterator[slice]:
        """The output channels in blocks of about `BLOCK_WEIGHTS` weights, in order: what is worked on at a time."""
        rows = max(1, BLOCK_WEIGHTS * self.shape[0] // self.numel)
        for start in range(0, self.shape[0], rows):
            yield slice(start, min(start + rows, self.shape[0]))

    def positive(self, rows: slice) -> Tensor:
        """Booleans (rows, ...) of some output channels: W = [w = +1]."""
        return unpack_bits(self.bits[rows], self.shape)

    def write(self, rows: slice, positive: Tensor) -> None:
        """Replace the weights of some output channels by the booleans `positive` (rows, ...), in place."""
        self.bits[rows] = pack_bits(positive)

    def signs(self, dtype: torch.dtype) -> Tensor:
        return unpack_signs(self.bits, self.shape, dtype)

    def scale(self) -> Tensor | None:
        return getattr(self.layer, "weight_scale", None)

    def anchor(self) -> Tensor | None:
        # A layer whose input takes no gradient (the first one) must be reached in backward all the same.
        return torch.zeros((), device=self.bits.device, requires_grad=True) if self.consumer is not None else None

    def receive(self, grad: Tensor) -> Tensor | None:
        if self.consumer is not None:
            self.consumer(grad)
        return None
