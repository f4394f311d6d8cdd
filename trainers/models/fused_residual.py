"""Residual units on packed bits: the fast form of `trainers.models.packed_residual`, where compiled kernels run.

The same equations, with one pass over pixels each way between a unit's products; signs exist as bits. One input is kept
for a `Chain` of units, and no product is: with products on bits nearly free, backward works out again whatever it
needs, chunk by chunk of images.

    forward   x -> words of sgn(x + b_in) -> integers z -> their exact sums and sums of squares -> y
    backward  x from the chain's start; z -> (z, x, dL/dy) -> sums over all images; z -> dL/dz -> dL/ds, dL/dW -> dL/dx

Tensors lie channels last: rows of pixels (N·H·W, C), one after the other as torch's channels_last format has them.
"""

from typing import Any

import torch
from torch import Tensor

from trainers.binary import kernels
from trainers.binary.backward import WeightGradient, sign_gradients
from trainers.binary.kernels import Geometry, SignWords, unit_passes
from trainers.binary.layers import BinaryLayer
from trainers.models.branch import Branch, BranchSums, Statistics, corrections, moved_statistics
from trainers.models.packed_residual import ResidualUnit
from trainers.models.pixels import Pixels


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
            and all(kernels.fuses(x, layer.kernels) for layer in layers)
        )

    # ---- forward

    def words(self, x: Pixels) -> SignWords:
        """The signs of the biased input."""
        rows = unit_passes.pack_biased(x.rows, self.unit.bias_in.detach().view(-1))
        return SignWords(rows, x.images, x.rows.shape[1], x.high, x.wide)

    def weights(self) -> list[kernels.WeightWords]:
        """The words of the weights, as `products` takes them: all branches' side by side, or one's, in order."""
        groups = [[layer] for layer, _ in self.unit.branches[0].products]
        if len(self.unit.branches) > 1:
            groups = [[branch.products[0][0] for branch in self.unit.branches]]
        channels = groups[0][0].store.shape[1]
        packed = [[layer.store.bits for layer in group] for group in groups]
        return [kernels.pack_weights(bits, channels, self.geometry) for bits in packed]

    def products(self, signs: SignWords, weights: list[kernels.WeightWords]) -> Pixels:
        """z of all branches side by side."""
        z: Tensor | None = None
        for (_, distance), words in zip(self.unit.branches[0].products, weights, strict=True):
            z = kernels.product(unit_passes.shift(signs, distance), words, self.geometry, z)
        assert z is not None
        return Pixels(z, signs.images, self.geometry.side(signs.high), self.geometry.side(signs.wide))

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
            found.append(moved_statistics(norm, total / count * scale, deviations, count, dtype))
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

    def forward(self, x: Pixels) -> tuple[Pixels, list[Statistics]]:
        """y, and the statistics that it took."""
        z = self.products(self.words(x), self.weights())
        known = self.statistics(z, x.rows.dtype)
        y = unit_passes.output(z.rows, self.shortcut(x, z), self.numbers(known, x.rows.dtype))
        return z.of_rows(y), known

    def again(self, x: Pixels, known: list[Statistics]) -> Pixels:
        """y once more, chunk by chunk of images."""
        weights, numbers = self.weights(), self.numbers(known, x.rows.dtype)
        high, wide = self.geometry.side(x.high), self.geometry.side(x.wide)
        rows = x.rows.new_empty((x.images * high * wide, self.unit.slope.numel()))
        y = Pixels(rows, x.images, high, wide)
        for images in self.unit.chunks(x.planes()):
            part = x.part(images)
            z = self.products(self.words(part), weights)
            unit_passes.output(z.rows, self.shortcut(part, z), numbers, y.part(images).rows)
        return y

    # ---- backward

    def backward(
        self, grad: Pixels, x: Pixels, known: list[Statistics], wants_input: bool
    ) -> tuple[Pixels | None, list[Tensor | None]]:
        """dL/dx and the gradients of the unit's tensors, from dL/dy; packed stores have taken theirs on return.

        The integers z are worked out again twice, chunk by chunk: for the sums over all images that batch norm's
        backward needs, and for the gradients themselves.
        """
        unit, dtype = self.unit, x.rows.dtype
        weights, numbers, chunks = self.weights(), self.numbers(known, dtype), unit.chunks(x.planes())
        totals = torch.zeros((4, unit.slope.numel()), dtype=torch.float64, device=x.rows.device)
        for images in chunks:
            part = x.part(images)
            z = self.products(self.words(part), weights)
            totals += unit_passes.backward_sums(z.rows, self.shortcut(part, z), numbers, grad.part(images).rows)
            del z, part
        gamma, beta, slope, bias_out = totals.to(dtype)
        sums = [BranchSums(gamma[columns], beta[columns]) for columns in self._columns()]
        means = self._means(known, sums)
        taken = [
            [WeightGradient(layer.store, self.geometry, x.images) for layer, _ in branch.products]
            for branch in unit.branches
        ]
        grad_x = x.of_rows(torch.empty_like(x.rows))
        bias_in = torch.zeros_like(unit.bias_in)
        for images in chunks:
            part, grad_part = x.part(images), grad_x.part(images)
            signs = self.words(part)
            z = self.products(signs, weights)
            r = self.shortcut(part, z)
            grad_r = torch.empty_like(r) if unit.pools else grad_part.rows
            grad_z = r.new_empty(z.rows.shape)
            unit_passes.backward_products(z.rows, r, numbers, grad.part(images).rows, means, grad_z, grad_r)
            if unit.pools:
                unit_passes.unpool(grad_r, (x.high, x.wide, z.high, z.wide), grad_part.rows)
            del z, r, grad_r
            grad_s = self._backward_products(signs, grad_z, taken, weights)
            del grad_z
            bias_in += unit_passes.backward_signs(
                part.rows, unit.bias_in.detach().view(-1), grad_s, unit.sign.approx, unit.sign.order, grad_part.rows
            ).view_as(bias_in)
            del grad_s, part, grad_part
        # b_mid and batch norm's bias have the same gradient, and each its own memory: workers sum theirs up in place.
        bias_mid = beta.clone().view_as(unit.bias_mid)
        own: list[Tensor | None] = [bias_in, bias_mid, slope, bias_out.view_as(unit.bias_out)]
        for total, gradients in zip(sums, taken, strict=True):
            own += [total.gamma, total.beta, *(gradient.hand_over() for gradient in gradients)]
        return grad_x if wants_input else None, own

    def _means(self, known: list[Statistics], sums: list[BranchSums]) -> Tensor:
        """(3, O): mean(g), mean(g·hat) and factor of every branch, side by side."""
        found = [
            corrections(branch.norm, statistics, total)
            for branch, statistics, total in zip(self.unit.branches, known, sums, strict=True)
        ]
        return torch.stack([torch.cat(parts) for parts in zip(*found, strict=True)])

    def _backward_products(
        self,
        signs: SignWords,
        grad_z: Tensor,
        taken: list[list[WeightGradient]],
        weights: list[kernels.WeightWords],
    ) -> Tensor:
        """dL/ds (pixels, C) of a chunk of images, whose weight gradients go to `taken`."""
        total: Tensor | None = None
        for branch, columns, gradients in zip(self.unit.branches, self._columns(), taken, strict=True):
            for index, ((layer, distance), gradient) in enumerate(zip(branch.products, gradients, strict=True)):
                shifted = unit_passes.shift(signs, distance)
                gradient.add(grad_z, columns, shifted)
                own = weights[index] if len(self.unit.branches) == 1 else self._weights_of(layer)
                rows = self._sign_gradients(layer, grad_z, columns, own, shifted)
                if distance:
                    rows = unit_passes.add_shifted(rows, (signs.high, signs.wide), distance, total)
                elif total is not None:
                    rows = total.add_(rows)
                total = rows
        assert total is not None
        return total

    def _weights_of(self, layer: BinaryLayer) -> kernels.WeightWords:
        return kernels.pack_weights([layer.store.bits], layer.store.shape[1], self.geometry)

    def _sign_gradients(
        self, layer: BinaryLayer, grad: Tensor, columns: slice, words: kernels.WeightWords, signs: SignWords
    ) -> Tensor:
        scale = layer.store.scale()
        if scale is not None:
            grad, columns = grad[:, columns] * scale.detach(), slice(0, columns.stop - columns.start)
        return sign_gradients(grad, columns, layer.store, words, signs, self.geometry)


