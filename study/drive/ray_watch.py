"""Ends the command when the Ray that it started or joined has died; by itself Ray Tune would wait for ever.

What the command had recorded is kept, as after any kill, and the same command goes on from there.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial

import psutil

RAY_LOST = 1  # exit status

# The two processes without which no trial can run, by the names of their programs.
_ESSENTIAL = ("raylet", "gcs_server")

# Seconds between looks. One look reads two small files of /proc.
_INTERVAL = 0.5

# Seconds between looks at a joined cluster's server, and after how many without an answer it counts as dead: Ray's own
# nodes give up after 60.
_SERVER_INTERVAL, SERVER_PATIENCE = 5.0, 60.0


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
            essential, connected = _essential(psutil.Process().children()), _this_ray()
        except BaseException as error:
            failure.append(error)
            return
        finally:
            started.set()
        _watch(essential, connected, end or end_command)

    threading.Thread(target=live, name="ray", daemon=True).start()
    started.wait()
    if failure:
        raise failure[0]


def _essential(children: Iterable[psutil.Process]) -> dict[str, Callable[[], bool]]:
    """Looks at the parts of a Ray among a process's children, by name. What an earlier Ray of the same process has left
    may still be there, dead and not waited for."""
    return {child.name(): partial(_alive, child) for child in children if _alive(child) and child.name() in _ESSENTIAL}


def watch_joined(end: Callable[[str], None] | None = None) -> None:
    """Watch the cluster that this process has joined: the raylet of its own node, and the server of the head.

    Args:
        end: as for `start_and_watch`.
    """
    import ray

    context = ray.get_runtime_context()
    looks: dict[str, Callable[[], bool]] = {"gcs_server": Answers(context.gcs_address)}
    if (raylet := _raylet(context.get_node_id())) is not None:
        looks["raylet"] = partial(_alive, raylet)
    threading.Thread(target=_watch, args=(looks, _this_ray(), end or end_command), name="ray", daemon=True).start()


def _this_ray() -> Callable[[], bool]:
    """Whether this process is still connected to the Ray that it is connected to now, and to no later one."""
    import ray

    def address() -> str | None:
        with suppress(AttributeError, RuntimeError):  # it is being shut down
            if ray.is_initialized():
                return str(ray.get_runtime_context().gcs_address)
        return None

    at_first = address()
    return lambda: at_first is not None and address() == at_first


class Answers:
    """Whether the server at `host:port` still takes connections; for `patience` seconds it is given the benefit of the
    doubt, since a network may be away for a while."""

    def __init__(self, address: str, patience: float = SERVER_PATIENCE) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host.strip("[]"), int(port))
        self._patience = patience
        self._next_look = 0.0
        self._last_answer = time.monotonic()

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + min(_SERVER_INTERVAL, self._patience)
            with suppress(OSError), socket.create_connection(self._place, timeout=_SERVER_INTERVAL):
                self._last_answer = time.monotonic()
        return time.monotonic() - self._last_answer <= self._patience


def _raylet(node: str) -> psutil.Process | None:
    """The process of this machine that is the cluster's node; None where it cannot be seen from here."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "raylet":
            with suppress(psutil.Error):
                if f"--node_id={node}" in process.cmdline():
                    return process
    return None


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


def _watch(
    essential: Mapping[str, Callable[[], bool]], connected: Callable[[], bool], end: Callable[[str], None]
) -> None:
    pause = threading.Event()
    while connected():
        for part, lives in essential.items():
            if not lives():
                if connected():
                    end(part)
                return
        pause.wait(_INTERVAL)


def _alive(process: psutil.Process) -> bool:
    """Whether it runs. A killed child stays a zombie until it is waited for, and its own children take it for alive."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
