"""`python -m study ui DIR`: MLflow's pages on a study, in the browser, on this machine alone.

Starts `mlflow server` on the study's own database and prints addresses: of each workload its ready-made view, as charts
and as a table, MLflow's page that compares its confirmed runs and the best of each method, and all runs as one list.
"""

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import quote, urlencode

from study.compare.scores import CellGroup, summarise
from study.mlflow_export import quiet_app
from study.mlflow_export.metrics import VALIDATION_ACCURACY
from study.mlflow_export.pages import Key, Workload
from study.mlflow_export.shown import Identity, find_experiment, read_shown
from study.mlflow_export.store import open_store
from study.mlflow_export.views import TAG, view_key
from study.record.folder import study_identity
from study.record.postgres import client_uri, is_postgres
from study.record.runs_table import read_study
from study.record.tracking_uri import database_path
from trainers.errors import UserError

HOST = "127.0.0.1"
DEFAULT_PORT = 5000
MOST_COMPARED = 60  # runs; MLflow's compare page gets slow towards 100
LONGEST_END = 30  # seconds in which the server and its helpers must have ended
LONGEST_START = 120  # seconds until the server answers; about 7 on an idle machine


def serve(directory: str | Path, port: int = DEFAULT_PORT, say: Callable[[str], None] = print) -> None:
    """Serve MLflow's pages on a study until Ctrl-C; where a tracking server holds the records, print its addresses.

    Args:
        directory: the study's folder.
        port: the port on 127.0.0.1.
        say: takes each line meant for the user.

    Raises:
        UserError: no study there, records that cannot be read, a port in use, or a server that ends or never answers.
    """
    known = study_identity(directory)
    tracking_uri = known.tracking_uri
    database = database_path(tracking_uri)
    if database is None and not is_postgres(tracking_uri):
        for line in addresses(directory, tracking_uri):
            say(line)
        return
    if database is not None and not database.is_file():
        raise UserError(f"the study has no pages yet, {database}; `python -m study mlflow {directory}` makes them")
    _check_port(port)
    _answer_as_ctrl_c()
    base = f"http://{HOST}:{port}"
    say(f"starting MLflow on {database or tracking_uri} ...")
    lines = addresses(directory, base)  # a database that MLflow cannot read is said before its server is started
    keeper = [sys.executable, "-P", str(Path(__file__).with_name("keeper.py"))]
    folder = known.folder.resolve() if database is None else database.parent
    server = subprocess.Popen(
        [*keeper, *server_command(tracking_uri, folder, port)],
        env=environment(os.environ),
        cwd=folder,
        stdin=subprocess.PIPE,  # whose end is what ends the server, however this process ends
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches us alone; we then end the server and its worker together
    )
    try:
        _wait_until_up(server, base)
        for line in [*lines, *from_elsewhere(port, os.environ)]:
            say(line)
        say("Ctrl-C ends it.")
        for _ in server.stderr or ():  # read, or the server would wait for room to write
            pass
        server.wait()
    except KeyboardInterrupt:
        say("ended")
    finally:
        _end(server)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: nothing that phones home, runs jobs or answers for an assistant.

    Where `MLFLOW_SERVER_ALLOWED_HOSTS` names the hosts of a proxy, this machine's own names go on being served, and
    pages that come through the proxy may ask what they show (`MLFLOW_SERVER_CORS_ALLOWED_ORIGINS`, unless it is given).
    """
    off = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    off["MLFLOW_ENABLE_REMOTE_ASSISTANT"] = "false"
    hosts = [host.strip() for host in given.get("MLFLOW_SERVER_ALLOWED_HOSTS", "").split(",") if host.strip()]
    if not hosts or "*" in hosts:
        return {**given, **off}
    origins = ",".join(f"{scheme}://{host}" for host in hosts for scheme in ("http", "https"))
    local = [f"{name}{port}" for name in (HOST, "localhost") for port in ("", ":*")]
    allowed = {"MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(dict.fromkeys([*hosts, *local]))}
    return {"MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": origins, **given, **off, **allowed}


def from_elsewhere(port: int, given: Mapping[str, str]) -> list[str]:
    """Lines that say how a browser on another machine comes to the pages, which only this machine reaches."""
    connection = given.get("SSH_CONNECTION", "").split()  # client, its port, this machine as the client named it, port
    machine = connection[2] if len(connection) == 4 else socket.gethostname()
    door = f"-p {connection[3]} " if len(connection) == 4 and connection[3] != "22" else ""
    try:
        user = f"{getpass.getuser()}@"
    except (OSError, KeyError):  # who runs a container may have no name
        user = ""
    tunnel = f"ssh {door}-N -L {port}:{HOST}:{port} {user}{machine}"
    return [f"from another machine: `{tunnel}` there, then the same addresses"]


def server_command(tracking_uri: str, folder: Path, port: int) -> list[str]:
    """The `mlflow server` command: one worker, reached from this machine alone, artifacts in the study's folder."""
    store = client_uri(tracking_uri) if is_postgres(tracking_uri) else tracking_uri
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--artifacts-destination", str(folder / "mlartifacts")]
    if any(app.name == quiet_app.NAME for app in metadata.entry_points(group="mlflow.app")):
        command += ["--app-name", quiet_app.NAME]  # known to MLflow where the package is installed
    return [*command, "--host", HOST, "--port", str(port), "--workers", "1"]


