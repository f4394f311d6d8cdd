"""MLflow comes to show what the log says, whatever it held before; twice changes nothing, and others' runs are left."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from study.mlflow_export import exporter as module
from study.mlflow_export import requests
from study.mlflow_export.delivery import deliver, what_mlflow_lacks
from study.mlflow_export.exporter import MlflowExporter
from study.mlflow_export.metrics import readable
from study.mlflow_export.shown import Identity
from study.record.folder import StudyFolder, study_identity
from study.record.study_log import StudyLog
from study.record.tracking_uri import default_tracking_uri
from tests.study.recorded_study import ORIGIN, begin_study, record_run, record_sweep, write_study_file
from trainers.config import TrialConfig
from trainers.errors import UserError

pytestmark = pytest.mark.integration

CONFIG = TrialConfig("Digits", "MLP", "bop", epochs=3).to_dict()
CELL = "Digits-MLP-bop"
WORKLOAD = {"data": "f" * 64, "test_set": "e" * 16, "train_images": 10, "validation_images": 2, "test_images": 3}
SWEEP = {"dataset": "Digits", "model": "MLP", "method": "bop", "trials": "2", "workload": json.dumps(WORKLOAD)}
Shown = dict[str, Any]


def write_study(log: StudyLog) -> None:
    """One sweep: a run that is interrupted and completes with the test set open, and one that is pruned."""
    log.append("session", **ORIGIN)
    log.append("sweep", cell=CELL, tags=SWEEP, params={"lr": 1})
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


def exporter(folder: Path) -> MlflowExporter:
    known = study_identity(folder)
    return MlflowExporter(folder / "log.jsonl", known.tracking_uri, Identity(known.name, str(known.study_id)))


def shown(folder: Path, uri: str | None = None) -> Shown:
    """What MLflow holds of a study, without MLflow's own ids and times; every point of every metric counts."""
    client, known = MlflowClient(uri or default_tracking_uri(folder)), study_identity(folder)
    found: Shown = {}
    for experiment in client.search_experiments(filter_string=f"tags.study_id = '{known.study_id}'"):
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        names = {run.info.run_id: name_of(run) for run in runs}
        for run in runs:
            assert name_of(run) not in found, "a run twice"
            points = {
                key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            }
            tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
            parent = names.get(run.data.tags.get("mlflow.parentRunId", ""))
            data = sorted((used.dataset.name, used.dataset.digest) for used in run.inputs.dataset_inputs)
            found[name_of(run)] = (run.info.status, parent, tags, run.data.params, points, run.info.run_name, data)
    return found


def name_of(run: Run) -> str:
    """What the study calls a run: its trial id, or its cell."""
    return run.data.tags.get("trial_id") or run.data.tags["cell"]


@pytest.fixture
def log(fresh_study: Path) -> StudyLog:
    return StudyLog(fresh_study / "log.jsonl")


def elsewhere(folder: Path, path: Path, database: Path) -> Path:
    """A study in another place with an empty store: a store that MLflow has opened cannot be replaced."""
    shutil.copytree(folder, path)
    shutil.copy(database, path / "mlflow.db")
    return path


def test_mlflow_shows_what_the_log_says(fresh_study: Path, log: StudyLog) -> None:
    write_study(log)
    assert exporter(fresh_study).update() == 3
    found = shown(fresh_study)
    assert set(found) == {CELL, "a", "b"}
    status, parent, tags, params, points, name, data = found["a"]
    assert (status, parent, tags["status"], tags["seed"], tags["phase"]) == (
        "FINISHED", CELL, "completed", "1", "search",
    )  # fmt: skip
    used = ("attempts", "epochs_used", "device_seconds", "test_opened", "test_forced")
    assert [tags[key] for key in used] == ["2", "3", "5.0", "1", "0"]
    assert tags["git_commit"] == "0" * 40 and tags["study_id"] == study_identity(fresh_study).study_id
    assert params["bop_threshold"] == str(CONFIG["bop_threshold"])
    assert points == {"train_loss": [(1, 1.0), (2, 0.5)], "test_accuracy": [(2, 0.5)], "device_seconds": [(2, 5.0)]}
    assert tags["epochs_shown"] == "2"
    assert name == "Bop · seed 1"
    assert data == [("Digits", "f" * 12), ("Digits test", "e" * 12)]
    assert (found["b"][0], found["b"][2]["rung"]) == ("KILLED", "1")
    assert found[CELL][0] == "FINISHED"


def test_following_a_study_comes_to_the_same_as_delivering_it_at_the_end(
    fresh_study: Path, log: StudyLog, tmp_path: Path, empty_database: Path
) -> None:
    write_study(log)
    exporter(fresh_study).update()
    step = elsewhere(fresh_study, tmp_path / "step", empty_database)
    lines = log.path.read_bytes().splitlines(keepends=True)
    (step / "log.jsonl").write_bytes(b"")
    follower = exporter(step)
    for line in lines:
        with (step / "log.jsonl").open("ab") as file:
            file.write(line)
        follower.update()
    assert shown(step) == shown(fresh_study)
    assert follower.update() == 0


