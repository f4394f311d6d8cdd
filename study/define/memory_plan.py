"""What memory a study's runs will take, before any of them starts: by cell, and how many fit on a device side by side.

    need of a run = workers x (predicted peak of a training step + what a process takes by itself)

The peak is `trainers.memory.predict`'s, looked up where it was predicted before. Runs that cannot fit are refused; the
others are placed by their need.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from study.define.cells import Cell, StudyConfig
from trainers.config import TrialConfig
from trainers.data.catalog import lookup
from trainers.errors import UserError
from trainers.machine import control_groups
from trainers.memory.report import CATEGORIES, MemoryReport

MIB, GIB = 2**20, 2**30

# A process with torch, Ray and MLflow loaded holds 375 MiB (torch 2.13, Ray 2.60, MLflow 3.17 on Linux).
PROCESS_BYTES = 400 * MIB
# A process on a GPU holds a CUDA context there: 300 to 600 MiB by driver and card, as NVIDIA's tools show it.
CONTEXT_BYTES = 600 * MIB
# Kernels' workspaces on a GPU are not predicted, and its allocator keeps blocks that it cannot use again.
CUDA_MARGIN = 1.25

_UNITS = {"": 1, "B": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_BINARY_UNITS = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Need:
    """What one run takes.

    Attributes:
        what: whose run it is.
        peak: one worker's step, at its predicted peak, by category.
        workers: how many of it.
    """

    what: str
    peak: MemoryReport
    workers: int

    def bytes(self, on_gpu: bool = False) -> int:
        """Bytes of the whole run in main memory, or of one worker on its GPU."""
        if on_gpu:
            return round(CUDA_MARGIN * self.peak.total) + CONTEXT_BYTES
        return self.workers * (self.peak.total + PROCESS_BYTES)

    def side_by_side(self, memory: int, on_gpu: bool = False) -> int:
        """How many such runs (on a GPU: workers) fit in `memory` bytes."""
        return memory // self.bytes(on_gpu)

    def refuse_beyond(self, memory: int, place: str, on_gpu: bool = False) -> None:
        """Raise `UserError`, which says how much is lacking, unless one run fits in `memory` bytes of `place`."""
        wanted = self.bytes(on_gpu)
        if wanted > memory:
            raise UserError(
                f"{self.what}: one run is predicted to take {shown(wanted)} ({self.workers} x {shown(self.peak.total)} "
                f"at the peak of a step, the rest for the process), {shown(wanted - memory)} more than the "
                f"{shown(memory)} of {place}; lower batch_size, image_size, width or hid_dim"
            )


def need_of(config: TrialConfig, what: str, variants: Sequence[TrialConfig] = (), classes: int | None = None) -> Need:
    """The need of a run.

    Args:
        config: the run.
        what: its name, for messages.
        variants: what it may yet become; the most demanding counts.
        classes: instead of the data set's own.
    """
    own, channels, side = input_shape(config)
    classes = classes or own
    from trainers.memory.predictions import predicted_step

    reports = [predicted_step(variant, classes, channels, side) for variant in variants or [config]]
    return Need(what, max(reports, key=lambda report: report.total), config.workers)


def need_of_cell(cell: Cell, classes: int | None = None) -> Need:
    """The need of any trial of a cell: that of the most demanding configuration that its search may choose."""
    return need_of(cell.base, cell.name, cell.demanding(), classes)


def needs_of_cells(cells: Sequence[Cell]) -> dict[str, Need]:
    """The need of each cell by name, in less time than one by one, and never too small.

    Cells that differ in their number of classes alone are predicted once, with the most classes among them.
    """
    classes = most_classes(cells)
    return {cell.name: need_of_cell(cell, classes[cell.name]) for cell in cells}


def most_classes(cells: Sequence[Cell]) -> dict[str, int]:
    """For each cell, by name, the most classes among the cells whose runs take the same memory but for their data: a
    network's head shows classes, and little else does, so that one of these cells may stand for all."""
    from trainers.memory.workload import what_takes_memory

    most: dict[tuple[object, ...], int] = {}
    alike = {}
    for cell in cells:
        classes, *shape = input_shape(cell.base)
        key = (*map(what_takes_memory, cell.demanding()), *shape)
        most[key] = max(classes, most.get(key, 0))
        alike[cell.name] = key
    return {name: most[key] for name, key in alike.items()}


