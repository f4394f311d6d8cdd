"""From recorded runs to a table: one row a run, read from MLflow alone, and written as `results.parquet`.

The table is what every comparison stands on: it can be scored again without MLflow, on another machine, by anyone.
Settings that a run's algorithm does not use are null, however they were set.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from study.mlflow_export.store import check_database, check_server, database_path, default_tracking_uri
from study.record.provenance import git_commit, package_version
from trainers.atomic import write_atomically
from trainers.errors import UserError
from trainers.memory.report import CATEGORIES

SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("dataset", pa.string()),
        ("model", pa.string()),
        ("algorithm", pa.string()),
        ("method", pa.string()),
        ("phase", pa.string()),
        ("trial_id", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("epochs", pa.int64()),
        ("lr", pa.float64()),
        ("mask_type", pa.string()),
        ("scheduler_type", pa.string()),
        ("temperature", pa.float64()),
        ("inertia_bits", pa.int64()),
        ("anneal", pa.string()),
        ("optimizer", pa.string()),
        ("bop_threshold", pa.float64()),
        ("bop_momentum_bits", pa.int64()),
        ("freeze_num", pa.int64()),
        ("activation_memory", pa.string()),
        ("batch_size", pa.int64()),
        ("image_size", pa.int64()),
        ("width", pa.float64()),
        ("workers", pa.int64()),
        ("val_accuracy", pa.float64()),
        ("val_accuracy_top5", pa.float64()),
        ("val_accuracy_balanced", pa.float64()),
        ("val_majority_share", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("test_accuracy_top5", pa.float64()),
        ("test_accuracy_balanced", pa.float64()),
        ("test_majority_share", pa.float64()),
        ("train_loss", pa.float64()),
        ("flip_rate", pa.float64()),
        ("peak_memory_bytes", pa.int64()),
        *((f"memory_{category}_bytes", pa.int64()) for category in CATEGORIES),
        ("state_bits_per_weight", pa.float64()),
        ("train_seconds", pa.float64()),
        ("rung", pa.int64()),
        ("attempts", pa.int64()),
        ("epochs_used", pa.int64()),
        ("device_seconds", pa.float64()),
        ("test_opened", pa.int64()),
        ("test_forced", pa.int64()),
        ("simulated", pa.string()),
        ("mlflow_run_id", pa.string()),
        ("parent_run_id", pa.string()),
        ("git_commit", pa.string()),
        ("versions", pa.string()),
        ("hardware", pa.string()),
        ("command", pa.string()),
    ]
)
"""Accuracies are fractions 0..1, memory is in bytes, times in seconds; a metric is the last one recorded.

`rung` is the epoch at which a run was pruned; `simulated` is null where it was trained.
"""

TAGS = ("study", "dataset", "model", "algorithm", "method", "phase", "trial_id", "seed", "status")
ORIGIN_TAGS = ("git_commit", "versions", "hardware", "command")
# What a run has used (PROTOCOL §4.2); null in records of before it was counted.
ACCOUNT = ("rung", "attempts", "epochs_used", "device_seconds", "test_opened", "test_forced")
PARAMS = ("epochs", "lr", "batch_size", "image_size", "width", "workers", "activation_memory")
METRICS = (
    "val_accuracy",
    "val_accuracy_top5",
    "val_accuracy_balanced",
    "val_majority_share",
    "test_accuracy",
    "test_accuracy_top5",
    "test_accuracy_balanced",
    "test_majority_share",
    "train_loss",
    "flip_rate",
    "peak_memory_bytes",
    *(f"memory_{category}_bytes" for category in CATEGORIES),
    "state_bits_per_weight",
    "train_seconds",
)
# Of models with convolutional blocks; the MLP has none to freeze.
PARAMS_OF_CONVOLUTIONS = ("freeze_num",)
# A setting that only one algorithm reads; in other runs' rows it is null.
PARAMS_OF_ALGORITHM = {
    "binary": ("mask_type", "scheduler_type", "temperature", "inertia_bits", "anneal"),
    "bop": ("bop_threshold", "bop_momentum_bits"),
    "real": ("optimizer",),
}
# What a setting was in runs that were recorded before there was a choice.
BEFORE = {"inertia_bits": "0", "anneal": "none"}


@dataclass(frozen=True)
class StudyRecords:
    """All that MLflow holds of a study.

    Attributes:
        study: its name.
        tracking_uri: where it was read from.
        experiment_id: the MLflow experiment's id.
        table: one row a trial run, in `SCHEMA`; the study's parents are not in it.
        sweeps: each sweep run's tags, by its cell.
    """

    study: str
    tracking_uri: str
    experiment_id: str
    table: pa.Table
    sweeps: dict[str, dict[str, str]]


def read_study(directory: str | Path) -> StudyRecords:
    """Read a study's runs, from its own database or the tracking server that its `study.json` names.

    Raises:
        UserError: no such folder, no study in it, no records of it, or records that cannot be read.
    """
    study, tracking_uri, experiment_id, runs = read_runs(directory)
    trials = [_row(run) for run in runs if run.data.tags.get("run_kind") == "trial"]
    trials.sort(key=lambda row: (row["dataset"], row["model"], row["method"], row["phase"], row["trial_id"]))
    sweeps = {run.data.tags["cell"]: run.data.tags for run in runs if run.data.tags.get("run_kind") == "sweep"}
    table = pa.Table.from_pylist(trials, schema=SCHEMA)
    return StudyRecords(study, tracking_uri, experiment_id, table, sweeps)


def read_runs(directory: str | Path) -> tuple[str, str, str, list[Run]]:
    """A study's name, tracking URI, experiment id and all runs that MLflow holds of it. Raises as `read_study` does."""
    study, tracking_uri = study_identity(directory)
    database = database_path(tracking_uri)
    if database is not None:
        if not database.is_file():
            raise UserError(
                f"the study {study!r} in {directory} has no records yet: {database} is not there; run it first"
            )
        check_database(database, thorough=True)
    elif tracking_uri.startswith(("http://", "https://")):
        check_server(tracking_uri)
    try:
        client = MlflowClient(tracking_uri)
        experiment = client.get_experiment_by_name(study)
        if experiment is None:
            raise UserError(
                f"{tracking_uri} has no experiment {study!r}, so nothing of {directory} was recorded; run it first"
            )
        runs = _all_runs(client, experiment.experiment_id)
    except MlflowException as error:
        raise UserError(f"the records in {tracking_uri} cannot be read: {error.message}") from error
    return study, tracking_uri, experiment.experiment_id, runs


