"""Functions compiled by numba: once a machine where a folder can keep them, again in each process where none can.

numba puts what it compiled into `NUMBA_CACHE_DIR` if that is set, else beside the source, else into the user's cache
folder; its files are written under another name first, so several processes may compile at once. Here a folder that
cannot be written, a full disk or a damaged file means compiling without a cache, never an error. Work is split over
torch's own number of threads, by threads that wait where no kernel runs; a forked child makes its own.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import torch

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


class Compiled:
    """A compiled function: called with numbers and NumPy arrays only, it runs without Python's lock."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        try:
            self._run = numba.njit(cache=True, **_OPTIONS)(function)
        except RuntimeError:  # no folder that can be written
            self._run = numba.njit(**_OPTIONS)(function)
        self._tried = False

    def __call__(self, *arguments: Any) -> None:
        if self._tried:
            self._run(*arguments)
            return
        try:
            self._run(*arguments)
        except Exception:  # from the cache: kernels themselves raise nothing
            self._run = numba.njit(**_OPTIONS)(self.function)
            self._run(*arguments)
        self._tried = True

    def split(self, count: int, *arguments: Any, least: int = 1) -> None:
        """Call with `(start, stop, *arguments)` for parts of range(count), one a thread, none under `least` long."""
        parts = max(1, min(torch.get_num_threads(), count // least))
        if parts == 1:
            self(0, count, *arguments)
            return
        bounds = [count * part // parts for part in range(parts + 1)]
        if not self._tried:  # compile before the threads start, so that they do not wait for one another
            self(0, 0, *arguments)
        waiting = [_pool().submit(self, *ends, *arguments) for ends in zip(bounds[1:], bounds[2:], strict=False)]
        self(0, bounds[1], *arguments)
        for part in waiting:
            part.result()


_POOL: dict[str, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """As many threads as a call may need beside the calling one; they start when there is work for them."""
    if "pool" not in _POOL:
        _POOL["pool"] = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="kernels")
    return _POOL["pool"]


os.register_at_fork(after_in_child=_POOL.clear)
