"""What a study says to the network: nothing to the outside, and its own servers answer this machine alone."""

import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import study
from study.cli.ui import HOST, server_command
from study.drive.cluster import worker_environment
from study.record.tracking_uri import default_tracking_uri

REPOSITORY = Path(__file__).resolve().parent.parent.parent

STUDY = """\
name: tiny
cells: [{datasets: [Digits], models: [MLP], methods: [bop]}]
fixed: {hid_dim: 16, depth: 2, batch_size: 96, epochs: 2, image_size: 8}
search: {trials: 2}
confirm: {k: 1, seeds: [11]}
"""


def may_isolate() -> bool:
    """Whether this system lets a user have a network of their own."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    made = "ip link add outside type veth peer name beyond"
    return subprocess.run(["unshare", "-rn", *made.split()], capture_output=True).returncode == 0


def test_nothing_is_reported_to_anybody_unless_the_user_says_so() -> None:
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }.items():
        assert study.ENVIRONMENT[name] == value
        assert os.environ[name], "the command's own environment"
        assert worker_environment()[name] == os.environ[name], "that of its workers"


def test_nodes_of_a_cluster_report_nothing_either() -> None:
    text = (REPOSITORY / "cluster" / "environment.sh").read_text()
    for line in ("RAY_USAGE_STATS_ENABLED=0", "RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9", "RAY_AUTH_MODE=token"):
        assert f"export {line}\n" in text


@pytest.mark.integration
@pytest.mark.parametrize(("address", "wanted"), [(None, "0"), ("10.0.0.5:6379", None)])
def test_a_studys_own_ray_is_one_node_and_a_cluster_is_joined_as_it_is(address: str | None, wanted: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(REPOSITORY)} | ({"RAY_ADDRESS": address} if address else {})
    show = "import os, study; print(os.environ.get('RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'))"
    shown = subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str(wanted)


def test_the_pages_are_served_to_this_machine_alone(tmp_path: Path) -> None:
    command = server_command(default_tracking_uri(tmp_path), tmp_path, 5000)
    assert command[command.index("--host") + 1] == HOST == "127.0.0.1"


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a whole command did in a network of its own: data prepared, searched, confirmed, compared, for real."""
    if not may_isolate():
        pytest.skip("this system gives no user a network of their own (unshare -rn, veth)")
    folder = tmp_path_factory.mktemp("isolated")
    (folder / "tiny.yaml").write_text(STUDY)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    command = ["-m", "study", "run", "tiny.yaml", "--output", "out", "--data-root", "data"]
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, str(Path(__file__).with_name("isolated.py")), "seen.json"]
        + [sys.executable, *command],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    assert seen["status"] == 0, done.stdout + done.stderr
    return seen


@pytest.mark.slow
def test_a_command_sends_nothing_to_the_outside(witnessed: dict[str, Any]) -> None:
    """But for one question of Ray's dashboard that no setting turns off: which cloud is this?

    It asks the link-local address that clouds answer at, which no router passes on, and looks up the name that Google's
    has; the answer goes nowhere while usage statistics are off.
    """
    told = [where for where in witnessed["sent"] if not where.startswith("169.254.169.254:80 ")]
    assert all(where.endswith(":53 UDP") for where in told), told


@pytest.mark.slow
def test_every_server_of_a_command_listens_on_this_machine_alone(witnessed: dict[str, Any]) -> None:
    assert witnessed["listening"], "Ray's servers at least"
    for address, port, process in witnessed["listening"]:
        plain = ipaddress.ip_address(address.removeprefix("::ffff:"))
        assert plain.is_loopback, f"{process} listens on {address}:{port}"


@pytest.mark.slow
def test_the_pages_of_a_study_answer_on_this_machine_alone(tmp_path: Path) -> None:
    import psutil

    from study.mlflow_export.store import create_database

    create_database(tmp_path / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        server_command(default_tracking_uri(tmp_path), tmp_path, port),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process = psutil.Process(server.pid)
        addresses: set[str] = set()
        while not addresses:
            assert server.poll() is None
            for part in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):  # one that lived for a moment
                    addresses |= {c.laddr.ip for c in part.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    finally:
        os.killpg(server.pid, 9)
        server.wait()
    assert addresses == {"127.0.0.1"}
