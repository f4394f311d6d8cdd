"""What a command's exit status says, and what it says of runs that failed."""

from pathlib import Path
from typing import Any

import pytest

from study.cli.command_line import main
from study.define.cells import ResourcesConfig, SearchConfig, make_cell
from study.drive import course
from study.drive.course import Course
from study.drive.sweep import SweepResult, failures
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog

CELL = make_cell(
    "Digits", "MLP", "bop", fixed={"epochs": 1}, search=SearchConfig(trials=3), resources=ResourcesConfig()
)


def failed(log: StudyLog, number: int, outcome: str, reason: str) -> str:
    trial_id = f"{CELL.name}-search-{number:04d}"
    about = {"cell": CELL.name, "phase": "search", "method": "bop", "config": CELL.base.to_dict(), "tags": {}}
    log.append("start", trial_id=trial_id, **about, attempt=1)
    end: dict[str, Any] = {"metrics": {}, "rung": None, "device_seconds": 1.0}
    log.append("end", trial_id=trial_id, outcome=outcome, reason=reason, **end)
    return trial_id


def test_each_reason_of_failed_trials_is_said_once_with_a_trial_and_its_traceback(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    log = StudyLog(folder.log)
    first = failed(log, 0, "failed", "OSError: no such file")
    failed(log, 1, "failed", "OSError: no such file")
    failed(log, 2, "diverged", "the loss is nan")
    folder.run_dir(first).mkdir(parents=True)
    (folder.run_dir(first) / "error.txt").write_text("Traceback")
    assert failures(CELL, folder, log) == [
        f"2 failed: OSError: no such file ({first}; its traceback: {folder.run_dir(first) / 'error.txt'})",
        f"1 diverged: the loss is nan ({CELL.name}-search-0002)",
    ]


@pytest.mark.integration
@pytest.mark.parametrize("completed", [False, True])
def test_a_sweep_of_which_no_trial_completed_ends_with_status_1_and_says_why(
    completed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_cells(cells: Any, *rest: Any) -> Course:
        (cell,) = cells
        found = (cell.base, 0.5) if completed else (None, None)
        why = () if completed else ("3 failed: OSError: gone",)
        return Course({cell.name: SweepResult(cell, {"failed": 3}, *found, [], [], 1, why)})

    monkeypatch.setattr(course, "run_cells", run_cells)
    monkeypatch.chdir(tmp_path)
    tiny = ["--dataset", "Digits", "--model", "MLP", "--algorithm", "bop", "--hid_dim", "32", "--depth", "2"]
    assert main(["sweep", *tiny, "--batch_size", "96", "--epochs", "1", "--trials", "3", "--output", "study"]) == (
        0 if completed else 1
    )
    said = capsys.readouterr().out
    assert ("no trial completed (3 failed)\n  3 failed: OSError: gone" in said) is not completed
