"""The trial of the launcher: what it checks first, and, where the machine lets it, the trial itself."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

SCRIPT = Path(__file__).resolve().parent.parent.parent / "cluster" / "try_one_node.py"


@pytest.fixture(scope="module")
def trial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("try_one_node", SCRIPT)
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


def test_filled_in_file_keeps_to_this_machine_and_is_one_that_ray_accepts(trial: ModuleType, tmp_path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(trial.filled_in(tmp_path, ssh_port=2222, dashboard_port=9999).read_text())
    assert config["provider"]["head_ip"] == "127.0.0.1"
    start = config["head_start_ray_commands"][-1]
    assert "--port=6379" not in start and "--dashboard-port=9999" in start and "--dashboard-host=127.0.0.1" in start
    assert "-p 2222 -W 127.0.0.1:2222" in config["auth"]["ssh_proxy_command"]
    validate_config(prepare_config(config))


@pytest.mark.slow
@pytest.mark.timeout(3000)  # seconds: it installs the project once more, and runs a study twice
def test_up_submit_job_submit_and_down_work_on_one_node(trial: ModuleType) -> None:
    if found := trial.obstacles():
        pytest.skip("; ".join(found))
    command = [sys.executable, str(SCRIPT), "--", "quickstart", "--trials", "2"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
    assert "the launcher works: up, submit, job submit, up again, down" in run.stdout