def test_a_delivery_that_was_killed_anywhere_ends_in_the_same_records(
    fresh_study: Path, log: StudyLog, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(log)
    whole, calls = fresh_study, ["create_run", "log_batch", "log_inputs", "set_terminated"]
    exporter(whole).update()
    for after in range(0, 12, 2):
        again = elsewhere(fresh_study, tmp_path / f"killed {after}", empty_database)
        with monkeypatch.context() as patch:
            stop_after(patch, calls, after)
            with pytest.raises(InterruptedError):
                exporter(again).update()
        exporter(again).update()
        assert shown(again) == shown(whole), f"killed after {after} calls"


def stop_after(patch: pytest.MonkeyPatch, calls: list[str], count: int) -> None:
    """Raise instead of making any of these calls of MLflow's client after the first `count`."""
    left = [count]

    def stopping(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **named: Any) -> Any:
            if not left[0]:
                raise InterruptedError
            left[0] -= 1
            return call(*arguments, **named)

        return made

    for name in calls:
        patch.setattr(MlflowClient, name, stopping(getattr(MlflowClient, name)))


def test_whatever_is_deleted_in_mlflows_pages_is_made_anew(fresh_study: Path, log: StudyLog) -> None:
    write_study(log)
    first = exporter(fresh_study)
    first.update()
    before = shown(fresh_study)
    runs = {name_of(run): run.info.run_id for run in first.client.search_runs([first.experiment_id])}
    for name in ("a", CELL):
        first.client.delete_run(runs[name])
        with pytest.raises(MlflowException):
            first.client.log_metric(runs[name], "x", 1.0)
        assert exporter(fresh_study).update() > 0
        assert shown(fresh_study) == before, name
    for _ in range(2):
        first.client.delete_experiment(exporter(fresh_study).experiment_id)
        assert shown(fresh_study) == {}
        assert exporter(fresh_study).update() == 3
        assert shown(fresh_study) == before


def test_two_studies_of_one_name_on_one_server_stay_apart(fresh_study: Path, log: StudyLog, tmp_path: Path) -> None:
    write_study(log)
    exporter(fresh_study).update()
    before = shown(fresh_study)
    other = tmp_path / "fresh of another"
    begin_study(other, "fresh")
    write_study_file(other, "fresh", default_tracking_uri(fresh_study), study_id="a" * 32)
    record_run(StudyLog(other / "log.jsonl"), None, "Digits", "bop", "train", "a", 1, "completed", 0.5, 0.1, 2)
    assert what_mlflow_lacks(study_identity(other)) is not None
    deliver(other, show=lambda line: None)
    assert what_mlflow_lacks(study_identity(other)) is None
    assert shown(fresh_study) == before
    assert set(shown(other, default_tracking_uri(fresh_study))) == {"a"}
    assert exporter(fresh_study).update() == 0


def test_a_run_that_is_there_twice_is_shown_once(fresh_study: Path, log: StudyLog) -> None:
    write_study(log)
    first = exporter(fresh_study)
    first.update()
    before = shown(fresh_study)
    tags = {"study_id": str(study_identity(fresh_study).study_id), "run_kind": "trial", "trial_id": "a"}
    first.client.create_run(first.experiment_id, tags=tags, run_name="a")
    stranger = first.client.create_run(first.experiment_id, run_name="a note of somebody's")
    exporter(fresh_study).update()
    first.client.delete_run(stranger.info.run_id)
    assert shown(fresh_study) == before


def test_pages_of_before_studies_had_an_id_are_taken_over(fresh_study: Path, log: StudyLog) -> None:
    write_study(log)
    client = MlflowClient(default_tracking_uri(fresh_study))
    experiment = client.create_experiment("fresh")
    client.create_run(experiment, tags={"run_kind": "trial", "trial_id": "a", "study": "fresh"}, run_name="a")
    exporter(fresh_study).update()
    assert set(shown(fresh_study)) == {CELL, "a", "b"}
    assert len(client.search_experiments(filter_string="name = 'fresh'")) == 1
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"


def test_long_runs_are_delivered_in_requests_that_mlflow_takes(
    fresh_study: Path, log: StudyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_METRICS", 5)
    monkeypatch.setattr(requests, "MOST_PARAMS", 10)
    monkeypatch.setattr(requests, "MOST_TAGS", 10)
    monkeypatch.setattr(module, "MOST_EPOCHS_WAITING", 3)
    start(log, "a")
    for number in range(1, 9):
        epoch(log, "a", number)
    exporter(fresh_study).update()
    assert shown(fresh_study)["a"][4]["train_loss"] == [(number, readable(1 / number)) for number in range(1, 9)]
    assert len(shown(fresh_study)["a"][3]) > 10
    assert shown(fresh_study)["a"][2]["epochs_shown"] == "8"


def test_epochs_that_are_delivered_once_more_are_there_once(fresh_study: Path, log: StudyLog) -> None:
    write_study(log)
    first = exporter(fresh_study)
    first.update()
    before = shown(fresh_study)
    (run,) = first.client.search_runs([first.experiment_id], filter_string="tags.trial_id = 'a'")
    first.client.delete_tag(run.info.run_id, "epochs_shown")  # a kill came between an epoch's points and this tag
    assert exporter(fresh_study).update() == 1
    assert shown(fresh_study) == before


def test_an_epoch_without_a_finite_value_is_delivered_all_the_same(fresh_study: Path, log: StudyLog) -> None:
    start(log, "a")
    log.append("epoch", trial_id="a", epoch=1, metrics={"train_loss": float("nan")}, device_seconds=1.0)
    exporter(fresh_study).update()
    assert exporter(fresh_study).update() == 0


def test_every_workload_has_a_view_which_follows_its_runs(fresh_study: Path, log: StudyLog) -> None:
    write_study(log)
    first = exporter(fresh_study)
    first.update()

    def tag() -> str:
        return str(first.client.get_experiment(first.experiment_id).tags["mlflow.sharedViewState.Digits-MLP"])

    searched = tag()
    assert "trials" in json.loads(searched)["name"]
    record_run(log, CELL, "Digits", "bop", "confirm", "c", 11, "completed", 0.5, 0.1, 2, test_accuracy=0.5)
    first.update()
    assert "confirmed runs" in json.loads(tag())["name"]
    first.client.set_experiment_tag(first.experiment_id, "mlflow.sharedViewState.own", "somebody's")
    exporter(fresh_study).update()
    assert first.client.get_experiment(first.experiment_id).tags["mlflow.sharedViewState.own"] == "somebody's"


def test_runs_under_names_of_before_are_made_anew(fresh_study: Path, log: StudyLog) -> None:
    write_study(log)
    first = exporter(fresh_study)
    first.update()
    before = shown(fresh_study)
    (run,) = first.client.search_runs([first.experiment_id], filter_string="tags.trial_id = 'a'")
    first.client.log_metric(run.info.run_id, "epoch", 2.0)
    first.client.set_experiment_tag(first.experiment_id, "pages", "1")
    assert "3 of the study's 3" in str(what_mlflow_lacks(study_identity(fresh_study)))
    assert exporter(fresh_study).update() == 3
    assert shown(fresh_study) == before


def test_a_study_is_delivered_to_another_place_and_shown_there_from_then_on(
    fresh_study: Path, log: StudyLog, tmp_path: Path, empty_database: Path
) -> None:
    write_study(log)
    uri = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'shared.db')}"
    said: list[str] = []
    with pytest.raises(UserError, match="no server answers"):
        deliver(fresh_study, "http://127.0.0.1:9")
    assert study_identity(fresh_study).recorded_uri is None, "a refused command leaves nothing behind"
    assert deliver(fresh_study, uri, said.append) == 3
    assert said == [f"MLflow at {uri} shows all of fresh; 3 runs were brought up to date"]
    assert study_identity(fresh_study).tracking_uri == uri
    assert set(shown(fresh_study, uri)) == {CELL, "a", "b"}


