"""What ran out: tells the many errors of full memory and of a full disk from all others.

Memory is refused by Python, NumPy, torch's allocators, the CUDA libraries and Ray's memory monitor, each with an error
of its own; some say so in their message alone. A full disk comes as `OSError`, or, from safetensors and Ray, as text.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from trainers.errors import DiskFullError, OutOfMemoryError

_DISK_CODES = (errno.ENOSPC, errno.EDQUOT)
_DISK_WORDS = tuple(word for code in _DISK_CODES for word in (os.strerror(code), f"(os error {code})"))
_MEMORY_WORDS = (
    "can't allocate memory",  # torch's CPU allocator on Linux
    "not enough memory",  # the same on Windows and macOS
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "NCCL_ERROR_OUT_OF_MEMORY",
    "failed due to oom",  # Ray, of a worker that its memory monitor killed
    "running low on memory",
    "due to memory pressure",
)


def exhausted(error: BaseException, place: Path | None = None) -> OutOfMemoryError | DiskFullError | None:
    """What ran out, where that is what `error` comes from; else None.

    Args:
        error: with whatever caused it.
        place: where the run writes, in case the error does not name a file.
    """
    for part in _parts(error):
        if isinstance(part, (OutOfMemoryError, DiskFullError)):
            return part
        text = str(part)
        if _is_disk(part, text):
            return DiskFullError(full_disk(getattr(part, "filename", None) or place))
        if _is_memory(part, text):
            line = text.strip().splitlines()[0] if text.strip() else type(part).__name__
            return OutOfMemoryError(f"memory does not hold the run: {line}")
    return None


def full_disk(place: str | Path | None) -> str:
    """Which disk is full, in words: the mount point that holds `place`, and what is left there."""
    if place is None:
        return "a disk is full; make space and run the same command again: it goes on from what is whole"
    folder = Path(place).absolute()
    while not folder.exists():
        folder = folder.parent
    mount = folder
    while not os.path.ismount(mount):
        mount = mount.parent
    left = shutil.disk_usage(mount).free
    return (
        f"the disk at {mount} is full ({left} bytes are left; {place} could not be written); "
        "make space there and run the same command again: it goes on from what is whole"
    )


def _is_disk(error: BaseException, text: str) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK_CODES
    return any(word in text for word in _DISK_WORDS)


def _is_memory(error: BaseException, text: str) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # Ray is not imported to know its type: a run without Ray has none.
    from_ray = type(error).__module__.startswith("ray.")
    return (from_ray and type(error).__name__ == "OutOfMemoryError") or any(word in text for word in _MEMORY_WORDS)


def _parts(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and what Ray wraps in it, each once."""
    waiting, seen = [error], set()
    while waiting:
        part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        inner = [part.__cause__, getattr(part, "cause", None), getattr(part, "health_check_failure", None)]
        inner += [getattr(part, "controller_failure", None), *(getattr(part, "worker_failures", None) or {}).values()]
        waiting.extend(entry for entry in inner if isinstance(entry, BaseException))
