"""The passes of a residual unit over pixels, on a GPU, in Triton: `trainers.binary.kernels.cpu_unit` says what they do.

Every function here stands for the one of its name in `trainers.binary.kernels.unit_passes`, on tensors of one device;
none makes the host wait. Tensors are rows of pixels, channels side by side, so that neighbouring threads read
neighbouring numbers. A program takes a tile of pixels and channels; where it sums over pixels it walks along `ROWS` of
them, in x's own type within a tile and in float64 from tile to tile, and leaves one entry a channel: sums do not depend
on the order in which programs end. Multiplications and additions are not fused, so that a sign that the CPU finds is
found here. What is a copy or three additions is left to torch.

Without a GPU the kernels run through Triton's interpreter (`TRITON_INTERPRET=1`), which is how they are tested.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from trainers.binary.kernels import SignWords, gpu

PIXELS, CHANNELS = 32, 64
"""Of one tile: 16 numbers for each of 128 threads."""
ROWS = 1024  # pixels whose sums are one entry

_KINDS = {"STE": 0, "ApproxSign": 1, "ReSTE": 2}
_STE, _APPROX_SIGN = tl.constexpr(0), tl.constexpr(1)
_UNFUSED = {"enable_fp_fusion": False}


@triton.jit
def _unpack(words, signs, pixels, channels, halves, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Half a word of some pixels as -1 and +1."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    half, lane = tl.program_id(1), tl.arange(0, 32)
    channel, row = half * 32 + lane, pixel.to(tl.int64)
    word = tl.load(words + row * halves + half, mask=pixel < pixels, other=0)
    sign = ((word[:, None] >> lane[None, :]) & 1) * 2 - 1
    at = signs + row[:, None] * channels + channel[None, :]
    tl.store(at, sign.to(signs.dtype.element_ty), mask=(pixel < pixels)[:, None] & (channel < channels)[None, :])


@triton.jit
def _moments(z, sums, pixels, outputs, LENGTH: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sums of z and z² of LENGTH pixels: sums (entries, 2, O) in int64."""
    entry, out = tl.program_id(0), tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    total, squares = tl.zeros((BLOCK_O,), tl.int64), tl.zeros((BLOCK_O,), tl.int64)
    for start in range(0, LENGTH, BLOCK_P):
        pixel = entry * LENGTH + start + tl.arange(0, BLOCK_P)
        at = z + pixel.to(tl.int64)[:, None] * outputs + out[None, :]
        value = tl.load(at, mask=(pixel < pixels)[:, None] & (out < outputs)[None, :], other=0).to(tl.int64)
        total += tl.sum(value, axis=0)
        squares += tl.sum(value * value, axis=0)
    at = sums + entry.to(tl.int64) * 2 * outputs + out
    tl.store(at, total, mask=out < outputs)
    tl.store(at + outputs, squares, mask=out < outputs)


@triton.jit
def _before_prelu(z, r, numbers, at, source, out, outputs, kept):  # type: ignore[no-untyped-def]
    """hat, v and the slope of a tile; z and r lie at `at` and `source`, numbers (7, O)."""
    own = out < outputs
    scale = tl.load(numbers + out, mask=own, other=0.0)[None, :]
    mean = tl.load(numbers + outputs + out, mask=own, other=0.0)[None, :]
    inverse = tl.load(numbers + 2 * outputs + out, mask=own, other=0.0)[None, :]
    gamma = tl.load(numbers + 3 * outputs + out, mask=own, other=0.0)[None, :]
    offset = tl.load(numbers + 4 * outputs + out, mask=own, other=0.0)[None, :]
    slope = tl.load(numbers + 5 * outputs + out, mask=own, other=0.0)[None, :]
    product = tl.load(z + at, mask=kept, other=0).to(scale.dtype)
    hat = (product * scale - mean) * inverse
    v = hat * gamma + tl.load(r + source, mask=kept, other=0.0) + offset
    return hat, v, slope


