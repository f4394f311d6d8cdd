"""Residual units that keep almost nothing for backward: the packed-activation path of the convolutional networks.

Stock autograd keeps, for every unit, the biased input, its signs, the convolution's output, the batch norm's output and
PReLU's input, all as floats. Here a block of units keeps its input alone, one float an element, and the batch
statistics. Backward works the rest out again, exactly: signs and their surrogate's slope from the input; the
convolution's output, an *integer*, from the signs, held in 16 bits meanwhile; everything else from those two, chunk
of images by chunk.

One unit (algorithm, section 7), with r the shortcut of x, repeated for every branch j and concatenated over branches:

    s = sgn(x + b_in)    z_j = sum_i scale_i·conv_i(shift_i(s))    v = BN_j(z_j) + r + b_mid    y = prelu(v) + b_out

Gradients are those of the stock path; sums over images run chunk by chunk, so float32 results may differ from it in
their last bits, float64 agrees to 1e-9.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainers.binary.bits import sgn
from trainers.binary.functional import surrogate_gradient
from trainers.binary.layers import BinaryLayer, SignActivation
from trainers.binary.parts import part_size
from trainers.binary.products import WeightGradients, multiply, multiply_back
from trainers.binary.weights import PackedWeight
from trainers.models.branch import Branch, BranchSums, Statistics, along_channels, corrections, scaled_by, shift

# Floats of one unit's output that a CPU works on at a time (`part_size`): the temporaries of a chunk are a few times as
# many.
CHUNK_ELEMENTS = 1 << 18


@dataclass(frozen=True)
class ResidualUnit:
    """One unit: its modules, by reference."""

    sign: SignActivation
    bias_in: Tensor
    branches: tuple[Branch, ...]
    pools: bool
    bias_mid: Tensor
    slope: Tensor
    bias_out: Tensor

    def tensors(self) -> list[Tensor | None]:
        """Everything that may take a gradient, in the order in which `backward` returns them."""
        own: list[Tensor | None] = [self.bias_in, self.bias_mid, self.slope, self.bias_out]
        for branch in self.branches:
            own += [branch.norm.weight, branch.norm.bias]
            own += [layer.store.anchor() for layer, _ in branch.products]
        return own

    @property
    def packed(self) -> bool:
        """Whether every layer keeps bits alone."""
        stores = (layer.store for branch in self.branches for layer, _ in branch.products)
        return all(isinstance(store, PackedWeight) for store in stores)

    # ---- forward

    def chunks(self, x: Tensor) -> list[slice]:
        """The images of x (or of a product) in the chunks that are worked on at a time.

        All at once where the weights outweigh the images: then it is the weights that are worked on in blocks.
        Elsewhere a chunk is worth at least the cost of unpacking the weights for it.
        """
        weights = max(layer.store.shape.numel() for branch in self.branches for layer, _ in branch.products)
        elements = max(x.shape[1], self.slope.numel()) * x.shape[2] * x.shape[3]
        if weights > len(x) * elements:
            return [slice(0, len(x))]
        count = max(1, max(part_size(CHUNK_ELEMENTS, x.device), 2 * weights) // elements)
        return [slice(start, start + count) for start in range(0, len(x), count)]

    def products(self, x: Tensor) -> list[Tensor]:
        """z of every branch, (N, C, H', W'): in 16 bits and without the scale where that is exact."""
        found: list[Tensor | None] = [None] * len(self.branches)
        for images in self.chunks(x):
            s = sgn(x[images] + self.bias_in)
            for index, branch in enumerate(self.branches):
                z: Tensor | None = None
                for layer, distance in branch.products:
                    product = multiply(shift(s, distance), layer.store, layer.operator)
                    if not branch.exact:
                        product = scaled_by(product, layer)
                    z = product if z is None else z.add_(product)
                assert z is not None
                kept = z.round_().to(torch.int16) if branch.exact else z
                found[index] = _put(kept, found[index], images, len(x))
        return [z for z in found if z is not None]

    def statistics(self, products: list[Tensor], dtype: torch.dtype) -> list[Statistics]:
        """Batch statistics over all workers, moving the running ones; the running ones in evaluation mode."""
        return [branch.statistics(z, self.chunks(z), dtype) for branch, z in zip(self.branches, products, strict=True)]

    def output(self, x: Tensor, products: list[Tensor], statistics: list[Statistics]) -> Tensor:
        """y from the unit's input and its products."""
        y: Tensor | None = None
        for images in self.chunks(x):
            _, v = self._before_prelu(x, products, statistics, images)
            y = _put(functional.prelu(v, self.slope).add_(self.bias_out), y, images, len(x))
        assert y is not None
        return y

    def _before_prelu(
        self, x: Tensor, products: list[Tensor], statistics: list[Statistics], images: slice
    ) -> tuple[list[Tensor], Tensor]:
        """The normalised products of every branch and v, of some images."""
        r = functional.avg_pool2d(x[images], 2) if self.pools else x[images]
        normal, parts = [], []
        for branch, z, known in zip(self.branches, products, statistics, strict=True):
            hat = branch.centred(z[images], known.mean).mul_(along_channels(known.inverse))
            normal.append(hat)
            assert branch.norm.weight is not None
            parts.append(torch.addcmul(r, hat, along_channels(branch.norm.weight)))
        v = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return normal, v.add_(self._offset())

    def _offset(self) -> Tensor:
        """What every image's v contains alike: the batch norms' biases and b_mid, (1, C, 1, 1)."""
        biases = [branch.norm.bias.detach() for branch in self.branches if branch.norm.bias is not None]
        return torch.cat(biases).view(1, -1, 1, 1) + self.bias_mid.detach()

    # ---- backward

    def backward(
        self, grad: Tensor, x: Tensor, products: list[Tensor], statistics: list[Statistics], wants_input: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """dL/dx and the gradients of `tensors`, from dL/dy; packed stores have taken theirs when it returns."""
        sums = self._first_pass(grad, x, products, statistics)
        means = [
            corrections(branch.norm, known, total)
            for branch, known, total in zip(self.branches, statistics, sums.branches, strict=True)
        ]
        weights = [[_WeightGradient(layer, len(x)) for layer, _ in branch.products] for branch in self.branches]
        bias_in = torch.zeros_like(self.bias_in)
        grad_x: Tensor | None = None
        for images in self.chunks(x):
            normal, v = self._before_prelu(x, products, statistics, images)
            g = _through_prelu(grad[images], v, self.slope)
            del v
            u = x[images] + self.bias_in
            s = sgn(u)
            grad_s: Tensor | None = None
            shortcut = torch.zeros_like(g[:, : normal[0].shape[1]]) if wants_input else None
            for branch, hat, g_branch, (mean_g, mean_gh, factor), taken in zip(
                self.branches, normal, g.split([h.shape[1] for h in normal], dim=1), means, weights, strict=True
            ):
                if shortcut is not None:
                    shortcut += g_branch
                # dL/dz = gamma/sigma·(g - mean(g) - z_hat·mean(g·z_hat))
                g_z = (
                    hat.mul_(-along_channels(mean_gh))
                    .add_(g_branch)
                    .sub_(along_channels(mean_g))
                    .mul_(along_channels(factor))
                )
                for (layer, distance), weight in zip(branch.products, taken, strict=True):
                    shifted = shift(s, distance)
                    weight.add(g_z, shifted)
                    part = multiply_back(scaled_by(g_z, layer), shifted, layer.store, layer.operator)
                    part = shift(part, -distance)
                    grad_s = part if grad_s is None else grad_s.add_(part)
            assert grad_s is not None
            grad_u = grad_s.mul_(surrogate_gradient(u, self.sign.approx, self.sign.order))
            bias_in += grad_u.sum(dim=(0, 2, 3), keepdim=True)
            if shortcut is not None:
                grad_u += _unpool(shortcut) if self.pools else shortcut
                grad_x = _put(grad_u, grad_x, images, len(x))
        bias_mid = torch.cat([total.beta for total in sums.branches]).view_as(self.bias_mid)
        own: list[Tensor | None] = [bias_in, bias_mid, sums.slope, sums.bias_out]
        for total, taken in zip(sums.branches, weights, strict=True):
            own += [total.gamma, total.beta, *(weight.hand_over() for weight in taken)]
        return grad_x, own

    def _first_pass(self, grad: Tensor, x: Tensor, products: list[Tensor], statistics: list[Statistics]) -> "_UnitSums":
        """The sums over all images that batch norm's backward needs before any element's gradient is known."""
        sums = _UnitSums.zeros(self)
        for images in self.chunks(x):
            normal, v = self._before_prelu(x, products, statistics, images)
            g_y = grad[images]
            sums.bias_out += g_y.sum(dim=(0, 2, 3)).view_as(sums.bias_out)
            g = _through_prelu(g_y, v, self.slope)
            sums.slope += v.clamp_(max=0).mul_(g_y).sum(dim=(0, 2, 3))
            del v
            for total, hat, part in zip(
                sums.branches, normal, g.split([hat.shape[1] for hat in normal], dim=1), strict=True
            ):
                total.beta += part.sum(dim=(0, 2, 3))
                total.gamma += hat.mul_(part).sum(dim=(0, 2, 3))
        return sums


@dataclass
class _UnitSums:
    """Sums over images and pixels, a channel each."""

    slope: Tensor
    bias_out: Tensor
    branches: list[BranchSums]

    @classmethod
    def zeros(cls, unit: ResidualUnit) -> "_UnitSums":
        branches = []
        for branch in unit.branches:
            assert branch.norm.weight is not None and branch.norm.bias is not None
            branches.append(BranchSums(torch.zeros_like(branch.norm.weight), torch.zeros_like(branch.norm.bias)))
        return cls(torch.zeros_like(unit.slope), torch.zeros_like(unit.bias_out), branches)


class _WeightGradient:
    """The gradient of one layer's weights as the chunks of images pass; nothing for a layer that takes none."""

    def __init__(self, layer: BinaryLayer, images: int) -> None:
        self.layer = layer
        self.images = images
        self.wanted = layer.store.anchor() is not None
        self.total: Tensor | None = None
        self.whole: tuple[Tensor, Tensor] | None = None

    def add(self, grad: Tensor, signs: Tensor) -> None:
        """dL/dz and the signs of a chunk."""
        if not self.wanted:
            return
        if len(grad) == self.images:  # all of them: the gradient may follow in blocks of weights, in `hand_over`
            self.whole = grad, signs
            return
        part = self.layer.operator.weight_gradient(grad, signs, self.layer.store.shape)
        self.total = part if self.total is None else self.total.add_(part)

    def hand_over(self) -> Tensor | None:
        """Give the store its gradient; returns the anchor's, if it has one."""
        store = self.layer.store
        if self.whole is not None:
            return store.receive(WeightGradients(*self.whole, store, self.layer.operator))
        if self.total is not None:
            return store.receive([(slice(0, store.shape[0]), self.total)])
        return None


class _PackedResidual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, units: list[ResidualUnit], *tensors: Tensor | None) -> Tensor:
        y, known = x, []
        for unit in units:
            products = unit.products(y)
            statistics = unit.statistics(products, x.dtype)
            y = unit.output(y, products, statistics)
            known.append(statistics)
        ctx.save_for_backward(x)
        ctx.units, ctx.known = units, known
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        units, known = ctx.units, ctx.known
        inputs, products = [x], [units[0].products(x)]
        for unit, following, statistics in zip(units, units[1:], known, strict=False):
            inputs.append(unit.output(inputs[-1], products[-1], statistics))
            products.append(following.products(inputs[-1]))
        grad: Tensor | None = grads[0]
        own: list[Tensor | None] = []
        for index in reversed(range(len(units))):
            assert grad is not None
            wants_input = index > 0 or ctx.needs_input_grad[0]
            grad, of_unit = units[index].backward(grad, inputs.pop(), products.pop(), known[index], wants_input)
            own = of_unit + own
        return grad, None, *own


def run_units(x: Tensor, units: list[ResidualUnit]) -> Tensor:
    """The units one after the other, with only x kept for backward: (N, C, H, W) -> (N, C', H', W')."""
    tensors = [tensor for unit in units for tensor in unit.tensors()]
    y: Tensor = _PackedResidual.apply(x, units, *tensors)
    return y


def _put(chunk: Tensor, whole: Tensor | None, images: slice, count: int) -> Tensor:
    """`chunk` at its place among `count` images: `whole`, made at the first chunk; the chunk itself where it is all."""
    if len(chunk) == count:
        return chunk
    if whole is None:
        whole = chunk.new_empty((count, *chunk.shape[1:]))
    whole[images] = chunk
    return whole


def _through_prelu(grad: Tensor, v: Tensor, slope: Tensor) -> Tensor:
    """dL/dv from dL/dy: the gradient where v > 0, times the slope elsewhere."""
    return torch.where(v > 0, grad, grad * along_channels(slope))


def _unpool(grad: Tensor) -> Tensor:
    """The adjoint of the 2x2 average: a quarter of the gradient to each of the four pixels."""
    return functional.interpolate(grad, scale_factor=2, mode="nearest").div_(4)
