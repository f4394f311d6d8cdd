"""One Ctrl-C asks runs to stop, two end the command at once and leave no process behind. Real signals."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest

from study.drive.interrupt import INTERRUPTED, interruptible, own_answers


def command(body: str) -> subprocess.Popen[str]:
    """A process that runs `body` and prints a line when it is ready."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_runs_to_stop_and_says_so(number: int, tmp_path: Path) -> None:
    said: list[str] = []
    before = signal.getsignal(number)
    with interruptible(tmp_path / ".stop", said.append):
        assert not (tmp_path / ".stop").exists()
        os.kill(os.getpid(), number)
        assert (tmp_path / ".stop").exists()
    assert said == ["\nfinishing the current step; Ctrl-C again stops now\n"]
    assert not (tmp_path / ".stop").exists()
    assert signal.getsignal(number) == before


def test_an_earlier_commands_request_does_not_stop_this_one(tmp_path: Path) -> None:
    (tmp_path / ".stop").touch()
    with interruptible(tmp_path / ".stop"):
        assert not (tmp_path / ".stop").exists()


def test_off_the_main_thread_signals_are_left_alone(tmp_path: Path) -> None:
    before, inside = signal.getsignal(signal.SIGINT), []

    def look() -> None:
        with interruptible(tmp_path / ".stop"), own_answers():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert inside == [before]


def test_what_puts_its_own_answers_in_place_leaves_the_commands(tmp_path: Path) -> None:
    with interruptible(tmp_path / ".stop"):
        mine = signal.getsignal(signal.SIGTERM)
        with own_answers():
            signal.signal(signal.SIGTERM, lambda *_: None)
        assert signal.getsignal(signal.SIGTERM) is mine


@pytest.mark.integration
def test_the_second_signal_ends_the_command_at_once_with_all_that_it_started(tmp_path: Path) -> None:
    process = command(f"""
        import subprocess, sys, time
        from pathlib import Path
        from study.drive.interrupt import interruptible

        # A child that heeds neither signal, and a child of its own.
        deaf = "import signal, subprocess, sys, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; "
        child = subprocess.Popen([sys.executable, "-c", deaf + "subprocess.Popen([sys.executable, '-c', deaf]);"
            "time.sleep(600)".replace("deaf]", repr(deaf + "time.sleep(600)") + "]")])
        time.sleep(2)
        with interruptible(Path({str(tmp_path / ".stop")!r})):
            print("ready", flush=True)
            while True:
                time.sleep(0.1)
    """)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "finishing the current step" not in (line := process.stderr.readline()):
        assert line, "it has ended without a word"
    assert (tmp_path / ".stop").exists()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "stopped now" in errors
    _, alive = psutil.wait_procs(started, timeout=30)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.integration
def test_a_signal_while_the_command_is_loaded_is_one_line() -> None:
    process = command("""
        import sys, time
        from study.drive.interrupt import whole_process

        def load():
            print("loading", flush=True)
            try:
                time.sleep(600)
            except BaseException as error:  # as some packages do that bring compiled code
                raise ImportError("partially initialized module") from error

        sys.exit(whole_process(load))
    """)
    assert process.stdout is not None and process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (
        INTERRUPTED,
        "\nstopped before anything was done; the same command goes on from here\n",
    )


@pytest.mark.integration
@pytest.mark.parametrize("status", [0, INTERRUPTED])
def test_a_signal_while_a_process_ends_takes_nothing_from_its_status(status: int) -> None:
    process = command(f"""
        import atexit, sys, time
        from study.drive.interrupt import whole_process

        def slow_end():
            print("ending", flush=True)
            time.sleep(600)

        atexit.register(slow_end)
        sys.exit(whole_process(lambda: lambda: {status}))
    """)
    assert process.stdout is not None and process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, "")


@pytest.mark.integration
def test_a_second_interruption_while_the_first_is_told_is_no_traceback() -> None:
    process = command("""
        import signal, sys
        from study.drive.interrupt import whole_process

        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs do not have
        sys.exit(whole_process(lambda: lambda: signal.raise_signal(signal.SIGINT)))
    """)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == INTERRUPTED