@triton.jit
def _output(z, r, numbers, y, pixels, channels, outputs, BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr):  # type: ignore[no-untyped-def]
    """y of a tile."""
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    out = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    row = pixel.to(tl.int64)[:, None]
    kept = (pixel < pixels)[:, None] & (out < outputs)[None, :]
    at, source = row * outputs + out[None, :], row * channels + (out % channels)[None, :]
    _, v, slope = _before_prelu(z, r, numbers, at, source, out, outputs, kept)
    bias = tl.load(numbers + 6 * outputs + out, mask=out < outputs, other=0.0)[None, :]
    tl.store(y + at, tl.where(v > 0, v, v * slope) + bias, mask=kept)


@triton.jit
def _backward_sums(  # type: ignore[no-untyped-def]
    z, r, numbers, grad, sums, pixels, channels, outputs,
    LENGTH: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr,
):  # fmt: skip
    """Sums over LENGTH pixels of g·hat, g, min(v, 0)·dL/dy and dL/dy: sums (entries, 4, O)."""
    entry, out = tl.program_id(0), tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    gammas, betas = tl.zeros((BLOCK_O,), tl.float64), tl.zeros((BLOCK_O,), tl.float64)
    slopes, biases = tl.zeros((BLOCK_O,), tl.float64), tl.zeros((BLOCK_O,), tl.float64)
    for start in range(0, LENGTH, BLOCK_P):
        pixel = entry * LENGTH + start + tl.arange(0, BLOCK_P)
        row = pixel.to(tl.int64)[:, None]
        kept = (pixel < pixels)[:, None] & (out < outputs)[None, :]
        at, source = row * outputs + out[None, :], row * channels + (out % channels)[None, :]
        hat, v, slope = _before_prelu(z, r, numbers, at, source, out, outputs, kept)
        above = tl.load(grad + at, mask=kept, other=0.0)  # 0 beyond the last pixel, so that nothing is added there
        g = tl.where(v > 0, above, above * slope)
        gammas += tl.sum(g * hat, axis=0).to(tl.float64)
        betas += tl.sum(g, axis=0).to(tl.float64)
        slopes += tl.sum(tl.where(v > 0, 0.0, v * above), axis=0).to(tl.float64)
        biases += tl.sum(above, axis=0).to(tl.float64)
    at = sums + entry.to(tl.int64) * 4 * outputs + out
    tl.store(at, gammas, mask=out < outputs)
    tl.store(at + outputs, betas, mask=out < outputs)
    tl.store(at + 2 * outputs, slopes, mask=out < outputs)
    tl.store(at + 3 * outputs, biases, mask=out < outputs)


