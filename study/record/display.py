"""Where a command's output goes: what is said, how far it is, and what happened, to a person or to a program.

| display | for | what is shown |
| --- | --- | --- |
| `Plain` | a pipe, a file, a notebook, a simple terminal | a line for each thing said and each run's progress |
| `study.record.live.Live` | a terminal | what is said, above a picture of the study that is renewed in place |
| `Quiet` | `--quiet` | only what is important: results, and what went wrong |
| `JsonLines` | `--json` | one JSON object a line, see docs/terminal.md |

One display is in use at a time in a process (`use`); `study.record.terminal` is what the rest of the code calls.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainers.activity import Doing, doing
from trainers.clock import stamp
from trainers.errors import UserError

# Seconds between two reports on how far a long step is.
COUNT_SECONDS = 2.0
# Seconds without a line after which runs are looked at, so that a long epoch or evaluation is seen to go on.
STILL_SECONDS = 30.0

Doings = list[tuple[str, Doing]]
"""Of runs, by name, what they say that they are doing."""


class Plain:
    """Lines on standard output, each printed at once so that it is seen where the output goes through a pipe."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def line(self, text: str, *, important: bool = False) -> None:
        """Something to be read; `important` where it is a result or tells of trouble."""
        self._said_at = time.monotonic()
        print(text, flush=True)

    def progress(self, text: str, *, trouble: bool = False) -> None:
        """How far a run is; `trouble` where it came to no good end, or stopped on its way."""
        self.line(text, important=trouble)

    def count(self, title: str, what: str, done: int, total: int) -> None:
        """How far a long step is: a data set that is prepared, say. Called as often as there is something to say."""
        self.line(f"[{title}] {what} {done}/{total}")

    def still(self, title: str, now: Doing) -> None:
        """A run goes on, and nothing was said for a while."""
        self.line(f"[{title}] {now}")

    def event(self, event: Mapping[str, Any]) -> None:
        """What the study's log was just told."""

    def notice(self, text: str) -> None:
        """What the answer to a signal says: past Python's buffers, which the signal may have come in the middle of."""
        with suppress(OSError):
            os.write(2, text.encode())

    @contextmanager
    def watching(self, folder: Path, look: Callable[[], Doings] = list) -> Iterator[None]:
        """A command is at work in a study's folder while the context is open; `look` says what its runs are doing."""
        with self._looking(look):
            yield

    @contextmanager
    def following(self, title: str, run_dir: Path) -> Iterator[None]:
        """One run outside of any study goes on in its folder while the context is open: a pretraining, say."""
        began = stamp()
        with self._looking(lambda: [(title, now)] if (now := doing(run_dir, began)) else []):
            yield

    def close(self) -> None:
        """The command is over, however it ended."""

    @contextmanager
    def _looking(self, look: Callable[[], Doings]) -> Iterator[None]:
        over = threading.Event()

        def follow() -> None:
            while not over.wait(STILL_SECONDS):
                if time.monotonic() - self._said_at >= STILL_SECONDS:
                    with suppress(UserError, OSError, ValueError):  # a log that is being mended, say
                        for title, now in look():
                            self.still(title, now)

        thread = threading.Thread(target=follow)
        thread.daemon = True
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class Quiet(Plain):
    """Only what is important."""

    def line(self, text: str, *, important: bool = False) -> None:
        if important:
            print(text, flush=True)


class JsonLines(Plain):
    """One JSON object a line: the study log's own events as they happen, and what there is beside them.

    `{"at": seconds since 1970, "event": NAME, ...}` with the names and fields of `study.record.study_log.FIELDS`, and
    `message` (text, important) and `step` (title, what, done, total).
    """

    def line(self, text: str, *, important: bool = False) -> None:
        self._write("message", text=text, important=important)

    def still(self, title: str, now: Doing) -> None:
        self.count(title, now.what, now.done, now.total)

    def progress(self, text: str, *, trouble: bool = False) -> None:
        """Nothing: the log's events say it."""

    def count(self, title: str, what: str, done: int, total: int) -> None:
        self._write("step", title=title, what=what, done=done, total=total)

    def event(self, event: Mapping[str, Any]) -> None:
        self._said_at = time.monotonic()
        print(json.dumps(event, separators=(",", ":")), flush=True)

    def _write(self, name: str, **fields: Any) -> None:
        self.event({"at": stamp(), "event": name, **fields})


_current: Plain = Plain()


def current() -> Plain:
    """The display in use; plain lines where none was chosen."""
    return _current


@contextmanager
def use(display: Plain) -> Iterator[Plain]:
    """Send all output through a display while the context is open, and close it at the end."""
    global _current
    before, _current = _current, display
    try:
        yield display
    finally:
        _current = before
        display.close()


def is_lively() -> bool:
    """Whether standard output is a terminal on which a picture can be renewed in place."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
