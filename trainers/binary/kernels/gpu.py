"""Products of signs on packed bits, on a GPU, in Triton: int8 tensor cores on signs that exist in registers alone.

The words are those of `trainers.binary.kernels.cpu`: activations (pixels, words) of 64 channels each, the first in the
lowest bit; weights lie as (out, taps, words). A program takes a tile of output pixels and output channels and walks
over taps and channels: words are read, spread over a tile of -1 and +1 in int8, multiplied with int32 sums. What lies
outside an image, or fills up a last word, is 0 in the activations' tile and so adds nothing, whatever the weight;
padded with +1 it is 1.

Why not 1-bit tensor cores: Hopper has AND + popcount natively, XOR not, so that a product of signs takes
K - 2·(popcount a + popcount b) + 4·popcount(a AND b) and two further counts; Triton cannot reach them. Without a GPU
the kernels run through Triton's interpreter (`TRITON_INTERPRET=1`), which is how they are tested.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from trainers.binary.bits import pack_bits, sgn
from trainers.binary.kernels import Geometry

PIXELS, OUTPUTS, CHANNELS = 64, 64, 64
"""Of one tile of a product: 64 x 64 sums in 128 threads take 32 registers each, channels as many as one word has."""


@triton.jit
def _pack_signs(  # type: ignore[no-untyped-def]
    x, bias, words, area, channels, halves, step_image, step_channel, step_pixel,
    BIASED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """[x + bias >= 0] of 32 channels of one image at some pixels, as half a word each."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    half, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    lane = tl.arange(0, 32)
    channel = half * 32 + lane
    inside = (pixel < area)[:, None] & (channel < channels)[None, :]
    at = image * step_image + channel.to(tl.int64)[None, :] * step_channel + pixel.to(tl.int64)[:, None] * step_pixel
    value = tl.load(x + at, mask=inside, other=-1.0)
    if BIASED:
        value += tl.load(bias + channel, mask=channel < channels, other=0.0)[None, :]
    bit = ((value >= 0) & inside).to(tl.int32)
    tl.store(words + (image * area + pixel) * halves + half, tl.sum(bit << lane[None, :], axis=1), mask=pixel < area)


