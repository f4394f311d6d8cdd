"""The Ray that a study runs on: one of its own on this machine, or the cluster that `RAY_ADDRESS` names.

A study's own Ray is closed to others: its servers listen on 127.0.0.1 alone (`study/__init__.py` sees to that before
Ray is imported). Other users of this machine reach that too, so each process must show a token. Ray would write a token
into the home folder, where it would change how every later `ray start` behaves; here it lives in this process and its
children only, unless the home folder has one.
"""

import logging
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from study import ENVIRONMENT
from study.drive.interrupt import own_answers
from study.drive.ray_watch import watch
from trainers.errors import UserError

# Bytes. Images are memory-mapped files and results are small, so Ray's shared memory carries next to nothing; Ray's own
# choice is 30 % of the machine's memory.
OBJECT_STORE_BYTES = 200_000_000

# Characters. Ray makes sockets like `<TMPDIR>/ray/session_<date>_<pid>/sockets/plasma_store`, 68 after `<TMPDIR>`,
# and Linux takes paths of 107.
LONGEST_TEMPORARY_FOLDER = 38


def connect(num_cpus: int | None = None, quiet: bool = True) -> None:
    """Start a Ray for this process alone, or join the cluster that `RAY_ADDRESS` names; nothing where one is connected.

    A Ray of its own is watched: where it dies, so does this process, saying how to go on.

    The dashboard always runs: its cleaner is what frees the placement group of a trial that was stopped early, and
    without it the next trial waits for ever. The cleaner finds its Ray by looking for *the* one on this machine, and
    gives up where there are two, so it is told; the system picks a free port, and studies can run side by side.

    Args:
        num_cpus: CPUs to share out; all that this process may use where None. A cluster's own are used when joining.
        quiet: leave Ray's notices and its workers' output off the terminal; they stay in Ray's log files.

    Raises:
        UserError: `num_cpus` is below 1, or no cluster answers at `RAY_ADDRESS`.
    """
    import ray  # not at the top: every command line would wait a second for it, `--help` included

    if num_cpus is not None and num_cpus < 1:
        raise UserError(f"num_cpus is {num_cpus}; use 1 or more, or leave it out to use every CPU of this machine")
    if ray.is_initialized():
        return
    variables = worker_environment()
    options: dict[str, Any] = {
        "logging_level": logging.ERROR if quiet else logging.INFO,
        "log_to_driver": not quiet,
        # Ray puts this process's working folder first on every worker's path; a user's `study.py` may lie there.
        "runtime_env": {"env_vars": variables, "worker_process_setup_hook": "binsfo.prefer_own_packages"},
    }
    address = os.environ.get("RAY_ADDRESS")
    if address:
        try:
            with own_answers():
                ray.init(address=address, **options)
        except ConnectionError as error:
            raise UserError(
                f"no Ray cluster answers at RAY_ADDRESS={address} ({error}); "
                "start it (`ray up CLUSTER.yaml`), or unset RAY_ADDRESS to run on this machine alone"
            ) from error
        return
    if not _has_own_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    _shorten_temporary_folder()
    port = _free_port()
    variables["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
    with own_answers():
        ray.init(
            address="local",  # never another user's Ray that happens to run here
            num_cpus=num_cpus,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=port,
            object_store_memory=OBJECT_STORE_BYTES,
            **options,
        )
    watch()


def worker_environment() -> dict[str, str]:
    """Return the environment variables that every worker process gets: this package's defaults, and where the code is.

    `PYTHONPATH` begins with the folder of the code that runs here, so that workers run the same code, installed or not.
    """
    root = str(Path(__file__).resolve().parents[2])
    inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != root]
    return {
        **{name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()},
        "PYTHONPATH": os.pathsep.join([root, *inherited]),
    }


def _has_own_token() -> bool:
    """Whether the user has settled Ray's authentication: by the environment, or by a token in the home folder."""
    if any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return True
    return (Path.home() / ".ray" / "auth_token").is_file()


def _free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _shorten_temporary_folder() -> None:
    """Let Ray and its Python processes use /tmp where `TMPDIR` is too long for the sockets that they make in it."""
    if len(os.environ.get("TMPDIR", "")) > LONGEST_TEMPORARY_FOLDER:
        os.environ["TMPDIR"] = "/tmp"
