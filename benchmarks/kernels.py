"""Products of bits against torch's float convolution, shape by shape: how fast, and whether they are exact.

    python -m benchmarks.kernels [--threads 1] [--batch-size 8] [--repeats 7] [--json]

The shapes are AdamBNN's 3x3 and 1x1 convolutions at 128 pixels. Both compute from what a training step has: torch from
float signs and float weights, the kernels from words of signs and words of weights. Calls alternate in one process and
the median counts. Time is the CPU time of the process, shared out over its threads, so that other programs on the
machine disturb it little; GMAC/s are 10^9 multiply-accumulates a second. `exact` compares every integer.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from study.cli.arguments import Parser, add_option
from study.record.provenance import hardware, provenance
from trainers.binary import kernels
from trainers.binary.bits import pack_bits
from trainers.binary.kernels import Geometry, reference
from trainers.errors import UserError

# (kernel, channels, side in pixels)
SHAPES = tuple((kernel, 64 << stage, 64 >> stage) for kernel in (3, 1) for stage in range(5))


class ProductOfShape:
    """A convolution of random signs with random signs, as torch does it and on words, both from one thing each.

    Attributes:
        geometry: its window.
        macs: multiply-accumulates that it takes.
    """

    def __init__(self, kernel: int, channels: int, side: int, batch: int) -> None:
        generator = torch.Generator().manual_seed(channels)
        self.geometry = Geometry(kernel, 1, kernel // 2)
        self.macs = batch * side**2 * channels**2 * self.geometry.taps

        def signs(*shape: int) -> torch.Tensor:
            return torch.randint(0, 2, shape, generator=generator).mul_(2).sub_(1).float()

        self._x, self._weight = signs(batch, channels, side, side), signs(channels, channels, kernel, kernel)
        self._words = reference.pack_signs(self._x)
        self._packed = kernels.pack_weights([pack_bits(self._weight > 0)], channels, self.geometry)

    def by_torch(self) -> torch.Tensor:
        """(N, out, H', W') floats."""
        return functional.conv2d(self._x, self._weight, padding=self.geometry.padding)

    def by_kernels(self) -> torch.Tensor:
        """(N·H'·W', out) integers."""
        return kernels.product(self._words, self._packed, self.geometry)


def measure(kernel: int, channels: int, side: int, batch: int, repeats: int) -> dict[str, Any]:
    """One shape: GMAC/s of both, their ratio, and whether their integers are equal."""
    shape = ProductOfShape(kernel, channels, side, batch)
    expected = shape.by_torch().permute(0, 2, 3, 1).reshape(-1, channels)
    exact = torch.equal(shape.by_kernels().to(expected.dtype), expected)
    own, theirs = alternating([shape.by_kernels, shape.by_torch], repeats)
    return {
        "shape": {"kernel": kernel, "channels": channels, "side": side, "batch": batch},
        "gmac_per_second": shape.macs / own / 1e9,
        "torch_gmac_per_second": shape.macs / theirs / 1e9,
        "ratio": theirs / own,
        "exact": exact,
    }


def alternating(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """The median seconds of each call, run in turns: CPU seconds of the process a thread."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, found in zip(calls, times, strict=True):
            found.append(cpu_seconds(call))
    return [statistics.median(found) for found in times]


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU seconds of the process that one call takes, a thread."""
    started = time.process_time()
    call()
    return (time.process_time() - started) / torch.get_num_threads()


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit status."""
    parser = Parser(
        prog="python -m benchmarks.kernels", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_option(parser, "threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    add_option(parser, "batch_size", type=int, default=8, metavar="N", help="images (default: 8)")
    add_option(parser, "repeats", type=int, default=7, metavar="N", help="calls timed of each (default: 7)")
    add_option(parser, "json", action="store_true", help="a JSON line a shape instead of Markdown")
    try:
        options = parser.parse_args(arguments)
        for name in ("threads", "batch_size", "repeats"):
            if getattr(options, name) < 1:
                raise UserError(f"{name} is {getattr(options, name)}; give at least 1")
        if kernels.compiled() is None:
            raise UserError("no kernel can be compiled here; install numba")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    if not options.json:
        print(f"{hardware()}; threads used: {options.threads}; batch {options.batch_size}\n")
        print(
            "| convolution | bits, GMAC/s | torch float32, GMAC/s | ratio | exact |\n| --- | ---: | ---: | ---: | --- |"
        )
    for kernel, channels, side in SHAPES:
        found = measure(kernel, channels, side, options.batch_size, options.repeats)
        if options.json:
            print(json.dumps(found | {"threads": options.threads} | provenance()), flush=True)
            continue
        speeds = f"{found['gmac_per_second']:.0f} | {found['torch_gmac_per_second']:.0f} | {found['ratio']:.1f}"
        exact = "yes" if found["exact"] else "NO"
        print(f"| {kernel}x{kernel}, {channels} channels, {side}x{side} | {speeds} | {exact} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
