"""MLflow learns everything that the log says, in order and once, whatever is killed or away in between."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from study.mlflow_export.delivery import Delivery, _plain, undelivered
from study.mlflow_export.exporter import Tracker
from study.record.study_log import StudyLog
from study.record.tracking_uri import default_tracking_uri
from trainers.config import TrialConfig

ORIGIN = {"command": "c", "git_commit": "0" * 40, "versions": "v", "hardware": "h"}
CONFIG = TrialConfig("Digits", "MLP", "bop", epochs=3).to_dict()
CELL = "Digits-MLP-bop"


class Folder:
    """A study folder with a log, and deliveries from it."""

    def __init__(self, path: Path) -> None:
        self.path, self.said = path, list[str]()
        self.log = StudyLog(path / "log.jsonl", show=self.said.append)

    def tracker(self) -> Tracker:
        return Tracker(default_tracking_uri(self.path), "fresh")

    def delivery(self, connect: Callable[[], Any] | None = None) -> Delivery:
        return Delivery(self.log, self.path / "delivered.json", connect or self.tracker, self.said.append)

    def shown(self) -> dict[str, Any]:
        """What MLflow holds, without its own ids and times; every point of every metric counts."""
        client = MlflowClient(default_tracking_uri(self.path))
        experiment = client.get_experiment_by_name("fresh")
        assert experiment is not None
        found = {}
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            assert run.info.run_name not in found, "a run twice"
            points = {
                key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            }
            tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
            found[run.info.run_name] = (run.info.status, tags, run.data.params, points)
        return found


@pytest.fixture
def folder(fresh_study: Path) -> Folder:
    return Folder(fresh_study)


def write_study(log: StudyLog) -> None:
    """One sweep: a run that is interrupted and completes with the test set open, and one that is pruned."""
    log.append("session", **ORIGIN)
    log.append("sweep", cell=CELL, tags={"method": "bop", "trials": "2"}, params={"lr": 1})
    for trial_id in ("a", "b"):
        start(log, trial_id)
        epoch(log, trial_id, 1)
    log.append("attempt_end", trial_id="a", how="interrupted", reason="so", device_seconds=2.0)
    log.append("end", trial_id="b", outcome="pruned", metrics={}, reason="", rung=1, device_seconds=None)
    start(log, "a", attempt=2)
    log.append("retrained", trial_id="a", epoch=1, device_seconds=1.0)
    epoch(log, "a", 2)
    log.append("test_opened", trial_id="a", forced=False, accuracy=0.5)
    metrics = {"train_loss": 0.5, "test_accuracy": 0.5}
    log.append("end", trial_id="a", outcome="completed", metrics=metrics, reason="", rung=None, device_seconds=3.0)
    log.append("sweep_end", cell=CELL, tags={"range_edges": ""})


def start(log: StudyLog, trial_id: str, attempt: int = 1) -> None:
    fields = {"cell": CELL, "phase": "search", "method": "bop", "config": CONFIG, "tags": {"simulated": ""}}
    log.append("start", trial_id=trial_id, attempt=attempt, **fields)


def epoch(log: StudyLog, trial_id: str, number: int) -> None:
    log.append("epoch", trial_id=trial_id, epoch=number, metrics={"train_loss": 1 / number}, device_seconds=1.0)


def test_mlflow_shows_what_the_log_says(folder: Folder) -> None:
    write_study(folder.log)
    delivery = folder.delivery()
    delivery.catch_up()
    shown = folder.shown()
    assert set(shown) == {CELL, "a", "b"}
    status, tags, params, points = shown["a"]
    assert (status, tags["status"], tags["seed"], tags["phase"]) == ("FINISHED", "completed", "1", "search")
    used = ("attempts", "epochs_used", "device_seconds", "test_opened", "test_forced")
    assert [tags[key] for key in used] == ["2", "3", "5.000", "1", "0"]
    assert tags["git_commit"] == "0" * 40
    assert params["bop_threshold"] == str(CONFIG["bop_threshold"])
    assert points == {"train_loss": [(1, 1.0), (2, 0.5)], "epoch": [(1, 1.0), (2, 2.0)], "test_accuracy": [(2, 0.5)]}
    assert (shown["b"][0], shown["b"][1]["rung"]) == ("KILLED", "1")
    assert shown[CELL][0] == "FINISHED"
    assert delivery.waiting() == 0
    assert set(delivery.runs) == {"a", "b"}


@pytest.mark.parametrize("saved", [True, False], ids=["position saved", "position not saved"])
def test_a_delivery_that_was_killed_anywhere_ends_in_the_same_records(
    folder: Folder, tmp_path: Path, empty_database: Path, saved: bool
) -> None:
    write_study(folder.log)
    folder.delivery().catch_up()
    whole = folder.shown()
    for after in range(0, len(list(folder.log.events())), 3 if saved else 1):
        again = elsewhere(folder, tmp_path / f"killed {after}", empty_database)
        killed = again.delivery()
        stop_after(killed, after)
        if not saved:
            killed._save = lambda: None  # type: ignore[method-assign]
        with pytest.raises(InterruptedError):
            killed.catch_up()
        again.delivery().catch_up()
        assert again.shown() == whole, f"killed after {after} events"


def elsewhere(folder: Folder, path: Path, database: Path) -> Folder:
    """The folder's log in another place, with an empty store: a store that MLflow has opened cannot be replaced."""
    path.mkdir()
    shutil.copy(database, path / "mlflow.db")
    shutil.copy(folder.log.path, path / "log.jsonl")
    return Folder(path)


