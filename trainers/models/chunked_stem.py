"""A stem that pools, chunk by chunk of images: the packed-activation path of ResNet18's first layers.

    u = (x - mean)/sqrt(var + eps) + beta    z = conv(u)    v = bn(z)    y = max of relu(v) over 3x3, stride 2

z and v are four times as large as y and a multiple of what all later layers keep. Here they exist for one chunk of
images at a time: forward works z out twice, for its batch statistics and for y, backward twice more, for the sums that
batch norm's backward needs and for the gradients. Kept are the images and the statistics. Nothing of this takes a
gradient through to the images.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.binary.parts import part_size
from trainers.models.branch import (
    BatchNorm,
    BranchSums,
    Statistics,
    along_channels,
    corrections,
    norm_statistics,
)

CHUNK_ELEMENTS = 1 << 18
"""Floats of z that a CPU works on at a time (`part_size`)."""


class PoolingStem:
    """The layers of one stem, by reference."""

    def __init__(self, norm_in: BatchNorm, beta: Tensor, convolution: nn.Conv2d, norm: BatchNorm) -> None:
        self.norm_in, self.beta, self.convolution, self.norm = norm_in, beta, convolution, norm

    def tensors(self) -> list[Tensor | None]:
        """Everything that may take a gradient, in the order in which `backward` returns them."""
        return [self.beta, self.convolution.weight, self.norm.weight, self.norm.bias]

    def chunks(self, x: Tensor) -> list[slice]:
        """The images in the chunks that are worked on at a time."""
        stride = self.convolution.stride[0]
        elements = self.convolution.out_channels * -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
        count = max(1, part_size(CHUNK_ELEMENTS, x.device) // elements)
        return [slice(start, start + count) for start in range(0, len(x), count)]

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Statistics, Statistics]]:
        """y (N, C, H/4, W/4), and the statistics of both norms."""
        chunks = self.chunks(x)
        before = norm_statistics(self.norm_in, (x[images] for images in chunks), x.dtype)
        after = norm_statistics(self.norm, (self._z(x[images], before) for images in chunks), x.dtype)
        parts = []
        for images in chunks:
            v = self._v(self._hat(self._z(x[images], before), after))
            parts.append(functional.max_pool2d(v.relu_(), 3, stride=2, padding=1))
            del v
        return torch.cat(parts), (before, after)

    def backward(self, grad: Tensor, x: Tensor, known: tuple[Statistics, Statistics]) -> list[Tensor | None]:
        """The gradients of `tensors` from dL/dy."""
        assert self.norm.weight is not None and self.norm.bias is not None
        before, after = known
        gamma, beta = torch.zeros_like(self.norm.weight), torch.zeros_like(self.norm.bias)
        for images in self.chunks(x):
            hat = self._hat(self._z(x[images], before), after)
            g = self._through_pooling(grad[images], hat)
            beta += g.sum(dim=(0, 2, 3))
            gamma += hat.mul_(g).sum(dim=(0, 2, 3))
            del hat, g
        mean_g, mean_gh, factor = map(along_channels, corrections(self.norm, after, BranchSums(gamma, beta)))
        beta_in = torch.zeros_like(self.beta)
        weight = torch.zeros_like(self.convolution.weight)
        for images in self.chunks(x):
            u = self._u(x[images], before)
            hat = self._hat(self._convolved(u), after)
            g = self._through_pooling(grad[images], hat)
            g_z = hat.mul_(-mean_gh).add_(g).sub_(mean_g).mul_(factor)
            del g
            found = self._adjoints(g_z, u)
            beta_in += found[0].sum(dim=(0, 2, 3)).view_as(beta_in)
            weight += found[1]
            del u, hat, g_z, found
        return [beta_in, weight, gamma, beta]

    def _u(self, x: Tensor, before: Statistics) -> Tensor:
        u = (x - along_channels(before.mean)).mul_(along_channels(before.inverse))
        return u.add_(self.beta.detach())

    def _z(self, x: Tensor, before: Statistics) -> Tensor:
        return self._convolved(self._u(x, before))

    def _convolved(self, u: Tensor) -> Tensor:
        layer = self.convolution
        padding = (int(layer.padding[0]), int(layer.padding[1]))
        return functional.conv2d(u, layer.weight.detach(), stride=layer.stride, padding=padding)

    @staticmethod
    def _hat(z: Tensor, after: Statistics) -> Tensor:
        """z normalised, in its place."""
        return z.sub_(along_channels(after.mean)).mul_(along_channels(after.inverse))

    def _v(self, hat: Tensor) -> Tensor:
        assert self.norm.weight is not None and self.norm.bias is not None
        return (hat * along_channels(self.norm.weight)).add_(along_channels(self.norm.bias))

    def _through_pooling(self, grad: Tensor, hat: Tensor) -> Tensor:
        """dL/dv: each window's gradient at its largest v, where that is above 0."""
        v = self._v(hat)
        # The maximum of rectified values is the rectified maximum, and only a positive one takes a gradient.
        largest, place = functional.max_pool2d(v, 3, stride=2, padding=1, return_indices=True)
        grad = grad * (largest > 0)
        window, stride, padding, dilation = [3, 3], [2, 2], [1, 1], [1, 1]
        return torch.ops.aten.max_pool2d_with_indices_backward(
            grad.contiguous(), v, window, stride, padding, dilation, False, place
        )

    def _adjoints(self, grad: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        layer = self.convolution
        found = torch.ops.aten.convolution_backward(
            grad,
            u,
            layer.weight.detach(),
            None,
            list(layer.stride),
            [int(edge) for edge in layer.padding],
            [1, 1],
            False,
            [0, 0],
            1,
            [True, True, False],
        )
        return found[0], found[1]


class _ChunkedStem(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stem: PoolingStem, *tensors: Tensor | None) -> Tensor:
        y, ctx.known = stem.forward(x)
        ctx.save_for_backward(x)
        ctx.stem = stem
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return None, None, *ctx.stem.backward(grads[0], x, ctx.known)


def run_chunked(x: Tensor, stem: PoolingStem) -> Tensor:
    """y of images that take no gradient, of which alone something is kept for backward."""
    y: Tensor = _ChunkedStem.apply(x, stem, *stem.tensors())
    return y
