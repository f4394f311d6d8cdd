"""Peak memory of a training step, measured: bytes alive before it plus what the allocator did during it.

CUDA: the allocator's own maximum (`torch.cuda.max_memory_allocated`). CPU: the storages that the run holds when the
step starts, plus the running sum of the allocator's events (`torch.profiler` with `profile_memory`) at its highest.
Equal steps give equal figures. Not counted: memory that no tensor allocator sees (the interpreter, libraries' own
scratch).
"""

import gc
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Outcome = TypeVar("Outcome")

# The profiler's library announces every start and stop on standard error unless told not to before its first use.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def peak_of_step(step: Callable[[], Outcome], held: Iterable[Tensor], device: torch.device) -> tuple[Outcome, int]:
    """Run `step` once; returns what it returned, and the peak of memory in bytes while it ran.

    Args:
        step: one training step, batch included, that leaves no gradient behind.
        held: every tensor that is alive when it starts: parameters, buffers, optimizer and rule state.
        device: where it runs.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        outcome = step()
        torch.cuda.synchronize(device)
        return outcome, torch.cuda.max_memory_allocated(device)
    # Python frees cycles when it happens to look for them: not during the step, so that equal steps give equal figures.
    gc.collect()
    gc.disable()
    base = storage_bytes(held)
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
            outcome = step()
    finally:
        gc.enable()
    return outcome, base + _highest_sum(trace)


def _highest_sum(trace: profile) -> int:
    """The maximum over time of the sum of allocations minus frees, in bytes."""
    assert trace.profiler is not None and trace.profiler.kineto_results is not None
    current = highest = 0
    events: Iterable[Any] = trace.profiler.kineto_results.events()
    for event in events:
        if event.name() == "[memory]":
            current += event.nbytes()  # negative for a free
            highest = max(highest, current)
    return highest