@triton.jit
def _pack_weights(bits, words, channels, taps, width, halves, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The bits of one output channel at one tap, which lie along (in, taps), as words along the channels."""
    out, tap = tl.program_id(0).to(tl.int64), tl.program_id(1)
    half, lane = tl.arange(0, BLOCK), tl.arange(0, 32)
    channel = half[:, None] * 32 + lane[None, :]
    index = channel * taps + tap
    byte = tl.load(bits + out * width + index // 8, mask=channel < channels, other=0).to(tl.int32)
    bit = (byte >> (index % 8)) & 1
    tl.store(words + (out * taps + tap) * halves + half, tl.sum(bit << lane[None, :], axis=1), mask=half < halves)


@triton.jit
def _product(  # type: ignore[no-untyped-def]
    a, w, z, pixels, outputs, channels, halves, high, wide, high_out, wide_out,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, ONES: tl.constexpr, ADD: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    out = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    image = pixel // (high_out * wide_out)
    top = (pixel // wide_out) % high_out * STRIDE - PADDING
    left = pixel % wide_out * STRIDE - PADDING
    lane = tl.arange(0, 32)
    sums = tl.zeros((BLOCK_P, BLOCK_O), dtype=tl.int32)
    for tap in range(KERNEL * KERNEL):
        y, x = top + tap // KERNEL, left + tap % KERNEL
        inside = (pixel < pixels) & (y >= 0) & (y < high) & (x >= 0) & (x < wide)
        source = ((image * high + y) * wide + x).to(tl.int64) * halves
        for start in range(0, halves, BLOCK_H):
            half = start + tl.arange(0, BLOCK_H)
            words = tl.load(
                a + source[:, None] + half[None, :], mask=inside[:, None] & (half < halves)[None, :], other=0
            )
            signs = ((words[:, :, None] >> lane[None, None, :]) & 1) * 2 - 1
            there = (half[:, None] * 32 + lane[None, :] < channels)[None, :, :]
            outside = (pixel < pixels)[:, None, None] & ~inside[:, None, None]
            signs = tl.where(inside[:, None, None], signs, tl.where(outside & ONES, 1, 0))
            signs = tl.where(there, signs, 0)
            weights = tl.load(
                w + (out.to(tl.int64)[:, None] * (KERNEL * KERNEL) + tap) * halves + half[None, :],
                mask=(out < outputs)[:, None] & (half < halves)[None, :],
                other=0,
            )
            weights = ((weights[:, :, None] >> lane[None, None, :]) & 1) * 2 - 1
            left_tile = tl.reshape(signs, (BLOCK_P, BLOCK_H * 32)).to(tl.int8)
            right_tile = tl.reshape(weights, (BLOCK_O, BLOCK_H * 32)).to(tl.int8)
            sums += tl.dot(left_tile, tl.trans(right_tile), out_dtype=tl.int32)
    at = z + pixel.to(tl.int64)[:, None] * outputs + out[None, :]
    kept = (pixel < pixels)[:, None] & (out < outputs)[None, :]
    if ADD:
        sums += tl.load(at, mask=kept, other=0).to(tl.int32)
    tl.store(at, sums.to(z.dtype.element_ty), mask=kept)


def pack_signs(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """The words of sgn(x + bias), (N·H·W, ceil(C/64)) int64, from floats (N, C, H, W) or (N, C) and a bias of C."""
    images, channels = x.shape[:2]
    area = x[0, 0].numel()
    return _packed(x.contiguous(), bias, (images, channels, area), (channels * area, area, 1))


def pack_rows(x: Tensor, bias: Tensor) -> Tensor:
    """The words of sgn(x + bias), (pixels, ceil(C/64)) int64, from rows of floats (pixels, C) and a bias of C."""
    pixels, channels = x.shape
    return _packed(x, bias, (1, channels, pixels), (0, 1, channels))


def _packed(x: Tensor, bias: Tensor | None, shape: tuple[int, int, int], steps: tuple[int, int, int]) -> Tensor:
    """Of images, channels and pixels that lie `steps` apart."""
    images, channels, area = shape
    words = torch.empty(images * area, -(-channels // 64), dtype=torch.int64, device=x.device)
    halves = 2 * words.shape[1]
    block = min(128, triton.next_power_of_2(area))
    _pack_signs[triton.cdiv(area, block), halves, images](
        x, x if bias is None else bias.contiguous(), words.view(torch.int32), area, channels, halves, *steps,
        BIASED=bias is not None, BLOCK=block,
    )  # fmt: skip
    return words


def pack_weights(bits: Tensor, channels: int, taps: int) -> Tensor:
    """The words of packed weights, (out, taps, ceil(channels/64)) int64, from uint8 (out, ceil(channels·taps/8))."""
    words = torch.empty(len(bits), taps, -(-channels // 64), dtype=torch.int64, device=bits.device)
    halves = 2 * words.shape[2]
    _pack_weights[len(bits), taps](
        bits, words.view(torch.int32), channels, taps, bits.shape[1], halves, BLOCK=triton.next_power_of_2(halves)
    )
    return words


def product(
    words: Tensor, image: tuple[int, int, int], weights: Tensor, channels: int, window: Geometry, z: Tensor, add: bool
) -> None:
    """op(signs, weights) into z (N·H'·W', out) of int16 or int32, or added to it.

    Args:
        words: of the activations, (N·H·W, words).
        image: N, H, W.
        weights: words (out, taps, words).
        channels: of an activation.
        window: the convolution's; 1x1 for a matrix product.
        z: takes the result.
        add: whether it is added to what z holds.
    """
    images, high, wide = image
    high_out, wide_out = window.side(high), window.side(wide)
    pixels, outputs, halves = images * high_out * wide_out, len(weights), 2 * words.shape[1]
    _product[triton.cdiv(pixels, PIXELS), triton.cdiv(outputs, OUTPUTS)](
        words.view(torch.int32), weights.view(torch.int32), z, pixels, outputs, channels, halves, high, wide,
        high_out, wide_out, KERNEL=window.kernel, STRIDE=window.stride, PADDING=window.padding, ONES=window.ones,
        ADD=add, BLOCK_P=PIXELS, BLOCK_O=OUTPUTS, BLOCK_H=CHANNELS // 32,
    )  # fmt: skip


def sign_product(x: Tensor, bits: Tensor, window: Geometry) -> Tensor:
    """op(x, w) for signs x (N, C) or (N, C, H, W) and packed weights, as floats of x's type, (N, out[, H', W']).

    Args:
        x: -1 and +1, which is not looked at.
        bits: uint8 (out, ceil(C·k²/8)), as `trainers.binary.bits` packs them.
        window: the convolution's; 1x1 for a matrix product.
    """
    images, channels = x.shape[:2]
    high, wide = x.shape[2:] if x.dim() == 4 else (1, 1)
    taps = window.kernel**2
    kind = torch.int16 if taps * channels <= torch.iinfo(torch.int16).max else torch.int32
    shape = (images, window.side(high), window.side(wide), len(bits))
    z = torch.empty(shape, dtype=kind, device=x.device)
    weights = pack_weights(bits, channels, taps)
    product(pack_signs(x.detach()), (images, high, wide), weights, channels, window, z.flatten(0, 2), False)
    if x.dim() == 2:
        return z.flatten(0, 2).to(x.dtype)
    return x.new_empty(images, len(bits), *shape[1:3]).copy_(z.permute(0, 3, 1, 2))


def exact(device: torch.device) -> bool:
    """Whether a small product comes out right on this device: channels beyond a word, several images, a border."""
    draws = torch.Generator().manual_seed(1)
    x = sgn(torch.randn(2, 70, 9, 9, generator=draws))
    positive = torch.rand(33, 70, 3, 3, generator=draws) < 0.5
    expected = functional.conv2d(x, positive.float() * 2 - 1, stride=2, padding=1).round()
    return torch.equal(
        sign_product(x.to(device), pack_bits(positive).to(device), Geometry(3, stride=2, padding=1)).cpu(), expected
    )
