"""Runs are recorded once each, whatever is started again, and read as MLflow shows them."""

import math
import multiprocessing
import pickle
from pathlib import Path

import pytest

from study.mlflow_export.exporter import Tracker
from study.record.metrics import METRIC_KEYS, recordable
from study.record.tracking_uri import default_tracking_uri
from tests.study.recorded_study import ORIGIN
from trainers.config import TrialConfig
from trainers.errors import UserError

TAGS = {"dataset": "Digits", "model": "MLP", "algorithm": "binary", "method": "binary", "phase": "search", "seed": "1"}
TAGS |= ORIGIN
CONFIG = TrialConfig(dataset="Digits", model="MLP", algorithm="binary").to_dict()


@pytest.fixture
def tracker(fresh_study: Path) -> Tracker:
    return Tracker(default_tracking_uri(fresh_study), "fresh")


def history(tracker: Tracker, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracker.client.get_metric_history(run_id, key)]


def run_count(tracker: Tracker) -> int:
    return len(tracker.client.search_runs([tracker.experiment_id]))


def test_a_run_records_at_most_24_metric_keys() -> None:
    assert len(METRIC_KEYS) == len(set(METRIC_KEYS)) <= 24


def test_a_trial_asked_for_twice_is_one_run_named_by_its_id_under_its_sweep(
    tracker: Tracker, fresh_study: Path
) -> None:
    parent = tracker.sweep_run("Digits-MLP-binary", {"dataset": "Digits", **ORIGIN}, {"trials": 3})
    first = tracker.trial_run("Digits-MLP-binary-search-0000", parent, CONFIG, TAGS)
    again = Tracker(default_tracking_uri(fresh_study), "fresh")  # the command started a second time
    assert again.sweep_run("Digits-MLP-binary", {"dataset": "Digits", **ORIGIN}, {"trials": 3}) == parent
    assert again.trial_run("Digits-MLP-binary-search-0000", parent, CONFIG, TAGS) == first
    assert run_count(tracker) == 2
    run = tracker.client.get_run(first)
    assert run.info.run_name == run.data.tags["trial_id"] == "Digits-MLP-binary-search-0000"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["status"] == "running"
    assert {key: run.data.tags[key] for key in TAGS} == TAGS


def test_the_whole_configuration_is_recorded_and_none_is_written_as_none(tracker: Tracker) -> None:
    run_id = tracker.trial_run("t", None, CONFIG, TAGS)
    params = tracker.client.get_run(run_id).data.params
    assert params == {key: "none" if value is None else str(value) for key, value in CONFIG.items()}
    assert params["temperature"] == "none"


def test_params_that_a_killed_process_did_not_get_to_are_added(tracker: Tracker) -> None:
    tracker.trial_run("t", None, {}, TAGS)
    run_id = tracker.trial_run("t", None, CONFIG, TAGS)
    assert len(tracker.client.get_run(run_id).data.params) == len(CONFIG)


def test_a_resumed_trial_adds_no_metric_point_twice(tracker: Tracker, fresh_study: Path) -> None:
    run_id = tracker.trial_run("t", None, CONFIG, TAGS)
    for epoch in (1, 2, 3):
        tracker.log_epoch(run_id, {"train_loss": 1 / epoch, "train_seconds": epoch}, epoch)
    resumed = Tracker(default_tracking_uri(fresh_study), "fresh")
    for epoch in (2, 3, 4):  # its last checkpoint was that of epoch 1; the clock does not repeat itself
        resumed.log_epoch(run_id, {"train_loss": 1 / epoch, "train_seconds": 10 + epoch}, epoch)
    assert [step for step, _ in history(tracker, run_id, "train_loss")] == [1, 2, 3, 4]
    assert history(tracker, run_id, "train_seconds") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 14.0)]


def test_finishing_twice_changes_nothing(tracker: Tracker) -> None:
    run_id = tracker.trial_run("t", None, CONFIG, TAGS)
    tracker.log_epoch(run_id, {"val_accuracy": 0.5}, 1)
    for _ in range(2):
        tracker.finish(run_id, "completed", {"epoch": 1, "val_accuracy": 0.5, "test_accuracy": 0.4})
    assert history(tracker, run_id, "test_accuracy") == [(1, 0.4)]
    assert history(tracker, run_id, "val_accuracy") == [(1, 0.5)]


@pytest.mark.parametrize(
    ("status", "shown"),
    [("completed", "FINISHED"), ("pruned", "KILLED"), ("failed", "FAILED"), ("diverged", "FAILED")],
)
def test_each_outcome_has_its_mlflow_status(tracker: Tracker, status: str, shown: str) -> None:
    run_id = tracker.trial_run("t", None, CONFIG, TAGS)
    tracker.finish(run_id, status)
    run = tracker.client.get_run(run_id)
    assert (run.info.status, run.data.tags["status"]) == (shown, status)


