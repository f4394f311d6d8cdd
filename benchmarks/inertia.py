"""What a few bits of memory buy: accuracy, state, peak memory and time of BinSFO with counters of b = 0, 2, 4, 8 bits.

    python -m benchmarks.inertia --data-root DATA [--rules "b = 0" "b = 4" ...] [--seeds 1 2 3] [--json]
    python -m benchmarks.inertia --time [--steps 50] [--json]
    python -m benchmarks.inertia --memory [--json]

The first trains on the MNIST subset in the setting of `benchmarks.published_rules` (10,000 training and 2,000 test
images, MLP hid_dim 512 depth 3, batch 96, 10 epochs, all of train trained on) and opens the test set once, after the
last epoch. Each rule has the settings that the study in results/inertia chose for it on validation; the comparison
under the protocol is there.

--time takes the time of a step of the same MLP for b = 0, 2, 4 and 8, in turns within one process on one thread: the
ratio to b = 0 is the median of the ratios within a turn, of the process's CPU time.

--memory measures one step of AdamBNN at 128x128, batch 8, packed activations, with and without counters, and of
conventional training (real Adam, stock activations), each in a process of its own as `benchmarks.memory` does.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.memory import BINARY, CONVENTIONAL, PACKED, WORKS, Rung, measure_apart
from benchmarks.published_rules import Case, configuration
from benchmarks.step import make_step
from study.cli.arguments import Parser, add_option
from study.record.provenance import provenance
from trainers.errors import UserError
from trainers.host import run_local

MIB = 2**20


def _counted(bits: int, temperature: float) -> dict[str, Any]:
    relative = {"scheduler_type": "relative", "temperature": temperature, "anneal": "cosine"}
    return {"algorithm": "binary", "inertia_bits": bits, **relative}


# What the search of results/inertia/mnist.yaml chose on validation, to two or three digits.
RULES: dict[str, dict[str, Any]] = {
    "b = 0": _counted(0, 0.2),
    "b = 2": _counted(2, 1.25),
    "b = 4": _counted(4, 2.7),
    "b = 8": _counted(8, 7.2),
    "Bop, 32 bits": {"algorithm": "bop", "lr": 2.4e-3, "bop_threshold": 7.9e-7},
    "Bop, 16 bits": {"algorithm": "bop", "lr": 1.2e-3, "bop_threshold": 1.1e-7, "bop_momentum_bits": 16},
    "Adam": {"algorithm": "real", "optimizer": "Adam", "lr": 7.4e-4},
}
COUNTERS = (0, 2, 4, 8)
LADDER = (
    Rung("conventional (real Adam)", CONVENTIONAL, 0),
    *(Rung(f"b = {bits}, packed activations", BINARY | PACKED | {"inertia_bits": bits}, 1) for bits in COUNTERS),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """One rule's runs.

    Attributes:
        accuracies: test accuracy in percent, one a seed.
        state_bits: bits that the binary layers keep a weight between steps (`trainers.memory.state`).
        peak_memory_bytes: of a training step.
    """

    accuracies: list[float]
    state_bits: float
    peak_memory_bytes: int


def trained(settings: dict[str, Any], seeds: list[int], data_root: str, prepared_root: str | None = None) -> Result:
    """Train one rule with every seed."""
    case = Case("", settings, (0.0, 0.0))
    accuracies, peak, bits = [], 0, 0.0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            final = run_local(configuration(case, seed, data_root, prepared_root), Path(folder))
        accuracies.append(100 * float(final["test_accuracy"]))
        peak, bits = int(final["peak_memory_bytes"]), float(final["state_bits_per_weight"])
    return Result(accuracies, bits, peak)


def time_ratios(steps: int, **changes: Any) -> dict[int, tuple[float, float]]:
    """By bits: the median CPU seconds of a step, and the median of its ratios to b = 0 in the same turn.

    Args:
        steps: turns that are timed, after two that are not.
        changes: to the configuration of the MLP.
    """
    if steps < 1:
        raise UserError(f"steps is {steps}; time at least 1")
    base = configuration(Case("", RULES["b = 4"], (0.0, 0.0)), 1, "none").replace(**changes)
    running = {bits: make_step(base.replace(inertia_bits=bits)) for bits in COUNTERS}
    seconds: dict[int, list[float]] = {bits: [] for bits in COUNTERS}
    for turn in range(steps + 2):
        for bits, step in running.items():
            started = time.process_time()
            step()
            if turn >= 2:
                seconds[bits].append(time.process_time() - started)
    return {
        bits: (statistics.median(own), statistics.median(a / b for a, b in zip(own, seconds[0], strict=True)))
        for bits, own in seconds.items()
    }


def memory_peaks(steps: int = 1) -> dict[str, int]:
    """The peak of a step in bytes by rung of `LADDER`."""
    return {rung.title: measure_apart(WORKS["adambnn-128"], rung, steps).total for rung in LADDER}


def _print_accuracies(options: argparse.Namespace) -> None:
    unknown = [name for name in options.rules if name not in RULES]
    if unknown:
        raise UserError(f"rule {unknown[0]!r} is unknown; use some of {', '.join(RULES)}")
    if options.data_root is None:
        raise UserError("--data-root is missing; give the folder of the MNIST subset, or --time or --memory")
    if not options.json:
        print(f"| rule | test accuracy in %, seeds {options.seeds} | mean | state, bits a weight | peak, MiB |")
        print("| --- | --- | --- | --- | --- |")
    for name in options.rules:
        found = trained(RULES[name], options.seeds, options.data_root, options.prepared_root)
        if options.json:
            print(json.dumps({"rule": name, "settings": RULES[name], **dataclasses.asdict(found), **provenance()}))
        else:
            each = ", ".join(f"{accuracy:.2f}" for accuracy in found.accuracies)
            mean, peak = statistics.mean(found.accuracies), found.peak_memory_bytes / MIB
            print(f"| {name} | {each} | {mean:.2f} | {found.state_bits:.2f} | {peak:.2f} |", flush=True)


def _print_times(options: argparse.Namespace) -> None:
    ratios = time_ratios(options.steps)
    if options.json:
        print(json.dumps({"seconds_and_ratio": ratios, "steps": options.steps, **provenance()}))
        return
    print("| counters | CPU time a step, ms | to b = 0 |\n| --- | --- | --- |")
    for bits, (seconds, ratio) in ratios.items():
        print(f"| b = {bits} | {1e3 * seconds:.2f} | {ratio:.3f} |")


def _print_memory(options: argparse.Namespace) -> None:
    peaks = memory_peaks()
    if options.json:
        print(json.dumps({"peak_memory_bytes": peaks, **provenance()}))
        return
    conventional = peaks[LADDER[0].title]
    print(f"{WORKS['adambnn-128'].title}\n\n| training | peak, MiB | to conventional |\n| --- | --- | --- |")
    for title, peak in peaks.items():
        print(f"| {title} | {peak / MIB:.2f} | {peak / conventional:.4f} |")


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit status."""
    parser = Parser(
        prog="python -m benchmarks.inertia", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_option(parser, "data_root", help="folder of the MNIST subset")
    add_option(parser, "prepared_root", help="folder of prepared data (default: beside the sources)")
    parser.add_argument("--rules", nargs="+", default=list(RULES), metavar="RULE", help=", ".join(RULES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="turns that --time takes (default: 50)")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--time", action="store_true", help="time a step instead")
    kinds.add_argument("--memory", action="store_true", help="measure AdamBNN's memory instead")
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    try:
        options = parser.parse_args(arguments)
        show = _print_times if options.time else _print_memory if options.memory else _print_accuracies
        show(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
