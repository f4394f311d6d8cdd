"""Residual units on packed bits: the fast form of `trainers.models.packed_residual`, where compiled kernels run.

The same equations and the same things kept, a block's input. Between a unit's products lies one pass over pixels each
way; signs exist as bits, and as floats only for the chunk of images whose backward products are being computed.

    forward   x -> words of sgn(x + b_in) -> integers z -> their exact sums and sums of squares -> y
    backward  z again from the words; (z, x, dL/dy) -> sums -> dL/dz, chunk by chunk -> dL/ds, dL/dW -> dL/dx

Tensors lie channels last: rows of pixels (N·H·W, C), one after the other as torch's channels_last format has them.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.batch_norm import SynchronizedBatchNorm, batch_moments, follow_moments
from trainers.binary import kernels
from trainers.binary.backward import WeightBlocks, WeightProduct, sign_gradients, weight_product
from trainers.binary.bits import pack_bits
from trainers.binary.kernels import Geometry, SignWords, unit_passes
from trainers.binary.layers import BinaryLayer
from trainers.binary.weights import PackedWeight
from trainers.models.branch import Branch, BranchSums, Statistics, corrections
from trainers.models.packed_residual import ResidualUnit
from trainers.replicas import Replicas


@dataclass(frozen=True)
class Pixels:
    """Rows of pixels (N·H·W, C) with the shape of the images that they are of."""

    rows: Tensor
    images: int
    high: int
    wide: int

    @classmethod
    def of(cls, x: Tensor) -> "Pixels":
        """(N, C, H, W), copied only where its channels are not last already."""
        images, channels, high, wide = x.shape
        last = x.permute(0, 2, 3, 1).contiguous()
        return cls(last.view(-1, channels), images, high, wide)

    def planes(self) -> Tensor:
        """The same memory as (N, C, H, W), channels last."""
        return self.rows.view(self.images, self.high, self.wide, -1).permute(0, 3, 1, 2)

    def of_rows(self, rows: Tensor) -> "Pixels":
        """Other channels of the same images."""
        return Pixels(rows, self.images, self.high, self.wide)

    def part(self, images: slice) -> "Pixels":
        """Some of the images."""
        area = self.high * self.wide
        first, last, _ = images.indices(self.images)
        return Pixels(self.rows[first * area : last * area], last - first, self.high, self.wide)


class FusedUnit:
    """One residual unit with what its passes need."""

    def __init__(self, unit: ResidualUnit) -> None:
        self.unit = unit
        layer = unit.branches[0].products[0][0]
        self.geometry: Geometry = layer.operator.geometry(layer.store.shape)

    @staticmethod
    def fits(unit: ResidualUnit, x: Tensor) -> bool:
        """Whether kernels take this unit: integers throughout, and all branches' products of one kind."""
        layers = [layer for branch in unit.branches for layer, _ in branch.products]
        geometries = {layer.operator.geometry(layer.store.shape) for layer in layers}
        simple = len(unit.branches) == 1 or all(
            len(branch.products) == 1 and branch.products[0][1] == 0 for branch in unit.branches
        )
        return (
            simple
            and len(geometries) == 1
            and geometries.pop().taps <= kernels.MOST_TAPS
            and all(branch.exact for branch in unit.branches)
            and all(kernels.usable(x, layer.kernels) for layer in layers)
        )

    # ---- forward

    def words(self, x: Pixels) -> SignWords:
        """The signs of the biased input."""
        rows = unit_passes.pack_biased(x.rows, self.unit.bias_in.detach().view(-1))
        return SignWords(rows, x.images, x.rows.shape[1], x.high, x.wide)

    def products(self, signs: SignWords) -> Pixels:
        """z of all branches side by side."""
        z: Tensor | None = None
        if len(self.unit.branches) > 1:
            layers = [branch.products[0][0] for branch in self.unit.branches]
            z = kernels.product(signs, self._weights(layers), self.geometry)
        else:
            for layer, distance in self.unit.branches[0].products:
                z = kernels.product(unit_passes.shift(signs, distance), self._weights([layer]), self.geometry, z)
        assert z is not None
        return Pixels(z, signs.images, self.geometry.side(signs.high), self.geometry.side(signs.wide))

    def _weights(self, layers: list[BinaryLayer]) -> kernels.WeightWords:
        bits = [_bits(layer) for layer in layers]
        return kernels.pack_weights(bits, layers[0].store.shape[1], self.geometry)

    def statistics(self, z: Pixels, dtype: torch.dtype) -> list[Statistics]:
        """As `Branch.statistics`, from exact sums."""
        branches, sums = self.unit.branches, None
        found = []
        for branch, columns in zip(branches, self._columns(), strict=True):
            norm = branch.norm
            assert norm.running_mean is not None and norm.running_var is not None
            if not norm.training:
                found.append(Statistics(norm.running_mean, (norm.running_var + norm.eps).rsqrt(), None))
                continue
            if sums is None:
                sums = unit_passes.moments(z.rows)
            scale = _scale(branch, torch.float64)
            count = len(z.rows)
            total, squares = (kind[columns] for kind in sums)
            deviations = (squares - total * total / count) * scale * scale
            replicas = norm.replicas if isinstance(norm, SynchronizedBatchNorm) else Replicas()
            mean, variance, all_count = batch_moments(total / count * scale, deviations, count, replicas)
            mean, variance = mean.to(dtype), variance.to(dtype)
            follow_moments(norm, mean, variance, all_count)
            found.append(Statistics(mean, (variance + norm.eps).rsqrt(), all_count))
        return found

    def _columns(self) -> list[slice]:
        """Where each branch's channels lie among all of them."""
        width = self.unit.slope.numel() // len(self.unit.branches)
        return [slice(start, start + width) for start in range(0, self.unit.slope.numel(), width)]

    def numbers(self, known: list[Statistics], dtype: torch.dtype) -> Tensor:
        """(7, O): scale, mean, inverse, gamma, offset, slope, bias; see `trainers.binary.kernels.cpu_unit`."""
        unit = self.unit
        rows: list[list[Tensor]] = [[] for _ in range(5)]
        for branch, statistics in zip(unit.branches, known, strict=True):
            assert branch.norm.weight is not None and branch.norm.bias is not None
            scale = _scale(branch, dtype).expand(statistics.mean.shape)
            parts = (scale, statistics.mean, statistics.inverse, branch.norm.weight, branch.norm.bias)
            for row, part in zip(rows, parts, strict=True):
                row.append(part.detach())
        joined = [torch.cat(row) for row in rows]
        joined[4] = joined[4] + unit.bias_mid.detach().view(-1)
        return torch.stack([*joined, unit.slope.detach(), unit.bias_out.detach().view(-1)])

    def shortcut(self, x: Pixels, z: Pixels) -> Tensor:
        """r, (pixels of z, C)."""
        return unit_passes.shortcut(x.rows, (x.high, x.wide, z.high, z.wide)) if self.unit.pools else x.rows

    def output(self, x: Pixels, z: Pixels, known: list[Statistics]) -> Pixels:
        """y from the unit's input and its products."""
        return z.of_rows(unit_passes.output(z.rows, self.shortcut(x, z), self.numbers(known, x.rows.dtype)))

    # ---- backward

    def backward(
        self, grad: Pixels, x: Pixels, z: Pixels, known: list[Statistics], wants_input: bool
    ) -> tuple[Pixels | None, list[Tensor | None]]:
        """dL/dx and the gradients of the unit's tensors, from dL/dy; packed stores have taken theirs on return."""
        unit, dtype = self.unit, x.rows.dtype
        numbers, r = self.numbers(known, dtype), self.shortcut(x, z)
        gamma, beta, slope, bias_out = unit_passes.backward_sums(z.rows, r, numbers, grad.rows)
        sums = [BranchSums(gamma[columns], beta[columns]) for columns in self._columns()]
        means = torch.stack(
            [
                torch.cat(parts)
                for parts in zip(
                    *[
                        corrections(branch.norm, statistics, total)
                        for branch, statistics, total in zip(unit.branches, known, sums, strict=True)
                    ],
                    strict=True,
                )
            ]
        )
        weights = [
            [_WeightGradient(layer, x.images, self.geometry) for layer, _ in branch.products]
            for branch in unit.branches
        ]
        grad_x = x.of_rows(torch.empty_like(x.rows))
        bias_in = torch.zeros_like(unit.bias_in)
        r_pixels = z.of_rows(r)
        for images in unit.chunks(x.planes()):
            part, z_part, grad_part = x.part(images), z.part(images), grad_x.part(images)
            grad_r = z_part.of_rows(r.new_empty((len(z_part.rows), r.shape[1]))) if unit.pools else grad_part
            grad_z = z_part.of_rows(x.rows.new_empty(z_part.rows.shape))
            unit_passes.backward_products(
                *(z_part.rows, r_pixels.part(images).rows, numbers, grad.part(images).rows, means),
                grad_z.rows,
                grad_r.rows,
            )
            if unit.pools:
                shape = (x.high, x.wide, z.high, z.wide)
                unit_passes.unpool(grad_r.rows, shape, grad_part.rows)
            del grad_r
            grad_s = self._backward_products(self.words(part), grad_z, weights)
            del grad_z
            bias_in += unit_passes.backward_signs(
                part.rows, unit.bias_in.detach().view(-1), grad_s, unit.sign.approx, unit.sign.order, grad_part.rows
            ).view_as(bias_in)
            del grad_s
        # b_mid and batch norm's bias have the same gradient, and each its own memory: workers sum theirs up in place.
        bias_mid = beta.clone().view_as(unit.bias_mid)
        own: list[Tensor | None] = [bias_in, bias_mid, slope, bias_out.view_as(unit.bias_out)]
        for total, taken in zip(sums, weights, strict=True):
            own += [total.gamma, total.beta, *(weight.hand_over() for weight in taken)]
        return grad_x if wants_input else None, own

    def _backward_products(self, signs: SignWords, grad_z: Pixels, taken: list[list["_WeightGradient"]]) -> Tensor:
        """dL/ds (pixels, C) of a chunk of images, whose weight gradients go to `taken`."""
        total: Tensor | None = None
        for branch, columns, gradients in zip(self.unit.branches, self._columns(), taken, strict=True):
            for (layer, distance), gradient in zip(branch.products, gradients, strict=True):
                shifted = unit_passes.shift(signs, distance)
                gradient.add(grad_z.rows, columns, shifted)
                rows = self._sign_gradients(layer, grad_z.rows, columns, shifted)
                if distance:
                    rows = unit_passes.add_shifted(rows, (signs.high, signs.wide), distance, total)
                elif total is not None:
                    rows = total.add_(rows)
                total = rows
        assert total is not None
        return total

    def _sign_gradients(self, layer: BinaryLayer, grad: Tensor, columns: slice, signs: SignWords) -> Tensor:
        scale = layer.store.scale()
        if scale is not None:
            grad, columns = grad[:, columns] * scale.detach(), slice(0, columns.stop - columns.start)
        return sign_gradients(grad, columns, layer.store, self._weights([layer]), signs, self.geometry)


