"""Pre-activation units on packed bits: ResNet18's packed-activation path, where compiled kernels run.

    n1 = bn1(x)      s1 = sgn(n1)    z1 = conv1(s1)    p1 = (K1 + z1)/2
    n2 = bn2(p1)     s2 = sgn(n2)    z2 = conv2(s2)    y = (K2 + z2)/2 + r     r = x, or (K + sc(s1))/2

Stock autograd keeps x, n1, s1, p1, n2 and s2 as floats. Here x is kept, both signs in words of 64 and the statistics;
products are integers of 16 bits, worked out again in backward. That goes chunk by chunk of images in three passes, one
for each batch norm whose sums over all images must be known before the next: from dL/dy to dL/dn2, from there to
dL/dn1, from there to dL/dx.

Tensors lie channels last, as rows of pixels (N·H·W, C). A weight scale multiplies z.
"""

from typing import Any

import torch
from torch import Tensor

from trainers.binary import kernels
from trainers.binary.backward import WeightGradient, sign_gradients
from trainers.binary.functional import surrogate_gradient
from trainers.binary.kernels import Geometry, SignWords, unit_passes
from trainers.binary.layers import BinaryLayer, SignActivation
from trainers.binary.parts import part_size
from trainers.binary.weights import PackedWeight
from trainers.models.branch import (
    INT16_LIMIT,
    BatchNorm,
    BranchSums,
    Statistics,
    corrections,
    moved_statistics,
    norm_statistics,
)
from trainers.models.pixels import Pixels

CHUNK_ELEMENTS = 1 << 18
"""Floats of a unit's input or output that a CPU works on at a time (`part_size`)."""


class Product:
    """A convolution that counts agreements, with what its passes need."""

    def __init__(self, layer: BinaryLayer) -> None:
        self.layer = layer
        self.inputs = layer.store.shape[1:].numel()
        self.geometry: Geometry = layer.operator.geometry(layer.store.shape)
        self.weights: kernels.WeightWords | None = None
        self.gradient: WeightGradient | None = None

    def half(self, dtype: torch.dtype) -> Tensor:
        """What an integer is multiplied by, () or (out,): half the weight scale."""
        store = self.layer.store
        scale = store.scale()
        return (
            torch.full((), 0.5, dtype=dtype, device=store.bits.device)
            if scale is None
            else 0.5 * scale.detach().to(dtype)
        )

    def words(self) -> kernels.WeightWords:
        """The weights as the kernels read them; made once a pass."""
        if self.weights is None:
            store = self.layer.store
            self.weights = kernels.pack_weights([store.bits], store.shape[1], self.geometry)
        return self.weights

    def integers(self, signs: SignWords) -> Pixels:
        """z."""
        z = kernels.product(signs, self.words(), self.geometry)
        return Pixels(z, signs.images, self.geometry.side(signs.high), self.geometry.side(signs.wide))

    def agreements(self, z: Tensor, dtype: torch.dtype) -> Tensor:
        """(K + z)/2 as fresh floats."""
        return z.to(dtype).mul_(self.half(dtype)).add_(self.inputs / 2)

    def back(self, grad: Tensor, signs: SignWords, images: int) -> Tensor:
        """dL/ds of a chunk from dL/d(its agreements), as rows; its part of dL/dW is noted.

        Args:
            grad: (pixels', out).
            signs: the chunk's inputs.
            images: how many there are in all chunks.
        """
        store, columns = self.layer.store, slice(0, grad.shape[1])
        half, scale = grad * 0.5, store.scale()
        if self.gradient is None:
            self.gradient = WeightGradient(store, self.geometry, images)
        self.gradient.add(half, columns, signs)
        if scale is not None:
            half = half * scale.detach()
        return sign_gradients(half, columns, store, self.words(), signs, self.geometry)

    def hand_over(self) -> Tensor | None:
        """Give the store its gradient; returns the anchor's, if it has one."""
        gradient, self.gradient, self.weights = self.gradient, None, None
        return None if gradient is None else gradient.hand_over()