def test_a_failed_trial_tried_again_runs_and_a_completed_one_stays_completed(tracker: Tracker) -> None:
    for trial_id, status, expected in (("a", "failed", "RUNNING"), ("b", "completed", "FINISHED")):
        run_id = tracker.trial_run(trial_id, None, CONFIG, TAGS)
        tracker.finish(run_id, status)
        tracker.trial_run(trial_id, None, CONFIG, TAGS)
        assert tracker.client.get_run(run_id).info.status == expected


def test_a_sweep_that_is_extended_is_running_again_with_its_new_tags(tracker: Tracker) -> None:
    run_id = tracker.sweep_run("c", {"trials": "3", **ORIGIN}, {"lr": 1})
    tracker.finish(run_id, "completed")
    assert tracker.sweep_run("c", {"trials": "5", **ORIGIN}, {"lr": 1}) == run_id
    run = tracker.client.get_run(run_id)
    assert (run.info.status, run.data.tags["status"], run.data.tags["trials"]) == ("RUNNING", "running", "5")


def test_values_that_are_not_finite_are_left_out_and_named(tracker: Tracker) -> None:
    run_id = tracker.trial_run("t", None, CONFIG, TAGS)
    tracker.log_epoch(run_id, {"train_loss": math.nan, "temperature": math.inf, "lr": 0.1}, 1)
    run = tracker.client.get_run(run_id)
    assert run.data.metrics == {"lr": 0.1, "epoch": 1.0}
    assert run.data.tags["non_finite"] == "train_loss, temperature at step 1"


def test_unknown_metrics_and_outcomes_and_incomplete_tags_are_refused(tracker: Tracker) -> None:
    with pytest.raises(ValueError, match="phase is none of"):
        tracker.trial_run("t", None, CONFIG, {**TAGS, "phase": "later"})
    with pytest.raises(ValueError, match=r"lacks the tags \['seed'\]"):
        tracker.trial_run("t", None, CONFIG, {key: value for key, value in TAGS.items() if key != "seed"})
    run_id = tracker.trial_run("t", None, CONFIG, TAGS)
    with pytest.raises(ValueError, match="metrics \\['loss'\\] are unknown"):
        tracker.log_epoch(run_id, {"loss": 1.0}, 1)
    with pytest.raises(ValueError, match="not as 'done'"):
        tracker.finish(run_id, "done")


def test_only_metrics_of_a_report_are_recordable() -> None:
    report = {"train_loss": 1.0, "val_accuracy": None, "status": "completed", "pid": 7}
    assert recordable(report) == {"train_loss": 1.0}


def test_names_with_quotes_and_two_studies_in_one_store_stay_apart(tracker: Tracker, fresh_study: Path) -> None:
    first = tracker.trial_run("it's", None, CONFIG, TAGS)
    assert tracker.trial_run("it's", None, CONFIG, TAGS) == first
    other = Tracker(default_tracking_uri(fresh_study), "another")
    assert other.trial_run("it's", None, CONFIG, TAGS) != first


def _same_runs(tracker: Tracker) -> tuple[str, str]:
    parent = tracker.sweep_run("c", ORIGIN, {})
    return parent, tracker.trial_run("t", parent, CONFIG, TAGS)


def test_processes_that_create_the_store_at_once_share_one_run_each(tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path / "at once #1")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        trackers = pool.starmap(Tracker, [(uri, "s")] * 2, chunksize=1)
        assert len(set(pool.map(_same_runs, trackers, chunksize=1))) == 1
    assert sorted(path.name for path in (tmp_path / "at once #1").iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_tracker_can_be_sent_to_another_process(tracker: Tracker) -> None:
    run_id = tracker.trial_run("t", None, CONFIG, TAGS)
    assert pickle.loads(pickle.dumps(tracker)).trial_run("t", None, CONFIG, TAGS) == run_id


def test_stores_that_cannot_be_used_are_said_plainly(tmp_path: Path) -> None:
    for content, message in ((b"not a database at all" * 100, "cannot be read"), (b"", "none of MLflow's")):
        (tmp_path / "mlflow.db").write_bytes(content)
        with pytest.raises(UserError, match=message):
            Tracker(default_tracking_uri(tmp_path), "s")
    with pytest.raises(UserError, match="no MLflow server answers at http://127"):
        Tracker("http://127.0.0.1:9", "s")
    with pytest.raises(UserError, match=r"holds \?"):
        default_tracking_uri(tmp_path / "what?")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be created"):
        Tracker(default_tracking_uri(tmp_path / "file" / "study"), "s")
