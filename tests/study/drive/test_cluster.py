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
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
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
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    with pytest.raises(UserError, match=r"192\.0\.2\.1:6379 .*unset RAY_ADDRESS"):
        cluster.connect()


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
