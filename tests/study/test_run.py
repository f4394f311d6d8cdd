"""The script for `ray submit`: the same study as `python -m study run`, on the cluster it is submitted to."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import study.__main__

# `from study import run` is the function that runs a study from Python.
run = importlib.import_module("study.run")

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The argument lists that reached the command line."""
    lists: list[list[str]] = []
    monkeypatch.setattr(study.__main__, "program", lambda argv: lists.append(argv) or 7)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("RAY_ADDRESS", "")  # so that what the script sets is taken back after the test
    monkeypatch.delenv("RAY_ADDRESS")
    return lists


@pytest.mark.parametrize("arguments", [["quickstart", "--trials", "2"], ["--", "quickstart", "--trials", "2"]])
def test_arguments_and_exit_status_pass_through(called: list[list[str]], arguments: list[str]) -> None:
    assert run.main(arguments) == 7
    assert called == [["run", "quickstart", "--trials", "2"]]


def test_it_joins_the_cluster_of_its_machine_unless_told_which(
    called: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.main(["quickstart"])
    assert os.environ["RAY_ADDRESS"] == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    run.main(["quickstart"])
    assert os.environ["RAY_ADDRESS"] == "10.0.0.5:6379"


@pytest.mark.integration
@pytest.mark.parametrize("copied", [False, True], ids=["from the checkout", "copied to a home folder"])
def test_script_runs_where_ray_submit_puts_it(copied: bool, tmp_path: Path) -> None:
    script = REPOSITORY / "study" / "run.py"
    environment = dict(os.environ)
    if copied:
        script = Path(shutil.copy(script, tmp_path))
        environment["PYTHONPATH"] = str(REPOSITORY)  # the node's installation
    shown = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert "study run" in shown.stdout


def test_importing_the_script_leaves_study_run_a_call_that_runs_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    import study

    calls: list[tuple[str, dict[str, int]]] = []
    monkeypatch.setattr("study.api.run", lambda source, **options: calls.append((source, options)))
    study.run("quickstart", trials=2)
    assert calls == [("quickstart", {"trials": 2})]
