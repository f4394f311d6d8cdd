"""Functions compiled by numba: once a machine where a folder can keep them, again in each process where none can.

numba puts what it compiled into `NUMBA_CACHE_DIR` if that is set, else beside the source, else into the user's cache
folder; its files are written under another name first, so several processes may compile at once. Here a folder that
cannot be written, a full disk or a damaged file means compiling without a cache, never an error. Work is split over
torch's own number of threads, by threads that wait where no kernel runs; a forked child makes its own.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import torch

from trainers.sources import sources_sha256

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

inlined = numba.njit(inline="always", **_OPTIONS)
"""Makes a function a part of those `Compiled` ones that call it."""


@lru_cache(maxsize=1)
def _stamp() -> str:
    """A digest of all sources that compiled functions may come from."""
    return sources_sha256(Path(__file__).parent)


class Compiled:
    """A compiled function: called with numbers and NumPy arrays only, it runs without Python's lock."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self._alone = numba.njit(**_OPTIONS)(function)  # without a cache; compiles nothing until it is called
        try:
            self._run = numba.njit(cache=True, **_OPTIONS)(function)
            # numba compiles again when the function's own file changes; its constants and vectors stand in others.
            kept: Any = self._run
            kept._cache._cache_file._source_stamp = _stamp()
        except (RuntimeError, AttributeError):  # no folder that can be written, or a numba that keeps things otherwise
            self._run = self._alone

    def __call__(self, *arguments: Any) -> None:
        try:
            self._run(*arguments)
        except Exception:
            # Kernels themselves raise nothing: the cache's folder is full, or what it keeps is damaged.
            self._run = self._alone
            self._run(*arguments)

    def split(self, count: int, *arguments: Any, least: int = 1) -> None:
        """Call with `(start, stop, *arguments)` for parts of range(count), one a thread, none under `least` long.

        Of an argument that is a list each part gets an entry of its own.
        """
        parts = max(1, min(torch.get_num_threads(), count // least))
        ends = pairwise(count * part // parts for part in range(parts + 1))
        calls = [
            (*end, *(value[part] if isinstance(value, list) else value for value in arguments))
            for part, end in enumerate(ends)
        ]
        waiting = [_pool().submit(self, *call) for call in calls[1:]]
        self(*calls[0])
        for part_done in waiting:
            part_done.result()


_POOL: dict[str, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """As many threads as a call may need beside the calling one; they start when there is work for them."""
    if "pool" not in _POOL:
        _POOL["pool"] = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="kernels")
    return _POOL["pool"]


os.register_at_fork(after_in_child=_POOL.clear)
