"""Every report of every run reaches the log once, and a pruned run leaves no checkpoint behind."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.define.trial_spec import trial_spec
from study.drive.recorder import Place, TuneRecorder
from study.record.study_log import StudyLog, TrialRecord
from study.record.terminal import Progress
from trainers.config import TrialConfig
from trainers.errors import UserError

CONFIG = TrialConfig("Digits", "MLP", "bop", epochs=3)
EPOCH = {"epoch": 1, "train_loss": 0.5, "val_accuracy": 0.8, "time_total_s": 3.0, "device_seconds": 4.0}
TRIAL = "cell-search-0000"


@pytest.fixture
def log(tmp_path: Path) -> StudyLog:
    return StudyLog(tmp_path / "log.jsonl")


def recorder(log: StudyLog, said: list[str] | None = None, **place: Any) -> TuneRecorder:
    show = (lambda line: None) if said is None else said.append
    return TuneRecorder(log, Place(Progress("cell", 2, show=show), **place))


def trial(run_dir: Path, last_result: dict[str, Any] | None = None, alone: bool = False) -> Any:
    """As much of a Ray Tune trial as a callback reads."""
    spec = {**trial_spec(TRIAL, "search", "bop", CONFIG, run_dir), "alone": alone}
    return SimpleNamespace(config={"spec": spec}, last_result=last_result)


def events(log: StudyLog, name: str) -> list[dict[str, Any]]:
    return [event for event in log.events() if event["event"] == name]


def record(log: StudyLog) -> TrialRecord:
    return log.trials()[TRIAL]


def test_a_run_starts_with_its_whole_configuration_its_cell_and_its_tags(log: StudyLog, tmp_path: Path) -> None:
    recorder(log, cell="c", tags={"rank": "1"}).on_trial_start(0, [], trial(tmp_path))
    (start,) = events(log, "start")
    assert start["config"] == CONFIG.to_dict()
    assert (start["cell"], start["tags"], start["attempt"]) == ("c", {"rank": "1"}, 1)
    recorder(log, cell="c").on_trial_start(0, [], trial(tmp_path))
    assert [start["attempt"] for start in events(log, "start")] == [1, 2]


def test_an_epoch_is_recorded_once_without_ray_s_additions(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    writer.on_trial_start(0, [], trial(tmp_path))
    for _ in range(2):
        writer.on_trial_result(0, [], trial(tmp_path), EPOCH)
    (epoch,) = events(log, "epoch")
    assert (epoch["epoch"], epoch["device_seconds"]) == (1, 4.0)
    assert epoch["metrics"] == {"epoch": 1, "train_loss": 0.5, "val_accuracy": 0.8}
    assert [event["epoch"] for event in events(log, "retrained")] == [1]
    assert record(log).epochs_used == 2


@pytest.mark.parametrize(("recovered", "then"), [(True, "attempt_end"), (False, "end")])
def test_a_run_whose_process_died_on_the_way_to_it_has_started(
    log: StudyLog, tmp_path: Path, recovered: bool, then: str
) -> None:
    writer = recorder(log)
    died = writer.on_trial_recover if recovered else writer.on_trial_error
    died(0, [], trial(tmp_path))
    assert [event["event"] for event in log.events()] == ["start", then]
    assert record(log).attempts == 1


def test_epochs_told_again_from_a_checkpoint_fill_gaps_and_nothing_else(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_result(0, [], trial(tmp_path), EPOCH)
    for number in (1, 2):  # the checkpoint of epoch 2 was saved, and then the command was killed
        writer.on_trial_result(0, [], trial(tmp_path), {**EPOCH, "epoch": number, "replayed": True})
    assert [event["epoch"] for event in events(log, "epoch")] == [1, 2]
    assert not events(log, "retrained")


def test_the_last_report_ends_a_run_and_is_no_epoch(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    last = {**EPOCH, "epoch": 3, "test_accuracy": 0.7, "outcome": "completed", "device_seconds": 9.0}
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_result(0, [], trial(tmp_path), EPOCH)
    writer.on_trial_result(0, [], trial(tmp_path), last)
    writer.on_trial_complete(0, [], trial(tmp_path, last))
    assert len(events(log, "epoch")) == 1
    assert (record(log).outcome, record(log).metrics["test_accuracy"]) == ("completed", 0.7)
    assert record(log).device_seconds == 9.0
    assert writer.outcomes == {TRIAL: "completed"}


def test_the_test_set_s_opening_is_logged_once_and_each_forced_one(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    last = {**EPOCH, "test_accuracy": 0.7, "outcome": "completed"}
    for more in ({}, {}, {"test_forced": True}):
        writer.on_trial_start(0, [], trial(tmp_path))
        writer.on_trial_complete(0, [], trial(tmp_path, {**last, **more}))
    assert (record(log).test_opened, record(log).test_forced) == (2, 1)


def test_a_run_without_a_last_report_was_pruned_at_its_rung_and_its_folder_goes(log: StudyLog, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    writer = recorder(log)
    writer.on_trial_start(0, [], trial(run_dir))
    writer.on_trial_result(0, [], trial(run_dir), EPOCH)
    writer.on_trial_complete(0, [], trial(run_dir, EPOCH))
    assert (record(log).outcome, record(log).rung) == ("pruned", 1)
    assert not run_dir.exists()


def test_a_diverged_run_keeps_its_reason(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    last = {"epoch": 0, "outcome": "diverged", "reason": "loss is nan in epoch 1"}
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_complete(0, [], trial(tmp_path, last))
    assert (record(log).outcome, record(log).reason) == ("diverged", "loss is nan in epoch 1")


@pytest.mark.parametrize(
    ("outcome", "how"), [("stopped", "interrupted"), ("disk_full", "disk_full"), ("out_of_memory", "out_of_memory")]
)
def test_a_run_that_is_to_go_on_has_ended_an_attempt_and_keeps_its_folder(
    log: StudyLog, tmp_path: Path, outcome: str, how: str
) -> None:
    said: list[str] = []
    writer = recorder(log, said)
    writer.on_trial_start(0, [], trial(tmp_path))
    # A full disk ends the command: every other run would end the same way.
    with pytest.raises(UserError, match="so") if outcome == "disk_full" else nullcontext():
        writer.on_trial_complete(0, [], trial(tmp_path, {"epoch": 0, "outcome": outcome, "reason": "so"}))
    assert (record(log).outcome, record(log).how) == ("interrupted", how)
    assert not events(log, "end") and tmp_path.exists()
    assert "will go on" in said[-1]


def test_out_of_memory_alone_on_the_device_is_infeasible(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    last = {"epoch": 0, "outcome": "out_of_memory", "reason": "too big"}
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_complete(0, [], trial(tmp_path, last, alone=True))
    assert record(log).outcome == "infeasible"


def test_a_run_whose_process_died_goes_on_until_tune_gives_it_up(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_recover(0, [], trial(tmp_path, EPOCH))
    assert (record(log).outcome, record(log).how, record(log).device_seconds) == ("interrupted", "died", 4.0)
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_error(0, [], trial(tmp_path, EPOCH))
    assert (record(log).outcome, record(log).attempts) == ("failed", 2)


def test_what_the_log_could_not_take_is_kept_for_the_command_to_say(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    writer.on_trial_start(0, [], trial(tmp_path))
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(UserError):
        writer.on_trial_result(0, [], trial(tmp_path), EPOCH)
    assert "cannot be written" in str(writer.failure)


def test_what_a_run_flipped_is_kept_with_its_end(log: StudyLog, tmp_path: Path) -> None:
    writer = recorder(log)
    flips = {
        "flipped_share": 0.01,
        "flips_per_weight": 0.03,
        "flipped_by_layer": {"feature.0": 0.02, "classifier.0": 0.0},
    }
    last = {**EPOCH, **flips, "outcome": "completed"}
    writer.on_trial_start(0, [], trial(tmp_path))
    writer.on_trial_complete(0, [], trial(tmp_path, last))
    (end,) = events(log, "end")
    assert record(log).flipped_by_layer == end["flipped_by_layer"] == flips["flipped_by_layer"]
    assert (end["metrics"]["flipped_share"], end["metrics"]["flips_per_weight"]) == (0.01, 0.03)
