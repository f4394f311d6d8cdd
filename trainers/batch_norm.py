"""Batch norm over the global batch of several workers, on CPU and GPU alike.

torch's SyncBatchNorm needs a GPU, and without synchronized statistics two workers with half the batch each would train
another model than one worker with all of it. One collective forward (count, mean and sum of squared deviations of each
channel, combined by Chan's formula), one backward.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trainers.replicas import Replicas


class _Normalize(torch.autograd.Function):
    """y = (x - mean)/sqrt(var + eps) over all workers; returns y and the global mean, biased variance and count."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, replicas: Replicas, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        local_count = x.numel() // x.shape[1]
        local_mean = x.mean(axes)
        local_squares = (x - _along_channels(local_mean, x)).square_().sum(axes)
        mean, variance, count = batch_moments(local_mean, local_squares, local_count, replicas)
        scale = (variance + eps).rsqrt()
        y = (x - _along_channels(mean, x)) * _along_channels(scale, x)
        ctx.save_for_backward(y, scale, count)
        ctx.replicas, ctx.axes = replicas, axes
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        y, scale, count = ctx.saved_tensors
        grad = grads[0]
        sums = ctx.replicas.sum(torch.stack([grad.sum(ctx.axes), (grad * y).sum(ctx.axes)])) / count
        centred = grad - _along_channels(sums[0], y) - y * _along_channels(sums[1], y)
        return centred * _along_channels(scale, y), None, None


def batch_moments(mean: Tensor, squares: Tensor, count: int, replicas: Replicas) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and number of values of each channel over all workers, from each worker's own.

    Args:
        mean, squares: (C,), this worker's mean and sum of squared deviations from it.
        count: how many values of a channel this worker has.
    """
    parts = torch.stack(replicas.gather(torch.cat([mean, squares, mean.new_full((1,), count)])))
    channels = len(mean)
    means, all_squares, counts = parts[:, :channels], parts[:, channels:-1], parts[:, -1:]
    total = counts.sum()
    joint = (counts * means).sum(0) / total
    variance = (all_squares + counts * (means - joint).square()).sum(0) / total
    return joint, variance, total


def follow_moments(norm: Any, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Move a batch norm's running statistics towards a batch's mean and biased variance, as torch's own does."""
    with torch.no_grad():
        unbiased = variance * (count / (count - 1)).to(variance.dtype)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(unbiased, norm.momentum)
        norm.num_batches_tracked += 1


def _along_channels(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


class SynchronizedBatchNorm(nn.Module):
    """What the given batch norm computes, with statistics over all workers while training.

    Takes over the parameters and buffers of `norm` under their names; (N, C) or (N, C, H, W).
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, replicas: Replicas) -> None:
        super().__init__()
        self.eps = norm.eps
        assert norm.momentum is not None
        self.momentum = norm.momentum
        self.replicas = replicas
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        y, mean, variance, count = _Normalize.apply(x, self.replicas, self.eps)
        follow_moments(self, mean, variance, count)
        if self.weight is None:
            return y
        return y * _along_channels(self.weight, y) + _along_channels(self.bias, y)


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, SynchronizedBatchNorm)


def normalised(norm: Any, x: Tensor) -> Tensor:
    """What a batch norm without affine makes of x, differentiable, its running statistics left as they are."""
    if not norm.training:
        return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, None, None, False, 0.0, norm.eps)
    if isinstance(norm, SynchronizedBatchNorm):
        y: Tensor = _Normalize.apply(x, norm.replicas, norm.eps)[0]
        return y
    return nn.functional.batch_norm(x, None, None, None, None, True, 0.0, norm.eps)


@torch.no_grad()
def reestimate_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace running statistics by their mean over some batches, all seen by the weights as they are now.

    Running statistics are a mean over the past steps (each step's weight 0.9 of the next one's), and while weights flip
    the network of ten steps ago was another one: it is normalised by statistics that are not its own. In training
    mode the statistics of the batch are used, so replacing the running ones changes no step.

    Args:
        model: in training mode; norms that are not (frozen blocks) keep theirs.
        batches: inputs of the network, this worker's share of each; all workers together.

    Source: "Rethinking 'Batch' in BatchNorm" (Wu and Johnson, 2021), section 3, PreciseBN.
    """
    norms = [norm for norm in model.modules() if isinstance(norm, _NORMS) and norm.training]
    momenta = [norm.momentum for norm in norms]
    try:
        for seen, batch in enumerate(batches, start=1):
            for norm in norms:
                norm.momentum = 1 / seen  # the running mean of all batches so far
            model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def synchronize_batch_norm(model: nn.Module, replicas: Replicas) -> None:
    """Replace every batch norm of `model` by a synchronized one where there is more than one worker."""
    if replicas.size == 1:
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
                setattr(parent, name, SynchronizedBatchNorm(child, replicas))
