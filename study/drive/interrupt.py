"""What Ctrl-C means to a command that trains: once, finish the current step, save and say how to go on; twice, now.

Schedulers end a job by SIGTERM, and kill it some seconds later; it is answered like Ctrl-C. The first signal writes the
study's stop file, which every run looks for after each step (`trainers.stop`); so nothing of what a run has done is
lost. The second kills the processes that this one started, those of its Ray above all, and leaves at once: what was
saved before is whole, and the same command goes on from there. A process whose command has ended is only putting
itself away; a signal then hastens that (`to_the_end`).
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from study.record import display
from trainers.stop import clear_stop, request_stop

INTERRUPTED = 130
"""The exit status of a command that was interrupted: 128 and the number of SIGINT, as shells have it."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_FIRST = "\nfinishing the current step; Ctrl-C again stops now\n"
_SECOND = "\nstopped now; what was saved is whole, and the same command goes on from it\n"


def _tell(text: str) -> None:
    """To the display in use, which writes past Python's buffers: the signal may have come in the middle of them."""
    display.current().notice(text)


@contextmanager
def interruptible(stop_file: Path, tell: Callable[[str], None] = _tell) -> Iterator[None]:
    """Answer SIGINT and SIGTERM by the stop file while the context is open; an earlier command's request is removed.

    Only the main thread can answer signals: on another one the context does nothing but remove the request.
    """
    clear_stop(stop_file)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def answer(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            tell(_SECOND)
            leave_now()
        asked = True
        request_stop(stop_file)
        tell(_FIRST)

    earlier = {number: signal.signal(number, answer) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        clear_stop(stop_file)


def to_the_end(command: Callable[[], int]) -> int:
    """Run a process's whole command and return its exit status; from then on a signal ends the process at once with it.

    What Python and Ray still do as a process ends takes a second or more. An exception in the midst of that, as Ctrl-C
    raises it, has brought the process down with a segmentation fault in place of its status.
    """
    try:
        status = command()
    except KeyboardInterrupt:  # once more, while the command was saying that it had been interrupted
        status = INTERRUPTED

    def answer(number: int, frame: FrameType | None) -> None:
        leave_now(status)

    for number in SIGNALS:
        signal.signal(number, answer)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    return status


def leave_now(status: int = INTERRUPTED) -> None:
    """Kill every process that this one started, and theirs, and end this one, without any of Python's own endings."""
    import psutil

    started = psutil.Process().children(recursive=True)
    # A stopped process starts no others, so that none is missed between listing and killing.
    for process in started:
        with suppress(psutil.Error):
            process.suspend()
    for process in {*started, *psutil.Process().children(recursive=True)}:
        with suppress(psutil.Error):
            process.kill()
    os._exit(status)


@contextmanager
def own_answers() -> Iterator[None]:
    """Keep this process's answers to signals through code that puts its own in place, as Ray's start does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):  # the system's own answer would take Ray's clearing up away
                signal.signal(number, handler)
