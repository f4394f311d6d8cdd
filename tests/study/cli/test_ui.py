"""`ui` serves a study's own records on this machine alone, prints where, and leaves no server behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient

from study.cli.ui import HOST, addresses, compare_url, serve, server_command
from study.mlflow_export.delivery import deliver
from study.record.tracking_uri import default_tracking_uri
from tests.study.recorded_study import write_study_file
from trainers.errors import UserError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def test_the_server_listens_on_this_machine_alone_with_one_worker() -> None:
    command = server_command("sqlite:////s/mlflow.db", Path("/s"), 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--workers") + 1] == "1"
    assert command[command.index("--backend-store-uri") + 1] == "sqlite:////s/mlflow.db"


@pytest.fixture(scope="module")
def delivered(integration: None, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded study with its pages in MLflow."""
    folder = Path(shutil.copytree(recorded, tmp_path_factory.mktemp("delivered") / "study"))
    deliver(folder)
    return folder


def test_the_compare_page_gets_the_runs_that_the_scores_stand_on(delivered: Path) -> None:
    lines = addresses(delivered, "http://127.0.0.1:5001")
    query = parse_qs(urlsplit(urlsplit(lines[1].removeprefix("compare: ")).fragment).query)
    client = MlflowClient(default_tracking_uri(delivered))
    (experiment,) = client.search_experiments(filter_string="name = 'recorded'")
    runs = {run.info.run_id: run.data.tags.get("trial_id") for run in client.search_runs([experiment.experiment_id])}
    compared = [runs[run_id] for run_id in json.loads(query["runs"][0])]
    assert len(compared) == 5 * 3 + 2
    assert sum("-confirm-0001-" in trial_id for trial_id in compared) == 15
    assert json.loads(query["experiments"][0]) == [experiment.experiment_id]


def test_run_ids_are_quoted_in_the_address() -> None:
    url = compare_url("http://127.0.0.1:5000/", "1", ["a", "b"])
    assert url.startswith("http://127.0.0.1:5000/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%221%22%5D")


def test_a_port_in_use_and_a_folder_without_a_study_are_refused(delivered: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(UserError, match="give another with --port"):
            serve(delivered, taken.getsockname()[1])
    with pytest.raises(UserError, match=r"has no study\.json"):
        serve(tmp_path)


def test_a_study_without_pages_is_answered_with_the_command_that_makes_them(recorded: Path) -> None:
    with pytest.raises(UserError, match=r"has no pages yet.*`python -m study mlflow .*` makes them"):
        serve(recorded, free_port())


def test_pages_are_served_until_interrupted_and_no_server_stays(delivered: Path, tmp_path: Path) -> None:
    port, recorded_copy = free_port(), Path(shutil.copytree(delivered, tmp_path / "elsewhere"))
    code = (
        f"import study.cli.ui; study.cli.ui.serve({str(recorded_copy)!r}, {port}, lambda line: print(line, flush=True))"
    )
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    assert command.stdout is not None
    try:
        said = []
        for line in command.stdout:
            said.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert any(line.startswith(f"runs:    http://127.0.0.1:{port}/#/experiments/") for line in said)
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=30) as answer:
            assert answer.status == 200
        # A tracking server's address in study.json is printed as it is; nothing is started for it.
        write_study_file(recorded_copy.parent / "remote", "recorded", f"http://{HOST}:{port}")
        shutil.copy(recorded_copy / "log.jsonl", recorded_copy.parent / "remote")
        lines: list[str] = []
        serve(recorded_copy.parent / "remote", say=lines.append)
        assert lines[0].startswith(f"runs:    http://{HOST}:{port}/#/")
    finally:
        command.send_signal(signal.SIGTERM)
        command.wait(timeout=60)
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, port)) != 0


def served(folder: Path, port: int, before: str = "") -> "subprocess.Popen[str]":
    """The pages' command, once its server answers."""
    code = f"{before}\nfrom study.cli.ui import serve\n"
    code += f"serve({str(folder)!r}, {port}, lambda line: print(line, flush=True))"
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    assert any(line.startswith("Ctrl-C") for line in command.stdout)
    return command


def test_a_killed_command_leaves_no_server_on_its_port(delivered: Path, tmp_path: Path) -> None:
    port, folder = free_port(), Path(shutil.copytree(delivered, tmp_path / "elsewhere"))
    command = served(folder, port)
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
    command = served(folder, port, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    try:
        command.send_signal(signal.SIGHUP)
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=30) as answer:
            assert answer.status == 200
        assert command.poll() is None
    finally:
        command.send_signal(signal.SIGTERM)
        assert command.wait(timeout=60) == 0
