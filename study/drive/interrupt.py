"""What Ctrl-C means to a command that trains: once, finish the current step, save and say how to go on; twice, now.

Schedulers end a job by SIGTERM, and kill it some seconds later; it is answered like Ctrl-C. The first signal writes the
study's stop file, which every run looks for after each step (`trainers.stop`); so nothing of what a run has done is
lost. The second kills the processes that this one started, those of its Ray above all, and leaves at once: what was
saved before is whole, and the same command goes on from there. A process that is only beginning, or
putting itself away, leaves at the first (`whole_process`).
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


def whole_process(load: Callable[[], Callable[[], int]]) -> int:
    """Run the command that a process was started for, and return its exit status; Ctrl-C is plain at any moment of it.

    While the command is loaded, nothing is lost by leaving at once. When it has returned, what Python and Ray still do
    takes a second or more, and an exception in its midst, as Ctrl-C raises it, has brought processes down with a
    segmentation fault in place of their status: a signal ends the process with the status that it has by then.

    Args:
        load: imports the command, and returns it.
    """
    status = INTERRUPTED

    def answer(number: int, frame: FrameType | None) -> None:
        if not loaded:
            os.write(2, b"\nstopped before anything was done; the same command goes on from here\n")
        leave_now(status)

    loaded = False
    earlier = {number: signal.signal(number, answer) for number in SIGNALS}
    command = load()
    loaded = True
    for number, handler in earlier.items():
        signal.signal(number, handler)
    with suppress(KeyboardInterrupt):  # once more, while the command was saying that it had been interrupted
        status = command()
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
