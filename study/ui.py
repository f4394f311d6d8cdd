"""`python -m study ui DIR`: MLflow's pages on a study, in the browser, on this machine alone.

Starts `mlflow server` on the study's own database and prints two addresses: the runs, as a flat list of trials
(MLflow's list starts with the sweeps collapsed), and MLflow's compare page with the runs that the comparison stands on.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from study.records import StudyRecords, read_study
from study.tracking_store import database_path
from trainers.errors import UserError

HOST = "127.0.0.1"
DEFAULT_PORT = 5000
MOST_COMPARED = 60  # runs; MLflow's compare page gets slow towards 100
LONGEST_START = 120  # seconds until the server answers; about 7 on an idle machine
FLAT_LIST = 'tags.run_kind = "trial"'  # children stand alone in the list where their parents are filtered out


def serve(directory: str | Path, port: int = DEFAULT_PORT, say: Callable[[str], None] = print) -> None:
    """Serve MLflow's pages on a study until Ctrl-C; where a tracking server holds the records, print its addresses.

    Args:
        directory: the study's folder.
        port: the port on 127.0.0.1.
        say: takes each line meant for the user.

    Raises:
        UserError: no study there, records that cannot be read, a port in use, or a server that ends or never answers.
    """
    records = read_study(directory)
    database = database_path(records.tracking_uri)
    if database is None:
        for line in addresses(records, records.tracking_uri):
            say(line)
        return
    _check_port(port)
    base = f"http://{HOST}:{port}"
    say(f"starting MLflow on {database} ...")
    server = subprocess.Popen(
        server_command(records.tracking_uri, database.parent, port),
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
        cwd=database.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches us alone; we then end the server and its worker together
    )
    try:
        _wait_until_up(server, base)
        for line in addresses(records, base):
            say(line)
        say("Ctrl-C ends it.")
        server.communicate()
    except KeyboardInterrupt:
        say("ended")
    finally:
        _end(server)


def server_command(tracking_uri: str, folder: Path, port: int) -> list[str]:
    """The `mlflow server` command: one worker, reached from this machine alone, artifacts in the study's folder."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri]
    command += ["--artifacts-destination", str(folder / "mlartifacts")]
    return [*command, "--host", HOST, "--port", str(port), "--workers", "1"]


def addresses(records: StudyRecords, base: str) -> list[str]:
    """Lines that name the runs page and, where there are two runs to compare, the compare page."""
    lines = [f"runs:    {runs_url(base, records.experiment_id)}"]
    runs = runs_to_compare(records.table)
    if len(runs) > 1:
        lines.append(f"compare: {compare_url(base, records.experiment_id, runs)}")
    return lines


def runs_url(base: str, experiment_id: str) -> str:
    """MLflow's page with every trial of a study as one flat list."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?searchFilter={quote(FLAT_LIST, safe='')}"


def compare_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """MLflow's page that compares these runs."""
    runs, experiments = (quote(json.dumps(ids), safe="") for ids in (list(run_ids), [experiment_id]))
    return f"{base.rstrip('/')}/#/compare-runs?runs={runs}&experiments={experiments}"


def runs_to_compare(table: pa.Table) -> list[str]:
    """The completed confirmation runs, or all completed ones where there are none: at most `MOST_COMPARED`.

    Where there are more, each cell's best on validation come first.
    """
    done = [row for row in table.to_pylist() if row["status"] == "completed"]
    rows = [row for row in done if row["phase"] == "confirm"] or done
    cells: dict[tuple[str, str, str], list[dict[str, object]]] = {}
    for row in sorted(rows, key=lambda row: -1.0 if row["val_accuracy"] is None else row["val_accuracy"], reverse=True):
        cells.setdefault((row["dataset"], row["model"], row["method"]), []).append(row)
    share = max(1, MOST_COMPARED // max(1, len(cells)))
    return [str(row["mlflow_run_id"]) for _, best in sorted(cells.items()) for row in best[:share]][:MOST_COMPARED]


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UserError(f"port {port} on {HOST} cannot be used ({error}); give another with --port") from error


def _wait_until_up(server: subprocess.Popen[str], base: str) -> None:
    deadline = time.monotonic() + LONGEST_START
    while time.monotonic() < deadline:
        if server.poll() is not None:
            said = (server.stderr.read() if server.stderr else "").strip().splitlines()
            raise UserError(f"the MLflow server ended at once: {said[-1] if said else 'it gave no reason'}")
        try:
            urllib.request.urlopen(f"{base}/health", timeout=2).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"the MLflow server did not answer at {base} in {LONGEST_START} s; try again on an idle machine")


def _end(server: subprocess.Popen[str]) -> None:
    """End the server and the worker that it started, which share a process group."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
