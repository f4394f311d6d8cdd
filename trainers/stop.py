"""Asking runs to stop, across processes and machines: by a file that every run of a study looks for.

A run looks after each of its steps; looking costs microseconds. A file needs no connection that may be gone by then,
and reaches every worker that can reach the run's own folder.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from trainers.errors import StoppedError

if TYPE_CHECKING:  # a command line asks for a stop without waiting for torch
    from trainers.replicas import Replicas


def request_stop(path: Path) -> None:
    """Ask every run that looks for `path` to finish its step, save and stop."""
    path.touch()


def clear_stop(path: Path) -> None:
    """Take the request back; nothing where there is none."""
    path.unlink(missing_ok=True)


def stop_requested(path: Path | None, replicas: "Replicas | None" = None) -> bool:
    """Whether a stop is asked for; with `replicas`, the same answer on every worker, whoever sees the file first."""
    if path is None:
        return False
    seen = path.exists()
    return bool(replicas.maximum(int(seen))) if replicas is not None and replicas.size > 1 else seen


def require_no_stop(path: Path | None) -> None:
    """Refuse to begin what would be stopped at once.

    Raises:
        StoppedError: a stop is asked for.
    """
    if stop_requested(path):
        raise StoppedError("stopped as asked, before it began")
