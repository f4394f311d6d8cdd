"""Kernels on the GPU: the CPU's flips bit for bit, products of signs against torch's convolution, the tests."""

import subprocess
import sys

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu_exam.hardware import REPOSITORY
from benchmarks.gpu_exam.parts import Record
from benchmarks.gpu_exam.timing import milliseconds
from trainers.binary.bits import pack_bits, sgn
from trainers.binary.counters import pack_counters
from trainers.binary.kernels import Geometry, gpu, gpu_flips
from trainers.binary.kernels import flips as cpu
from trainers.binary.kernels.philox import key_of

STEPS = 20
# (out, in, kernel): the largest and the smallest layers of the two published networks.
LAYERS = [(1024, 1024, 3), (512, 512, 3), (1024, 512, 1), (64, 32, 1)]
SMALL_LAYERS = [(8, 16, 3), (5, 9, 1)]
# (images, channels, side, stride): the convolutions of AdamBNN at 256 pixels, batch 96.
SHAPES = [(96, 64, 64, 1), (96, 128, 32, 1), (96, 256, 16, 1), (96, 512, 8, 1), (96, 1024, 4, 1)]
SMALL_SHAPES = [(2, 64, 6, 1), (1, 70, 5, 2)]
PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)


def flips(rehearsal: bool, record: Record) -> None:
    """Twenty steps of the same gradients on both devices: weights, counters and flips must be equal to the last bit."""
    parted = []
    for layer in SMALL_LAYERS if rehearsal else LAYERS:
        for bits in (0, 4):
            name = "{}x{}x{}x{}".format(*layer, layer[2]) + (f", {bits} bits of counter" if bits else "")
            row = _flipped(layer, bits, rehearsal)
            record(name, row)
            parted += [] if row["equal"] else [name]
    assert not parted, f"the devices flip other weights: {parted}"


def _flipped(layer: tuple[int, int, int], bits: int, rehearsal: bool) -> dict[str, object]:
    device = torch.device("cpu" if rehearsal else "cuda")
    shape = (*layer, layer[2])
    draws = torch.Generator().manual_seed(1)
    here = pack_bits(torch.rand(shape, generator=draws) < 0.5)
    counters = pack_counters(torch.zeros(shape, dtype=torch.int8), bits).clone() if bits else None
    there = here.to(device, copy=True)
    counters_there = counters.to(device, copy=True) if counters is not None else None
    key = key_of(2**61 + layer[0])
    temperature = torch.tensor(0.1, dtype=torch.float64, device=device)

    def on_device(grad: Tensor, step: int) -> Tensor:
        arguments = (grad, 0, cpu.KINDS["EWM"], temperature, key, step)
        return gpu_flips.flip_channels(there, *arguments, counters_there, bits)[0]

    flipped, equal = 0, True
    for step in range(3 if rehearsal else STEPS):
        grad = torch.randn(shape, generator=draws)
        event = cpu.Event("EWM", 0.1, key, step)
        count, _ = cpu.flip_channels(here, grad, 0, event, counters, bits)
        counts = on_device(grad.to(device), step)
        flipped += count
        equal &= count == int(counts.sum()) and torch.equal(here, there.cpu())
        if counters is not None and counters_there is not None:
            equal &= torch.equal(counters, counters_there.cpu())
    last = grad.to(device)
    return {"equal": equal, "flips": flipped, "ms a layer": milliseconds(lambda: on_device(last, STEPS), device)}


def products(rehearsal: bool, record: Record) -> None:
    """3x3 convolutions of signs: milliseconds, ratio to torch's in three precisions, exactness."""
    wrong = []
    for shape in SMALL_SHAPES if rehearsal else SHAPES:
        name = "{}x{}x{}x{}, stride {}".format(*shape[:3], *shape[2:])
        row = _product(*shape, torch.device("cpu" if rehearsal else "cuda"))
        record(name, row)
        wrong += [] if row["exact"] else [name]
    assert not wrong, f"products are not exact: {wrong}"


def _product(images: int, channels: int, side: int, stride: int, device: torch.device) -> dict[str, object]:
    draws = torch.Generator(device).manual_seed(1)
    x = torch.randn(images, channels, side, side, generator=draws, device=device)
    positive = torch.rand(channels, channels, 3, 3, generator=draws, device=device) < 0.5
    window, bits, signs, weight = Geometry(3, stride, padding=1), pack_bits(positive), sgn(x), positive.float() * 2 - 1
    z = torch.empty(images * window.side(side) ** 2, channels, dtype=torch.int16, device=device)

    def packed() -> None:
        weights = gpu.pack_weights(bits, channels, 9)
        gpu.product(gpu.pack_signs(x), (images, side, side), weights, channels, window, z, False)

    def stock(kind: torch.dtype) -> float:
        a, w = signs.to(kind), weight.to(kind)
        return milliseconds(lambda: functional.conv2d(a, w, stride=stride, padding=1), device)

    packed()
    planes = z.view(images, window.side(side), window.side(side), channels).permute(0, 3, 1, 2)
    exact = torch.equal(planes.float(), functional.conv2d(signs, weight, stride=stride, padding=1).round())
    ours = milliseconds(packed, device)
    ratios = {f"{str(kind)[6:]} / packed": stock(kind) / ours for kind in PRECISIONS}
    macs = images * window.side(side) ** 2 * channels**2 * 9
    return {"exact": exact, "packed ms": ours, **ratios, "TMAC/s": macs / ours / 1e9}


def tests(rehearsal: bool, record: Record) -> None:
    """The tests that run on the GPU where there is one; in a rehearsal they are only collected."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "cuda", "tests/trainers"]
    command += ["--collect-only"] if rehearsal else []
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    record("pytest -m cuda", (done.stdout.strip().splitlines() or ["printed nothing"])[-1])
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-2000:])
        raise SystemExit(1)
