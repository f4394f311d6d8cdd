"""Recorded runs become one typed table, from MLflow alone, wherever the study's folder lies."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.mlflow_export.exporter import Tracker, default_tracking_uri
from study.record.runs_table import SCHEMA, _row, collect, read_study, study_identity, write_results
from tests.study.recorded_study import MEMORY, ORIGIN, record_run, write_study_file
from trainers.errors import UserError

COLUMNS = [
    "study", "dataset", "model", "algorithm", "method", "phase", "trial_id", "seed", "status", "epochs", "lr",
    "mask_type", "scheduler_type", "temperature", "inertia_bits", "anneal", "optimizer", "bop_threshold",
    "bop_momentum_bits", "freeze_num", "activation_memory", "batch_size", "image_size", "width", "workers",
    "val_accuracy", "val_accuracy_top5", "val_accuracy_balanced", "val_majority_share", "test_accuracy",
    "test_accuracy_top5", "test_accuracy_balanced", "test_majority_share", "train_loss", "flip_rate",
    "peak_memory_bytes", "memory_weights_bytes", "memory_latent_bytes", "memory_optimizer_state_bytes",
    "memory_gradients_bytes", "memory_saved_activations_bytes", "memory_real_parameters_and_buffers_bytes",
    "memory_workspace_bytes", "state_bits_per_weight", "train_seconds", "rung", "attempts", "epochs_used",
    "device_seconds", "test_opened", "test_forced", "simulated", "mlflow_run_id", "parent_run_id", "git_commit",
    "versions", "hardware", "command",
]  # fmt: skip


def row_of(table: pa.Table, trial_id: str) -> dict[str, object]:
    (row,) = [row for row in table.to_pylist() if row["trial_id"] == trial_id]
    return row


def test_every_run_is_one_row_of_the_promised_columns(recorded: Path) -> None:
    table = collect(recorded)
    assert table.schema.names == COLUMNS
    assert table.schema.equals(SCHEMA)
    ids = table.column("trial_id").to_pylist()
    assert len(ids) == len(set(ids)) == 5 * (5 + 6) + 2 * 5
    statuses = Counter(table.column("status").to_pylist())
    assert statuses == {"completed": 5 * (2 + 6) + 2 * 2, "pruned": 7, "diverged": 7, "failed": 7}


def test_a_row_holds_what_was_recorded_last(recorded: Path) -> None:
    row = row_of(collect(recorded), "Digits-MLP-binary-confirm-0001-s12")
    expected = {
        "study": "recorded", "dataset": "Digits", "model": "MLP", "algorithm": "binary", "method": "binary",
        "phase": "confirm", "seed": 12, "status": "completed", "epochs": 2, "lr": 0.2, "mask_type": "EWM",
        "scheduler_type": "scaled-gaussian", "temperature": 120.0, "batch_size": 96, "image_size": 8, "width": 1.0,
        "workers": 1, "val_accuracy": 0.9, "test_accuracy": 0.89, "test_accuracy_top5": 0.98, "train_loss": 0.5,
        "peak_memory_bytes": MEMORY["binary"], "train_seconds": 3.0, **ORIGIN,
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert row["parent_run_id"] and row["parent_run_id"] != row["mlflow_run_id"]


def test_a_row_says_what_its_run_has_used(fresh_study: Path) -> None:
    tracker = Tracker(default_tracking_uri(fresh_study), "fresh")
    run_id = record_run(tracker, None, "Digits", "bop", "search", "t", 1, "running", 0.5, 0.1, 2)
    used = {"attempts": 2, "epochs_used": 3, "device_seconds": 4.5, "test_opened": 1, "test_forced": 0, "rung": 2}
    tracker.finish(run_id, "pruned", tags={**{key: str(value) for key, value in used.items()}, "simulated": ""})
    row = row_of(collect(fresh_study), "t")
    assert {key: row[key] for key in used} == used
    assert row["simulated"] is None
    assert (row["bop_momentum_bits"], row["freeze_num"], row["activation_memory"]) == (32, None, "stock")


def test_settings_that_an_algorithm_does_not_read_are_null(recorded: Path) -> None:
    used = {
        "binary": {"mask_type", "scheduler_type", "temperature", "inertia_bits", "anneal"},
        "bop": {"bop_threshold", "bop_momentum_bits"},
        "real": {"optimizer"},
    }
    every = set().union(*used.values())
    for row in collect(recorded).to_pylist():
        assert {name for name in every if row[name] is not None} == used.get(row["algorithm"], set())
        assert (row["test_accuracy"] is not None) == (row["phase"] == "confirm")


def test_a_run_of_before_there_were_counters_had_none(recorded: Path) -> None:
    later = ("inertia_bits", "anneal")
    row = row_of(collect(recorded), "Digits-MLP-binary-confirm-0001-s12")
    assert [row[name] for name in later] == [0, "none"]
    old = SimpleNamespace(
        data=SimpleNamespace(tags={"algorithm": "binary", "model": "MLP"}, params={}, metrics={}),
        info=SimpleNamespace(run_id="r"),
    )
    assert [_row(old)[name] for name in later] == [0, "none"]


def test_results_are_written_whole_and_say_where_they_come_from(recorded_copy: Path) -> None:
    path = write_results(recorded_copy)
    assert path == recorded_copy / "results.parquet"
    assert not list(recorded_copy.glob(".results*"))
    table = pq.read_table(path)
    assert table.num_rows == 65
    assert table.schema.metadata[b"study"] == b"recorded"
    assert {b"created_by", b"git_commit"} <= table.schema.metadata.keys()


def test_a_copied_study_is_read_from_its_new_place(recorded: Path, recorded_copy: Path) -> None:
    study, uri = study_identity(recorded_copy)
    assert uri == default_tracking_uri(recorded_copy) != default_tracking_uri(recorded)
    tracker = Tracker(uri, study)
    record_run(tracker, None, "Digits", "bop", "train", "extra", 1, "completed", 0.5, 0.1, 2)
    assert collect(recorded_copy).num_rows == collect(recorded).num_rows + 1


def test_a_run_that_is_still_going_is_a_row_too(fresh_study: Path) -> None:
    tracker = Tracker(default_tracking_uri(fresh_study), "fresh")
    record_run(tracker, None, "MNIST", "bop", "train", "going", 1, "running", 0.5, 0.1, 0)
    row = row_of(collect(fresh_study), "going")
    assert row["status"] == "running"
    assert row["val_accuracy"] is row["peak_memory_bytes"] is row["parent_run_id"] is None


def test_the_sweeps_are_known_by_their_cells(recorded: Path) -> None:
    sweeps = read_study(recorded).sweeps
    assert len(sweeps) == 7
    assert sweeps["Digits-MLP-real-SGD"]["method"] == "real-SGD"


def test_a_database_elsewhere_is_read_where_the_study_names_one(recorded: Path, tmp_path: Path) -> None:
    write_study_file(tmp_path / "here", "recorded", default_tracking_uri(recorded))
    assert collect(tmp_path / "here").num_rows == 65


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "has no study.json"), ("{", "cannot be read"), ("[]", "cannot be read"), ('{"format": 1}', "'name'")],
)
def test_folders_that_are_no_study_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(UserError, match=message):
        collect(tmp_path)


def test_missing_folders_and_records_are_said_plainly(tmp_path: Path, fresh_study: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        collect(tmp_path / "nowhere")
    write_study_file(tmp_path / "new", "new")
    with pytest.raises(UserError, match="has no records yet"):
        collect(tmp_path / "new")
    assert not (tmp_path / "new" / "mlflow.db").exists(), "reading must not make a database"
    with pytest.raises(UserError, match="no experiment 'fresh'"):
        collect(fresh_study)


def test_a_damaged_database_is_said_to_be_one(recorded_copy: Path) -> None:
    database = recorded_copy / "mlflow.db"
    content = bytearray(database.read_bytes())
    for damage, message in (
        (slice(0, 100), "cannot be read"),
        (slice(8192, len(content), 7), "damaged|cannot be read"),
    ):
        broken = bytearray(content)
        broken[damage] = b"\xff" * len(broken[damage])
        database.write_bytes(broken)
        with pytest.raises(UserError, match=message):
            collect(recorded_copy)


def test_results_that_cannot_be_written_are_said_plainly_and_leave_nothing(recorded_copy: Path) -> None:
    (recorded_copy / "results.parquet").mkdir()
    with pytest.raises(UserError, match=r"results\.parquet cannot be written"):
        write_results(recorded_copy)
    assert not list(recorded_copy.glob(".results*"))


def test_reading_a_study_sends_nothing_to_anyone() -> None:
    code = "import study.record.runs_table; from mlflow.telemetry.utils import is_telemetry_disabled as d; print(d())"
    clean = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.strip().lower()) is True