def largest_need(needs: Sequence[Need]) -> Need:
    """The one that takes the most."""
    return max(needs, key=lambda need: need.bytes())


@lru_cache(maxsize=256)
def _shape(
    dataset: str, data_root: str, prepared_root: str | None, image_size: int | None, skip_damaged: bool
) -> tuple[int, int, int]:
    info = lookup(dataset)
    if info is not None:
        return info.num_classes, info.channels, image_size or info.image_size
    from trainers.data.loader import open_prepared

    data = open_prepared(
        dataset, data_root, prepared_root=prepared_root, image_size=image_size, skip_damaged=skip_damaged
    )
    return data.num_classes, data.channels, data.image_size


def input_shape(config: TrialConfig) -> tuple[int, int, int]:
    """`(classes, channels, image size)`: the catalog's, without any data at hand; one's own data set is opened."""
    return _shape(config.dataset, config.data_root, config.prepared_root, config.image_size, config.skip_damaged)


def plan(study: StudyConfig, device_memory: int | None = None) -> Iterator[str]:
    """The plan's lines: one a cell, as soon as it is predicted.

    Args:
        study: read from a file; needs no data but for data sets outside the catalog.
        device_memory: bytes of the device that runs are to share; this machine's where None.
    """
    names = {category: category.replace("_", " ") for category in CATEGORIES}
    names["real_parameters_and_buffers"] = "real parameters"
    width = max(len(cell.name) for cell in study.cells)
    yield "predicted peak of one training step, MiB, and the runs that fit side by side"
    titles = " ".join(f"{title:>{max(len(title), 8)}}" for title in ["total", *names.values()])
    yield f"{'cell':<{width}} {'batch':>5} {titles}  fit"
    for cell in study.cells:
        if cell.repeat > 1:  # takes what the first search takes
            continue
        need = need_of_cell(cell)
        memory, on_gpu = device_memory, on_gpu_here(cell.base)
        if memory is None:
            memory = gpu_memory() if on_gpu else machine_memory()
        values = {"total": need.peak.total, **{names[key]: value for key, value in need.peak.by_category().items()}}
        numbers = " ".join(f"{value / MIB:>{max(len(title), 8)}.1f}" for title, value in values.items())
        fit = need.side_by_side(memory, on_gpu)
        lacking = "" if fit else f" (lacks {shown(need.bytes(on_gpu) - memory)} of {shown(memory)})"
        yield f"{cell.name:<{width}} {cell.demanding()[0].batch_size:>5} {numbers} {fit:>4}{lacking}"


def on_gpu_here(config: TrialConfig) -> bool:
    """Whether a run of this configuration would compute on a GPU of this machine."""
    import torch

    return config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())


def gpu_memory() -> int:
    """Bytes of this machine's smallest GPU; 0 without one."""
    import torch

    count = torch.cuda.device_count()
    return min((torch.cuda.get_device_properties(index).total_memory for index in range(count)), default=0)


def machine_memory() -> int:
    """Bytes of main memory that this process may use: the machine's, or its control group's limit."""
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for group in control_groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                text = (group / name).read_text().strip()
            except OSError:
                continue
            if text.isdigit():
                limits.append(int(text))
    return min(limits)


def parse_bytes(text: str) -> int:
    """Bytes from text such as 16GiB, 16 GB, 500MiB or 1000000.

    >>> parse_bytes("1.5 KiB")
    1536

    Raises:
        UserError: anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    if not match or float(match[1]) == 0:
        raise UserError(f"{text!r} is not an amount of memory; give one such as 16GiB, 500MiB or 24GB")
    unit = (match[2] or "").upper()
    return int(float(match[1]) * {**_UNITS, **_BINARY_UNITS}[unit])


def shown(size: int) -> str:
    """Bytes for people.

    >>> shown(1536 * 2**20)
    '1.50 GiB'
    """
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"
