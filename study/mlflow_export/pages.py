"""What MLflow is to show of a study, as a function of its log: a parent run per sweep, a child run per trial.

Nothing here knows MLflow's client. Every record carries the study's own id, so that two studies of one name on one
server stay apart.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, NamedTuple

from study.mlflow_export.findings import NOTE, Note
from study.mlflow_export.metrics import of_whole_run
from study.mlflow_export.names import run_name, sweep_name
from study.record.columns import configuration
from study.record.runs_table import ORIGIN, add_sweep, used
from study.record.study_log import TrialRecord, add
from trainers.registry import METHODS, declared

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
REPRESENTS = "represents_method"
"""The tag of confirmed runs that says whether they are of the configuration that stands for its method."""


# What names a run beside its settings, and is shown among them.
_WHAT = ("dataset", "model", "method", "seed")


class Key(NamedTuple):
    """Which run of MLflow's: a sweep by its cell, a trial by its id, or the study's comparison by its id."""

    kind: Literal["sweep", "trial", "study"]
    name: str


class Data(NamedTuple):
    """A data set that a run read, as MLflow's pages show it.

    Attributes:
        name: the data set's.
        digest: the first digits of its fingerprint, by which two of one name are told apart.
        use: `training` or `test`.
        profile: what else is known of it: the whole fingerprint, and how many images are in each part.
    """

    name: str
    digest: str
    use: Literal["training", "test"]
    profile: Mapping[str, Any]


class Workload(NamedTuple):
    """A data set and a model, on which methods are compared.

    Attributes:
        dataset, model: their names.
        methods: those that have runs, in the order in which they came.
        confirmed: whether runs of theirs were confirmed; until then trials of the search are compared.
    """

    dataset: str
    model: str
    methods: tuple[str, ...]
    confirmed: bool


@dataclass(frozen=True)
class Page:
    """One run as MLflow is to show it.

    Attributes:
        name: as people read it; what finds the run are its tags.
        parent: the cell whose sweep's run is its parent; None for a sweep, and for a run of its own.
        params: the settings that its method and model read, as far as they have a value.
        tags: among them what finds it: `study_id`, `run_kind` and `cell` or `trial_id`.
        status: MLflow's.
        began, ended: Unix seconds; ended is None while it runs.
        epoch: the last that is logged.
        final: metrics of the whole run, such as test accuracy, by their last values and MLflow's names.
        data: the data sets that it read, as far as they are recorded.
    """

    name: str
    parent: str | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    status: str
    began: float
    ended: float | None
    epoch: int = 0
    final: Mapping[str, float] | None = None
    data: tuple[Data, ...] = ()


class Pages:
    """Every page of a study, brought forward event by event.

    Args:
        study, study_id: its name and id.
    """

    def __init__(self, study: str, study_id: str) -> None:
        self.common = {"study": study, STUDY_ID: study_id}
        """The tags of every run."""
        self._trials: dict[str, TrialRecord] = {}
        self._sweeps: dict[str, dict[str, str]] = {}
        self._params: dict[str, Mapping[str, Any]] = {}  # of sweeps
        self._origin: dict[str, str] = {}
        self._origins: dict[Key, dict[str, str]] = {}
        self._times: dict[Key, tuple[float, float]] = {}
        self._not_finite: dict[str, str] = {}
        self._notes: dict[str, str] = {}  # by cell
        self._confirmed: dict[str, dict[str, dict[str, float]]] = {}  # by cell and configuration: accuracies by run

    def add(self, event: Mapping[str, Any]) -> set[Key]:
        """Take an event in; the pages that it changes."""
        add(self._trials, event)
        add_sweep(self._sweeps, event)
        name, at = event["event"], float(event["at"])
        if name == "session":
            self._origin = {key: str(event[key]) for key in ORIGIN}
            return set()
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
            return set()
        self._times[key] = (self._times.get(key, (at, at))[0], at)
        return {key, *self._others(self._trials[key.name])} if name == "end" else {key}

    def _others(self, trial: TrialRecord) -> set[Key]:
        """The confirmations of a method among which a completed one may change which stand for it."""
        if trial.outcome != "completed" or trial.phase != "confirm" or trial.cell is None:
            return set()
        own = self._confirmed.setdefault(trial.cell, {})
        own.setdefault(_configuration(trial), {})[trial.trial_id] = trial.metrics.get("val_accuracy", -1.0)
        return {Key("trial", run) for runs in own.values() for run in runs}

    def _represents(self, trial: TrialRecord) -> bool:
        """Whether a run is of the configuration that stands for its method (PROTOCOL §5.1)."""
        own = self._confirmed.get(trial.cell or "", {})
        best = max(own, key=lambda name: (len(own[name]), fmean(own[name].values())), default=None)
        return best in (None, _configuration(trial))

    def keys(self) -> Iterator[Key]:
        """All pages, a sweep before its trials."""
        yield from (Key("sweep", cell) for cell in self._params)
        yield from (Key("trial", trial_id) for trial_id in self._trials)

    def take_notes(self, notes: Iterable[Note]) -> set[Key]:
        """Take what is to be said of sweeps; those of which that changes."""
        said = {(note.dataset, note.model, note.method): note.text for note in notes}
        before, self._notes = self._notes, {}
        for cell, tags in self._sweeps.items():
            if text := said.get((tags.get("dataset", ""), tags.get("model", ""), tags.get("method", ""))):
                self._notes[cell] = text
        cells = before.keys() | self._notes.keys()
        return {Key("sweep", cell) for cell in cells if before.get(cell) != self._notes.get(cell)}

    def page(self, key: Key) -> Page:
        """A page as the log has it so far."""
        began, ended = self._times[key]
        common = {**self.common, "run_kind": key.kind, **self._origins.get(key, {})}
        if key.kind == "sweep":
            sweep = self._sweeps[key.name]
            tags = {**common, "cell": key.name, **sweep}
            status = MLFLOW_STATUS[tags["status"]]
            name, parent, epoch, final = sweep_name(sweep, key.name), None, 0, {}
            params, data = self._params[key.name], _data(sweep, tested=False)
            if key.name in self._notes:
                tags[NOTE] = self._notes[key.name]
        else:
            trial = self._trials[key.name]
            tags = {**common, **self._trial_tags(trial)}
            status = MLFLOW_STATUS[trial.outcome]
            name, parent = run_name(trial), trial.cell if trial.cell in self._params else None
            params, epoch = {**trial.config, "method": trial.method}, trial.last_epoch
            final = {name: value for name, value in of_whole_run(trial).items() if finite(value)}
            data = _data(self._sweeps.get(trial.cell or "", {}), tested=trial.test_opened > 0)
        if colour := _colour(str(tags.get("method"))):
            tags["mlflow.runColor"] = colour
        if "command" in tags:
            tags |= {"mlflow.source.name": tags["command"], "mlflow.source.type": "LOCAL"}  # the UI's column `Source`
        return Page(
            name,
            parent,
            {name: str(value)[:LONGEST_PARAM] for name, value in _read(params).items()},
            {name: str(value)[:LONGEST_TAG] for name, value in tags.items()},
            status,
            began,
            None if status == "RUNNING" else ended,
            epoch,
            final,
            data,
        )

    def workloads(self) -> list[Workload]:
        """What is compared with what, in the order in which it came."""
        found: dict[tuple[str, str], dict[str, bool]] = {}
        for trial in self._trials.values():
            methods = found.setdefault((str(trial.config.get("dataset")), str(trial.config.get("model"))), {})
            confirmed = trial.phase == "confirm" and trial.outcome == "completed"
            methods[trial.method] = methods.get(trial.method, False) or confirmed
        return [Workload(*what, tuple(methods), any(methods.values())) for what, methods in found.items()]

    @property
    def began(self) -> float:
        """When the study's first run began, in Unix seconds; 0 before."""
        return min((began for began, _ in self._times.values()), default=0.0)

    @property
    def latest(self) -> float:
        """When the last was logged of any run, in Unix seconds; 0 before."""
        return max((ended for _, ended in self._times.values()), default=0.0)

    def _trial_tags(self, trial: TrialRecord) -> dict[str, Any]:
        config = trial.config
        tags = {
            "trial_id": trial.trial_id,
            **{name: config.get(name) for name in ("dataset", "model", "algorithm", "seed")},
            "method": trial.method,
            "phase": trial.phase,
            **({REPRESENTS: str(self._represents(trial)).lower()} if trial.phase == "confirm" else {}),
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


def _read(params: Mapping[str, Any]) -> dict[str, Any]:
    """Of a configuration, what is read and has a value; of a sweep also what the search was asked for."""
    own = {name: params[name] for name in _WHAT if name in params} | configuration(params)
    known = declared()
    own |= {name: value for name, value in params.items() if name not in known and name not in own}
    return {name: value for name, value in own.items() if value not in (None, {}, [])}


def _configuration(trial: TrialRecord) -> str:
    """What the confirmations of one configuration have in common: their names, but for the seed at the end."""
    return re.sub(r"-s\d+$", "", trial.trial_id)


def _data(sweep: Mapping[str, str], *, tested: bool) -> tuple[Data, ...]:
    """The data sets of a sweep's workload (`study.define.workload`); none where their hashes are not recorded."""
    try:
        workload = json.loads(sweep.get("workload", "{}"))
    except ValueError:
        return ()
    name, found = str(sweep.get("dataset")), []
    if fingerprint := workload.get("data"):
        parts = ("train_images", "validation_images", "image_size")
        profile = {"fingerprint": fingerprint, **{part: workload[part] for part in parts if part in workload}}
        found.append(Data(name, str(fingerprint)[:12], "training", profile))
    if tested and (fingerprint := workload.get("test_set")):
        profile = {"fingerprint": fingerprint, "test_images": workload.get("test_images")}
        found.append(Data(f"{name} test", str(fingerprint)[:12], "test", profile))
    return tuple(found)


def _colour(method: str) -> str | None:
    """The colour of a method in the study's figures, where it says so."""
    looks = (known.looks.get(method) for known in METHODS.all().values())
    return next((look.colour for look in looks if look), None)


def finite(value: float) -> bool:
    """Whether a metric can be drawn: MLflow's databases hold no infinity and no NaN."""
    return math.isfinite(value)
