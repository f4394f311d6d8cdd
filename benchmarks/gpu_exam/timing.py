"""Time of work on a GPU, by its own events: the median of several runs after warm-up."""

import statistics
import time
from collections.abc import Callable

import torch

RUNS, WARM_UP = 15, 3


def milliseconds(work: Callable[[], object], device: torch.device, runs: int = RUNS) -> float:
    """Median of `runs` calls, each timed between two events, so that the host's waits do not count.

    On a CPU, where this is rehearsed in Triton's interpreter, it is the time of one call.
    """
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - started)
    for _ in range(WARM_UP):
        work()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(runs)]
    for begin, end in marks:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.median(begin.elapsed_time(end) for begin, end in marks)
