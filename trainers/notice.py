"""A machine that is about to be taken away: a run that trains there finishes its step, saves and ends, and moves.

Clouds and schedulers announce it by SIGTERM and kill some seconds later. In a process of Ray's the main thread answers
the signal by ending the process, while the run trains on another thread. So the end of the process waits here until the
run has saved (`heeded`); the run looks after each step whether it should (`given`). Where the notice is too short for a
step, the last whole checkpoint is what it was: nothing else is lost.
"""

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

SECONDS = 110.0
"""The longest that a process waits for its runs to save; clouds give 25 to 120 seconds."""

_given = threading.Event()
_at_work = 0
_changed = threading.Condition()


def given() -> bool:
    """Whether this process is ending, so that a run in it is to save and end."""
    return _given.is_set()


@contextmanager
def heeded() -> Iterator[None]:
    """While the context is open, the end of this process waits for it, and says so by `given`."""
    global _at_work
    _listen()
    with _changed:
        _at_work += 1
    try:
        yield
    finally:
        with _changed:
            _at_work -= 1
            _changed.notify_all()


@cache
def _listen() -> None:
    atexit.register(_wait)


def _wait() -> None:
    with _changed:
        if _at_work:
            _given.set()
            _changed.wait_for(lambda: not _at_work, timeout=SECONDS)
