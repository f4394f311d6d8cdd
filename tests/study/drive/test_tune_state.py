"""Tune's record of a trial is one file at one place, whatever call ran it; what else Tune wrote goes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from study.drive.tune_state import TrialFiles, call_folder, cell_of, clear_calls, trial_file, write_missing

TRIAL = "Digits-MLP-bop-search-0003"


def trial(run_dir: Path) -> Any:
    """As much of a Ray Tune trial as a callback reads."""
    spec = {"trial_id": TRIAL, "run_dir": str(run_dir)}
    held = SimpleNamespace(
        metric_analysis={"val_accuracy": {"max": 0.5}}, metric_n_steps={"val_accuracy": {"5": [0.5]}}
    )
    return SimpleNamespace(config={"spec": spec}, trial_id="ab12_0000", run_metadata=held)


def test_a_trial_belongs_to_its_cell_whatever_the_cell_is_called() -> None:
    assert cell_of("Digits-MLP-real-SGD-search-0012") == "Digits-MLP-real-SGD"
    assert cell_of("a-search-1b-MLP-bop-confirm-0003-s11") == "a-search-1b-MLP-bop"


def test_the_file_says_how_tune_knows_the_trial_and_how_often_it_was_started(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "ray" / "train").mkdir(parents=True)
    (run_dir / "checkpoints").mkdir()
    files = TrialFiles(tmp_path / "tune", {TRIAL: 3}.__getitem__)
    files.on_trial_complete(0, [], trial(run_dir))
    written = json.loads((tmp_path / "tune" / "Digits-MLP-bop" / TRIAL / "trial.json").read_text())
    assert written == {"trial_id": TRIAL, "tune_id": "ab12_0000", "status": "TERMINATED", "attempts": 3}
    assert [path.name for path in run_dir.iterdir()] == ["checkpoints"], "Ray Train's own files are gone"


def test_what_tune_keeps_of_the_metrics_of_a_trial_that_is_over_is_let_go(tmp_path: Path) -> None:
    over = trial(tmp_path / "run")
    TrialFiles(tmp_path, {TRIAL: 1}.__getitem__).on_trial_complete(0, [], over)
    assert not over.run_metadata.metric_analysis and not over.run_metadata.metric_n_steps


def test_a_file_that_a_killed_command_owed_is_written_and_one_that_is_there_is_kept(tmp_path: Path) -> None:
    other = "Digits-MLP-bop-search-0004"
    files = TrialFiles(tmp_path, {TRIAL: 1}.__getitem__)
    files.on_trial_error(0, [], trial(tmp_path / "run"))
    before = trial_file(tmp_path, TRIAL).read_bytes()
    write_missing(tmp_path, {TRIAL: "completed", other: "failed"}, {other: 2})
    assert trial_file(tmp_path, TRIAL).read_bytes() == before
    assert json.loads(trial_file(tmp_path, other).read_text()) == {
        "trial_id": other,
        "tune_id": None,
        "status": "ERROR",
        "attempts": 2,
    }


def test_what_tune_wrote_during_calls_goes_and_trials_files_stay(tmp_path: Path) -> None:
    """That of a killed call of an earlier release too, which had a folder a cell."""
    for folder in (call_folder(tmp_path), tmp_path / "Digits-MLP-bop" / "call"):
        (folder / TRIAL).mkdir(parents=True)
        (folder / "experiment_state-1.json").touch()
    write_missing(tmp_path, {TRIAL: "completed"}, {})
    clear_calls(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["trial.json"]
    clear_calls(tmp_path)
