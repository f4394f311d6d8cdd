"""`python -m study compare DIR`: from recorded runs to the table, `results.parquet`, `verdicts.json` and the figures.

The rules are those of study/PROTOCOL.md. Nothing is trained and nothing is looked up outside the records, so a study
can be compared again after it was copied to another machine.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from study.compare.figure import draw_figures
from study.compare.findings import Findings, find
from study.compare.table import render
from study.define.settings import check_margin
from study.record.predictions import read_study_predictions, write_study_predictions
from study.record.provenance import git_commit, package_version
from study.record.runs_table import StudyRecords, read_study, write_results
from trainers.atomic import write_text
from trainers.errors import UserError
from trainers.predictions import Predictions


@dataclass(frozen=True)
class Comparison:
    """What `compare` made.

    Attributes:
        table: the comparison as plain text.
        findings: the same as values.
        results: the path of `results.parquet`; None where the folder is read-only, and no file is written.
        verdicts: the path of `verdicts.json`; likewise.
        figures: the paths of the figures, each as PNG and SVG.
    """

    table: str
    findings: Findings
    results: Path | None
    verdicts: Path | None
    figures: tuple[Path, ...]


def compare(directory: str | Path, *, allow_unequal: bool = False, margin: float | None = None) -> Comparison:
    """Read a study's recorded runs, write the files of the comparison into its folder, and return the table.

    Args:
        directory: the study's folder.
        allow_unequal: compare methods whose offered budgets differ, below a banner (PROTOCOL §4.4).
        margin: of equivalence, in points; None takes the study's own (PROTOCOL §6.2).

    Raises:
        UserError: no study there, records that cannot be read, no completed run, offered budgets that differ, or a
            folder that cannot be written.
    """
    records, predictions, findings = _found(directory, allow_unequal, margin)
    edges = [tags["range_edges"] for _, tags in sorted(records.sweeps.items()) if tags.get("range_edges")]
    table = render(findings, edges)
    if not os.access(directory, os.W_OK):
        return Comparison(table, findings, None, None, ())
    results = write_results(directory, records.table)
    write_study_predictions(directory, predictions)
    verdicts = _write_verdicts(Path(directory) / "verdicts.json", findings)
    return Comparison(table, findings, results, verdicts, draw_figures(findings, Path(directory)))


def findings_of(directory: str | Path, *, allow_unequal: bool = False, margin: float | None = None) -> Findings:
    """What `compare` finds, as values: nothing is written. Arguments and errors as for `compare`."""
    return _found(directory, allow_unequal, margin)[2]


def _found(
    directory: str | Path, allow_unequal: bool, margin: float | None
) -> tuple[StudyRecords, dict[str, Predictions], Findings]:
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
    if not findings.workloads:
        counts = Counter(records.table.column("status").to_pylist())
        found = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none at all"
        raise UserError(
            f"the study {records.study!r} in {directory} has no completed run to compare (runs: {found}); "
            "run it again, with the same command, until one completes"
        )
    return records, predictions, findings


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


def _write_verdicts(path: Path, findings: Findings) -> Path:
    """Write the findings as JSON, whole or not at all."""
    origin = {"created_by": package_version(), "git_commit": git_commit()}
    text = json.dumps({**findings.as_dict(), **origin}, indent=1, allow_nan=False) + "\n"
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; make its folder writable") from error
    return path
