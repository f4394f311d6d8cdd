"""Time of work on a device: by events on a GPU, by the clock on a CPU; the median of several runs after warm-up."""

import statistics
import time
from collections.abc import Callable

import torch

RUNS, WARM_UP = 15, 3


def milliseconds(work: Callable[[], object], device: torch.device, runs: int = RUNS) -> float:
    """Median of `runs` calls. On a GPU each is timed between two events, so that the host's waits do not count."""
    if device.type != "cuda":
        work()
        times = []
        for _ in range(2):
            started = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - started))
        return statistics.median(times)
    for _ in range(WARM_UP):
        work()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(runs)]
    for begin, end in marks:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.median(begin.elapsed_time(end) for begin, end in marks)
