"""Ends the command when the Ray that it started has died; by itself Ray Tune would wait for its trials for ever.

What the command had recorded is kept, as after any kill, and the same command goes on from there.
"""

import os
import sys
import threading
from collections.abc import Callable

import psutil

RAY_LOST = 1  # exit status

# The two processes without which no trial can run, by the names of their programs.
_ESSENTIAL = ("raylet", "gcs_server")

# Seconds between looks. One look reads two small files of /proc.
_INTERVAL = 0.5


def start_and_watch(start: Callable[[], None], end: Callable[[str], None] | None = None) -> None:
    """Start a Ray in a thread that lives as long as it does, and watch it from there.

    Ray asks the system to end its processes with the one that started them; what Linux goes by is the *thread* that
    did. On one that ends earlier, as in a program that runs a study beside other things, Ray would end with it.

    Args:
        start: starts Ray; what it raises is raised here.
        end: called once with the name of a part that died; `end_command` where None. Nothing is said when Ray is shut
            down on purpose: it disconnects its driver before it ends its processes.
    """
    started, failure = threading.Event(), []

    def live() -> None:
        try:
            start()
            children = psutil.Process().children()
            essential = {process.name(): process for process in children if process.name() in _ESSENTIAL}
        except BaseException as error:
            failure.append(error)
            return
        finally:
            started.set()
        _watch(essential, end or end_command)

    threading.Thread(target=live, name="ray", daemon=True).start()
    started.wait()
    if failure:
        raise failure[0]


def end_command(part: str) -> None:
    """Say what happened and how to go on, and end this process at once.

    The main thread may be inside a call to Ray that never returns, so nothing is asked of it. Ray's remaining processes
    end with this one or with the raylet.
    """
    sys.stdout.flush()
    print(
        f"\nerror: Ray's {part} has died, so no trial can go on (killed, or out of memory? Ray's log files say more); "
        "what has ended is recorded, and the same command goes on from here",
        file=sys.stderr,
        flush=True,
    )
    os._exit(RAY_LOST)


def _watch(essential: dict[str, psutil.Process], end: Callable[[str], None]) -> None:
    import ray

    pause = threading.Event()
    while ray.is_initialized():
        for part, process in essential.items():
            if not _alive(process):
                if ray.is_initialized():
                    end(part)
                return
        pause.wait(_INTERVAL)


def _alive(process: psutil.Process) -> bool:
    """Whether it runs. A killed child stays a zombie until it is waited for, and its own children take it for alive."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