class _WeightGradient:
    """The gradient of one layer's weights as the chunks of images pass; nothing for a layer that takes none."""

    def __init__(self, layer: BinaryLayer, images: int, geometry: Geometry) -> None:
        self.layer, self.images, self.geometry = layer, images, geometry
        self.wanted = layer.store.anchor() is not None
        self.total: Tensor | None = None
        self.whole: WeightProduct | None = None

    def add(self, grad: Tensor, columns: slice, signs: SignWords) -> None:
        """dL/dz and the signs of a chunk."""
        if not self.wanted:
            return
        product = weight_product(grad, columns, signs, self.geometry)
        if signs.images == self.images:  # all of them: the gradient may follow in blocks of weights, in `hand_over`
            self.whole = product
        else:
            self.total = product.rows(slice(0, self.layer.store.shape[0]), self.total)

    def hand_over(self) -> Tensor | None:
        """Give the store its gradient; returns the anchor's, if it has one."""
        store = self.layer.store
        if self.whole is not None:
            return store.receive(WeightBlocks(self.whole, store))
        if self.total is not None:
            return store.receive([(slice(0, store.shape[0]), self.total)])
        return None


class _FusedResidual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, units: list[FusedUnit], *tensors: Tensor | None) -> Tensor:
        first = y = Pixels.of(x)
        known = []
        for unit in units:
            z = unit.products(unit.words(y))
            known.append(unit.statistics(z, x.dtype))
            y = unit.output(y, z, known[-1])
        ctx.save_for_backward(first.planes())
        ctx.units, ctx.known = units, known
        return y.planes()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        units, known = ctx.units, ctx.known
        inputs = [Pixels.of(x)]
        products = [units[0].products(units[0].words(inputs[0]))]
        for unit, following, statistics in zip(units, units[1:], known, strict=False):
            inputs.append(unit.output(inputs[-1], products[-1], statistics))
            products.append(following.products(following.words(inputs[-1])))
        grad: Pixels | None = Pixels.of(grads[0])
        own: list[Tensor | None] = []
        for index in reversed(range(len(units))):
            assert grad is not None
            wants_input = index > 0 or ctx.needs_input_grad[0]
            grad, of_unit = units[index].backward(grad, inputs.pop(), products.pop(), known[index], wants_input)
            own = of_unit + own
        return None if grad is None else grad.planes(), None, *own


def fused(x: Tensor, units: list[ResidualUnit]) -> bool:
    """Whether `run_fused` takes these units on inputs such as x."""
    return all(FusedUnit.fits(unit, x) for unit in units)


def run_fused(x: Tensor, units: list[ResidualUnit]) -> Tensor:
    """The units one after the other, with only x kept for backward: (N, C, H, W) -> (N, C', H', W'), channels last."""
    tensors = [tensor for unit in units for tensor in unit.tensors()]
    y: Tensor = _FusedResidual.apply(x, [FusedUnit(unit) for unit in units], *tensors)
    return y


def _bits(layer: BinaryLayer) -> Tensor:
    """A layer's signs as packed bits, whichever store it has."""
    store = layer.store
    return (
        store.bits
        if isinstance(store, PackedWeight)
        else pack_bits(store.signs(slice(0, store.shape[0]), torch.int8) > 0)
    )


def _scale(branch: Branch, dtype: torch.dtype) -> Tensor:
    """The scale of a branch's integers: () or (out,)."""
    scale = branch.products[0][0].store.scale()
    return torch.ones((), dtype=dtype) if scale is None else scale.detach().to(dtype)
