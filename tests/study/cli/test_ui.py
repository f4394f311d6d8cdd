"""`ui` serves a study's own records on this machine alone, prints where, and leaves no server behind."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import time
import urllib.request
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient

from study.cli.ui import HOST, addresses, compare_url, environment, from_elsewhere, serve, server_command
from study.mlflow_export.delivery import deliver
from study.record.tracking_uri import default_tracking_uri
from tests.study.cli.pages_server import free_port, served, started
from tests.study.recorded_study import write_study_file
from trainers.errors import UserError


def test_the_server_listens_on_this_machine_alone_with_one_worker() -> None:
    command = server_command("sqlite:////s/mlflow.db", Path("/s"), 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--workers") + 1] == "1"
    assert command[command.index("--backend-store-uri") + 1] == "sqlite:////s/mlflow.db"


def test_pages_of_a_postgresql_are_served_from_here_with_the_files_of_the_studys_folder() -> None:
    command = server_command("postgresql://anna@127.0.0.1:5433/studies", Path("/s"), 5001)
    said = dict(pairwise(command))
    assert said["--backend-store-uri"] == "postgresql+psycopg://anna@127.0.0.1:5433/studies"
    assert (said["--artifacts-destination"], said["--host"]) == ("/s/mlartifacts", "127.0.0.1")


def test_the_server_phones_nobody_and_runs_no_jobs() -> None:
    given = environment({"PATH": "/bin", "MLFLOW_DISABLE_TELEMETRY": "false"})
    assert given["MLFLOW_DISABLE_TELEMETRY"] == given["DO_NOT_TRACK"] == "true"
    assert given["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == given["MLFLOW_ENABLE_REMOTE_ASSISTANT"] == "false"
    assert given["PATH"] == "/bin" and "MLFLOW_SERVER_ALLOWED_HOSTS" not in given


def test_a_proxys_host_is_passed_on_and_its_pages_may_ask() -> None:
    given = environment({"MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.org, other:8443"})
    hosts = given["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"mlflow.example.org", "other:8443", "127.0.0.1:*", "localhost:*"} <= set(hosts)
    assert "https://mlflow.example.org" in given["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    own = environment({"MLFLOW_SERVER_ALLOWED_HOSTS": "a", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "https://b"})
    assert own["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://b"
    assert environment({"MLFLOW_SERVER_ALLOWED_HOSTS": "*"})["MLFLOW_SERVER_ALLOWED_HOSTS"] == "*"


def test_the_way_from_another_machine_is_printed() -> None:
    (line,) = from_elsewhere(5001, {"SSH_CONNECTION": "10.0.0.2 51234 10.0.0.7 2222"})
    assert "`ssh -p 2222 -N -L 5001:127.0.0.1:5001 " in line and "@10.0.0.7`" in line
    (line,) = from_elsewhere(5001, {})
    assert socket.gethostname() in line


@pytest.fixture(scope="module")
def delivered(integration: None, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded study with its pages in MLflow."""
    folder = Path(shutil.copytree(recorded, tmp_path_factory.mktemp("delivered") / "study"))
    deliver(folder)
    return folder


def linked(line: str) -> dict[str, list[str]]:
    """The query of the page that a line names."""
    return parse_qs(urlsplit(urlsplit(line.partition(": ")[2]).fragment).query)


def test_each_workload_has_its_view_and_pages_that_compare_its_runs(delivered: Path) -> None:
    lines = addresses(delivered, "http://127.0.0.1:5001")
    assert [line.partition(": ")[0] for line in lines] == [
        "Digits, MLP, accuracy and memory",
        "Digits, MLP, as a table",
        "Digits, MLP, confirmed runs side by side",
        "Digits, MLP, best of each method side by side",
        "MNIST, MLP, accuracy and memory",
        "MNIST, MLP, as a table",
        "MNIST, MLP, trials side by side",
        "MNIST, MLP, best of each method side by side",
        "all runs",
    ]
    charts, table = linked(lines[0]), linked(lines[1])
    assert charts["compareRunsMode"] == ["CHART"] and table["compareRunsMode"] == ["TABLE"]
    assert charts["viewStateShareKey"] == table["viewStateShareKey"] == ["Digits-MLP"]
    assert not {"searchFilter", "orderByKey"} & charts.keys(), "a link with a filter is not given the view"