def stop_after(delivery: Delivery, count: int) -> None:
    """Raise instead of delivering any event after the first `count`."""
    deliver, left = delivery._deliver, [count]

    def stopping(line: Any) -> None:
        if not left[0]:
            raise InterruptedError
        left[0] -= 1
        deliver(line)

    delivery._deliver = stopping  # type: ignore[method-assign]


def test_records_wait_while_mlflow_is_away_and_come_in_order(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.mlflow_export.delivery.FIRST_PAUSE", 0.01)
    away = [True]

    def connect() -> Tracker:
        if away:
            raise ConnectionError("no MLflow server answers")
        return folder.tracker()

    monkeypatch.setattr("study.mlflow_export.delivery.LAST_TRY_UNREACHABLE", 0.2)
    delivery = folder.delivery(connect)
    delivery.start()
    write_study(folder.log)
    events = len(list(folder.log.events()))
    assert delivery.flush() == events
    assert [line for line in folder.said if "records wait" in line] == folder.said
    assert len(folder.said) == 1
    away.clear()
    monkeypatch.setattr("study.mlflow_export.delivery.LAST_TRY_UNREACHABLE", 60.0)
    assert delivery.flush(60) == 0
    assert delivery.close() == 0
    assert folder.said[1:] == ["MLflow answers again; the records that waited are being delivered"]
    assert folder.shown()["a"][1]["status"] == "completed"


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        (OSError("HTTPConnectionPool(host='127.0.0.1', port=9): Max retries exceeded"), "its server does not answer"),
        (ValueError("first line\nsecond"), "first line"),
        (ValueError("x" * 500), "x" * 199 + "…"),
        (InterruptedError(), "InterruptedError"),
    ],
)
def test_why_records_wait_is_said_in_one_line(raised: Exception, shown: str) -> None:
    assert _plain(raised) == shown


def test_a_command_that_ends_without_mlflow_says_how_many_records_wait(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.mlflow_export.delivery.LAST_TRY_UNREACHABLE", 0.1)

    def connect() -> Tracker:
        raise ConnectionError("no MLflow server answers")

    delivery = folder.delivery(connect)
    delivery.start()
    folder.log.append("session", **ORIGIN)
    assert delivery.close() == 1
    assert folder.said[-1].startswith("1 records wait in ")
    assert "doctor" in folder.said[-1] and "--repair" in folder.said[-1]
    later = folder.delivery()
    later.catch_up()
    assert later.waiting() == 0


def test_a_store_that_was_lost_is_filled_again_from_the_log(
    folder: Folder, tmp_path: Path, empty_database: Path
) -> None:
    write_study(folder.log)
    folder.delivery().catch_up()
    lost = elsewhere(folder, tmp_path / "lost", empty_database)
    shutil.copy(folder.path / "delivered.json", lost.path)
    later = lost.delivery()
    later.open()
    assert "made again from its log" in lost.said[-1]
    later.catch_up()
    assert lost.shown() == folder.shown()


def test_a_position_that_cannot_be_read_delivers_everything_again_and_doubles_nothing(folder: Folder) -> None:
    write_study(folder.log)
    folder.delivery().catch_up()
    whole = folder.shown()
    (folder.path / "delivered.json").write_text('{"begin": ')
    folder.delivery().catch_up()
    assert folder.shown() == whole
    assert json.loads((folder.path / "delivered.json").read_text())["begin"] == folder.log.path.stat().st_size


def test_a_log_put_back_from_an_older_copy_is_delivered_from_its_beginning(folder: Folder) -> None:
    write_study(folder.log)
    folder.delivery().catch_up()
    whole = folder.shown()
    assert undelivered(folder.path) == 0
    lines = folder.log.path.read_bytes().splitlines(keepends=True)
    folder.log.path.write_bytes(b"".join(lines[:3]))
    older = Folder(folder.path)
    assert older.delivery().waiting() == 3
    older.delivery().catch_up()
    assert set(folder.shown()) == set(whole)


def test_a_sweep_whose_command_was_killed_is_shown_as_interrupted(folder: Folder) -> None:
    folder.log.append("session", **ORIGIN)
    folder.log.append("sweep", cell=CELL, tags={}, params={})
    folder.log.append("sweep_end", cell=CELL, tags={"status": "interrupted"})
    folder.delivery().catch_up()
    status, tags, *_ = folder.shown()[CELL]
    assert (status, tags["status"]) == ("KILLED", "interrupted")
