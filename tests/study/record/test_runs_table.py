"""Recorded runs become one typed table, from the study's log alone, wherever its folder lies."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.record.columns import configuration, schema
from study.record.folder import study_identity
from study.record.runs_table import add_sweep, collect, read_study, write_results
from study.record.study_log import StudyLog
from study.record.tracking_uri import default_tracking_uri
from tests.study.recorded_study import MEMORY, ORIGIN, begin_study, record_run, write_study_file
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.registry import declared

# Other settings may be declared and bring a column; these are what other programs read.
PROMISED = {
    "study", "dataset", "model", "algorithm", "method", "phase", "trial_id", "seed", "status", "epochs", "lr",
    "mask_type", "scheduler_type", "temperature", "inertia_bits", "anneal", "optimizer", "bop_threshold",
    "bop_momentum_bits", "freeze_num", "activation_memory", "batch_size", "image_size", "width", "workers",
    "approx", "depth", "device", "hid_dim", "pretrained", "threads", "val_fraction", "weight_scale", "xnor",
    "val_accuracy", "val_accuracy_top5", "val_accuracy_balanced", "val_majority_share", "test_accuracy",
    "test_accuracy_top5", "test_accuracy_balanced", "test_majority_share", "train_loss", "flip_rate",
    "flips_per_weight", "flipped_share", "flipped_by_layer",
    "peak_memory_bytes", "memory_weights_bytes", "memory_latent_bytes", "memory_optimizer_state_bytes",
    "memory_gradients_bytes", "memory_saved_activations_bytes", "memory_real_parameters_and_buffers_bytes",
    "memory_workspace_bytes", "state_bits_per_weight", "train_seconds", "fewest_workers", "rung", "attempts",
    "epochs_used", "device_seconds", "test_opened", "test_forced", "test_set", "test_images", "simulated", "plugins",
    "git_commit", "versions", "hardware",
    "command",
}  # fmt: skip


def row_of(table: pa.Table, trial_id: str) -> dict[str, object]:
    (row,) = [row for row in table.to_pylist() if row["trial_id"] == trial_id]
    return row


def test_every_run_is_one_row_of_the_promised_columns(recorded: Path) -> None:
    table = collect(recorded)
    assert set(table.schema.names) >= PROMISED and table.schema.equals(schema())
    ids = table.column("trial_id").to_pylist()
    assert len(ids) == len(set(ids)) == 5 * (5 + 6) + 2 * 5
    statuses = Counter(table.column("status").to_pylist())
    assert statuses == {"completed": 5 * (2 + 6) + 2 * 2, "pruned": 7, "diverged": 7, "failed": 7}


def test_a_row_holds_what_was_recorded_last(recorded: Path) -> None:
    row = row_of(collect(recorded), "Digits-MLP-binary-confirm-0001-s12")
    expected = {
        "study": "recorded", "dataset": "Digits", "model": "MLP", "algorithm": "binary", "method": "binary",
        "phase": "confirm", "seed": 12, "status": "completed", "epochs": 2, "lr": 0.2, "mask_type": "EWM",
        "scheduler_type": "scaled-gaussian", "temperature": 120.0, "batch_size": 96, "image_size": 8, "width": None,
        "workers": 1, "hid_dim": 2048, "depth": 4, "val_fraction": 0.1, "xnor": False, "val_accuracy": 0.9,
        "test_accuracy": 0.89, "test_accuracy_top5": 0.98, "train_loss": 0.5, "peak_memory_bytes": MEMORY["binary"],
        "train_seconds": 3.0, **ORIGIN,
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected


def test_a_row_says_what_its_run_has_used(tmp_path: Path) -> None:
    log = begin_study(tmp_path / "fresh", "fresh")
    record_run(log, None, "Digits", "bop", "search", "t", 1, "running", 0.5, 0.1, 1)
    log.append("attempt_end", trial_id="t", how="interrupted", reason="", device_seconds=2.25)
    record_run(log, None, "Digits", "bop", "search", "t", 1, "pruned", 0.5, 0.1, 2)
    log.append("test_opened", trial_id="t", forced=True, accuracy=0.5)
    row = row_of(collect(tmp_path / "fresh"), "t")
    used = {"attempts": 2, "epochs_used": 3, "device_seconds": 6.25, "test_opened": 1, "test_forced": 1, "rung": 2}
    assert {key: row[key] for key in used} == used
    assert row["simulated"] is None
    assert (row["bop_momentum_bits"], row["freeze_num"], row["activation_memory"]) == (32, None, "stock")


def test_a_row_says_how_much_its_run_flipped(tmp_path: Path) -> None:
    log = begin_study(tmp_path / "fresh", "fresh")
    record_run(log, None, "Digits", "bop", "search", "t", 1, "running", 0.5, 0.1, 1)
    flips = {"flips_per_weight": 0.5, "flipped_share": 0.25}
    last = {"outcome": "completed", "reason": "", "rung": None, "device_seconds": 1.0, "metrics": flips}
    log.append("end", trial_id="t", flipped_by_layer={"feature.0": 0.25}, **last)
    row = row_of(collect(tmp_path / "fresh"), "t")
    assert {name: row[name] for name in flips} == flips and json.loads(row["flipped_by_layer"]) == {"feature.0": 0.25}


def test_a_metric_that_is_no_number_is_null(tmp_path: Path) -> None:
    log = begin_study(tmp_path / "fresh", "fresh")
    record_run(log, None, "Digits", "bop", "search", "t", 1, "running", 0.5, 0.1, 1)
    log.append("epoch", trial_id="t", epoch=2, metrics={"train_loss": float("nan")}, device_seconds=1.0)
    assert row_of(collect(tmp_path / "fresh"), "t")["train_loss"] is None


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


def test_each_row_carries_its_whole_configuration(recorded: Path) -> None:
    """PROTOCOL §8.4"""
    for row in collect(recorded).to_pylist():
        config = {name: row[name] for name in row if name in declared() and row[name] is not None}
        again = TrialConfig(**config)
        assert again.own().items() >= config.items()
        elsewhere = {"data_root", "prepared_root", "skip_damaged", "test", "check"}
        assert {name for name, value in again.own().items() if value is not None} <= {*config, *elsewhere}


def test_a_setting_that_nothing_declares_has_a_column_all_the_same() -> None:
    foreign = {"algorithm": "theirs", "model": "MLP", "lr": 0.5, "hid_dim": 8, "bop_threshold": 1e-6, "beta": 0.9}
    assert configuration(foreign) == {"lr": 0.5, "beta": 0.9}
    assert schema([foreign]).field("beta").type == pa.float64() and "beta" not in schema().names


def test_a_run_of_before_there_were_counters_had_none(recorded: Path) -> None:
    later = ("inertia_bits", "anneal")
    row = row_of(collect(recorded), "Digits-MLP-binary-confirm-0001-s12")
    assert [row[name] for name in later] == [0, "none"]
    assert [configuration({"algorithm": "binary", "model": "MLP"})[name] for name in later] == [0, "none"]


def test_results_are_written_whole_and_say_where_they_come_from(recorded_copy: Path) -> None:
    path = write_results(recorded_copy)
    assert path == recorded_copy / "results.parquet"
    assert not list(recorded_copy.glob(".results*"))
    table = pq.read_table(path)
    assert table.num_rows == 65
    assert table.schema.metadata[b"study"] == b"recorded"
    assert {b"created_by", b"git_commit"} <= table.schema.metadata.keys()


def test_a_copied_study_is_read_from_its_new_place(recorded: Path, recorded_copy: Path) -> None:
    assert study_identity(recorded_copy).tracking_uri == default_tracking_uri(recorded_copy)
    log = StudyLog(recorded_copy / "log.jsonl")
    record_run(log, None, "Digits", "bop", "train", "extra", 1, "completed", 0.5, 0.1, 2)
    assert collect(recorded_copy).num_rows == collect(recorded).num_rows + 1


def test_a_run_that_is_still_going_is_a_row_too(tmp_path: Path) -> None:
    log = begin_study(tmp_path / "fresh", "fresh")
    record_run(log, None, "MNIST", "bop", "train", "going", 1, "running", 0.5, 0.1, 0)
    with log.path.open("ab") as file:
        file.write(b'{"at": 1, "event": "epo')  # a line that is being written at this moment
    row = row_of(collect(tmp_path / "fresh"), "going")
    assert row["status"] == "running"
    assert row["val_accuracy"] is row["peak_memory_bytes"] is None


def test_a_row_says_what_the_command_of_its_first_attempt_was(tmp_path: Path) -> None:
    log = begin_study(tmp_path / "fresh", "fresh")
    record_run(log, None, "MNIST", "bop", "train", "t", 1, "running", 0.5, 0.1, 1)
    log.append("session", **{**ORIGIN, "git_commit": "1" * 40})
    record_run(log, None, "MNIST", "bop", "train", "t", 1, "completed", 0.5, 0.1, 2)
    record_run(log, None, "MNIST", "bop", "train", "u", 1, "completed", 0.5, 0.1, 2)
    assert [row["git_commit"][0] for row in collect(tmp_path / "fresh").to_pylist()] == ["0", "1"]


def test_the_sweeps_are_known_by_their_cells(recorded: Path) -> None:
    sweeps = read_study(recorded).sweeps
    assert len(sweeps) == 7
    assert {tags["status"] for tags in sweeps.values()} == {"completed"}
    assert sweeps["Digits-MLP-real-SGD"]["method"] == "real-SGD"


def test_a_sweep_that_is_opened_again_keeps_what_its_end_said_until_it_ends_anew() -> None:
    sweeps: dict[str, dict[str, str]] = {}
    for event in (
        {"event": "sweep", "cell": "c", "tags": {"trials": "2"}},
        {"event": "sweep_end", "cell": "c", "tags": {"side_by_side": "1"}},
        {"event": "sweep", "cell": "c", "tags": {"trials": "4"}},
    ):
        add_sweep(sweeps, event)
    assert sweeps == {"c": {"trials": "4", "side_by_side": "1", "status": "running"}}
    add_sweep(sweeps, {"event": "sweep_end", "cell": "c", "tags": {"status": "interrupted"}})
    assert sweeps["c"]["status"] == "interrupted"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "has no study.json"), ("{", "cannot be read"), ("[]", "cannot be read"), ('{"format": 1}', "'name'")],
)
def test_folders_that_are_no_study_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(UserError, match=message):
        collect(tmp_path)


def test_missing_folders_and_records_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        collect(tmp_path / "nowhere")
    write_study_file(tmp_path / "new", "new")
    with pytest.raises(UserError, match="has no records yet"):
        collect(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["study.json"], "reading must not make anything"


def test_a_damaged_log_is_said_to_be_one(recorded_copy: Path) -> None:
    log = recorded_copy / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:4], b"\x00" * 20 + b"\n", *lines[5:]]))
    with pytest.raises(UserError, match=r"line 5 of the study's log .* is damaged; `python -m study doctor"):
        collect(recorded_copy)


def test_results_that_cannot_be_written_are_said_plainly_and_leave_nothing(recorded_copy: Path) -> None:
    (recorded_copy / "results.parquet").mkdir()
    with pytest.raises(UserError, match=r"results\.parquet cannot be written"):
        write_results(recorded_copy)
    assert not list(recorded_copy.glob(".results*"))


@pytest.mark.integration
def test_reading_a_study_needs_no_mlflow() -> None:
    """It may be away, or of another version; a table is made without it."""
    code = "import sys, study.record.runs_table, study.compare.compare; print('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
