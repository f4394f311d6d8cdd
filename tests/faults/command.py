"""`python -m study run` as a real process, with every process that it starts: found, classed and killed by signal.

Ray's processes change their titles and parents, and some leave the command's session. So each command carries a mark
in its environment, which all of its descendants inherit: what bears the mark is ours, wherever it hangs, and nothing
else is ever touched.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]

MARK = "BINSFO_FAULTS_MARK"

# Seconds. None of these is a claim about speed: they end a test that would otherwise wait for ever.
LONGEST_STUDY = 900
LONGEST_GOODBYE = 120


class Command:
    """One study's command line, that can be started again and again; `close` leaves no process behind.

    Args:
        arguments: what follows `python -m study`.
        log: a file that takes the output of every start, one after the other.
        temporary: a folder for Ray's own files; short, since Ray makes sockets in it.
    """

    def __init__(self, arguments: Iterable[str], log: Path, temporary: Path) -> None:
        self.arguments = [sys.executable, "-m", "study", *arguments]
        self.log = log
        self.starts = 0
        self.mark = uuid.uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            MARK: self.mark,
            # Ray's processes set their titles, which would overwrite the environment that we find them by.
            "SPT_NOENV": "1",
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(REPOSITORY),
        }
        self._environment.pop("RAY_ADDRESS", None)

    def start(self) -> None:
        """Start the command, the same each time."""
        assert not self.running, "the command is running already"
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(f"\n--- start {self.starts}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                self.arguments,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_listen_to_ctrl_c,
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status of the last start; None while it runs."""
        return self.process.poll() if self.process else None

    def processes(self) -> list[psutil.Process]:
        """Every living process that any start of this command has left, the command itself included."""
        return marked(self.mark)

    def find(self, wanted: Callable[[str], bool]) -> list[psutil.Process]:
        """The processes whose title is wanted."""
        return [process for process in self.processes() if wanted(title(process))]

    def signal(self, number: int) -> None:
        """Send a signal to the command itself."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = LONGEST_STUDY) -> int:
        """The exit status once the command has ended.

        Raises:
            AssertionError: it has not; the message ends with the last of its output.
        """
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the command has not ended after {seconds:g} s:\n{self.tail()}") from None

    def left_over(self, seconds: float = LONGEST_GOODBYE) -> list[str]:
        """The titles of processes that still live `seconds` after the command has ended; none, if all is well."""
        until(lambda: not self.processes(), seconds)
        return [title(process) for process in self.processes()]

    def tail(self, lines: int = 40) -> str:
        """The last lines of the output."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Kill whatever is left."""
        while left := self.processes():
            kill(left)
        if self.process:
            self.process.wait()


def _listen_to_ctrl_c() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so its children, unless they are told."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def marked(mark: str) -> list[psutil.Process]:
    """The living processes that carry a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # it has just ended, or is another user's
    return found


def title(process: psutil.Process) -> str:
    """What `ps` shows for a process; empty where it has just ended."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def kill(processes: Iterable[psutil.Process]) -> int:
    """SIGKILL them all, at one moment; returns how many were still there."""
    killed = 0
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
            killed += 1
        except psutil.NoSuchProcess:
            continue
    return killed


def until(condition: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Wait until a condition holds; False where it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True
