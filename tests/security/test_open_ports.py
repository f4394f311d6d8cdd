"""What a cluster's node lets in from outside: ssh, and Ray's ports, each of which asks for the token."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# Ray's servers of Prometheus metrics, which listen on every address and ask nobody for a token.
NO_METRICS = ("RAY_enable_metrics_collection=0", "AUTOSCALER_METRIC_PORT=-1", "DASHBOARD_METRIC_PORT=-1")


def may_isolate() -> bool:
    """Whether this system lets a user have a network and processes of their own."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    made = "ip link add outside type veth peer name beyond"
    return subprocess.run(["unshare", "-rn", "--pid", "--fork", *made.split()], capture_output=True).returncode == 0


@pytest.mark.parametrize("file", ["cluster/environment.sh", "cluster/slurm.sh"])
def test_no_node_serves_metrics_to_whoever_asks(file: str) -> None:
    exported = re.findall(r"^export (.+)$", (REPOSITORY / file).read_text(), re.MULTILINE)
    words = {word for line in exported for word in line.split()}
    assert {*NO_METRICS, "RAY_AUTH_MODE=token"} <= words


def test_no_pod_serves_metrics_to_whoever_asks() -> None:
    _, job = yaml.safe_load_all((REPOSITORY / "cluster" / "kuberay.yaml").read_text())
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert {f"{one['name']}={one['value']}" for one in container["env"]} >= set(NO_METRICS)


@pytest.mark.parametrize(
    "file", ["cluster.yaml", *sorted(f"cluster/{path.name}" for path in (REPOSITORY / "cluster").glob("*.*"))]
)
def test_no_secret_is_in_a_cluster_file(file: str) -> None:
    """What a token or password looks like: a long word of letters and digits mixed, where one is named."""
    text = (REPOSITORY / file).read_text()
    named = re.findall(r"(?i)(?:token|password|secret)\w*\s*[:=]\s*[\"']?([A-Za-z0-9+/_-]{16,})", text)
    assert not [word for word in named if re.search(r"\d", word) and re.search(r"[a-zA-Z]", word)], named


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Any]]:
    """What a head started as `cluster/one-node.yaml` says it showed to the network."""
    if not may_isolate():
        pytest.skip("this system gives no user a network of their own (unshare -rn, veth)")
    folder = Path(tempfile.mkdtemp(prefix="b1n-", dir="/tmp"))  # a short name, below which Ray's sockets go
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    (folder / ".ray" / "auth_token").chmod(0o600)
    config = yaml.safe_load((REPOSITORY / "cluster" / "one-node.yaml").read_text())
    start = next(command for command in config["head_start_ray_commands"] if "ray start" in command)
    start = re.sub(r" --autoscaling-config=\S+", "", start) + " --num-cpus=1"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "HOME": str(folder),
        "TMPDIR": "/tmp",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    inside = [sys.executable, str(Path(__file__).with_name("open_ports.py")), str(folder / "seen.json")]
    node = f". {REPOSITORY}/cluster/environment.sh; {start}"
    # A namespace's first process inherits its orphans, and all of them end with it.
    words = ["unshare", "-rn", "--pid", "--fork", "--kill-child", "--mount-proc", *inside, "bash", "-c", node]
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        yield json.loads((folder / "seen.json").read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_every_outer_port_asks_for_the_token(seen: dict[str, Any]) -> None:
    assert seen["worked"] and "6379" in seen["outer"]
    services = set()
    for port, what in seen["outer"].items():
        if "http" in what:
            assert what["http"] == 401, f"{port}: {what}"
            continue
        assert "grpc" in what, f"{port}: {what}"
        assert what["grpc"].keys() <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, f"{port}: {what}"
        assert what["grpc"]["UNAUTHENTICATED"], f"none of the methods of {port} is known: {what['who']}"
        services |= {method.split("/")[1].removeprefix("ray.rpc.") for method in what["grpc"]["UNAUTHENTICATED"]}
    assert services >= {"NodeManagerService", "CoreWorkerService", "ObjectManagerService", "RayletDriver"}


@pytest.mark.slow
def test_no_process_shows_the_token(seen: dict[str, Any]) -> None:
    assert seen["shown"] == []


@pytest.mark.slow
def test_the_dashboard_listens_on_loopback_alone(seen: dict[str, Any]) -> None:
    assert 8265 in seen["loopback"] and "8265" not in seen["outer"]


@pytest.mark.slow
def test_clients_and_jobs_without_the_token_are_refused(seen: dict[str, Any]) -> None:
    assert len(seen["refused"]) == 4
    for attempt, answer in seen["refused"].items():
        wanted = (401, 403) if "job" in attempt else (1,)
        assert answer["status"] in wanted and "let in" not in answer["said"], f"{attempt}: {answer}"