def collect(directory: str | Path) -> pa.Table:
    """The study's runs as a table in `SCHEMA`, one row a trial run. Raises as `read_study` does."""
    return read_study(directory).table


def write_results(directory: str | Path, table: pa.Table | None = None) -> Path:
    """Write `results.parquet` (whole or not at all) and return its path.

    The file's metadata name the study, the package that wrote it and the commit it was written by.

    Args:
        directory: the study's folder.
        table: what `collect` returned; read anew where None.

    Raises:
        UserError: as `read_study`, or the folder cannot be written.
    """
    study, _ = study_identity(directory)
    table = collect(directory) if table is None else table
    origin = {"study": study, "created_by": package_version(), "git_commit": git_commit()}
    path = Path(directory) / "results.parquet"
    try:
        write_atomically(path, lambda partial: pq.write_table(table.replace_schema_metadata(origin), partial))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; make its folder writable") from error
    return path


def study_identity(directory: str | Path) -> tuple[str, str]:
    """A study's name and tracking URI, from its `study.json`; the study's own database where that names none.

    Raises:
        UserError: no such folder, or no study in it.
    """
    folder = Path(directory)
    file = folder / "study.json"
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name the folder of a study that was run")
    if not file.is_file():
        raise UserError(f"{folder} is no study folder: it has no study.json; name the folder that the study was run in")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        name, tracking_uri = content["name"], content.get("tracking_uri")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read as a study's identity ({error!r}); restore it from a copy") from error
    return str(name), tracking_uri or default_tracking_uri(folder)


def _all_runs(client: MlflowClient, experiment_id: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _row(run: Run) -> dict[str, Any]:
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    own = PARAMS + PARAMS_OF_ALGORITHM.get(tags.get("algorithm", ""), ())
    own += () if tags.get("model") == "MLP" else PARAMS_OF_CONVOLUTIONS
    row: dict[str, Any] = {name: tags.get(name) for name in TAGS + ORIGIN_TAGS}
    row |= {name: _typed(name, params) for name in own}
    row |= {name: metrics.get(name) for name in METRICS}
    row |= {name: _typed(name, tags) for name in ACCOUNT}
    row["simulated"] = tags.get("simulated") or None
    for name in ("seed", "peak_memory_bytes"):
        row[name] = None if row[name] is None else int(row[name])
    return {**row, "mlflow_run_id": run.info.run_id, "parent_run_id": tags.get("mlflow.parentRunId")}


def _typed(name: str, params: Mapping[str, str]) -> str | int | float | None:
    text = params.get(name, BEFORE.get(name, "none"))
    if text == "none" and BEFORE.get(name) != text:
        return None
    kind = SCHEMA.field(name).type
    if pa.types.is_integer(kind):
        return int(text)
    return float(text) if pa.types.is_floating(kind) else text
