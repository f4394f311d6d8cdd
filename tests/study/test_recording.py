"""Every report of a run reaches the records once, and a pruned run leaves no checkpoint behind."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.progress import Progress
from study.recording import Place, TuneRecorder
from study.trial import trial_spec
from trainers.config import TrialConfig

CONFIG = TrialConfig("Digits", "MLP", "bop", epochs=3)
EPOCH = {"epoch": 1, "train_loss": 0.5, "val_accuracy": 0.8, "time_total_s": 3.0}


class Records:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.epochs: list[tuple[str, int, dict[str, float]]] = []
        self.ends: dict[str, tuple[str, dict[str, float]]] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def trial_run(self, trial_id: str, parent_run_id: str | None, params: dict, tags: dict) -> str:
        self.runs[trial_id] = {"parent": parent_run_id, "params": params, "tags": tags}
        return f"run-{trial_id}"

    def log_epoch(self, run_id: str, metrics: dict[str, float], step: int) -> None:
        self.epochs.append((run_id, step, metrics))

    def finish(self, run_id: str, status: str, final_metrics: dict[str, float]) -> None:
        self.ends[run_id] = (status, final_metrics)

    def set_tags(self, run_id: str, tags: dict[str, str]) -> None:
        self.tags[run_id] = tags


@pytest.fixture
def records() -> Records:
    return Records()


def recorder(records: Records, **place: Any) -> TuneRecorder:
    return TuneRecorder(records, Place(Progress("cell", 2, show=lambda line: None), **place))


def trial(run_dir: Path, last_result: dict[str, Any] | None = None) -> Any:
    """As much of a Ray Tune trial as a callback reads."""
    spec = trial_spec("cell-search-0000", "search", "bop", CONFIG, run_dir)
    return SimpleNamespace(config={"spec": spec}, last_result=last_result)


def test_a_run_starts_with_its_whole_configuration_and_its_tags(records: Records, tmp_path: Path) -> None:
    recorder(records, parent_run_id="sweep", tags={"rank": "1"}).on_trial_start(0, [], trial(tmp_path))
    run = records.runs["cell-search-0000"]
    assert run["parent"] == "sweep"
    assert run["params"] == CONFIG.to_dict()
    assert run["tags"] == {
        "dataset": "Digits",
        "model": "MLP",
        "algorithm": "bop",
        "method": "bop",
        "phase": "search",
        "seed": "1",
        "rank": "1",
    }


def test_an_epoch_is_recorded_at_its_own_step_without_ray_s_additions(records: Records, tmp_path: Path) -> None:
    writer = recorder(records)
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_result(0, [], trial(tmp_path), EPOCH)
    ((run_id, step, metrics),) = records.epochs
    assert (run_id, step) == ("run-cell-search-0000", 1)
    assert "time_total_s" not in metrics


def test_the_last_report_ends_a_run_and_is_no_epoch(records: Records, tmp_path: Path) -> None:
    writer = recorder(records)
    last = {**EPOCH, "epoch": 3, "test_accuracy": 0.7, "outcome": "completed"}
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_result(0, [], trial(tmp_path), EPOCH)
    writer.on_trial_result(0, [], trial(tmp_path), last)
    writer.on_trial_complete(0, [], trial(tmp_path, last))
    assert len(records.epochs) == 1
    status, metrics = records.ends["run-cell-search-0000"]
    assert status == "completed"
    assert metrics["test_accuracy"] == 0.7
    assert writer.outcomes == {"cell-search-0000": "completed"}


def test_a_run_without_a_last_report_was_pruned_and_its_folder_goes(records: Records, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    writer = recorder(records)
    writer.on_trial_start(0, [], trial(run_dir))
    writer.on_trial_result(0, [], trial(run_dir), EPOCH)
    writer.on_trial_complete(0, [], trial(run_dir, EPOCH))
    assert records.ends["run-cell-search-0000"][0] == "pruned"
    assert not run_dir.exists()


def test_a_diverged_run_keeps_its_reason(records: Records, tmp_path: Path) -> None:
    writer = recorder(records)
    last = {"epoch": 0, "outcome": "diverged", "reason": "loss is nan in epoch 1"}
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_complete(0, [], trial(tmp_path, last))
    assert records.ends["run-cell-search-0000"][0] == "diverged"
    assert records.tags["run-cell-search-0000"] == {"reason": "loss is nan in epoch 1"}


def test_a_run_whose_process_died_has_failed(records: Records, tmp_path: Path) -> None:
    writer = recorder(records)
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_error(0, [], trial(tmp_path))
    assert records.ends["run-cell-search-0000"][0] == "failed"
