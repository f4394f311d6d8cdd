"""The cluster files: Ray's own validation takes them, and they keep to what the project promises about nodes."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FILES = ("cluster.yaml", "cluster/one-node.yaml")


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


def test_gpu_workers_come_when_needed_and_go_when_idle() -> None:
    config = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())
    worker = config["available_node_types"]["gpu_worker"]
    assert worker["min_workers"] == 0 < worker["max_workers"] <= config["max_workers"]
    assert config["available_node_types"][config["head_node_type"]]["resources"]["GPU"] == 0


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