class Chain:
    """Units one after the other of which only the first one's input is kept.

    In backward each works its own input out again from that: once more through the units before it.

    Args:
        x: the first unit's input, (N, C, H, W).
    """

    def __init__(self, x: Tensor) -> None:
        self.start = Pixels.of(x.detach()).planes()
        self.units: list[tuple[FusedUnit, list[Statistics]]] = []

    def run(self, x: Tensor, unit: ResidualUnit) -> Tensor:
        """The next unit, (N, C, H, W) -> (N, C', H', W'), channels last; x is the chain's end, or its start."""
        y: Tensor = _FusedUnit.apply(x, self.start, self.units, FusedUnit(unit), *unit.tensors())
        return y


def run_fused(x: Tensor, units: list[ResidualUnit]) -> Tensor:
    """Units one after the other in a chain of their own."""
    chain = Chain(x)
    for unit in units:
        x = chain.run(x, unit)
    return x


class _FusedUnit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor, units: Any, unit: FusedUnit, *tensors: Tensor | None) -> Tensor:
        y, known = unit.forward(Pixels.of(x if units else start))
        ctx.save_for_backward(start)
        ctx.earlier, ctx.unit, ctx.known = list(units), unit, known
        units.append((unit, known))
        return y.planes()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (start,) = ctx.saved_tensors
        x = Pixels.of(start)
        for unit, known in ctx.earlier:
            x = unit.again(x, known)
        grad, own = ctx.unit.backward(Pixels.of(grads[0]), x, ctx.known, ctx.needs_input_grad[0])
        return None if grad is None else grad.planes(), None, None, None, *own


def fused(x: Tensor, units: list[ResidualUnit]) -> bool:
    """Whether a `Chain` takes these units on inputs such as x."""
    return all(FusedUnit.fits(unit, x) for unit in units)


def _scale(branch: Branch, dtype: torch.dtype) -> Tensor:
    """The scale of a branch's integers: () or (out,)."""
    store = branch.products[0][0].store
    scale = store.scale()
    return torch.ones((), dtype=dtype, device=store.bits.device) if scale is None else scale.detach().to(dtype)
