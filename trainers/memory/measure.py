"""Peak memory of a training step by category, measured: what the run holds before it plus what the allocator did.

The profiler gives every allocation and free with its address, on CPU and CUDA alike, and, as empty records between
them, the moments at which a tensor at an address was seen to be saved or to be a gradient (`trainers.memory.watch`). It
is `torch.autograd.profiler`: `torch.profiler`, built on it, imports torch's compiler to ask for one of its settings,
which takes more memory than a small run. The total is the highest sum of it on CPU, and the allocator's own maximum
(`torch.cuda.max_memory_allocated`) on CUDA. Equal steps give equal figures. Not counted: memory that no tensor
allocator sees (the interpreter, images in NumPy arrays, libraries' scratch outside torch).
"""

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.profiler import profile, record_function

from trainers.learner import Learner
from trainers.memory.report import Ledger, MemoryReport
from trainers.memory.watch import held, watched

Outcome = TypeVar("Outcome")

# The profiler's library announces every start and stop on standard error unless told not to before its first use.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

_MARK = "binsfo-memory-"


def measured_step(step: Callable[[], Outcome], learner: Learner) -> tuple[Outcome, MemoryReport]:
    """Run `step` once; returns what it returned, and the memory at its peak.

    Args:
        step: one training step of `learner`, batch included, that leaves no gradient behind.
        learner: whose tensors are alive when it starts.
    """
    on_cuda = learner.device.type == "cuda"
    ledger = Ledger()
    for category, _, tensor in held(learner):
        storage = tensor.untyped_storage()
        if storage.device.type == learner.device.type:  # Adam counts its steps on the CPU
            ledger.hold(storage.data_ptr(), storage.nbytes(), category)
    marks: list[tuple[int, str]] = []

    def mark(tensor: Tensor, category: str) -> None:
        with record_function(f"{_MARK}{len(marks)}"):
            marks.append((tensor.untyped_storage().data_ptr(), category))

    # Python frees cycles when it happens to look for them: not during the step, so that equal steps give equal figures.
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    if on_cuda:
        torch.cuda.synchronize(learner.device)
        torch.cuda.reset_peak_memory_stats(learner.device)
    try:
        with profile(use_cpu=True, use_kineto=True, profile_memory=True) as trace, watched(learner.model, mark):
            outcome = step()
    finally:
        if collecting:
            gc.enable()
    total = None
    if on_cuda:
        torch.cuda.synchronize(learner.device)
        total = torch.cuda.max_memory_allocated(learner.device)
    for event in _events_in_order(trace):
        if event.name.startswith(_MARK):
            ledger.tag(*marks[int(event.name[len(_MARK) :])])
        elif event.tag.name == "Allocation" and (event.extra_fields.device.type == "cuda") == on_cuda:
            size = event.extra_fields.alloc_size
            if size > 0:
                ledger.allocate(event.extra_fields.ptr, size)
            else:
                ledger.free(event.extra_fields.ptr)
    return outcome, ledger.report(total)


def _events_in_order(trace: profile) -> Iterator[Any]:
    """Every event of a trace, by the time at which it started."""
    assert trace.kineto_results is not None
    events: list[Any] = []
    waiting = list(trace.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        events.append(event)
        waiting.extend(event.children)
    return iter(sorted(events, key=lambda event: event.start_time_ns))
