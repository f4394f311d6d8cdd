"""What may be used of a machine and an account is what its owner allows, on every kind of system."""

import os
from pathlib import Path

import pytest

from study.drive import cluster
from trainers.data.prepared_folders import prepared_roots, root_for_writing
from trainers.machine import allowed_cpus, control_groups, home


def test_the_cpus_are_those_of_the_set_that_a_scheduler_gave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert allowed_cpus(tmp_path) == 1


def test_where_the_system_knows_no_sets_all_cpus_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert allowed_cpus(tmp_path) == 8


@pytest.mark.parametrize(
    ("quota", "cpus"), [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("x", 8)]
)
def test_the_quota_of_a_control_group_is_kept_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert allowed_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", 8), ("300000", 3)])
def test_so_is_that_of_a_control_group_of_version_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert allowed_cpus(tmp_path) == cpus


def test_a_quota_of_a_schedulers_job_or_of_what_it_is_part_of_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SLURM limits a job on a bare machine in a group below the root, which `/proc/self/cgroup` names."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    own, job = tmp_path / "own", tmp_path / "system.slice" / "job_7"
    (job / "step_0").mkdir(parents=True)
    own.write_text("0::/system.slice/job_7/step_0\n")
    (job / "cpu.max").write_text("300000 100000\n")
    assert allowed_cpus(tmp_path, own) == 3
    (job / "step_0" / "cpu.max").write_text("200000 100000\n")
    assert allowed_cpus(tmp_path, own) == 2
    own.write_text("4:memory:/other\n3:cpu,cpuacct:/slurm/job_7\n")
    assert next(control_groups("cpu", tmp_path, own)) == tmp_path / "cpu" / "slurm" / "job_7"
    assert allowed_cpus(tmp_path, own) == 8


def test_a_user_without_a_home_folder_is_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    for name in ("XDG_CACHE_HOME", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert home() is None
    assert prepared_roots(tmp_path / "data", None) == [tmp_path / "data" / "prepared"]
    assert root_for_writing(tmp_path / "data", None) == tmp_path / "data" / "prepared"
    assert not cluster._has_own_token()
