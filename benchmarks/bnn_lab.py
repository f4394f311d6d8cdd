"""Products of bits here against those of bnn-lab (PyPI), which is built in C and kept in an environment of its own.

    python3 -m venv /tmp/bnn-lab && /tmp/bnn-lab/bin/pip install bnn-lab==1.0.0
    python -m benchmarks.bnn_lab --python /tmp/bnn-lab/bin/python [--batch-size 8] [--repeats 7] [--json]

bnn-lab's packed convolution multiplies floats (its bits only save room), so its product of packed matrices stands for
it: rows of words that hold each pixel's whole window already, as if laying the windows out cost nothing. Here the
windows are read from the image's own words. Both start from words, give every integer, and run on one thread; calls
alternate between the two processes and the median CPU time counts.
"""

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

import torch

from benchmarks.kernels import SHAPES, ProductOfShape, cpu_seconds
from study.cli.arguments import Parser
from study.record.provenance import hardware, provenance
from trainers.errors import UserError

_THEIRS = """
import json, sys, time
import numpy as np
from bnn.kernels import set_num_threads
from bnn.kernels.packed import binary_gemm_native_prepacked, cpu_features, kernel_name
set_num_threads(1)
print(json.dumps({"kernel": kernel_name(), "features": cpu_features()}), flush=True)
for line in sys.stdin:
    rows, outputs, bits = json.loads(line)
    draws = np.random.default_rng(1)
    words = -(-bits // 64)
    x, w = (draws.integers(0, 2**64, (n, words), dtype=np.uint64) for n in (rows, outputs))
    if bits % 64:
        for side in (x, w):
            side[:, -1] &= np.uint64(2 ** (bits % 64) - 1)
    started = time.process_time()
    product = binary_gemm_native_prepacked(x, w, bits)
    seconds = time.process_time() - started
    sums = [int(bits - 2 * np.bitwise_count(x[0] ^ w[n]).sum()) if hasattr(np, "bitwise_count") else
            bits - 2 * sum(bin(int(v)).count("1") for v in x[0] ^ w[n]) for n in (0, outputs - 1)]
    print(json.dumps([seconds, sums == [int(product[0, 0]), int(product[0, -1])]]), flush=True)
"""


class Theirs:
    """A process of bnn-lab's environment that multiplies what it is asked to.

    Attributes:
        kernel: what it says of the function it chose and of the processor.
    """

    def __init__(self, python: str) -> None:
        try:
            self._process = subprocess.Popen(
                [python, "-c", _THEIRS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise UserError(
                f"cannot start {python} ({error.strerror}); give --python of bnn-lab's environment"
            ) from error
        self.kernel = self._answer()

    def seconds(self, rows: int, outputs: int, bits: int) -> float:
        """CPU seconds of one product (rows, bits) x (bits, outputs) of random signs."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([rows, outputs, bits]) + "\n")
        self._process.stdin.flush()
        seconds, right = self._answer()
        if not right:
            raise UserError("bnn-lab's product is wrong on this machine; there is nothing to compare with")
        return float(seconds)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError("bnn-lab's process ended; its own message is above")
        return json.loads(line)


def measure(theirs: Theirs, shape: tuple[int, int, int], batch: int, repeats: int) -> dict[str, Any]:
    """One shape (kernel, channels, side): GMAC/s of both, and their ratio."""
    kernel, channels, side = shape
    ours = ProductOfShape(kernel, channels, side, batch)
    pixels, bits = batch * side**2, channels * kernel**2
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        times[0].append(cpu_seconds(ours.by_kernels))
        times[1].append(theirs.seconds(pixels, channels, bits))
    own, other = (statistics.median(found[1:]) for found in times)  # the first compile and load
    return {
        "shape": {"kernel": kernel, "channels": channels, "side": side, "batch": batch},
        "gmac_per_second": ours.macs / own / 1e9,
        "bnn_lab_gmac_per_second": ours.macs / other / 1e9,
        "ratio": other / own,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit status."""
    parser = Parser(
        prog="python -m benchmarks.bnn_lab", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--python", required=True, help="the interpreter of the environment that has bnn-lab")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        theirs = Theirs(chosen.python)
        rows = [measure(theirs, shape, chosen.batch_size, chosen.repeats) for shape in SHAPES]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if chosen.json:
        about = {**provenance(), "hardware": hardware(), "bnn_lab": theirs.kernel}
        print(json.dumps({**about, "rows": rows}, indent=2))
        return 0
    print(f"bnn-lab: {json.dumps(theirs.kernel)}")
    print("kernel  channels  side   GMAC/s  bnn-lab  ratio")
    for row in rows:
        shape = row["shape"]
        place = f"{shape['kernel']}x{shape['kernel']:<4} {shape['channels']:8d} {shape['side']:5d}"
        print(f"{place} {row['gmac_per_second']:8.0f} {row['bnn_lab_gmac_per_second']:8.0f} {row['ratio']:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
