"""Batch norm over the global batch of several workers, on CPU and GPU alike.

torch's SyncBatchNorm needs a GPU, and without synchronized statistics two workers with half the batch each would train
another model than one worker with all of it. One collective forward (count, mean and sum of squared deviations of each
channel, combined by Chan's formula), one backward.
"""

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
        packed = torch.cat([local_mean, local_squares, local_mean.new_tensor([local_count])])
        parts = torch.stack(replicas.gather(packed))
        means, squares = parts[:, : x.shape[1]], parts[:, x.shape[1] : -1]
        counts = parts[:, -1:]
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        variance = (squares + counts * (means - mean).square()).sum(0) / count
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
        with torch.no_grad():
            unbiased = variance * (count / (count - 1))
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked += 1
        if self.weight is None:
            return y
        return y * _along_channels(self.weight, y) + _along_channels(self.bias, y)


def synchronize_batch_norm(model: nn.Module, replicas: Replicas) -> None:
    """Replace every batch norm of `model` by a synchronized one where there is more than one worker."""
    if replicas.size == 1:
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
                setattr(parent, name, SynchronizedBatchNorm(child, replicas))
