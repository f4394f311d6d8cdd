"""Time, peak memory and synchronisations of a training step on the GPU, method by method."""

import contextlib
import gc
import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu_exam.parts import Record
from benchmarks.step import TrainingStep
from trainers.config import TrialConfig
from trainers.learner import InputShape
from trainers.memory.predict import predict_step

STEPS, WARM_UP = 7, 3
MIB = 2**20


@dataclass(frozen=True)
class Rung:
    """One line: settings, and how the rival runs where that is not a setting.

    Attributes:
        adam: `fused`: torch's fused Adam, which keeps no further copy; `foreach`: torch's default on CUDA.
        autocast: 16-bit activations by torch's autocast (bfloat16).
    """

    changes: dict[str, Any]
    adam: str = ""
    autocast: bool = False


ADAM = {"algorithm": "real", "optimizer": "Adam"}
PACKED = {"activation_memory": "packed"}
RUNGS = {
    "real Adam, fused": Rung(ADAM, "fused"),
    "binary, packed": Rung({"algorithm": "binary", **PACKED}),
    "binary, packed, torch's products": Rung({"algorithm": "binary", "kernels": "torch", **PACKED}),
    "real Adam, torch's default": Rung(ADAM, "foreach"),
    "real Adam, fused, bfloat16 autocast": Rung(ADAM, "fused", autocast=True),
    "binary 4 bits, packed": Rung({"algorithm": "binary", "inertia_bits": 4, **PACKED}),
    "bop 16 bits, packed": Rung({"algorithm": "bop", "bop_momentum_bits": 16, **PACKED}),
    "frozen, packed": Rung({"algorithm": "frozen", **PACKED}),
    "binary, stock": Rung({"algorithm": "binary"}),
    "real SGD": Rung({"algorithm": "real", "optimizer": "SGD"}),
}


def ladder(rehearsal: bool, record: Record) -> None:
    """AdamBNN at 256 pixels, batch 96: every rung against conventional Adam, which is the first."""
    _ladder(_config("AdamBNN", 32 if rehearsal else 256, 2 if rehearsal else 96, rehearsal), rehearsal, record, "")


def other_networks(rehearsal: bool, record: Record) -> None:
    """The other networks, the first two rungs each."""
    for model, side, batch in (("BCDNet", 256, 96), ("AdamBNN", 128, 8), ("MLP", 64, 96)):
        small = (32 if model != "MLP" else 8, 2) if rehearsal else (side, batch)
        chosen = dict(list(RUNGS.items())[:2])
        _ladder(_config(model, *small, rehearsal), rehearsal, record, f"{model} {small[0]} b{small[1]}: ", chosen)


def synchronisations(rehearsal: bool, record: Record) -> None:
    """How often a step waits for the device, by torch's own warnings (`torch.cuda.set_sync_debug_mode`)."""
    for name in ("real Adam, fused", "binary, packed", "binary 4 bits, packed", "bop 16 bits, packed"):
        rung = RUNGS[name]
        step = _step(_config("AdamBNN", 32, 2 if rehearsal else 32, rehearsal).replace(**rung.changes), rung)
        for _ in range(0 if rehearsal else WARM_UP):
            step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if not rehearsal:
                torch.cuda.set_sync_debug_mode("warn")
            step()
            if not rehearsal:
                torch.cuda.set_sync_debug_mode("default")
        places = [f"{w.filename.rpartition('/')[2]}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
        record(name, {"synchronisations a step": len(places), "where": ", ".join(sorted(set(places))[:6])})
        del step


def _config(model: str, side: int, batch: int, rehearsal: bool) -> TrialConfig:
    width = {} if model == "MLP" else {"width": 0.25 if rehearsal else 1.0}
    device = "cpu" if rehearsal else "cuda"
    return TrialConfig("random images", model, "binary", image_size=side, batch_size=batch, device=device, **width)


def _shape(config: TrialConfig) -> InputShape:
    assert config.image_size is not None
    return InputShape(101, 1 if config.model == "MLP" else 3, config.image_size)


def _ladder(base: TrialConfig, rehearsal: bool, record: Record, prefix: str, rungs: dict[str, Rung] = RUNGS) -> None:
    rival: dict[str, float] = {}
    for name, rung in rungs.items():
        config, shape = base.replace(**rung.changes), _shape(base)
        try:
            row = _measured(config, rung, rehearsal)
        except torch.OutOfMemoryError as error:
            row = {"outcome": f"out of memory: {str(error).splitlines()[0][:80]}"}
        predicted = predict_step(config, shape.num_classes, shape.channels, shape.image_size).total / MIB
        row["predicted MiB (CPU's kernels)"] = predicted
        rival = rival or row
        for figure in ("ms a step", "peak MiB"):
            if figure in row and figure in rival:
                row[f"{figure} / Adam"] = row[figure] / rival[figure]
        record(prefix + name, row)
        gc.collect()
        if not rehearsal:
            torch.cuda.empty_cache()


def _measured(config: TrialConfig, rung: Rung, rehearsal: bool) -> dict[str, Any]:
    """Median time of a step and the allocator's own peak over the timed steps; a rehearsal's one step tells no time."""
    step = _step(config, rung)
    device = step.learner.device
    with _precision(rung, device):
        for _ in range(0 if rehearsal else WARM_UP):
            step()
        times = []
        if not rehearsal:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        for _ in range(1 if rehearsal else STEPS):
            started = time.perf_counter()
            step()
            if not rehearsal:
                torch.cuda.synchronize(device)
            times.append(1e3 * (time.perf_counter() - started))
    row = {"ms a step": statistics.median(times), "images/s": 1e3 * config.batch_size / statistics.median(times)}
    row["peak MiB"] = step.memory().total / MIB if rehearsal else torch.cuda.max_memory_allocated(device) / MIB
    return row


def _step(config: TrialConfig, rung: Rung) -> TrainingStep:
    step = TrainingStep(config, _shape(config))
    optimizer = step.learner.rule.optimizer
    if rung.adam and optimizer is not None:
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = rung.adam == "fused", rung.adam == "foreach"
    return step


@contextlib.contextmanager
def _precision(rung: Rung, device: torch.device) -> Iterator[None]:
    with torch.autocast(device.type, torch.bfloat16, enabled=rung.autocast):
        yield
