"""A study as every comparison reads it, once: its recorded runs, the answers that are kept, and what they say.

What shows it (the table, the figures, a report) is made from this; nothing is written here.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from study.compare.findings import Findings, find
from study.define.settings import check_margin
from study.record.predictions import read_study_predictions
from study.record.runs_table import StudyRecords, read_study
from trainers.errors import UserError
from trainers.predictions import Predictions


@dataclass(frozen=True)
class Found:
    """One study.

    Attributes:
        folder: where it lies.
        records: what its log says of its runs.
        predictions: by trial id, the answers of confirmed runs that are kept.
        findings: what follows; without workloads where no run has completed.
    """

    folder: Path
    records: StudyRecords
    predictions: dict[str, Predictions]
    findings: Findings


def find_in(directory: str | Path, *, allow_unequal: bool = False, margin: float | None = None) -> Found:
    """Read a study's records, to which a command may be adding meanwhile, and compare its runs by the protocol.

    Args:
        directory: the study's folder.
        allow_unequal: compare methods whose offered budgets differ, below a banner (PROTOCOL §4.4).
        margin: of equivalence, in points; None takes the study's own (PROTOCOL §6.2).

    Raises:
        UserError: no study there, records that cannot be read, offered budgets that differ, or a margin that is none.
    """
    if margin is not None:
        check_margin(margin, "margin")
    records = read_study(directory)
    predictions = read_predictions(directory, records.table)
    findings = find(
        records.study,
        records.table,
        records.sweeps,
        predictions=predictions,
        allow_unequal=allow_unequal,
        margin=margin,
    )
    return Found(Path(directory), records, predictions, findings)


def require_completed(found: Found) -> Found:
    """The same; raises UserError where there is no completed run to compare."""
    if not found.findings.workloads:
        counts = Counter(found.records.table.column("status").to_pylist())
        runs = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none at all"
        raise UserError(
            f"the study {found.records.study!r} in {found.folder} has no completed run to compare (runs: {runs}); "
            "run it again, with the same command, until one completes"
        )
    return found


def read_predictions(directory: str | Path, table: pa.Table) -> dict[str, Predictions]:
    """The answers of completed confirmation runs.

    Raises:
        UserError: a file is damaged, or its answers are not those that the run's test accuracy was counted from.
    """
    rows = {row["trial_id"]: row for row in table.to_pylist()}
    wanted = [name for name, row in rows.items() if row["phase"] == "confirm" and row["status"] == "completed"]
    found = read_study_predictions(directory, wanted)
    for trial_id, answers in found.items():
        recorded = rows[trial_id]["test_accuracy"]
        if recorded is None or abs(answers.accuracy - recorded) > 1e-9:
            raise UserError(
                f"the answers kept of {trial_id} have an accuracy of {answers.accuracy:.6f}, and its record says "
                f"{recorded}; put back the predictions.parquet that the run wrote, or remove the file"
            )
    return found
