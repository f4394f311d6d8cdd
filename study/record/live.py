"""The live view of a study on a terminal: its state (`study.record.state_view`), renewed in place.

It reads the study's log like anybody else, so that what is shown is what is recorded. What is said meanwhile scrolls by
above it. The cursor stays visible all the time, and nothing else of the terminal is changed: a process that is killed
leaves it as it found it.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.record.display import Doings, Plain
from study.record.state_view import duration, picture
from study.record.study_state import AT_WORK, StateReader
from study.record.terminal import describe_recorded
from trainers.activity import doing
from trainers.clock import stamp

REFRESH_SECONDS = 0.5
# Seconds between looks at the memory of the study's processes, which costs some milliseconds.
MEMORY_SECONDS = 2.0
GIB = 2**30


class Live(Plain):
    """The display of a command on a terminal.

    Args:
        console: where it is drawn; standard output where None.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(highlight=False)
        self._live: RichLive | None = None
        self._reader: StateReader | None = None
        self._count: _Count | None = None
        self._followed: tuple[str, Path, float] | None = None
        self._notices: list[str] = []
        self._memory, self._memory_at = "", float("-inf")
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def line(self, text: str, *, important: bool = False) -> None:
        # Not through Rich's own wrapping: a table's lines are as wide as they are, and can be copied.
        self.console.out(text, highlight=False)

    def progress(self, text: str, *, trouble: bool = False) -> None:
        """A picture shows how far runs are; one that came to no good end is said all the same, with the reason."""
        if trouble or self._reader is None:
            self.line(text)

    def count(self, title: str, what: str, done: int, total: int) -> None:
        if self._count is None or (self._count.title, self._count.what) != (title, what):
            self._count = _Count(title, what)
        self._count.done, self._count.total = done, total
        if done >= total:
            self._count = None
            if self._reader is None and self._followed is None:
                self._stop()
            self.line(f"[{title}] {what} {done}/{total}")
        else:
            self._start()

    def notice(self, text: str) -> None:
        """The first is shown in the picture: drawing it here might interrupt a drawing. Later ones are the last words.

        Without a picture it is printed as everywhere.
        """
        if self._live is None or self._notices:
            super().notice(text)
        else:
            self._notices.append(text.strip())

    @contextmanager
    def watching(self, folder: Path, look: Callable[[], Doings] = list) -> Iterator[None]:
        self._reader = StateReader(folder, asked=lambda place: True)
        self._start()
        try:
            yield
        finally:
            self._stop()
            self._reader = None

    @contextmanager
    def following(self, title: str, run_dir: Path) -> Iterator[None]:
        self._followed = (title, run_dir, stamp())
        self._start()
        try:
            yield
        finally:
            self._followed = None
            self._stop()

    def close(self) -> None:
        self._stop()

    def draw(self) -> RenderableType:
        """What is renewed in place: the study where one is at work, else how far a long step or a single run is."""
        notes = list(self._notices)
        if self._reader is None and self._followed is not None:
            title, run_dir, since = self._followed
            now = doing(run_dir, since) or "getting ready"
            return Text("\n".join([f"[{title}] {now}, {duration(time.time() - since)}", *notes]))
        if self._reader is None:
            return self._count.picture() if self._count else Text()
        if time.monotonic() - self._memory_at >= MEMORY_SECONDS:
            self._memory, self._memory_at = memory_in_use(), time.monotonic()
        lines = [line for line in (self._memory, self._count.words() if self._count else "", *notes) if line]
        state = self._reader.read()
        size = (self.console.width, self.console.height - 2)
        return Group(Text(), picture(state, time.time(), *size, lines, describe_recorded))

    def _start(self) -> None:
        if self._live is not None:
            return
        self._live = RichLive(
            self.draw(),
            console=self.console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
            # What other code prints goes above the picture; what is written to a file stays there.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start(refresh=True)
        self.console.show_cursor(True)
        self._over.clear()
        self._thread = threading.Thread(target=self._renew, args=(self._live,))
        self._thread.daemon = True
        self._thread.start()

    def _stop(self) -> None:
        if self._live is None:
            return
        self._over.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        live, self._live, self._thread = self._live, None, None
        live.stop()

    def _renew(self, live: RichLive) -> None:
        pause = REFRESH_SECONDS
        while not self._over.wait(pause):
            began = time.thread_time()
            # A log that is being repaired, a study.json in between: the next picture shows it again.
            with suppress(Exception):
                live.update(self.draw(), refresh=True)
            # A study of thousands of trials takes longer to draw, and never more than a twentieth of a core.
            pause = max(REFRESH_SECONDS, 20 * (time.thread_time() - began))


class _Count:
    """How far one long step is."""

    def __init__(self, title: str, what: str) -> None:
        self.title, self.what = title, what
        self.done, self.total = 0, 1
        self._began = time.monotonic()

    def picture(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_row(
            Text(f"[{self.title}] {self.what} {self.done}/{self.total}"),
            ProgressBar(total=max(self.total, 1), completed=self.done, width=20),
            Text(self._to_go()),
        )
        return table

    def words(self) -> str:
        return f"[{self.title}] {self.what} {self.done}/{self.total} {self._to_go()}".rstrip()

    def _to_go(self) -> str:
        seconds = time.monotonic() - self._began
        if not self.done or seconds < 1:
            return ""
        return f"about {duration(seconds * (self.total - self.done) / self.done)} to go"


def memory_in_use() -> str:
    """What this process and all that it started hold in main memory, and what the machine has in use, in words."""
    import psutil

    held = 0
    with suppress(psutil.Error):
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):
                held += process.memory_info().rss
    machine = psutil.virtual_memory()
    return (
        f"memory: {held / GIB:.1f} GiB in this study's processes, "
        f"{(machine.total - machine.available) / GIB:.1f} of {machine.total / GIB:.1f} GiB of the machine in use"
    )


def follow(reader: StateReader, pause: float) -> None:
    """Show a study's state until no command is at work there any more; the last picture stays."""
    console = Console(highlight=False)
    with RichLive(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        console.show_cursor(True)
        while True:
            state = reader.read()
            height = console.height - 1 if state.state == AT_WORK else None
            live.update(picture(state, time.time(), console.width, height), refresh=True)
            if state.state != AT_WORK:
                return
            time.sleep(pause)
