"""How fast and how small training and evaluation on bits are beside conventional ones: ratios from one process.

    python -m benchmarks.figures [--rows adambnn-128 bcdnet-128 adambnn-256 mlp] [--threads 1 2] [--steps 5] [--json]

For each row of `benchmarks.memory` and each number of threads one new process trains three models by turns, a step of
each: conventional (real-space Adam, stock activations), the same with Adam's update in one pass (lean), and BinSFO with
packed activations. It evaluates by turns the same network with float and with packed weights. Ratios are of medians:

    step        packed BinSFO to conventional and to lean: less is faster
    evaluation  images a second, packed to float weights: more is faster
    peak        memory of a step, packed BinSFO to conventional and to lean, every one under `trainers.memory.measure`

Time is given twice: the process's CPU time, which other programs on the machine disturb little (of several threads it
is the sum, waiting apart), and wall time, which is right for several threads on a machine that does nothing else.
`compile` is how long the first product of a new process takes beyond the second, with compiled functions on disk.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from benchmarks.memory import BINARY, CONVENTIONAL, PACKED, WORKS, Work
from benchmarks.step import make_step
from study.cli.arguments import Parser, add_option
from study.record.provenance import hardware, provenance
from trainers.binary import kernels
from trainers.binary.bits import pack_bits
from trainers.binary.layers import set_kernels
from trainers.config import TrialConfig
from trainers.errors import UserError

NAMES = ("conventional", "lean", "packed")


def measure(work: Work, threads: int, steps: int) -> dict[str, Any]:
    """One row's figures on `threads` CPU threads, in this process."""
    torch.set_num_threads(threads)
    compiling = compile_seconds()
    config = work.config.replace(device="cpu", threads=threads)
    made = {
        name: make_step(TrialConfig.from_dict(config.to_dict() | changes), work.classes, work.channels)
        for name, changes in zip(NAMES, (CONVENTIONAL, CONVENTIONAL, BINARY | PACKED), strict=True)
    }
    made["lean"].lean_adam()
    step = by_turns(made, steps)
    set_kernels(made["conventional"].learner.model, "torch")  # which evaluates on bits otherwise
    evaluation = by_turns({name: _evaluation(made[name]) for name in ("conventional", "packed")}, steps)
    peak = {name: one.memory().total for name, one in made.items()}
    return {
        "work": work.title,
        "threads": threads,
        "step_ratio": {against: _ratio(step, "packed", against) for against in ("conventional", "lean")},
        "evaluation_ratio": _ratio(evaluation, "conventional", "packed"),
        "peak_ratio": {against: peak["packed"] / peak[against] for against in ("conventional", "lean")},
        "peak_memory_bytes": peak,
        "step_seconds": step,
        "evaluation_seconds": evaluation,
        "evaluation_images_per_second": {
            name: work.config.batch_size / times["cpu"] * threads for name, times in evaluation.items()
        },
        "compile_seconds": compiling,
    }


def by_turns(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of each call by name, `cpu` and `wall`, after one of each that is not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: {"cpu": statistics.median(one[0] for one in found), "wall": statistics.median(one[1] for one in found)}
        for name, found in times.items()
    }


def _ratio(times: dict[str, dict[str, float]], of: str, to: str) -> dict[str, float]:
    return {clock: times[of][clock] / times[to][clock] for clock in ("cpu", "wall")}


def _evaluation(step: Any) -> Callable[[], object]:
    @torch.no_grad()
    def evaluate() -> object:
        step.learner.model.eval()
        logits = step.learner.model(step.learner.inputs(step.images))
        step.learner.model.train()
        return logits

    return evaluate


def compile_seconds() -> float:
    """CPU seconds of this process's first product of bits beyond its second: what is left of compiling."""
    x, bits, geometry = torch.ones(2, 64, 4, 4), pack_bits(torch.ones(8, 64, 3, 3) > 0), kernels.Geometry(3, 1, 1)
    times = []
    for _ in range(2):
        started = time.process_time()
        if kernels.usable(x, "auto"):
            kernels.sign_product(x, bits, geometry)
        times.append(time.process_time() - started)
    return times[0] - times[1]


def measure_apart(work: Work, threads: int, steps: int) -> dict[str, Any]:
    """`measure` in a process of its own; a `UserError` if that is killed."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, work, threads, steps).result()
        except BrokenProcessPool as error:
            raise UserError(
                f"the process of {work.title} was killed, probably for want of memory; choose other --rows"
            ) from error


def line(found: dict[str, Any]) -> str:
    """A row of the table, CPU time / wall time where it is time."""

    def both(ratio: dict[str, float], digits: int = 2) -> str:
        return f"{ratio['cpu']:.{digits}f} / {ratio['wall']:.{digits}f}"

    step, peak = found["step_ratio"], found["peak_ratio"]
    cells = [
        *(found["work"], str(found["threads"]), both(step["conventional"]), both(step["lean"])),
        both(found["evaluation_ratio"], 1),
        *(f"{peak['conventional']:.3f}", f"{peak['lean']:.3f}", f"{found['compile_seconds']:.2f}"),
    ]
    return "| " + " | ".join(cells) + " |"


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit status."""
    parser = Parser(
        prog="python -m benchmarks.figures", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_option(parser, "rows", nargs="+", default=list(WORKS), metavar="ROW", help=f"of {', '.join(WORKS)}")
    add_option(parser, "threads", nargs="+", type=int, default=[1, 2], metavar="N", help="CPU threads (default: 1 2)")
    add_option(parser, "steps", type=int, default=5, metavar="N", help="steps timed of each (default: 5)")
    add_option(parser, "json", action="store_true", help="a JSON line a row instead of Markdown")
    try:
        options = parser.parse_args(arguments)
        if unknown := [name for name in options.rows if name not in WORKS]:
            raise UserError(f"row {', '.join(unknown)} is unknown; use some of {', '.join(WORKS)}")
        if min([options.steps, *options.threads]) < 1:
            raise UserError("steps and threads are counts; give at least 1")
        if not options.json:
            print(f"{hardware()}; time ratios: CPU time / wall time\n")
            print("| work | threads | step, to Adam | to lean Adam | evaluation | peak | to lean | compile, s |")
            print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for name in options.rows:
            for threads in options.threads:
                found = measure_apart(WORKS[name], threads, options.steps)
                print(json.dumps(found | provenance()) if options.json else line(found), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
