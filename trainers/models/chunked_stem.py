"""A stem that pools, chunk by chunk of images: the packed-activation path of ResNet18's first layers.

    u = (x - mean)/sqrt(var + eps) + beta    z = conv(u)    v = bn(z)    y = max of relu(v) over 3x3, stride 2

z and v are four times as large as y and a multiple of what all later layers keep. Here they exist for one chunk of
images at a time: forward works z out twice, for its batch statistics and for y, backward twice more, for the sums that
batch norm's backward needs and for the gradients. Kept are the images and the statistics. Nothing of this takes a
gradient through to the images, and of their own only its sum over pixels is asked for, by beta:

    dL/dbeta_c = sum over o, k, l of W_ockl · (sum of dL/dz_o over those pixels p, q whose tap k, l lies in the image)

A chunk lies in memory with its channels last, in which torch pools many times faster on a CPU.
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
        weight = torch.zeros_like(self.convolution.weight)
        taps = torch.zeros_like(weight[:, 0])
        for images in self.chunks(x):
            u = self._u(x[images], before)
            hat = self._hat(self._convolved(u), after)
            g = self._through_pooling(grad[images], hat)
            g_z = hat.mul_(-mean_gh).add_(g).sub_(mean_g).mul_(factor)
            del g
            weight += self._weight_gradient(g_z, u)
            taps += self._taps(g_z, u)
            del u, hat, g_z
        beta_in = torch.einsum("ockl,okl->c", self.convolution.weight.detach(), taps)
        return [beta_in.view_as(self.beta), weight, gamma, beta]

    def _u(self, x: Tensor, before: Statistics) -> Tensor:
        u = (x - along_channels(before.mean)).mul_(along_channels(before.inverse)).add_(self.beta.detach())
        return u.contiguous(memory_format=torch.channels_last)

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
            grad.contiguous(memory_format=torch.channels_last), v, window, stride, padding, dilation, False, place
        )

    def _weight_gradient(self, grad: Tensor, u: Tensor) -> Tensor:
        """dL/dW from dL/dz."""
        layer = self.convolution
        found: Tensor = torch.ops.aten.convolution_backward(
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
            [False, True, False],
        )[1]
        return found

    def _taps(self, grad: Tensor, u: Tensor) -> Tensor:
        """(O, K, L): for each tap k, l, the sum of dL/dz over images and those pixels at which it lies in the image."""
        rows, columns = (self._inside(u, grad, axis) for axis in (0, 1))
        return rows @ (grad.sum(dim=0) @ columns.T)

    def _inside(self, u: Tensor, z: Tensor, axis: int) -> Tensor:
        """(K, pixels of z): 1 where tap k of pixel p, at p·stride + k - padding, is one of u's pixels, else 0."""
        layer, device = self.convolution, z.device
        first = torch.arange(z.shape[2 + axis], device=device) * layer.stride[axis] - int(layer.padding[axis])
        place = first + torch.arange(layer.kernel_size[axis], device=device)[:, None]
        return ((place >= 0) & (place < u.shape[2 + axis])).to(z.dtype)


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
