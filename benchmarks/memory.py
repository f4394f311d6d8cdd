"""The memory ladder: what each technique of the packed training path saves in one training step, and what it costs.

    python -m benchmarks.memory [--rows adambnn-128 bcdnet-128 mlp] [--fair] [--steps 3] [--json]

One row of work (model, image size, batch) is one table. Its rungs add one technique each to conventional training:

    1  conventional          real-space Adam, everything that autograd keeps as it keeps it
    2  + 1-bit weights       BinSFO, flips fused into backward; a layer's weights and gradient still whole as floats
    3  + blocks              weights and gradients exist as floats only by blocks of output channels
    4  + packed activations  signs, masks and batch-norm inputs worked out again: from one float input for four units
                             (convolutions), from bits and 16-bit integers (the MLP)
    5  + chunks of images    ... and that chunk by chunk; the MLP has no such chunks, so rung 5 repeats its rung 4
    6  conventional, lean    rung 1 with Adam's update in one pass (`fused=True`), which needs no copy of a tensor; its
                             sums are rounded differently, so it is a yardstick here and no setting of a run

With --fair, every algorithm stands there twice instead, with stock and with packed activations, all else as shipped.

How it is measured. Each rung runs in a new process: a warm-up step, --steps timed steps (the median counts), and only
then one step under `trainers.memory.measure`. Bytes are those of the moment at which the step holds most, everything
alive included; the columns add up to the total. Images are random and are not counted; classes are given below. Time is
the CPU time of the process where it computes on one CPU thread, so that other programs on the machine disturb it
little, and wall time otherwise.
"""

import argparse
import dataclasses
import json
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.step import make_step
from study.cli.arguments import Parser, add_option
from study.record.provenance import hardware, provenance
from trainers.binary import weights
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.memory.report import CATEGORIES
from trainers.models import packed_residual
from trainers.registry import model_named

MIB = 2**20
UNBOUNDED = 1 << 40  # more than any layer has weights, or any batch elements: one block, one chunk
TIME_LIMIT = 1.3  # a packed step may take this many times the stock step's time


@dataclass(frozen=True)
class Work:
    """One row: what is trained on which images.

    Attributes:
        title: for people.
        config: model, image size and batch size; rungs choose the rest.
        classes, channels: of the images.
        limit: the share of conventional training's peak that the packed path may have; None where none is set.
    """

    title: str
    config: TrialConfig
    classes: int
    channels: int
    limit: float | None

    def on(self, device: str, threads: int, batch_size: int | None) -> "Work":
        """The same elsewhere; no limit is set for another batch or another device."""
        batch = batch_size or self.config.batch_size
        own = batch == self.config.batch_size
        return dataclasses.replace(
            self,
            title=self.title if own else f"{self.title} (here {batch})",
            config=self.config.replace(device=device, threads=threads, batch_size=batch),
            limit=self.limit if own and device == "cpu" else None,
        )


def _config(model: str, side: int, batch: int) -> TrialConfig:
    # The ladder's figures are those of the published training: no moments of Adam beside packed weights.
    real = {"real_optimizer": "published"} if model_named(model).real_parameters else {}
    return TrialConfig("random images", model, "binary", image_size=side, batch_size=batch, **real)


WORKS = {
    "adambnn-128": Work("AdamBNN, 128x128, batch 8", _config("AdamBNN", 128, 8), 10, 3, 0.09),
    "adambnn-256": Work("AdamBNN, 256x256, batch 32", _config("AdamBNN", 256, 32), 10, 3, 0.14),
    "bcdnet-128": Work("BCDNet, 128x128, batch 8", _config("BCDNet", 128, 8), 101, 3, 0.072),
    "mlp": Work("MLP 2048x4, 64x64x1, batch 96", _config("MLP", 64, 96), 10, 1, 0.038),
}


@dataclass(frozen=True)
class Rung:
    """One line of a ladder: the settings that it changes, and whether blocks and chunks are as shipped or unbounded.

    Attributes:
        compared_with: the rung, by number, to which `change` refers.
        lean: whether Adam updates in one pass.
    """

    title: str
    changes: dict[str, str | int]
    compared_with: int
    blocks: bool = True
    chunks: bool = True
    lean: bool = False


