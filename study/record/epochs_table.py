"""From recorded epochs to a table, one row an epoch of a run, as the study's log has them: learning curves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.record.columns import RUN
from study.record.folder import recorded_log
from study.record.metrics import EPOCH_METRICS
from study.record.study_log import read_events

_RUN = ("trial_id", "dataset", "model", "method", "phase", "seed")
SCHEMA = pa.schema(
    [
        *((name, RUN[name]) for name in _RUN),
        ("epoch", pa.int64()),
        *((name, pa.float64()) for name in EPOCH_METRICS if name != "epoch"),
    ]
)
"""Accuracies are fractions 0..1, memory is in bytes, times are in seconds; what a run did not measure is null."""


def read_epochs(directory: str | Path) -> pa.Table:
    """Every epoch of every run of a study, in the order in which they were recorded. Nothing is written.

    Raises:
        UserError: no such folder, no study in it, no log, or a log that is damaged.
    """
    _, log = recorded_log(directory)
    runs: dict[str, dict[str, Any]] = {}
    rows = []
    for event in read_events(log):
        if event["event"] == "start":
            runs.setdefault(event["trial_id"], _run(event))
        elif event["event"] == "epoch" and event["trial_id"] in runs:
            rows.append({**runs[event["trial_id"]], **event["metrics"], "epoch": event["epoch"]})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _run(start: Mapping[str, Any]) -> dict[str, Any]:
    config = start["config"]
    own = {name: config.get(name) for name in ("dataset", "model", "seed")}
    return {**own, **{name: start[name] for name in ("trial_id", "method", "phase")}}
