"""From recorded runs to a table: one row a run, read from the study's log alone, and written as `results.parquet`.

The table is what every comparison stands on: it can be scored again on another machine, by anyone. Settings that a
run's method or model does not read are null, however they were set.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.record.additions import Additions
from study.record.columns import OUTCOME, configuration, schema
from study.record.file_names import RESULTS_FILE
from study.record.folder import recorded_log, study_identity
from study.record.metrics import METRIC_KEYS
from study.record.provenance import git_commit, package_version
from study.record.study_log import TrialRecord, add, read_events
from trainers.atomic import write_atomically
from trainers.errors import UserError

ORIGIN = ("git_commit", "versions", "hardware", "command")
# A column named as a setting (lr, temperature) holds the setting, not what a schedule made of it in the last epoch.
METRICS = tuple(name for name in METRIC_KEYS if name in OUTCOME)


@dataclass(frozen=True)
class StudyRecords:
    """All that a study's log says of its runs.

    Attributes:
        study: its name.
        table: one row a run, with the columns of `study.record.columns`.
        sweeps: each cell's tags: what it was offered, and how its last sweep ended (`status`).
    """

    study: str
    table: pa.Table
    sweeps: dict[str, dict[str, str]]


def read_study(directory: str | Path) -> StudyRecords:
    """Read a study's runs from its log, which a command may be adding to meanwhile. Nothing is written.

    Raises:
        UserError: no such folder, no study in it, no log, or a log that is damaged.
    """
    study, log = recorded_log(directory)
    trials: dict[str, TrialRecord] = {}
    origins: dict[str, Mapping[str, Any]] = {}
    sweeps: dict[str, dict[str, str]] = {}
    origin: Mapping[str, Any] = {}
    additions = Additions()
    for event in read_events(log):
        add(trials, event)
        additions.read(event)
        if event["event"] == "session":
            origin = event
        elif event["event"] == "start":
            origins.setdefault(event["trial_id"], origin)
        else:
            add_sweep(sweeps, event)
    rows = [_row(study, trial, origins[trial_id]) for trial_id, trial in trials.items()]
    for cell, added in additions.found.items():
        sweeps[cell]["added"] = json.dumps(added)
    rows.sort(key=lambda row: (row["dataset"], row["model"], row["method"], row["phase"], row["trial_id"]))
    return StudyRecords(
        study, pa.Table.from_pylist(rows, schema=schema(trial.config for trial in trials.values())), sweeps
    )


def add_sweep(sweeps: dict[str, dict[str, str]], event: Mapping[str, Any]) -> None:
    """Bring the cells' tags forward by one event: a sweep that is opened, or opened again, or that ends."""
    if event["event"] == "sweep":
        sweeps[event["cell"]] = {**sweeps.get(event["cell"], {}), **event["tags"], "status": "running"}
    elif event["event"] == "sweep_end" and event["cell"] in sweeps:
        sweeps[event["cell"]] |= {"status": "completed", **event["tags"]}


def collect(directory: str | Path) -> pa.Table:
    """The study's runs as a table, one row a run. Raises as `read_study` does."""
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
    study = study_identity(directory).name
    table = collect(directory) if table is None else table
    origin = {"study": study, "created_by": package_version(), "git_commit": git_commit()}
    path = Path(directory) / RESULTS_FILE
    try:
        write_atomically(path, lambda partial: pq.write_table(table.replace_schema_metadata(origin), partial))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; make its folder writable") from error
    return path


def used(trial: TrialRecord) -> dict[str, Any]:
    """What a run has used so far (PROTOCOL §4.2)."""
    return {
        "attempts": trial.attempts,
        "epochs_used": trial.epochs_used,
        "device_seconds": round(trial.device_seconds, 3),
        "test_opened": trial.test_opened,
        "test_forced": trial.test_forced,
    }


def _row(study: str, trial: TrialRecord, origin: Mapping[str, Any]) -> dict[str, Any]:
    config = trial.config
    measured = {name: value for name, value in trial.metrics.items() if math.isfinite(value)}
    if "peak_memory_bytes" in measured:
        measured["peak_memory_bytes"] = int(measured["peak_memory_bytes"])
    return {
        "study": study,
        **{name: config.get(name) for name in ("dataset", "model", "algorithm", "seed")},
        "method": trial.method,
        "phase": trial.phase,
        "trial_id": trial.trial_id,
        "status": trial.outcome,
        "repeat": int(trial.tags.get("repeat", 1)),
        **configuration(config),
        **{name: measured.get(name) for name in METRICS},
        "flipped_by_layer": json.dumps(trial.flipped_by_layer) if trial.flipped_by_layer else None,
        "rung": trial.rung,
        **used(trial),
        "test_set": trial.test_set,
        "test_images": trial.test_images,
        "simulated": trial.tags.get("simulated") or None,
        "plugins": trial.tags.get("plugins") or None,
        **{name: origin.get(name) for name in ORIGIN},
    }