class FusedPreactivation:
    """One unit, its modules by reference."""

    def __init__(
        self,
        sign: SignActivation,
        norms: tuple[BatchNorm, BatchNorm],
        layers: tuple[BinaryLayer, BinaryLayer],
        shortcut: BinaryLayer | None,
    ) -> None:
        self.sign, self.norms = sign, norms
        self.first, self.second = map(Product, layers)
        self.shortcut = None if shortcut is None else Product(shortcut)

    @property
    def products(self) -> list[Product]:
        """Its two or three, in the order of `tensors`."""
        return [self.first, self.second, *([self.shortcut] if self.shortcut else [])]

    def tensors(self) -> list[Tensor | None]:
        """Everything that may take a gradient, in the order in which `backward` returns them."""
        norms = [tensor for norm in self.norms for tensor in (norm.weight, norm.bias)]
        return [*norms, *(product.layer.store.anchor() for product in self.products)]

    def fits(self, x: Tensor) -> bool:
        """Whether kernels take this unit."""
        return all(
            product.inputs <= INT16_LIMIT
            and product.geometry.taps <= kernels.MOST_TAPS
            and kernels.fuses(x, product.layer.kernels)
            for product in self.products
        )

    @property
    def packed(self) -> bool:
        """Whether every layer keeps bits alone."""
        return all(isinstance(product.layer.store, PackedWeight) for product in self.products)

    # ---- forward

    def chunks(self, x: Pixels) -> list[slice]:
        """The images in the chunks that are worked on at a time; all at once where the weights outweigh them."""
        weights = max(product.layer.store.shape.numel() for product in self.products)
        elements = max(x.high * x.wide * x.rows.shape[1], 1)
        if weights > x.images * elements:
            return [slice(0, x.images)]
        count = max(1, max(part_size(CHUNK_ELEMENTS, x.rows.device), 2 * weights) // elements)
        return [slice(start, min(start + count, x.images)) for start in range(0, x.images, count)]

    def forward(self, x: Pixels) -> tuple[Pixels, "Kept"]:
        """y, and what backward needs beside x."""
        dtype = x.rows.dtype
        chunks = self.chunks(x)
        known1 = self._statistics_of(x, chunks)
        line1 = _line(self.norms[0], known1)
        words1 = _empty_words(x)
        for images in chunks:
            _put_words(words1, images, _words_of(x.part(images).rows, *line1))
        z = self.first.integers(words1)
        known2 = self._statistics(z.rows, dtype)
        line2 = _line(self.norms[1], known2)
        words2 = _empty_words(z)
        for images in chunks:
            _put_words(words2, images, _words_of(self.first.agreements(z.part(images).rows, dtype), *line2))
        y = z.of_rows(x.rows.new_empty(z.rows.shape))
        del z
        for images in chunks:
            part = self.second.agreements(self.second.integers(_some(words2, images)).rows, dtype)
            if self.shortcut is not None:
                more = self.shortcut.integers(_some(words1, images)).rows
                part += self.shortcut.agreements(more, dtype)
            else:
                part += x.part(images).rows
            y.part(images).rows.copy_(part)
        for product in self.products:
            product.weights = None
        return y, Kept((words1, words2), (known1, known2))

    def _statistics_of(self, x: Pixels, chunks: list[slice]) -> Statistics:
        """Of the first norm's input. Behind the first unit that holds whole numbers, whose sums float64 has exactly, as
        torch's own batch norm has: where a channel's mean is one of its values, the sign is decided by rounding."""
        norm, count = self.norms[0], len(x.rows)
        if not norm.training:
            return norm_statistics(norm, (), x.rows.dtype)
        total = squares = torch.zeros(x.rows.shape[1], dtype=torch.float64, device=x.rows.device)
        for images in chunks:
            part = x.part(images).rows.to(torch.float64, copy=True)
            total = total + part.sum(dim=0)
            squares = squares + part.square_().sum(dim=0)
            del part
        return moved_statistics(norm, total / count, squares - total * total / count, count, x.rows.dtype)

    def _statistics(self, z: Tensor, dtype: torch.dtype) -> Statistics:
        """Of the second norm's input, from exact sums of integers."""
        norm = self.norms[1]
        if not norm.training:
            return norm_statistics(norm, (), dtype)
        total, squares = unit_passes.moments(z)
        half, count = self.first.half(torch.float64), len(z)
        mean = total / count * half + self.first.inputs / 2
        return moved_statistics(norm, mean, (squares - total * total / count) * half * half, count, dtype)

    # ---- backward

    def backward(
        self, grad: Pixels, x: Pixels, kept: "Kept", wants_input: bool
    ) -> tuple[Pixels | None, list[Tensor | None]]:
        """dL/dx and the gradients of `tensors`, from dL/dy; packed stores have taken theirs on return."""
        dtype, chunks = x.rows.dtype, self.chunks(x)
        words1, words2 = kept.words
        second = _Norm(self.norms[1], kept.known[1])
        grad2 = grad.rows.new_empty(grad.rows.shape)
        for images in chunks:
            signs = _some(words2, images)
            part = self.second.back(grad.part(images).rows, signs, x.images)
            inner = self.first.agreements(self.first.integers(_some(words1, images)).rows, dtype)
            second.add(inner, part, self.sign)
            grad.of_rows(grad2).part(images).rows.copy_(part)
            del inner, part
        anchor2 = self.second.hand_over()
        second.settle()
        first = _Norm(self.norms[0], kept.known[0])
        grad1 = x.rows.new_empty(x.rows.shape)
        for images in chunks:
            signs = _some(words1, images)
            inner = self.first.agreements(self.first.integers(signs).rows, dtype)
            part = second.through(inner, grad.of_rows(grad2).part(images).rows)
            del inner
            found = self.first.back(part, signs, x.images)
            if self.shortcut is not None:
                found += self.shortcut.back(grad.part(images).rows, signs, x.images)
            first.add(x.part(images).rows.clone(), found, self.sign)
            x.of_rows(grad1).part(images).rows.copy_(found)
            del part, found
        del grad2
        anchors = [self.first.hand_over(), anchor2]
        if self.shortcut is not None:
            anchors.append(self.shortcut.hand_over())
        first.settle()
        own = [first.gamma, first.beta, second.gamma, second.beta, *anchors]
        if not wants_input:
            return None, own
        for images in chunks:
            rows = x.of_rows(grad1).part(images).rows
            part = first.through(x.part(images).rows.clone(), rows)
            rows.copy_(part if self.shortcut is not None else part.add_(grad.part(images).rows))
        return x.of_rows(grad1), own


class Kept:
    """What backward needs of a unit beside its input."""

    def __init__(self, words: tuple[SignWords, SignWords], known: tuple[Statistics, Statistics]) -> None:
        self.words, self.known = words, known


class _Norm:
    """The way back through a sign and the batch norm before it, in two passes over rows (pixels, C)."""

    def __init__(self, norm: BatchNorm, known: Statistics) -> None:
        assert norm.weight is not None and norm.bias is not None
        self.norm, self.known = norm, known
        self.line = _line(norm, known)
        self.gamma, self.beta = torch.zeros_like(norm.weight), torch.zeros_like(norm.bias)

    def add(self, inner: Tensor, grad: Tensor, sign: SignActivation) -> None:
        """Turn dL/ds into dL/dn in its place, and add it to the sums; `inner`, the norm's input, is used up."""
        scale, offset = self.line
        grad *= surrogate_gradient(torch.addcmul(offset, inner, scale), sign.approx, sign.order)
        self.beta += grad.sum(dim=0)
        self.gamma += self._hat(inner).mul_(grad).sum(dim=0)

    def settle(self) -> None:
        """All has been added: take the sums over workers."""
        self.mean_g, self.mean_gh, self.factor = corrections(self.norm, self.known, BranchSums(self.gamma, self.beta))

    def through(self, inner: Tensor, grad: Tensor) -> Tensor:
        """dL/d(the norm's input) from dL/dn, in the place of `inner`."""
        return self._hat(inner).mul_(-self.mean_gh).add_(grad).sub_(self.mean_g).mul_(self.factor)

    def _hat(self, inner: Tensor) -> Tensor:
        return inner.sub_(self.known.mean).mul_(self.known.inverse)


def _line(norm: BatchNorm, known: Statistics) -> tuple[Tensor, Tensor]:
    """(C,) each: what a norm's input is multiplied by, and what is added then."""
    assert norm.weight is not None and norm.bias is not None
    scale = norm.weight.detach() * known.inverse
    return scale, norm.bias.detach() - known.mean * scale


def _words_of(rows: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """The words of sgn(rows·scale + offset)."""
    return unit_passes.pack_biased(torch.addcmul(offset, rows, scale), torch.zeros_like(offset))


def _empty_words(x: Pixels) -> SignWords:
    channels = x.rows.shape[1]
    words = torch.empty((len(x.rows), -(-channels // kernels.WORD)), dtype=torch.int64, device=x.rows.device)
    return SignWords(words, x.images, channels, x.high, x.wide)


def _some(signs: SignWords, images: slice) -> SignWords:
    area = signs.high * signs.wide
    rows = signs.words[images.start * area : images.stop * area]
    return SignWords(rows, images.stop - images.start, signs.channels, signs.high, signs.wide)


def _put_words(signs: SignWords, images: slice, words: Tensor) -> None:
    _some(signs, images).words.copy_(words)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, unit: FusedPreactivation, *tensors: Tensor | None) -> Tensor:
        rows = Pixels.of(x)
        y, kept = unit.forward(rows)
        ctx.save_for_backward(rows.planes(), kept.words[0].words, kept.words[1].words)
        ctx.unit, ctx.kept, ctx.by_planes = unit, kept, x.is_contiguous()
        return y.planes()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        grad, own = ctx.unit.backward(Pixels.of(grads[0]), Pixels.of(x), ctx.kept, ctx.needs_input_grad[0])
        if grad is None:
            return None, None, *own
        # As x lay: what comes before a first unit works plane by plane.
        return grad.planes().contiguous() if ctx.by_planes else grad.planes(), None, *own


def run_preactivation(x: Tensor, unit: FusedPreactivation) -> Tensor:
    """The unit, (N, C, H, W) -> (N, C', H', W'), channels last; x, the signs' bits and a few numbers are kept."""
    y: Tensor = _Fused.apply(x, unit, *unit.tensors())
    return y
