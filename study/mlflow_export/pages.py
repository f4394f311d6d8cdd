"""What MLflow is to show of a study, as a function of its log: a parent run per sweep, a child run per trial.

Nothing here knows MLflow's client. Every record carries the study's own id, so that two studies of one name on one
server stay apart.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from study.record.runs_table import ORIGIN, add_sweep, used
from study.record.study_log import TrialRecord, add

# MLflow refuses what is longer.
LONGEST_PARAM, LONGEST_TAG = 6000, 8000
# The status that MLflow shows for an outcome.
MLFLOW_STATUS = {
    "running": "RUNNING",
    "completed": "FINISHED",
    "pruned": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "infeasible": "FAILED",
    "interrupted": "KILLED",
}
STUDY_ID = "study_id"


class Key(NamedTuple):
    """Which run of MLflow's: a sweep by its cell, or a trial by its id."""

    kind: Literal["sweep", "trial"]
    name: str


@dataclass(frozen=True)
class Page:
    """One run as MLflow is to show it.

    Attributes:
        parent: the cell whose sweep's run is its parent; None for a sweep, and for a run of its own.
        params: the whole configuration, None written as `none`.
        tags: among them what finds it: `study_id`, `run_kind` and `cell` or `trial_id`.
        status: MLflow's.
        began, ended: Unix seconds; ended is None while it runs.
        epoch: the last that is logged.
        final: metrics of the whole run, such as test accuracy, by their last values.
    """

    parent: str | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    status: str
    began: float
    ended: float | None
    epoch: int = 0
    final: Mapping[str, float] | None = None


class Pages:
    """Every page of a study, brought forward event by event.

    Args:
        study, study_id: its name and id.
    """

    def __init__(self, study: str, study_id: str) -> None:
        self._own = {"study": study, STUDY_ID: study_id}
        self._trials: dict[str, TrialRecord] = {}
        self._sweeps: dict[str, dict[str, str]] = {}
        self._params: dict[str, Mapping[str, Any]] = {}  # of sweeps
        self._origin: dict[str, str] = {}
        self._origins: dict[Key, dict[str, str]] = {}
        self._times: dict[Key, tuple[float, float]] = {}
        self._not_finite: dict[str, str] = {}

    def add(self, event: Mapping[str, Any]) -> Key | None:
        """Take an event in; the page that it changes."""
        add(self._trials, event)
        add_sweep(self._sweeps, event)
        name, at = event["event"], float(event["at"])
        if name == "session":
            self._origin = {key: str(event[key]) for key in ORIGIN}
            return None
        if name in ("sweep", "sweep_end"):
            key = Key("sweep", event["cell"])
            if name == "sweep":
                self._params[key.name] = event["params"]
                self._origins[key] = self._origin
            known = key.name in self._params
        else:
            key = Key("trial", event["trial_id"])
            if name == "start":
                self._origins.setdefault(key, self._origin)
            elif name == "epoch" and (lost := [key for key, value in event["metrics"].items() if not finite(value)]):
                self._not_finite[key.name] = f"{', '.join(lost)} at step {event['epoch']}"
            known = key.name in self._trials
        if not known:  # its beginning is lost, with a damaged line that was dropped
            return None
        self._times[key] = (self._times.get(key, (at, at))[0], at)
        return key

    def keys(self) -> Iterator[Key]:
        """All pages, a sweep before its trials."""
        yield from (Key("sweep", cell) for cell in self._params)
        yield from (Key("trial", trial_id) for trial_id in self._trials)

    def page(self, key: Key) -> Page:
        """A page as the log has it so far."""
        began, ended = self._times[key]
        common = {**self._own, "run_kind": key.kind, **self._origins.get(key, {})}
        if key.kind == "sweep":
            tags = {**common, "cell": key.name, **self._sweeps[key.name]}
            status = MLFLOW_STATUS[tags["status"]]
            parent, params, epoch, final = None, self._params[key.name], 0, {}
        else:
            trial = self._trials[key.name]
            tags = {**common, **self._trial_tags(trial)}
            status = MLFLOW_STATUS[trial.outcome]
            parent = trial.cell if trial.cell in self._params else None
            params, epoch = trial.config, trial.last_epoch
            final = {name: value for name, value in trial.metrics.items() if finite(value)}
        if "command" in tags:
            tags |= {"mlflow.source.name": tags["command"], "mlflow.source.type": "LOCAL"}  # the UI's column `Source`
        return Page(
            parent,
            {name: ("none" if value is None else str(value))[:LONGEST_PARAM] for name, value in params.items()},
            {name: str(value)[:LONGEST_TAG] for name, value in tags.items()},
            status,
            began,
            None if status == "RUNNING" else ended,
            epoch,
            final,
        )

    def _trial_tags(self, trial: TrialRecord) -> dict[str, Any]:
        config = trial.config
        tags = {
            "trial_id": trial.trial_id,
            **{name: config.get(name) for name in ("dataset", "model", "algorithm", "seed")},
            "method": trial.method,
            "phase": trial.phase,
            **trial.tags,
            "status": trial.outcome,
            "reason": ": ".join(part for part in (trial.how, trial.reason) if part),
            **used(trial),
        }
        if trial.rung is not None:
            tags["rung"] = trial.rung
        if trial.trial_id in self._not_finite:
            tags["non_finite"] = self._not_finite[trial.trial_id]
        return tags


def finite(value: float) -> bool:
    """Whether a metric can be drawn: MLflow's databases hold no infinity and no NaN."""
    return math.isfinite(value)
