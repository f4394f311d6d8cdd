"""`result.json`, a finished run's metrics for whoever looks into its folder; a run never reads it to go on."""

import json
from pathlib import Path

from trainers.atomic import write_json
from trainers.progress import Metrics

_RESULT = "result.json"


def write_result(run_dir: Path, metrics: Metrics) -> str:
    """Write it, whole or not at all; a line where a damaged one was there, else nothing.

    What it comes from are the run's checkpoint and the gate's record.
    """
    path, note = run_dir / _RESULT, ""
    if path.exists():
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            note = f"{path} was damaged; it has been written anew, from the run's checkpoint"
    write_json(path, metrics)
    return note