def test_the_compare_page_gets_the_runs_that_the_scores_stand_on(delivered: Path) -> None:
    every, best = (linked(line) for line in addresses(delivered, "http://127.0.0.1:5001")[2:4])
    client = MlflowClient(default_tracking_uri(delivered))
    (experiment,) = client.search_experiments(filter_string="name = 'recorded'")
    runs = {run.info.run_id: run.data.tags for run in client.search_runs([experiment.experiment_id], max_results=1000)}
    compared = [runs[run_id] for run_id in json.loads(every["runs"][0])]
    assert len(compared) == 5 * 3
    assert all("-confirm-0001-" in tags["trial_id"] for tags in compared)
    assert json.loads(every["experiments"][0]) == [experiment.experiment_id]
    chosen = [runs[run_id] for run_id in json.loads(best["runs"][0])]
    assert sorted(tags["method"] for tags in chosen) == sorted(["binary", "bop", "frozen", "real-SGD", "real-Adam"])
    assert {tags["seed"] for tags in chosen} == {"13"}, "the best on validation"


def test_run_ids_are_quoted_in_the_address() -> None:
    url = compare_url("http://127.0.0.1:5000/", "1", ["a", "b"])
    assert url.startswith("http://127.0.0.1:5000/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%221%22%5D")


def test_a_port_in_use_is_refused_with_who_has_it_and_a_folder_without_a_study_too(
    delivered: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        who = f"process {os.getpid()} is there, `.*`, which `kill {os.getpid()}` ends; give another with --port"
        with pytest.raises(UserError, match=who):
            serve(delivered, taken.getsockname()[1])
    with pytest.raises(UserError, match=r"has no study\.json"):
        serve(tmp_path)


def test_a_study_without_pages_is_answered_with_the_command_that_makes_them(recorded: Path) -> None:
    with pytest.raises(UserError, match=r"has no pages yet.*`python -m study mlflow .*` makes them"):
        serve(recorded, free_port())


def test_a_database_of_another_mlflow_is_answered_with_the_command_that_mends_it(
    delivered: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(delivered, tmp_path / "elsewhere"))
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '7ac759974ad8'")
    with pytest.raises(UserError, match=r"another MLflow version; `mlflow db upgrade sqlite:///.*`") as refused:
        serve(folder, free_port(), lambda line: None)
    assert "\n" not in str(refused.value)


def test_pages_are_served_until_interrupted_and_no_server_stays(delivered: Path, tmp_path: Path) -> None:
    port, folder = free_port(), Path(shutil.copytree(delivered, tmp_path / "elsewhere"))
    with served(folder, port) as said:
        assert any(f": http://127.0.0.1:{port}/#/experiments/" in line for line in said)
        assert any(f"-L {port}:127.0.0.1:{port}" in line for line in said)
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=30) as answer:
            assert answer.status == 200
        # A tracking server's address in study.json is printed as it is; nothing is started for it.
        write_study_file(tmp_path / "remote", "recorded", f"http://{HOST}:{port}")
        shutil.copy(folder / "log.jsonl", tmp_path / "remote")
        lines: list[str] = []
        serve(tmp_path / "remote", say=lines.append)
        assert f": http://{HOST}:{port}/#/" in lines[0]
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, port)) != 0


def test_a_killed_command_leaves_no_server_on_its_port(delivered: Path, tmp_path: Path) -> None:
    port, folder = free_port(), Path(shutil.copytree(delivered, tmp_path / "elsewhere"))
    command, _ = started(folder, port)
    command.kill()
    command.wait()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return
        time.sleep(0.5)
    pytest.fail(f"a server is left on port {port}")


def test_a_closed_terminal_ends_the_pages_unless_nohup_says_otherwise(delivered: Path, tmp_path: Path) -> None:
    port, folder = free_port(), Path(shutil.copytree(delivered, tmp_path / "elsewhere"))
    command, _ = started(folder, port, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    try:
        command.send_signal(signal.SIGHUP)
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=30) as answer:
            assert answer.status == 200
        assert command.poll() is None
    finally:
        command.send_signal(signal.SIGTERM)
        assert command.wait(timeout=60) == 0
