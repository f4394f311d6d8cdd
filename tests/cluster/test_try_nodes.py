"""Nodes of a cluster on this machine: what they need, and, where the machine lets it, a cluster's whole life."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "cluster" / "try_nodes.py"


@pytest.fixture(scope="module")
def trial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("try_nodes", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_missing_tools_are_named_with_the_packages_that_bring_them(
    trial: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial.shutil, "which", lambda tool: None if tool == "rsync" else f"/usr/bin/{tool}")
    monkeypatch.setattr(trial, "SSHD", None)
    assert any("apt-get install -y openssh-server rsync" in line for line in trial.obstacles())


@pytest.mark.parametrize("count", [1, 2])
def test_filled_in_file_is_one_that_ray_accepts_and_has_nothing_of_the_example_left(
    trial: ModuleType, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    from study.submit.cluster_file import read_cluster_file

    monkeypatch.setenv("HOME", str(tmp_path))
    for file in (tmp_path / ".ray" / "auth_token", tmp_path / "ssh" / "user_key"):
        file.parent.mkdir()
        file.touch()
    path = trial.Nodes(tmp_path, count)._filled_in()
    assert read_cluster_file(path).head == ("10.77.0.11", 22)
    config = yaml.safe_load(path.read_text())
    assert config["provider"]["worker_ips"] == ["10.77.0.12"][: count - 1]
    validate_config(prepare_config(config))


@pytest.mark.slow
def test_a_lab_s_study_runs_on_two_nodes_and_survives_the_death_of_one(trial: ModuleType) -> None:
    if found := trial.obstacles():
        pytest.skip("; ".join(found))
    program = Path(__file__).parent / "on_two_nodes.py"
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "the cluster works" in done.stdout
