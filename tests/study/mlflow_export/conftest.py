"""What tests of more than one module show in MLflow."""

import json
from pathlib import Path

import pytest

from study.record.study_log import StudyLog
from tests.study.mlflow_export.test_findings import ROW, write
from tests.study.recorded_study import record_run, record_sweep


@pytest.fixture
def study(fresh_study: Path) -> Path:
    """A study that was compared, with one exported model."""
    log = StudyLog(fresh_study / "log.jsonl")
    log.append("session", git_commit="0", versions="", hardware="", command="")
    cell = record_sweep(log, "Digits", "bop")
    record_run(log, cell, "Digits", "bop", "confirm", "a-confirm-0001-s11", 11, "completed", 0.5, 0.1, 2, 0.5)
    write(fresh_study, ROW)
    (fresh_study / "report.html").write_text("<p>the report</p>")
    (fresh_study / "figures").mkdir()
    (fresh_study / "figures" / "lift.svg").write_text("<svg/>")
    export = fresh_study / "runs" / "a-confirm-0001-s11" / "export"
    export.mkdir(parents=True)
    origin = {"epoch": 2, "checkpoint": "last", "test_accuracy": 0.5}
    (export / "model.json").write_text(json.dumps({"model": "MLP", "image_size": 8, "origin": origin}))
    (export / "weights.safetensors").write_bytes(b"bits")
    return fresh_study