@pytest.fixture
def spoiled(fresh_study: Path, log: StudyLog) -> Iterator[Path]:
    write_study(log)
    (fresh_study / "mlflow.db").write_bytes(b"\xff" * 20000)
    yield fresh_study


def test_a_studys_own_database_is_made_again_where_it_is_damaged_or_lost(spoiled: Path) -> None:
    assert "cannot be read" in str(what_mlflow_lacks(study_identity(spoiled)))
    deliver(spoiled, show=lambda line: None)
    assert (spoiled / "mlflow.db.damaged-1").read_bytes() == b"\xff" * 20000
    assert set(shown(spoiled)) == {CELL, "a", "b"}
    assert what_mlflow_lacks(study_identity(spoiled)) is None


def test_what_mlflow_lacks_is_counted(fresh_study: Path, log: StudyLog) -> None:
    assert what_mlflow_lacks(study_identity(fresh_study)) is None, "nothing was recorded"
    write_study(log)
    note = str(what_mlflow_lacks(study_identity(fresh_study)))
    assert "lacks something of 3 of the study's 3 runs and sweeps; `python -m study mlflow" in note
    exporter(fresh_study).update()
    epoch(log, "a", 3)
    assert "1 of the study's 3" in str(what_mlflow_lacks(study_identity(fresh_study)))
    StudyFolder(fresh_study, tracking_uri="http://127.0.0.1:9").create()
    assert "no server answers at http://127.0.0.1:9" in str(what_mlflow_lacks(study_identity(fresh_study)))


def test_a_study_without_a_log_or_with_a_damaged_one_is_not_delivered(fresh_study: Path, log: StudyLog) -> None:
    record_sweep(log, "Digits", "bop")
    log.path.write_bytes(b"\x00\n" + log.path.read_bytes())
    with pytest.raises(UserError, match="line 1 of the study's log"):
        deliver(fresh_study)
    log.path.unlink()
    with pytest.raises(UserError, match=r"no log\.jsonl"):
        deliver(fresh_study)