CONVENTIONAL: dict[str, str | int] = {"algorithm": "real", "optimizer": "Adam"}
BINARY: dict[str, str | int] = {"algorithm": "binary"}
PACKED: dict[str, str | int] = {"activation_memory": "packed"}

LADDER = (
    Rung("conventional (real Adam)", CONVENTIONAL, 0),
    Rung("+ 1-bit weights, fused flips", BINARY, 0, blocks=False),
    Rung("+ blocks of output channels", BINARY, 1),
    Rung("+ packed activations", BINARY | PACKED, 2, chunks=False),
    Rung("+ chunks of images", BINARY | PACKED, 3),
    Rung("conventional, lean (real Adam, fused)", CONVENTIONAL, 0, lean=True),
)

_ALGORITHMS: dict[str, dict[str, str | int]] = {
    "real Adam": CONVENTIONAL,
    "real SGD": {"algorithm": "real", "optimizer": "SGD"},
    "bop, 32-bit momentum": {"algorithm": "bop", "bop_momentum_bits": 32},
    "bop, 16-bit momentum": {"algorithm": "bop", "bop_momentum_bits": 16},
    "frozen": {"algorithm": "frozen"},
    "binary": BINARY,
}
FAIR = (
    *(
        rung
        for index, (title, changes) in enumerate(_ALGORITHMS.items())
        for rung in (Rung(f"{title}, stock", changes, 2 * index), Rung(f"{title}, packed", changes | PACKED, 2 * index))
    ),
    Rung("real Adam, fused, stock", CONVENTIONAL, 0, lean=True),
)


@dataclass(frozen=True)
class Figures:
    """What one rung's process found: bytes by category at the peak, and the seconds of each timed step."""

    memory: dict[str, int]
    seconds_of_each: list[float]
    clock: str
    device: str

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(self.memory.values())

    @property
    def seconds(self) -> float:
        """Of a step, the median."""
        return statistics.median(self.seconds_of_each)


def measure(work: Work, rung: Rung, steps: int) -> Figures:
    """Time and measure a rung in this process, whose settings for blocks and chunks it changes for good.

    Raises:
        UserError: no step is to be timed, or the work cannot be done so.
    """
    if steps < 1:
        raise UserError(f"steps is {steps}; time at least 1")
    if not rung.blocks:
        weights.BLOCK_WEIGHTS = UNBOUNDED
    if not rung.chunks:
        packed_residual.CHUNK_ELEMENTS = UNBOUNDED
    config = TrialConfig.from_dict(work.config.to_dict() | rung.changes)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda: torch finds no GPU here; use cpu")
    step = make_step(config, work.classes, work.channels)
    if rung.lean:
        step.lean_adam()
    device = step.learner.device.type
    alone = device == "cpu" and config.threads == 1
    clock = time.process_time if alone else time.perf_counter
    step()
    times = []
    for _ in range(steps):
        started = clock()
        step()  # its loss is read as a number, so a GPU has finished when it returns
        times.append(clock() - started)
    return Figures(step.memory().by_category(), times, "CPU time" if alone else "wall time", device)


