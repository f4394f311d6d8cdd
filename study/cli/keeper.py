"""Runs a command while somebody holds the other end of its standard input, then ends it with all that it started.

`study.cli.ui` starts MLflow's server so: however the pages' own command ends, `kill -9` included, the system closes
that end, and neither the server nor its helpers stay on the port.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import psutil

_SECONDS = 10  # in which a server may end by itself


def keep(command: list[str]) -> int:
    """Run a command until it ends or standard input does; its exit status."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        end(server)

    ending = threading.Thread(target=wait_for_the_end)
    ending.daemon = True
    ending.start()
    status = server.wait()
    # Its helpers may take longer than itself.
    end(server)
    return status


def end(server: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started: at its own pace at first, then at once."""
    try:
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        processes = []
    with suppress(ProcessLookupError, PermissionError):  # who started meanwhile is in its process group
        os.killpg(server.pid, signal.SIGTERM)
    _, left = psutil.wait_procs(processes, timeout=_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    # The terminal's signals are for who holds the other end.
    for _number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(_number, signal.SIG_IGN)
    sys.exit(keep(sys.argv[1:]))
