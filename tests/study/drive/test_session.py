"""A command works alone in a study's folder, and what it leaves open is closed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.drive.session import open_session, require_log
from study.record.folder import StudyFolder
from study.record.runs_table import read_study
from study.record.study_log import StudyLog
from trainers.config import TrialConfig
from trainers.errors import UserError

CONFIG = TrialConfig("Digits", "MLP", "bop").to_dict()
START = {"cell": "c", "phase": "search", "method": "bop", "config": CONFIG, "tags": {}, "attempt": 1}


@pytest.fixture
def folder(fresh_study: Path) -> StudyFolder:
    """A study with an empty log and an empty database."""
    (fresh_study / "log.jsonl").touch()
    return StudyFolder(fresh_study)


def start(log: StudyLog) -> None:
    log.append("sweep", cell="c", tags={}, params={})
    log.append("start", trial_id="a", **START)


def test_what_a_command_leaves_running_is_interrupted_at_its_end(folder: StudyFolder) -> None:
    with pytest.raises(KeyboardInterrupt), open_session(folder) as session:
        start(session.log)
        raise KeyboardInterrupt
    assert session.delivered
    records = read_study(folder.path)
    assert [row["status"] for row in records.table.to_pylist()] == ["interrupted"]
    assert records.sweeps["c"]["status"] == "interrupted"


def test_what_a_killed_command_left_running_is_interrupted_at_the_next_one(folder: StudyFolder) -> None:
    start(StudyLog(folder.path / "log.jsonl"))
    with open_session(folder) as session:
        assert session.log.trials()["a"].outcome == "interrupted"
        assert session.log.open_sweeps() == []
        session.log.append("start", trial_id="a", **{**START, "attempt": 2})
        assert read_study(folder.path).table.to_pylist()[0]["status"] == "running"


@pytest.mark.integration
def test_a_second_command_is_kept_out_until_the_first_has_ended(folder: StudyFolder) -> None:
    program = "import sys, time; from pathlib import Path; from study.record.working_alone import only_one\n"
    program += "with only_one(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", program, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as first:
        assert first.stdout is not None and first.stdout.readline() == "in\n"
        with pytest.raises(UserError, match="another command is at work"), open_session(folder):
            pass
        first.send_signal(signal.SIGKILL)
    with open_session(folder):
        pass


@pytest.mark.parametrize("name", ["mlflow.db", "optuna.journal"])
def test_a_study_without_a_log_is_not_begun_anew(tmp_path: Path, name: str) -> None:
    require_log(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"no log\.jsonl"):
        require_log(tmp_path)
    (tmp_path / "log.jsonl").touch()
    require_log(tmp_path)


def test_a_study_whose_server_is_away_neither_waits_nor_errs_and_says_what_it_lacks(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s", tracking_uri="http://127.0.0.1:9")
    said: list[str] = []
    began = time.monotonic()
    with open_session(folder, said.append) as session:
        start(session.log)
    assert time.monotonic() - began < 10
    assert not session.delivered
    assert read_study(folder.path).table.num_rows == 1
    assert said[-1].startswith("MLflow has not been told of 2 runs (no server answers at http://127.0.0.1:9")
    assert said[-1].endswith(f"`python -m study mlflow {folder.path}` delivers them")


@pytest.mark.integration
def test_a_command_that_is_kept_out_has_extended_no_budget(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study", name="s")
    offer = {"trials": 4, "epochs": 2, "pruner": None, "k": 1, "seeds": [11]}
    with open_session(folder, claim=lambda: folder.claim({"c": {}}, {"c": offer})):
        later = StudyFolder(tmp_path / "study")

        def claim() -> None:
            later.claim({"c": {}}, {"c": {**offer, "trials": 99}})

        with pytest.raises(UserError, match="another command is at work"), open_session(later, claim=claim):
            pass
    assert StudyFolder(tmp_path / "study").offered("c") == offer


def test_a_claim_reads_what_others_wrote_meanwhile(tmp_path: Path) -> None:
    first, second = StudyFolder(tmp_path / "study", name="s"), StudyFolder(tmp_path / "study", name="s")
    first.claim({"a": {}})
    second.claim({"b": {}}, {"b": {"trials": 1, "epochs": 1, "pruner": None, "k": 0, "seeds": []}})
    first.claim({"c": {}})
    third = StudyFolder(tmp_path / "study")
    assert third.offered("b") is not None
    with pytest.raises(UserError, match="belongs to another configuration of a"):
        third.claim({"a": {"lr": 2}})
