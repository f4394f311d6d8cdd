"""All that a report is made from, read once from a study's folder: findings, runs, curves, searches, answers, origin.

Nothing is changed in the folder, and nothing is looked up elsewhere but prepared data, for the pictures that methods
disagree on. What is missing is None or empty here; the sections say so.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.compare.findings import Findings
from study.compare.found import Found, find_in
from study.compare.scores import CellGroup, MethodSummary
from study.record.file_names import LOG_FILE, STUDY_FILE
from study.record.folder import StudyIdentity, study_identity
from study.record.study_log import read_events
from trainers.errors import UserError
from trainers.predictions import Predictions

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """One command that ran something of the study: when (unix seconds), what was typed, with what, where."""

    at: float
    command: str
    git_commit: str
    versions: str
    hardware: str
    study_file: str | None = None


@dataclass(frozen=True)
class StudyContent:
    """One study.

    Attributes:
        folder: where it lies.
        identity: its name and where MLflow shows it.
        findings: scores, verdicts and budgets; without workloads where no run has completed.
        rows: one a run, as in `results.parquet`.
        sweeps: each cell's tags.
        curves: by trial id, of each epoch what was measured, in order.
        configs: by trial id, the whole recorded configuration.
        tags: by trial id, what else is recorded of it.
        commands: what ran, in order.
        predictions: by trial id, the answers of confirmed runs that are kept.
        cells: by name, what the study is about, as `study.json` says.
        last_event: when something was last recorded, unix seconds; None where nothing was.
    """

    folder: Path
    identity: StudyIdentity
    findings: Findings
    rows: Sequence[Row]
    sweeps: Mapping[str, Mapping[str, str]]
    curves: Mapping[str, Sequence[Mapping[str, float]]]
    configs: Mapping[str, Mapping[str, Any]]
    tags: Mapping[str, Mapping[str, str]]
    commands: Sequence[Command]
    predictions: Mapping[str, Predictions]
    cells: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    last_event: float | None = None

    @property
    def name(self) -> str:
        return self.findings.study

    def own_rows(self, group: CellGroup) -> list[Row]:
        """The runs of one workload."""
        return [row for row in self.rows if (row["dataset"], row["model"]) == (group.dataset, group.model)]

    @property
    def workloads(self) -> dict[tuple[str | None, str | None], dict[str, Any]]:
        """What is recorded of data and task, by data set and model; without those of which nothing is."""
        found: dict[tuple[str | None, str | None], dict[str, Any]] = {}
        for tags in self.sweeps.values():
            if tags.get("workload"):
                found.setdefault((tags.get("dataset"), tags.get("model")), json.loads(tags["workload"]))
        return found

    def workload(self, group: CellGroup) -> dict[str, Any]:
        """What is recorded of a workload's data and task; empty where nothing is."""
        return self.workloads.get((group.dataset, group.model), {})

    def epochs(self, trial_id: str, metric: str) -> tuple[list[int], list[float]]:
        """A run's curve: the epochs in which a metric was measured, and its values."""
        points = [(int(one["epoch"]), one[metric]) for one in self.curves.get(trial_id, ()) if metric in one]
        return [epoch for epoch, _ in points], [value for _, value in points]


def read_content(directory: str | Path, *, allow_unequal: bool = False, margin: float | None = None) -> StudyContent:
    """Read a study, which may be running meanwhile.

    Raises:
        UserError: no study there, no records, damaged ones, or offered budgets that differ (`allow_unequal`).
    """
    return content_of(find_in(directory, allow_unequal=allow_unequal, margin=margin))


def content_of(found: Found) -> StudyContent:
    """A study's content, of whose runs it is known what they say.

    Raises:
        UserError: damaged records.
    """
    folder, records = found.folder, found.records
    return StudyContent(
        folder=folder,
        identity=study_identity(folder),
        findings=found.findings,
        rows=records.table.to_pylist(),
        sweeps=records.sweeps,
        predictions=found.predictions,
        cells=_cells(folder),
        **_read_log(folder / LOG_FILE),
    )


def _read_log(path: Path) -> dict[str, Any]:
    curves: dict[str, dict[int, dict[str, float]]] = {}
    configs: dict[str, Mapping[str, Any]] = {}
    tags: dict[str, Mapping[str, str]] = {}
    commands, last = [], None
    for event in read_events(path):
        last = event["at"]
        if event["event"] == "session":
            origin = {name: str(event[name]) for name in ("command", "git_commit", "versions", "hardware")}
            commands.append(Command(event["at"], **origin, study_file=event.get("study_file")))
        elif event["event"] == "start":
            configs.setdefault(event["trial_id"], event["config"])
            tags.setdefault(event["trial_id"], event["tags"])
        elif event["event"] == "epoch":
            # A number of the log's own epochs goes before one that was measured under the same name.
            point = {**event["metrics"], "epoch": event["epoch"]}
            curves.setdefault(event["trial_id"], {}).setdefault(int(event["epoch"]), point)
    ordered = {name: [points[epoch] for epoch in sorted(points)] for name, points in curves.items()}
    return {"curves": ordered, "configs": configs, "tags": tags, "commands": commands, "last_event": last}


def _cells(folder: Path) -> dict[str, Mapping[str, Any]]:
    try:
        cells = json.loads((folder / STUDY_FILE).read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'study.json'} cannot be read ({error!r}); restore it from a copy") from error
    return {str(name): cell for name, cell in cells.items() if isinstance(cell, dict)}


def confirmed(group: CellGroup) -> list[MethodSummary]:
    """The rows of a workload that are confirmed."""
    return [row for row in group.methods if row.confirmed]
