"""One branch of a residual unit: binary convolutions whose outputs are summed, and a batch norm over chunks of images.

A branch's product z is an integer wherever one scale serves all of it, so 16 bits hold it exactly; its batch statistics
are gathered chunk by chunk, over all workers, and so are the sums that batch norm's backward needs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainers.batch_norm import SynchronizedBatchNorm, batch_moments, follow_moments
from trainers.binary.layers import BinaryLayer
from trainers.binary.products import scaled
from trainers.replicas import Replicas

INT16_LIMIT = torch.iinfo(torch.int16).max

BatchNorm = nn.BatchNorm2d | SynchronizedBatchNorm


def shift(x: Tensor, distance: int) -> Tensor:
    """Roll the four channel quarters of (N, C, H, W) by `distance` pixels down, up, right and left, round the edge.

    Its adjoint is the shift by `-distance`.
    """
    if distance == 0:
        return x
    down, up, right, left = x.chunk(4, dim=1)
    rolled = (
        down.roll(distance, dims=2),
        up.roll(-distance, dims=2),
        right.roll(distance, dims=3),
        left.roll(-distance, dims=3),
    )
    return torch.cat(rolled, dim=1)


@dataclass
class Statistics:
    """One branch's batch statistics, (C,) each: mean and 1/sqrt(var + eps); `count` is None in evaluation mode."""

    mean: Tensor
    inverse: Tensor
    count: Tensor | None


class Moments:
    """Mean and sum of squared deviations of each channel over chunks of images, by Chan's formula in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, z: Tensor) -> None:
        variance, mean = (part.double() for part in torch.var_mean(z, dim=(0, 2, 3), correction=0))
        count = z.numel() // z.shape[1]
        total = self.count + count
        gap = mean - self.mean
        self.squares = self.squares + variance * count + gap * gap * (self.count * count / total)
        self.mean = self.mean + gap * (count / total)
        self.count = total


@dataclass(frozen=True)
class Branch:
    """Binary convolutions whose outputs are summed, the distance each one's input is shifted by, and a batch norm."""

    products: tuple[tuple[BinaryLayer, int], ...]
    norm: BatchNorm

    @property
    def exact(self) -> bool:
        """Whether z is an integer up to one scale, and small enough for 16 bits: |z| is at most the inputs it sums."""
        one_scale = len(self.products) == 1 or all(layer.store.scale() is None for layer, _ in self.products)
        return one_scale and sum(layer.store.shape[1:].numel() for layer, _ in self.products) <= INT16_LIMIT

    def floats(self, z: Tensor, dtype: torch.dtype) -> Tensor:
        """Stored products as floats, scaled."""
        return scaled_by(z.to(dtype), self.products[0][0]) if self.exact else z

    def centred(self, z: Tensor, mean: Tensor) -> Tensor:
        """A fresh float tensor: stored products, scaled, minus their mean."""
        if self.exact:
            z = scaled_by(z, self.products[0][0])
        return z - along_channels(mean)

    def statistics(self, z: Tensor, chunks: list[slice], dtype: torch.dtype) -> Statistics:
        """Batch statistics over all workers, moving the running ones; the running ones in evaluation mode."""
        return norm_statistics(self.norm, (self.floats(z[images], dtype) for images in chunks), dtype)


def norm_statistics(norm: BatchNorm, chunks: Iterable[Tensor], dtype: torch.dtype) -> Statistics:
    """Batch statistics of a norm's input over all workers, moving the running ones; those in evaluation mode.

    Args:
        norm: a batch norm.
        chunks: its input (some images, C, H, W), chunk by chunk; not asked for in evaluation mode.
        dtype: of what is returned.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    if not norm.training:
        return Statistics(norm.running_mean, (norm.running_var + norm.eps).rsqrt(), None)
    moments = Moments()
    for chunk in chunks:
        moments.add(chunk)
    return moved_statistics(norm, moments.mean, moments.squares, moments.count, dtype)


def moved_statistics(norm: BatchNorm, mean: Tensor, squares: Tensor, count: int, dtype: torch.dtype) -> Statistics:
    """The same from this worker's mean, sum of squared deviations and count, in training mode."""
    replicas = norm.replicas if isinstance(norm, SynchronizedBatchNorm) else Replicas()
    mean, variance, total = batch_moments(mean, squares, count, replicas)
    mean, variance = mean.to(dtype), variance.to(dtype)
    follow_moments(norm, mean, variance, total)
    return Statistics(mean, (variance + norm.eps).rsqrt(), total)


@dataclass
class BranchSums:
    """Sums over images and pixels, a channel each: the gradients of batch norm's weight and bias."""

    gamma: Tensor  # sum of g·z_hat
    beta: Tensor  # sum of g


def corrections(norm: BatchNorm, known: Statistics, sums: BranchSums) -> tuple[Tensor, Tensor, Tensor]:
    """mean(g), mean(g·z_hat) over the global batch and gamma/sigma, a channel each; no means in evaluation mode."""
    assert norm.weight is not None
    factor = norm.weight.detach() * known.inverse
    if known.count is None:
        zero = torch.zeros_like(factor)
        return zero, zero, factor
    totals = torch.stack([sums.beta, sums.gamma])
    if isinstance(norm, SynchronizedBatchNorm):
        totals = norm.replicas.sum(totals)
    mean_g, mean_gh = totals / known.count.to(totals.dtype)
    return mean_g, mean_gh, factor


def along_channels(values: Tensor) -> Tensor:
    """(C,) shaped to go with (N, C, H, W), without gradient."""
    return values.detach().view(1, -1, 1, 1)


def scaled_by(z: Tensor, layer: BinaryLayer) -> Tensor:
    """A product times its layer's weight scale."""
    return scaled(z, layer.store, layer.operator)
