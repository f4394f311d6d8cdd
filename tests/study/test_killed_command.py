"""What a command that was killed at the very end of a trial still owed is done by the next one, without a Ray."""

import json
from pathlib import Path

import optuna
import pytest

from study.define.cells import Cell, ConfirmConfig, ResourcesConfig, SearchConfig, make_cell
from study.define.memory_plan import need_of_cell
from study.drive.course import run_cells
from study.drive.tune_state import trial_file
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog
from study.search.journal import open_journal
from study.search.journal_search import open_search
from trainers.data.prepare import prepare

SEARCHED, PRUNED, CONFIRMED = (f"Digits-MLP-bop-{name}" for name in ("search-0000", "search-0001", "confirm-0000-s11"))


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    prepare("Digits", tmp_path)
    fixed = {"epochs": 1, "hid_dim": 8, "depth": 2, "batch_size": 96, "image_size": 8}
    search = SearchConfig(trials=2)
    return make_cell(
        "Digits", "MLP", "bop", fixed=fixed, search=search, resources=ResourcesConfig(), data_root=str(tmp_path)
    )


def logged(log: StudyLog, cell: Cell, trial_id: str, outcome: str) -> None:
    """A run that started and ended, as the log has it; its command was killed right after."""
    phase = trial_id.split("-")[3]
    own = {"trial_id": trial_id, "cell": cell.name, "phase": phase, "method": cell.method}
    log.append("start", **own, config=cell.base.to_dict(), tags={}, attempt=1)
    metrics = {"val_accuracy": 0.5}
    log.append("epoch", trial_id=trial_id, epoch=1, metrics=metrics, device_seconds=1.0)
    rung = 1 if outcome == "pruned" else None
    log.append("end", trial_id=trial_id, outcome=outcome, metrics=metrics, reason="", rung=rung, device_seconds=1.0)


def test_records_that_were_owed_are_written_and_a_pruned_runs_folder_goes(tmp_path: Path, cell: Cell) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.claim({cell.name: cell.identity()})
    log = StudyLog(folder.log)
    search = open_search(cell, open_journal(folder.journal))
    for trial_id, outcome in ((SEARCHED, "completed"), (PRUNED, "pruned")):
        trial = search.ask()
        trial.set_user_attr("config", json.dumps(cell.base.to_dict()))
        logged(log, cell, trial_id, outcome)
    logged(log, cell, CONFIRMED, "completed")
    for trial_id in (SEARCHED, PRUNED, CONFIRMED):
        folder.run_dir(trial_id).mkdir(parents=True)

    need = need_of_cell(cell)
    course = run_cells([cell], ConfirmConfig(seeds=(11,)), folder, log, {cell.name: need})
    assert course.searches[cell.name].outcomes == {"completed": 1, "pruned": 1}
    assert course.confirmations == {CONFIRMED: "completed"}

    states = [trial.state for trial in search.get_trials(deepcopy=False)]
    assert states == [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED]
    for trial_id in (SEARCHED, PRUNED, CONFIRMED):
        assert json.loads(trial_file(folder.tune, trial_id).read_text())["trial_id"] == trial_id
        assert folder.run_dir(trial_id).exists() == (trial_id != PRUNED)
