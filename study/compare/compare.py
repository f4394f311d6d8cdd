"""`python -m study compare DIR`: from recorded runs to the table, `results.parquet`, `verdicts.json` and the figures.

The rules are those of study/PROTOCOL.md. Nothing is trained and nothing is looked up outside the records, so a study
can be compared again after it was copied to another machine.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from study.compare.figure import draw_figures
from study.compare.findings import Findings
from study.compare.found import Found, find_in, require_completed
from study.compare.table import render
from study.record.file_names import VERDICTS_FILE
from study.record.predictions import write_study_predictions
from study.record.provenance import git_commit, package_version
from study.record.runs_table import write_results
from trainers.atomic import write_text
from trainers.errors import UserError


@dataclass(frozen=True)
class Comparison:
    """What `compare` made.

    Attributes:
        table: the comparison as plain text.
        found: the same as values, and what it was read from.
        results: the path of `results.parquet`; None where the folder is read-only, and no file is written.
        verdicts: the path of `verdicts.json`; likewise.
        figures: the paths of the figures, each as PNG and SVG.
    """

    table: str
    found: Found
    results: Path | None
    verdicts: Path | None
    figures: tuple[Path, ...]

    @property
    def findings(self) -> Findings:
        return self.found.findings


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
    found = require_completed(find_in(directory, allow_unequal=allow_unequal, margin=margin))
    edges = [tags["range_edges"] for _, tags in sorted(found.records.sweeps.items()) if tags.get("range_edges")]
    table = render(found.findings, edges)
    if not os.access(directory, os.W_OK):
        return Comparison(table, found, None, None, ())
    results = write_results(directory, found.records.table)
    write_study_predictions(directory, found.predictions)
    verdicts = _write_verdicts(found.folder / VERDICTS_FILE, found.findings)
    return Comparison(table, found, results, verdicts, draw_figures(found.findings, found.folder))


def _write_verdicts(path: Path, findings: Findings) -> Path:
    """Write the findings as JSON, whole or not at all."""
    origin = {"created_by": package_version(), "git_commit": git_commit()}
    text = json.dumps({**findings.as_dict(), **origin}, indent=1, allow_nan=False) + "\n"
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; make its folder writable") from error
    return path
