"""Asking runs to stop, across processes and machines: by a file that every run of a study looks for.

A run looks after each of its steps; looking costs microseconds. A file needs no connection that may be gone by then,
and reaches every worker that can reach the run's own folder. A machine that is taken away asks the runs on it alone
(`trainers.notice`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from trainers import notice
from trainers.errors import PreemptedError, StoppedError

if TYPE_CHECKING:  # a command line asks for a stop without waiting for torch
    from trainers.replicas import Replicas

_REASONS = {StoppedError: "stopped as asked", PreemptedError: "its machine is being taken away; stopped"}


def request_stop(path: Path) -> None:
    """Ask every run that looks for `path` to finish its step, save and stop."""
    path.touch()


def clear_stop(path: Path) -> None:
    """Take the request back; nothing where there is none."""
    path.unlink(missing_ok=True)


def stop_requested(path: Path | None) -> bool:
    """Whether a stop is asked for."""
    return path is not None and path.exists()


def asked_to_end(path: Path | None, replicas: "Replicas") -> type[StoppedError] | None:
    """What a run is to end with, now that it can save: the same answer on all of its workers, whoever is asked first.

    Args:
        path: the stop file; without one, several workers ask nobody, each other neither.
        replicas: the run's workers.
    """
    asked = 2 if stop_requested(path) else 1 if notice.given() else 0
    if replicas.size > 1:
        asked = 0 if path is None else replicas.maximum(asked)
    return (None, PreemptedError, StoppedError)[asked]


def told(why: type[StoppedError], epochs: int, steps: int | None = None) -> StoppedError:
    """What a run ends with that has saved so many epochs, and so many steps of the next."""
    more = "" if steps is None else f" and {steps} steps; both are saved"
    return why(f"{_REASONS[why]}, after {epochs} epochs{more}")


def require_no_stop(path: Path | None) -> None:
    """Refuse to begin what would be stopped at once.

    Raises:
        StoppedError: a stop is asked for.
    """
    if stop_requested(path):
        raise StoppedError("stopped as asked, before it began")
