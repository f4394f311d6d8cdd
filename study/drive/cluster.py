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
import tempfile
from pathlib import Path
from typing import Any

from study.define.environment import ENVIRONMENT
from study.drive.interrupt import own_answers
from study.drive.ray_address import VARIABLE, advice, check_address, cluster_address, no_cluster
from study.drive.ray_watch import start_and_watch, watch_joined
from trainers.errors import UserError
from trainers.machine import allowed_cpus, home

# Bytes. Images are memory-mapped files and results are small, so Ray's shared memory carries next to nothing; Ray's own
# choice is 30 % of the machine's memory.
OBJECT_STORE_BYTES = 200_000_000

# Characters. Ray makes sockets like `<TMPDIR>/ray/session_<date>_<pid>/sockets/plasma_store`, 68 after `<TMPDIR>`,
# and Linux takes paths of 107.
LONGEST_TEMPORARY_FOLDER = 38

# Seconds in which a worker of a Ray that others started must answer; it may have to be started first.
RUNNING_RAY_SECONDS = 60

# Where the Rays are that this process is or was connected to and that serve: ours, and others that were looked at once;
# and whether they serve groups of workers too.
_known: dict[str, bool] = {}


def connect(num_cpus: int | None = None, quiet: bool = True, groups: bool = True) -> None:
    """Start a Ray for this process alone, or join the cluster that `RAY_ADDRESS` names; nothing where one is connected.

    A Ray of its own is watched: where it dies, so does this process, saying how to go on.

    For groups of workers the dashboard runs too: its cleaner is what frees the placement group of one that was stopped
    early, and without it the next waits for ever. The cleaner finds its Ray by looking for *the* one on this machine,
    and gives up where there are two, so it is told; the system picks a free port, and studies can run side by side.
    Runs of one worker have no such group, and are spared the dashboard's ten processes.

    Ray's processes are started by a thread that lives as long as they do (`study.drive.ray_watch`): the system ends
    them with the thread that started them, and a study may be run from one that ends before the program.

    Args:
        num_cpus: CPUs to share out; all that this process may use where None. A cluster's own are used when joining.
        quiet: leave Ray's notices and its workers' output off the terminal; they stay in Ray's log files.
        groups: whether runs of several workers may come.

    Raises:
        UserError: `num_cpus` is below 1, no cluster answers at `RAY_ADDRESS` or it is of another release, the Ray that
            runs in this process already lacks what a study needs, or none starts on this machine.
    """
    import ray  # not at the top: every command line would wait a second for it, `--help` included

    if num_cpus is not None and num_cpus < 1:
        raise UserError(f"num_cpus is {num_cpus}; use 1 or more, or leave it out to use every CPU of this machine")
    if ray.is_initialized():
        running = ray.get_runtime_context().gcs_address
        if not _known.get(running, False) and (groups or running not in _known):
            check_running_ray(groups=groups)
            _known[running] = groups
        return
    variables = worker_environment()
    options: dict[str, Any] = {
        "logging_level": logging.ERROR if quiet else logging.INFO,
        "log_to_driver": not quiet,
        # Ray puts this process's working folder first on every worker's path; a user's `study.py` may lie there.
        "runtime_env": {"env_vars": variables, "worker_process_setup_hook": "binsfo.begin_worker"},
    }
    if (address := cluster_address()) is not None:
        _join(address, options)
        watch_joined()
        _known[ray.get_runtime_context().gcs_address] = True
        return
    os.environ.pop(VARIABLE, None)  # `local`, by which Ray would leave a token in the home folder
    if not _has_own_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    _shorten_temporary_folder()
    _start(num_cpus or allowed_cpus(), groups, variables, options)
    _known[ray.get_runtime_context().gcs_address] = groups


def _start(num_cpus: int, groups: bool, variables: dict[str, str], options: dict[str, Any]) -> None:
    """Start a Ray for this process alone and watch it.

    Ray gives its own processes half a minute to come up, which is short where many programs share few CPUs, so a start
    that fails is tried once more. What the first had started ends with the thread that started it.

    Raises:
        UserError: the second start fails too.
    """
    import ray

    def start() -> None:
        dashboard: dict[str, Any] = {"include_dashboard": groups}
        if groups:
            port = _free_port()
            variables["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
            dashboard |= {"dashboard_host": "127.0.0.1", "dashboard_port": port}
        ray.init(
            address="local",  # never another user's Ray that happens to run here
            num_cpus=num_cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            **dashboard,
            **options,
        )

    for last in (False, True):
        try:
            start_and_watch(start)
            return
        except Exception as error:
            ray.shutdown()
            if last:
                raise UserError(
                    f"Ray does not start on this machine, tried twice ({_first_line(error)}); end what else keeps its "
                    "CPUs and memory busy and give the same command again; Ray's own log files, below "
                    f"{tempfile.gettempdir()}/ray, say more"
                ) from error


def _join(address: str, options: dict[str, Any]) -> None:
    """Join a cluster; whatever Ray says of why it cannot becomes one line."""
    import ray

    check_address()
    try:
        with own_answers():
            ray.init(address=address, **options)
    except ConnectionError as error:
        raise no_cluster(address, _first_line(error)) from error
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        if "Version mismatch" in str(error):
            theirs = " ".join(str(error).split())[:300]
            raise UserError(
                f"the cluster at {VARIABLE}={address} runs another release than this command: {theirs}; "
                f"install the cluster's releases here, or {advice()}"
            ) from error
        raise UserError(
            f"the cluster at {VARIABLE}={address} cannot be joined ({_first_line(error)}); {advice()}"
        ) from error


def check_running_ray(packages: tuple[str, ...] = ("study", "trainers"), groups: bool = True) -> None:
    """Refuse a Ray that runs in this process where it lacks what a study needs.

    Its workers must find this code. For groups of workers its dashboard must run: without that, what a trial that was
    stopped early had taken is never free again, and the next trial waits for ever.

    Raises:
        UserError: what it lacks.
    """
    import ray

    def look() -> str:  # travels to a worker by value, since this module may not be there
        import importlib.util

        for package in packages:
            if importlib.util.find_spec(package) is None:
                return f"its workers find no package {package!r}"
        if not groups:
            return ""
        try:
            from ray.util.state import list_nodes

            list_nodes(timeout=10)
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            return f"its dashboard, which frees what a stopped trial took, does not answer its workers ({reason[:200]})"
        return ""

    answer = ray.remote(num_cpus=0, max_retries=0)(look).remote()
    ready, _ = ray.wait([answer], timeout=RUNNING_RAY_SECONDS)
    try:
        lacking = ray.get(answer) if ready else f"none of its workers answers in {RUNNING_RAY_SECONDS} s"
    except ray.exceptions.RayError as error:
        lacking = f"its workers fail: {_first_line(error)}"
    if lacking:
        raise UserError(
            f"a Ray runs in this process already, and {lacking}; call `ray.shutdown()` first: a study starts its own"
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
    """Whether the user has settled Ray's authentication: switched it off, or there is a token, given or in the home."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return True
    if any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return True
    folder = home()
    return folder is not None and (folder / ".ray" / "auth_token").is_file()


def _free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _shorten_temporary_folder() -> None:
    """Let Ray and its Python processes use /tmp where `TMPDIR` is too long for the sockets that they make in it."""
    if len(os.environ.get("TMPDIR", "")) > LONGEST_TEMPORARY_FOLDER:
        os.environ["TMPDIR"] = "/tmp"
