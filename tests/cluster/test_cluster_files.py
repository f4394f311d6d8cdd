"""The cluster files: Ray's own validation takes them, and they keep to what the project promises about nodes."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FILES = ("cluster.yaml", "cluster/gcp.yaml", "cluster/local.yaml", "cluster/one-node.yaml")
SEVERAL_NODES = FILES[:3]
CLOUDS = FILES[:2]


@pytest.fixture(params=FILES)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded = yaml.safe_load((REPOSITORY / request.param).read_text())
    assert isinstance(loaded, dict)
    return loaded


def commands(config: dict[str, Any]) -> list[str]:
    return [command for key, entries in config.items() if key.endswith("_commands") for command in entries]


def test_ray_accepts_the_file(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


def test_ray_would_reject_an_unknown_key(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(Exception, match="surprise"):
        validate_config(prepare_config({**copy.deepcopy(config), "surprise": 1}))


def test_every_path_that_is_synced_is_in_a_clone(config: dict[str, Any]) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    names = {line.split("/")[0] for line in tracked.splitlines()} | {".git"}
    assert {local for remote, local in config["file_mounts"].items() if "binsfo-study" in remote} <= names


def test_nodes_get_all_that_installing_needs(config: dict[str, Any]) -> None:
    mounted = set(config["file_mounts"].values())
    assert {"pyproject.toml", "constraints.txt", "LICENSE", "binsfo.py", ".git"} <= mounted
    assert {"trainers", "search_spaces", "study", "cluster"} <= mounted
    assert "bash ~/binsfo-study/cluster/setup_node.sh" in config["setup_commands"]


def test_dashboard_answers_on_loopback_alone_and_every_start_is_silent(config: dict[str, Any]) -> None:
    starts = [command for command in commands(config) if "ray start" in command]
    assert starts
    for start in starts:
        assert "--disable-usage-stats" in start
        if "--head" in start:
            assert "--dashboard-host=127.0.0.1" in start
    assert not any(".".join("0000") in command for command in commands(config))


def test_all_nodes_share_one_token(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    environment = (REPOSITORY / "cluster" / "environment.sh").read_text()
    assert "export RAY_AUTH_MODE=token" in environment
    assert "export RAY_USAGE_STATS_ENABLED=0" in environment


@pytest.mark.parametrize("file", CLOUDS)
def test_gpu_workers_come_when_needed_and_go_when_idle(file: str) -> None:
    config = yaml.safe_load((REPOSITORY / file).read_text())
    worker = config["available_node_types"]["gpu_worker"]
    assert worker["min_workers"] == 0 < worker["max_workers"] <= config["max_workers"]
    head = config["available_node_types"][config["head_node_type"]]["resources"]
    assert head == {"CPU": 0, "GPU": 0}, "no trial runs beside the driver"


@pytest.mark.parametrize("file", SEVERAL_NODES)
def test_every_node_mounts_the_shared_disk_before_ray_starts(file: str) -> None:
    setup = yaml.safe_load((REPOSITORY / file).read_text())["setup_commands"]
    assert "cluster/mount_shared.sh" in setup[-2] and "setup_node.sh" in setup[-1]


@pytest.mark.integration
def test_setting_up_a_node_twice_installs_once_and_adds_one_line(tmp_path: Path) -> None:
    checkout = tmp_path / "binsfo-study"
    (checkout / "cluster").mkdir(parents=True)
    (checkout / "pyproject.toml").write_text("[project]\n")
    (checkout / "constraints.txt").write_text("torch==2.13.0\n")
    script = (REPOSITORY / "cluster" / "setup_node.sh").read_text()
    (checkout / "cluster" / "setup_node.sh").write_text(script)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    # Stands in for the virtual environment's pip, which would install gigabytes: it counts its calls.
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    pip = checkout / ".venv" / "bin" / "pip"
    pip.write_text('#!/bin/sh\necho "$@" >> "$HOME/installs"\n')
    pip.chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHON": sys.executable}
    for change in ("", "", "dependencies = []\n"):
        (checkout / "pyproject.toml").write_text((checkout / "pyproject.toml").read_text() + change)
        subprocess.run(["bash", str(checkout / "cluster" / "setup_node.sh")], env=environment, check=True)
    installs = (tmp_path / "installs").read_text().splitlines()
    assert len(installs) == 2, "once at first, once for the changed pyproject.toml"
    assert all("--constraint constraints.txt --editable ." in line for line in installs)
    assert (tmp_path / ".bashrc").read_text().count("# binsfo-study") == 1
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


@pytest.mark.integration
def test_the_shared_disk_is_mounted_once_and_takes_nobodys_files(tmp_path: Path) -> None:
    script, home, tools = REPOSITORY / "cluster" / "mount_shared.sh", tmp_path / "home", tmp_path / "tools"
    home.mkdir()
    tools.mkdir()
    for name, body in {
        "sudo": 'exec "$@"',
        "mount": 'echo "$@" >> "$HOME/mounts"',
        "mountpoint": '[ -e "$HOME/mounts" ]',
        "mount.nfs4": "",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)

    def mounted(share: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}"}
        return subprocess.run(["bash", str(script), share], env=environment, capture_output=True, text=True)

    assert "put your own share" in mounted("fs-00000000000000000.efs.us-west-2.amazonaws.com:/").stderr
    for _ in range(2):
        done = mounted("server:/export")
        assert done.returncode == 0, done.stderr
    (mounts,) = (home / "mounts").read_text().splitlines()
    assert mounts.startswith("-t nfs4") and mounts.endswith(f"server:/export {home}/shared")
    assert (home / "studies").readlink() == home / "shared" / "studies"
    (home / "data").unlink()
    (home / "data").mkdir()
    (home / "data" / "mine").touch()
    refused = mounted("server:/export")
    assert refused.returncode == 1 and "move them to" in refused.stderr and (home / "data" / "mine").exists()


def test_a_job_on_kubernetes_shares_a_disk_and_asks_for_a_token() -> None:
    claim, job = yaml.safe_load_all((REPOSITORY / "cluster" / "kuberay.yaml").read_text())
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert job["apiVersion"] == "ray.io/v1" and job["kind"] == "RayJob"
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"ray=={cluster['rayVersion']}" in (REPOSITORY / "constraints.txt").read_text().splitlines()
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    for pod in pods:
        (container,) = pod["containers"]
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/shared", "/dev/shm"}
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "--output /shared/" in job["spec"]["entrypoint"] and "--data-root /shared/" in job["spec"]["entrypoint"]


def _in_slurm(tmp_path: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run cluster/slurm.sh as a job of one node: `srun` runs its task, `scontrol` names this machine."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "srun").write_text(
        '#!/bin/sh\nwhile case "$1" in --*) true;; *) false;; esac; do shift; done\nexec "$@"\n'
    )
    (tools / "scontrol").write_text("#!/bin/sh\necho 127.0.0.1\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "SLURM_SUBMIT_DIR": str(REPOSITORY),
        "SLURM_JOB_NODELIST": "node[1-1]",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_PER_TASK": "1",
        **variables,
    }
    # In a namespace of its own: at the end of a job every Ray that is seen there is stopped.
    private = ["unshare", "--pid", "--fork", "--mount-proc", "bash", "-c", '"$@"; exit $?', "_"]
    script = str(REPOSITORY / "cluster" / "slurm.sh")
    return subprocess.run([*private, script, *command], env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_slurm_job_starts_a_closed_ray_and_runs_the_command_on_it(tmp_path: Path) -> None:
    namespace = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    if shutil.which("unshare") is None or subprocess.run(namespace, capture_output=True).returncode:
        pytest.skip("needs a process namespace of its own")
    done = _in_slurm(tmp_path, "doctor", "--cluster", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fit for trials" in done.stdout and "all nodes can run trials" in done.stdout
    assert _in_slurm(tmp_path).returncode == 2
    assert "there is no /nowhere/python" in _in_slurm(tmp_path, "doctor", PYTHON="/nowhere/python").stderr


@pytest.mark.integration
def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [str(path) for path in (*(REPOSITORY / "cluster").glob("*.sh"), REPOSITORY / ".ci" / "run")]
    done = subprocess.run([Path(sys.executable).parent / "shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
