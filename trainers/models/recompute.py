"""Memory-saving training for any block of a network: keep its input alone, and compute the rest twice.

Stock autograd keeps what every operation of a block needs for backward. A `PackedBlock` with packed activations keeps
one tensor: its input, as bits where that is a sign activation's output, as floats elsewhere. Backward computes the
block once more, with autograd on, and goes back through it at once; its gradients reach packed layers' update rules
block by block, as ever. At the peak there is one block's worth of autograd's tensors in place of the whole network's.

A block is written once, with ordinary modules:

    class Residual(PackedBlock):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.sign, self.conv = SignActivation(), BinaryConv2d(channels, channels, kernel_size=3)
            self.norm, self.act = nn.BatchNorm2d(channels), nn.PReLU(channels)

        def compute(self, x: Tensor) -> Tensor:
            return self.act(self.norm(self.conv(self.sign(x))) + x)

What the second pass computes is what the first one did, bit for bit where the device's kernels are deterministic:

- buffers that move in the forward pass (running statistics) move once. The second pass works on copies of what they
  were before the first;
- sums over workers are made once. The second pass is given what the first one gathered;
- random numbers, where a block draws any (dropout), are drawn again from the same state.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import GradientEdge, get_gradient_edge

from trainers.binary.layers import binary_layers
from trainers.binary.signs import sign_bits, to_keep
from trainers.models.replay import FirstPass

Compute = Callable[[Tensor], Tensor]


class PackedBlock(nn.Module, ABC):
    """A block of a network, one tensor in and one out, whose inside need not be kept for backward.

    A subclass says in `compute` what the block does, with modules and parameters of its own. It may do so in any way
    that gives the same for the same input: a state between steps belongs into buffers. Hooks on modules inside see both
    passes. Larger blocks keep less and need more while they go back; the whole of a network's block inputs and the
    inside of its largest block are best about the same.
    """

    packed_activations = False

    @abstractmethod
    def compute(self, x: Tensor) -> Tensor:
        """The block's output (N, ...) from its input (N, ...)."""

    def packed(self, x: Tensor) -> Tensor:
        """`compute` with packed activations: recomputed in backward, unless a subclass knows a faster way."""
        return recomputed(self, self.compute, x)

    def forward(self, x: Tensor) -> Tensor:
        if self.packed_activations and torch.is_grad_enabled():
            return self.packed(x)
        return self.compute(x)


class PackedSequential(nn.Sequential, PackedBlock):
    """`nn.Sequential` as one block; parameter names are those of `nn.Sequential`."""

    def compute(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return PackedBlock.forward(self, x)


def recomputed(block: nn.Module, compute: Compute, x: Tensor) -> Tensor:
    """compute(x) with only x kept for backward, where it is computed again.

    Args:
        block: owns every module and parameter that `compute` uses.
        compute: one tensor to one tensor; the same for the same input.
        x: (N, ...); it is left as it is.

    Raises:
        RuntimeError: `compute` changes x in place, or (in backward) uses a parameter that is not the block's.
    """
    own = [parameter for parameter in block.parameters() if parameter.requires_grad]
    anchors = [anchor for _, layer in binary_layers(block) if (anchor := layer.store.anchor()) is not None]
    # A block of packed layers may have no parameter: one anchor lets autograd reach it.
    reached = [*own, *[anchor for anchor in anchors if not isinstance(anchor, nn.Parameter)][:1]]
    if not x.requires_grad and not reached:
        return compute(x)
    y: Tensor = _Recomputed.apply(x, sign_bits(x), block, compute, len(own), *reached)
    return y


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bits: Tensor | None, block: nn.Module, compute: Compute, count: int, *reached: Tensor
    ) -> Tensor:
        kept, ctx.input = to_keep(x, bits)
        # Parameters are saved as well, which costs nothing: autograd notices if they have changed by backward.
        ctx.save_for_backward(kept, *reached[:count])
        ctx.block, ctx.compute, ctx.reached = block, compute, len(reached)
        ctx.first = FirstPass(block, reached[:count], x.device)
        version = x._version
        with ctx.first.noted():
            y = compute(x)
        if x._version != version:
            raise RuntimeError(
                f"{type(block).__name__} changes its input in place, and with packed activations that input is needed "
                "again; let its first operation make a new tensor (inplace=False)"
            )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kept, *own = ctx.saved_tensors
        x = ctx.input.read(kept)
        if x is kept:
            x = x.detach()
        x.requires_grad_(ctx.needs_input_grad[0])
        with torch.enable_grad(), ctx.first.again(own) as aliases:
            end = _end_of(ctx.compute(x))  # the output itself is not needed again
        wanted = [x, *aliases] if x.requires_grad else aliases
        found = [None] * len(wanted) if end is None else _gradients(end, grads[0], wanted, ctx.block)
        grad_x = found.pop(0) if x.requires_grad else None
        return grad_x, None, None, None, None, *found, *[None] * (ctx.reached - len(own))


def _end_of(y: Tensor) -> GradientEdge | None:
    """Where backward starts from y; None where nothing leads back from it."""
    return get_gradient_edge(y) if y.requires_grad else None


def _gradients(end: GradientEdge, grad: Tensor, wanted: list[Tensor], block: nn.Module) -> list[Tensor | None]:
    """dL/d(each of `wanted`) from dL/dy at y's `end`; None where y does not depend on it.

    Packed stores take their gradients meanwhile.
    """
    leaves = _leaves(end.node)
    known = {id(tensor) for tensor in wanted}
    for leaf in leaves:
        # A packed store's anchor has no dimension; through it autograd reaches the store.
        if id(leaf) not in known and (leaf.dim() or isinstance(leaf, nn.Parameter)):
            raise RuntimeError(
                f"{type(block).__name__} uses a tensor {tuple(leaf.shape)} that takes a gradient and is neither its "
                "input nor a parameter of its own; register it in the block, or hand it in as part of the input"
            )
    of_leaves = torch.autograd.grad([end], leaves, [grad], allow_unused=True)
    by_leaf = {id(leaf): gradient for leaf, gradient in zip(leaves, of_leaves, strict=True)}
    return [by_leaf.get(id(tensor)) for tensor in wanted]


def _leaves(end: Any) -> list[Tensor]:
    """Every tensor that a gradient would be accumulated in, going back from a node of autograd's graph."""
    seen, waiting, leaves = {end}, [end], []
    while waiting:
        node = waiting.pop()
        if node.name() == "torch::autograd::AccumulateGrad":
            leaves.append(node.variable)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return leaves