def measure_apart(work: Work, rung: Rung, steps: int) -> Figures:
    """`measure` in a process of its own; a `UserError` if that is killed."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, work, rung, steps).result()
        except BrokenProcessPool as error:
            raise UserError(
                f"the process of {work.title}: {rung.title} was killed, probably for want of memory; "
                "choose other --rows or a smaller --batch-size"
            ) from error


def records(work: Work, ladder: tuple[Rung, ...], found: list[Figures]) -> list[dict[str, Any]]:
    """One record a rung; ratio is to the first rung, change to the rung that it is compared with (None: to itself)."""
    lines = []
    for number, (rung, figures) in enumerate(zip(ladder, found, strict=True)):
        before = found[rung.compared_with]
        lines.append(
            {
                "work": work.title,
                "rung": number + 1,
                "title": rung.title,
                **dataclasses.asdict(figures),  # memory by category, seconds_of_each, clock, device
                "peak_memory_bytes": figures.total,
                "ratio": figures.total / found[0].total,
                "change": None if before is figures else figures.total / before.total - 1,
                "images_per_second": work.config.batch_size / figures.seconds,
                "seconds": figures.seconds,
                "blocks": "as shipped" if rung.blocks else "one a layer",
                "chunks": "as shipped" if rung.chunks else "one a batch",
                "config": work.config.to_dict() | rung.changes,
            }
        )
    return lines


def verdict(work: Work, ladder: tuple[Rung, ...], found: list[Figures]) -> dict[str, Any]:
    """The shipped packed path of `binary` against conventional memory and against stock time, and the limits."""
    shipped = [index for index, rung in enumerate(ladder) if rung.blocks and rung.chunks]
    stock = next(found[index] for index in shipped if ladder[index].changes == BINARY)
    packed = next(found[index] for index in shipped if ladder[index].changes == BINARY | PACKED)
    memory, duration = packed.total / found[0].total, packed.seconds / stock.seconds
    return {
        "work": work.title,
        "memory_ratio": memory,
        "memory_limit": work.limit,
        "memory_met": None if work.limit is None else memory <= work.limit,
        "time_ratio": duration,
        "time_limit": TIME_LIMIT,
        "time_met": duration <= TIME_LIMIT,
    }


def markdown(work: Work, ladder: tuple[Rung, ...], found: list[Figures]) -> str:
    """The table of a row, in MiB, and the verdict."""
    names = [name.removesuffix("_and_buffers").replace("_", " ") for name in CATEGORIES]
    heads = [f"{work.title} (MiB)", *names, "total", "ratio", "change", f"images/s ({found[0].clock})"]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for line in records(work, ladder, found):
        cells = [
            line["title"],
            *(f"{line['memory'][name] / MIB:.1f}" for name in CATEGORIES),
            f"{line['peak_memory_bytes'] / MIB:.1f}",
            f"{line['ratio']:.3f}",
            "" if line["change"] is None else f"{100 * line['change']:+.0f} %",
            f"{line['images_per_second']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    says = verdict(work, ladder, found)
    met = {True: "met", False: "NOT met"}
    memory = "no limit is set" if work.limit is None else f"at most {work.limit:g}: {met[says['memory_met']]}"
    duration = f"at most {TIME_LIMIT}: {met[says['time_met']]}"
    lines += [
        "",
        f"- memory, binary packed to conventional: {says['memory_ratio']:.3f} ({memory})",
        f"- time, binary packed to binary stock: {says['time_ratio']:.2f} ({duration})",
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit status."""
    parser = Parser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_option(parser, "rows", nargs="+", default=list(WORKS), metavar="ROW", help=f"of {', '.join(WORKS)}")
    add_option(parser, "fair", action="store_true", help="every algorithm with stock and with packed activations")
    add_option(parser, "steps", type=int, default=3, metavar="N", help="steps timed, after a warm-up (default: 3)")
    add_option(parser, "json", action="store_true", help="JSON lines instead of Markdown")
    add_option(parser, "threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    add_option(parser, "device", default="cpu", metavar="TEXT", help="cpu or cuda (default: cpu)")
    add_option(parser, "batch_size", type=int, metavar="N", help="of every row (default: the row's own)")
    try:
        options = parser.parse_args(arguments)
        if unknown := [name for name in options.rows if name not in WORKS]:
            raise UserError(f"row {', '.join(unknown)} is unknown; use some of {', '.join(WORKS)}")
        works = [WORKS[name].on(options.device, options.threads, options.batch_size) for name in options.rows]
        ladder = FAIR if options.fair else LADDER
        if not options.json:
            print(f"{hardware()}; threads used: {options.threads}; device: {options.device}\n")
        for work in works:
            found = []
            for rung in ladder:
                print(f"measuring {work.title}: {rung.title}", file=sys.stderr)
                found.append(measure_apart(work, rung, options.steps))
            if options.json:
                for line in [*records(work, ladder, found), verdict(work, ladder, found)]:
                    print(json.dumps(line | {"threads": options.threads} | provenance()), flush=True)
            else:
                print(markdown(work, ladder, found), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