def addresses(directory: str | Path, base: str) -> list[str]:
    """Lines that name the pages: of each workload its view, as charts and as a table, and what compares its runs.

    Raises:
        UserError: MLflow holds nothing of the study, or cannot be asked.
    """
    known = study_identity(directory)
    identity, uri = Identity(known.name, str(known.study_id)), known.tracking_uri
    client = open_store(uri, make=False)
    experiment = find_experiment(client, identity, database_path(uri))
    if experiment is None:
        remedy = f"`python -m study mlflow {directory}` makes its pages"
        raise UserError(f"MLflow at {uri} holds nothing of the study {known.name!r}; {remedy}")
    number = str(experiment.experiment_id)
    shown, _ = read_shown(client, number, identity)
    lines: list[str] = []
    for group in summarise(read_study(directory).table):
        where = f"{group.dataset}, {group.model}"
        key = view_key(Workload(group.dataset, group.model, (), confirmed=True))
        if TAG + key in experiment.tags:
            lines.append(f"{where}, accuracy and memory: {view_url(base, number, key)}")
            lines.append(f"{where}, as a table: {view_url(base, number, key, charts=False)}")
        runs = [Key("trial", name) for method in group.scored for name in method.trial_ids]
        best = [Key("trial", name) for name in _best_of_each(group)]
        for what, keys in (("confirmed runs" if _confirmed(group) else "trials", runs), ("best of each method", best)):
            compared = [shown[key].run_id for key in keys if key in shown]
            if len(compared) > 1:
                compared = compared[:MOST_COMPARED]
                lines.append(f"{where}, {what} side by side: {compare_url(base, number, compared)}")
    comparison = shown.get(Key("study", identity.study_id))
    if comparison is not None and (known.folder / "report.html").is_file():
        page = f"experiments/{number}/runs/{comparison.run_id}/artifacts/report.html"
        lines.append(f"the report: {_page(base, page, {})}")
    return [*lines, f"all runs: {runs_url(base, number)}"]


def _confirmed(group: CellGroup) -> bool:
    return any(method.confirmed for method in group.scored)


def _best_of_each(group: CellGroup) -> list[str]:
    """Of each method the run of its representing configuration that is best on validation."""
    found = []
    for method in group.scored:
        if method.represents and method.trial_ids:
            by_seed = dict(zip(method.seeds, method.trial_ids, strict=False))
            found.append(by_seed[max(by_seed, key=lambda seed: method.validation.get(seed, 0.0))])
    return found


def view_url(base: str, experiment_id: str, key: str, *, charts: bool = True) -> str:
    """MLflow's page with one of the study's views (`study.mlflow_export.views`), as charts or as a table.

    The link says nothing of filter and order: one that does is not given the view.
    """
    query = {"viewStateShareKey": key, "compareRunsMode": "CHART" if charts else "TABLE"}
    return _page(base, f"experiments/{experiment_id}/runs", query)


def runs_url(base: str, experiment_id: str) -> str:
    """MLflow's page with a study's completed trials as one list, the best on validation first.

    MLflow folds the trials into their sweeps unless it sorts by something other than the date.
    """
    query = {
        "searchFilter": 'tags.run_kind = "trial" and attributes.status = "FINISHED"',
        "orderByKey": f"metrics.`{VALIDATION_ACCURACY}`",
        "orderByAsc": "false",
    }
    return _page(base, f"experiments/{experiment_id}/runs", query)


def compare_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """MLflow's page that compares these runs."""
    query = {
        "runs": json.dumps(list(run_ids), separators=(",", ":")),
        "experiments": json.dumps([experiment_id]),
    }
    return _page(base, "compare-runs", query)


def _page(base: str, path: str, query: dict[str, str]) -> str:
    """A page of MLflow's that shows training, not chats."""
    asked = {**query, "workflowType": "machine_learning"}
    return f"{base.rstrip('/')}/#/{path}?{urlencode(asked, quote_via=quote)}"


def _answer_as_ctrl_c() -> None:
    """Let a scheduler's end and a closed terminal end the pages like Ctrl-C; what `nohup` had ignored stays so."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} on {HOST} cannot be used ({error}){_listener(port)}; give another with --port"
            ) from error


def _listener(port: int) -> str:
    """Who listens on a port, as far as the system tells this user, and how to end it."""
    import psutil

    try:
        found = [one.pid for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port]
        for pid in found:
            if pid is not None:
                command = " ".join(psutil.Process(pid).cmdline())[:120]
                return f": process {pid} is there, `{command}`, which `kill {pid}` ends"
    except psutil.Error:
        pass
    return ""


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
    """Let go of the keeper's standard input, upon which it ends the server and all that it started."""
    if server.stdin is not None:
        server.stdin.close()
    try:
        server.wait(timeout=LONGEST_END)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
