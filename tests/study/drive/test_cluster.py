"""Joining or starting Ray: closed to others, side by side with others, and without traces in the home folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.drive import cluster
from trainers.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]

# Run twice at the same time, from a folder that is not the checkout. The state API is what Ray's cleaner of placement
# groups uses, inside a worker; without help it fails where two Rays run.
DRIVER = """
import os
from study.drive.cluster import connect
connect(num_cpus=1)
import ray

@ray.remote
def look():
    import trainers
    from ray.util.state import list_nodes
    print("a worker's noise")
    return trainers.__file__, len(list_nodes()), os.environ["RAY_USAGE_STATS_ENABLED"]

where, nodes, statistics = ray.get(look.remote())
input()  # both are up
assert nodes == 1 and ray.get(look.remote())[1] == 1
assert statistics == "0"
connect()  # joins what is there
print(where, ray.cluster_resources()["object_store_memory"])
"""


@pytest.mark.integration
def test_two_studies_run_side_by_side_and_leave_the_home_folder_alone(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            env=environment | address,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for address in ({}, {"RAY_ADDRESS": "local"})
    ]
    for driver in drivers:
        out, err = driver.communicate("\n", timeout=180)
        assert driver.returncode == 0, err
        assert out.split() == [str(REPOSITORY / "trainers" / "__init__.py"), str(float(cluster.OBJECT_STORE_BYTES))]
        assert "noise" not in err
    assert list(tmp_path.iterdir()) == []


def test_less_than_one_cpu_is_refused_before_ray_starts() -> None:
    with pytest.raises(UserError, match="use 1 or more"):
        cluster.connect(num_cpus=0)


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def nobody(**options: object) -> None:
        assert options["address"] == "192.0.2.1:6379"
        raise ConnectionError("timed out")

    monkeypatch.setattr(ray, "init", nobody)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "check_address", lambda: None)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    with pytest.raises(UserError, match=r"192\.0\.2\.1:6379 .*unset RAY_ADDRESS"):
        cluster.connect()


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0"),
            "runs another release .*2.9.0",
        ),
        (ValueError("a\nlong\nstory"), r"cannot be joined \(a\); unset RAY_ADDRESS"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, message: str
) -> None:
    import ray

    def refuse(**options: object) -> None:
        raise raised

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "check_address", lambda: None)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    with pytest.raises(UserError, match=message) as refusal:
        cluster.connect()
    assert "\n" not in str(refusal.value)


def test_a_token_is_made_where_one_is_asked_for_and_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Left to itself, Ray would write one into the home folder, for everybody to read."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert not cluster._has_own_token()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert not cluster._has_own_token()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert cluster._has_own_token()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a" * 64)
    assert cluster._has_own_token()


def run_program(program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(folder), "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.integration
def test_a_ray_outlives_the_thread_that_a_study_ran_in_and_serves_the_next_one(tmp_path: Path) -> None:
    program = """
import threading, time
from study.drive.cluster import connect
def work():
    import ray
    connect(num_cpus=1)
    print(ray.get(ray.remote(lambda: "done").remote()), flush=True)
for _ in range(2):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    time.sleep(3)
print("alive")
"""
    done = run_program(program, tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["done", "done", "alive"]), done.stderr


@pytest.mark.integration
def test_a_ray_that_runs_in_the_process_already_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    program = """
import ray
from study.drive.cluster import check_running_ray, connect
from trainers.errors import UserError
ray.init(address="local", num_cpus=1, log_to_driver=False, include_dashboard=False)
connect(groups=False)  # a study without groups of workers needs no dashboard
for look in (connect, lambda: check_running_ray(packages=("no_such_package",))):
    try:
        look()
    except UserError as error:
        print(error)
"""
    done = run_program(program, tmp_path)
    without_dashboard, without_code = done.stdout.splitlines()
    assert "its dashboard, which frees what a stopped trial took, does not answer its workers" in without_dashboard
    assert "its workers find no package 'no_such_package'" in without_code
    assert all(
        line.endswith("call `ray.shutdown()` first: a study starts its own") for line in done.stdout.splitlines()
    )


@pytest.mark.integration
def test_a_ray_for_single_workers_has_no_dashboard_and_is_refused_to_groups(tmp_path: Path) -> None:
    program = """
import psutil
from study.drive.cluster import connect
from trainers.errors import UserError
connect(num_cpus=1, groups=False)
print(sum("ray-dashboard-" in " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)))
connect(groups=False)
try:
    connect()
except UserError as error:
    print(error)
"""
    count, refusal = run_program(program, tmp_path).stdout.splitlines()
    assert "its dashboard" in refusal and refusal.endswith("call `ray.shutdown()` first: a study starts its own")
    assert count == "0"


# Ray's own words where its processes did not come up in half a minute; they have been started by then.
LATE_START = """
import sys
import time
import psutil
import ray
from ray._private import services
from study.drive.cluster import connect
from trainers.errors import UserError

look, late = services.get_node, int(sys.argv[1])

def get_node(*arguments):
    global late
    late -= 1
    if late >= 0:
        raise Exception("The current node timed out during startup.")
    return look(*arguments)

services.get_node = get_node
try:
    connect(num_cpus=1, groups=False)
    print(ray.get(ray.remote(lambda: "served").remote()))
except UserError as error:
    print(error)

def servers():
    return sum(c.name() == "gcs_server" and c.status() != psutil.STATUS_ZOMBIE for c in psutil.Process().children())

until = time.monotonic() + 60  # one that is to end takes a moment
while (left := servers()) > int(sys.argv[2]) and time.monotonic() < until:
    time.sleep(0.1)
print(left)
"""


@pytest.mark.integration
@pytest.mark.parametrize(("late", "said", "servers"), [(1, "served", "1"), (2, "Ray does not start", "0")])
def test_a_start_of_ray_that_took_too_long_is_tried_once_more(
    tmp_path: Path, late: int, said: str, servers: str
) -> None:
    done = run_program(LATE_START, tmp_path, str(late), servers)
    first, left = done.stdout.splitlines()
    assert first.startswith(said) and left == servers, done.stderr
    if late == 2:
        assert "(The current node timed out during startup.)" in first and "the same command again" in first


def test_workers_find_the_running_code_first_and_keep_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/elsewhere", str(REPOSITORY)]))
    assert cluster.worker_environment()["PYTHONPATH"] == os.pathsep.join([str(REPOSITORY), "/elsewhere"])
    monkeypatch.delenv("PYTHONPATH")
    assert cluster.worker_environment()["PYTHONPATH"] == str(REPOSITORY)


def test_a_users_own_setting_reaches_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    assert cluster.worker_environment()["RAY_USAGE_STATS_ENABLED"] == "1"


@pytest.mark.parametrize(("folder", "used"), [("/var/tmp", "/var/tmp"), ("/var/tmp/" + "long/" * 20, "/tmp")])
def test_temporary_folder_is_replaced_only_where_sockets_would_not_fit(
    folder: str, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", folder)
    cluster._shorten_temporary_folder()
    assert os.environ["TMPDIR"] == used