@triton.jit
def _backward_products(  # type: ignore[no-untyped-def]
    z, r, numbers, grad, means, grad_z, grad_r, pixels, channels, outputs,
    BRANCHES: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dL/dz of all branches and dL/dr of a tile of r's channels."""
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row, own = pixel.to(tl.int64)[:, None], channel < channels
    kept = (pixel < pixels)[:, None] & own[None, :]
    source = row * channels + channel[None, :]
    total = tl.zeros((BLOCK_P, BLOCK_C), grad_r.dtype.element_ty)
    for branch in tl.static_range(BRANCHES):
        out = branch * channels + channel
        at = row * outputs + out[None, :]
        hat, v, slope = _before_prelu(z, r, numbers, at, source, tl.where(own, out, outputs), outputs, kept)
        above = tl.load(grad + at, mask=kept, other=0.0)
        g = tl.where(v > 0, above, above * slope)
        mean_g = tl.load(means + out, mask=own, other=0.0)[None, :]
        mean_gh = tl.load(means + outputs + out, mask=own, other=0.0)[None, :]
        factor = tl.load(means + 2 * outputs + out, mask=own, other=0.0)[None, :]
        tl.store(grad_z + at, (g - mean_g - hat * mean_gh) * factor, mask=kept)
        total += g
    tl.store(grad_r + source, total, mask=kept)


@triton.jit
def _backward_signs(  # type: ignore[no-untyped-def]
    x, bias, grad_s, grad_x, sums, order, pixels, channels,
    KIND: tl.constexpr, LENGTH: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Add dL/ds·surrogate(x + bias) of LENGTH pixels to dL/dx; sums (entries, C) of what is added."""
    entry, channel = tl.program_id(0), tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    own = channel < channels
    added = tl.load(bias + channel, mask=own, other=0.0)[None, :]
    total = tl.zeros((BLOCK_C,), tl.float64)
    for start in range(0, LENGTH, BLOCK_P):
        pixel = entry * LENGTH + start + tl.arange(0, BLOCK_P)
        kept = (pixel < pixels)[:, None] & own[None, :]
        at = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
        size = tl.abs(tl.load(x + at, mask=kept, other=0.0) + added)
        above = tl.load(grad_s + at, mask=kept, other=0.0)
        if KIND == _STE:
            g = tl.where(size <= 1, above, 0.0)
        elif KIND == _APPROX_SIGN:
            g = tl.where(size < 1, above * (2 - 2 * size), 0.0)
        else:
            power = tl.exp(tl.log(tl.maximum(size, 0.1)) * (1 / order - 1)) * (1 / order)
            g = tl.where(size <= 1.5, above * power.to(above.dtype), 0.0)
        tl.store(grad_x + at, tl.load(grad_x + at, mask=kept, other=0.0) + g, mask=kept)
        total += tl.sum(g, axis=0).to(tl.float64)
    tl.store(sums + entry.to(tl.int64) * channels + channel, total, mask=own)


def pack_biased(x: Tensor, bias: Tensor) -> Tensor:
    return gpu.pack_rows(x, bias)


def shift(signs: SignWords, distance: int) -> SignWords:
    if distance == 0:
        return signs
    device = signs.words.device
    quarters = torch.arange(signs.channels, device=device) // (signs.channels // 4)
    masks = gpu.pack_rows(
        torch.where(quarters == torch.arange(4, device=device).unsqueeze(1), 0.0, -1.0),
        torch.zeros(signs.channels, device=device),
    )
    planes = signs.words.view(signs.images, signs.high, signs.wide, -1)
    shifted = torch.zeros_like(planes)
    for mask, (distance_of, axis) in zip(masks, _moves(distance), strict=True):
        shifted |= planes.roll(distance_of, dims=axis) & mask
    return SignWords(shifted.view_as(signs.words), signs.images, signs.channels, signs.high, signs.wide)


def unpack(signs: SignWords, dtype: torch.dtype) -> Tensor:
    pixels, halves, block = len(signs.words), 2 * signs.words.shape[1], 2 * PIXELS
    floats = torch.empty((pixels, signs.channels), dtype=dtype, device=signs.words.device)
    _unpack[triton.cdiv(pixels, block), halves](
        signs.words.view(torch.int32), floats, pixels, signs.channels, halves, BLOCK=block
    )
    return floats


def moments(z: Tensor) -> tuple[Tensor, Tensor]:
    pixels, outputs = z.shape
    sums = torch.empty((triton.cdiv(pixels, ROWS), 2, outputs), dtype=torch.int64, device=z.device)
    _moments[len(sums), triton.cdiv(outputs, CHANNELS)](
        z, sums, pixels, outputs, LENGTH=ROWS, BLOCK_P=PIXELS, BLOCK_O=_wide(outputs)
    )
    total, squares = sums.sum(dim=0).double()
    return total, squares


def shortcut(x: Tensor, image: tuple[int, int, int, int]) -> Tensor:
    a, b, c, d = _corners(x, image)
    return ((a + b) + (c + d)).mul_(0.25).view(-1, x.shape[1])


def output(z: Tensor, r: Tensor, numbers: Tensor, y: Tensor | None = None) -> Tensor:
    if y is None:
        y = r.new_empty(z.shape)
    (pixels, outputs), channels = z.shape, r.shape[1]
    _output[_tiles(pixels, outputs)](
        z, r, numbers, y, pixels, channels, outputs, BLOCK_P=PIXELS, BLOCK_O=_wide(outputs), **_UNFUSED
    )
    return y


def backward_sums(z: Tensor, r: Tensor, numbers: Tensor, grad: Tensor) -> Tensor:
    (pixels, outputs), channels = z.shape, r.shape[1]
    sums = torch.empty((triton.cdiv(pixels, ROWS), 4, outputs), dtype=torch.float64, device=z.device)
    _backward_sums[len(sums), triton.cdiv(outputs, CHANNELS)](
        z, r, numbers, grad, sums, pixels, channels, outputs, LENGTH=ROWS, BLOCK_P=PIXELS, BLOCK_O=_wide(outputs),
        **_UNFUSED,
    )  # fmt: skip
    return sums.sum(dim=0)


def backward_products(
    z: Tensor, r: Tensor, numbers: Tensor, grad: Tensor, means: Tensor, grad_z: Tensor, grad_r: Tensor
) -> None:
    (pixels, outputs), channels = z.shape, r.shape[1]
    _backward_products[_tiles(pixels, channels)](
        z, r, numbers, grad, means, grad_z, grad_r, pixels, channels, outputs, BRANCHES=outputs // channels,
        BLOCK_P=PIXELS, BLOCK_C=_wide(channels), **_UNFUSED,
    )  # fmt: skip


def unpool(grad_r: Tensor, image: tuple[int, int, int, int], grad_x: Tensor) -> None:
    quarter = grad_r * 0.25
    for corner in _corners(grad_x, image):
        corner.copy_(quarter.view_as(corner))


def backward_signs(x: Tensor, bias: Tensor, grad_s: Tensor, approx: str, order: float, grad_x: Tensor) -> Tensor:
    pixels, channels = x.shape
    sums = torch.empty((triton.cdiv(pixels, ROWS), channels), dtype=torch.float64, device=x.device)
    _backward_signs[len(sums), triton.cdiv(channels, CHANNELS)](
        x, bias, grad_s, grad_x, sums, float(order), pixels, channels, KIND=_KINDS[approx], LENGTH=ROWS,
        BLOCK_P=PIXELS, BLOCK_C=_wide(channels), **_UNFUSED,
    )  # fmt: skip
    return sums.sum(dim=0).to(x.dtype)


def add_shifted(grad: Tensor, image: tuple[int, int], distance: int, total: Tensor | None) -> Tensor:
    if total is None:
        total = torch.zeros_like(grad)
    shape = (-1, *image, 4, grad.shape[1] // 4)
    for quarter, (distance_of, axis) in enumerate(_moves(distance)):
        total.view(shape)[:, :, :, quarter] += grad.view(shape)[:, :, :, quarter].roll(-distance_of, dims=axis)
    return total


def _moves(distance: int) -> list[tuple[int, int]]:
    """By how much each quarter of the channels is rolled, along which axis of (N, H, W, ...): see `branch.shift`."""
    return [(distance, 1), (-distance, 1), (distance, 2), (-distance, 2)]


def _corners(x: Tensor, image: tuple[int, int, int, int]) -> list[Tensor]:
    """The pixels (N, H/2, W/2, C) of each corner of the 2x2 squares of x (pixels, C), as views."""
    _, _, high, wide = image
    squares = x.view(-1, high, 2, wide, 2, x.shape[1])
    return [squares[:, :, y, :, x] for y in range(2) for x in range(2)]


def _wide(channels: int) -> int:
    """Channels of a tile."""
    return min(CHANNELS, triton.next_power_of_2(channels))


def _tiles(pixels: int, channels: int) -> tuple[int, int]:
    return triton.cdiv(pixels, PIXELS), triton.cdiv(channels, CHANNELS)
