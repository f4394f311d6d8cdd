"""What MLflow is told: a parent run per sweep, a child run per trial, each of them exactly once.

MLflow itself makes a new run whenever it is asked. Here a run is found by its tag before it is made, and a metric point
is written only for a step beyond the last one recorded, so that a command which was killed and started again goes on
in the same runs instead of beside them. Runs are addressed by explicit ids through `MlflowClient`; there is no active
run.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from study.mlflow_export.store import (
    check_database,
    check_server,
    create_database,
    locked_database,
)
from study.record.metrics import METRIC_KEYS
from study.record.provenance import provenance
from study.record.tracking_uri import database_path
from trainers.errors import UserError

# The outcome of a trial (tag `status`) and the status that MLflow shows for it.
MLFLOW_STATUS = {
    "running": "RUNNING",
    "completed": "FINISHED",
    "pruned": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "infeasible": "FAILED",
    "interrupted": "KILLED",
}
# A run that ended so runs again when it is started once more; any other has ended for good.
STARTED_AGAIN = ("failed", "interrupted")
FOUND_BY = ("run_kind", "cell", "trial_id")
TRIAL_TAGS = ("dataset", "model", "algorithm", "method", "phase", "seed")
PHASES = ("train", "search", "confirm")


class Tracker:
    """Writes one study's runs to MLflow, under explicit run ids, each run and each metric point once.

    Several processes may hold a tracker of the same study; it can be pickled (the copy opens its own connection).

    Args:
        tracking_uri: any MLflow tracking URI; `default_tracking_uri(directory)` is the study's own store.
        study: the study's name, which is the name of the MLflow experiment.

    Raises:
        UserError: the store cannot be created, read or reached.
    """

    def __init__(self, tracking_uri: str, study: str) -> None:
        self.tracking_uri = tracking_uri
        self.study = study
        self._database = database_path(tracking_uri)
        if self._database is not None:
            create_database(self._database)
            check_database(self._database)
        elif tracking_uri.startswith(("http://", "https://")):
            check_server(tracking_uri)
        self._last_epoch: dict[str, int] = {}
        try:
            self.client = MlflowClient(tracking_uri)
            self.experiment_id = self._find_or_create_experiment()
        except MlflowException as error:
            raise UserError(f"the tracking store {tracking_uri} cannot be used: {error.message}") from error

    def __reduce__(self) -> tuple[type["Tracker"], tuple[str, str]]:
        return Tracker, (self.tracking_uri, self.study)

    def sweep_run(
        self,
        cell: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        *,
        known: str | None = None,
        fresh: bool = False,
        at: float | None = None,
    ) -> str:
        """The id of the parent run of `cell` (`<dataset>-<model>-<method>`), which is made if there is none yet.

        If the run exists already it is set running again, its tags are brought up to date and missing params are added.

        Args:
            cell, tags, params: what it is.
            known, fresh, at: as for `trial_run`.
        """
        own = {"run_kind": "sweep", "cell": cell, "study": self.study}
        run, run_id = self._found_or_made(cell, own, tags, known, fresh, at)
        if run and run.data.tags.get("status") != "running":
            self.client.update_run(run_id, status="RUNNING")
        wanted = {**tags, "status": "running"}
        self._add_params(run_id, params, run, {k: v for k, v in wanted.items() if run and run.data.tags.get(k) != v})
        return run_id

    def trial_run(
        self,
        trial_id: str,
        parent_run_id: str | None,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        known: str | None = None,
        fresh: bool = False,
        at: float | None = None,
    ) -> str:
        """The id of a trial's run, which is made if there is none yet.

        A run that `failed` or was interrupted is set running again, since it is asked for in order to be tried again.

        Args:
            trial_id: names the trial in Tune, Optuna, the checkpoints and here.
            parent_run_id: the sweep's run; None for a run of its own.
            params: the whole configuration; None is recorded as `none`.
            tags: at least `TRIAL_TAGS`. The tags of `provenance()` are added where absent.
            known: the run's id where the caller knows it, which saves a search.
            fresh: nobody can have made the run yet, which saves it too.
            at: when it started, in Unix seconds; None is now.

        Raises:
            ValueError: a tag is missing or the phase is none of `PHASES`.
        """
        missing = [tag for tag in TRIAL_TAGS if tag not in tags]
        if missing or tags["phase"] not in PHASES:
            raise ValueError(
                f"trial {trial_id} lacks the tags {missing}, or its phase is none of {PHASES}: {dict(tags)}"
            )
        own = {"run_kind": "trial", "trial_id": trial_id, "study": self.study}
        if parent_run_id is not None:
            own["mlflow.parentRunId"] = parent_run_id
        run, run_id = self._found_or_made(trial_id, own, tags, known, fresh, at)
        self._add_params(run_id, params, run)
        if run and run.data.tags.get("status") in STARTED_AGAIN:
            self.client.set_tag(run_id, "status", "running")
            self.client.update_run(run_id, status="RUNNING")
        return run_id

    def log_epoch(self, run_id: str, metrics: Mapping[str, float], step: int, at: float | None = None) -> None:
        """Record one epoch's metrics at `step` (the epoch, from 1), unless that step or a later one is recorded.

        A trial that resumes from its last checkpoint trains some epochs again, to the same bits: those are there.
        Values that are not finite are left out, and named in the tag `non_finite` with their step.

        Raises:
            ValueError: a key outside `METRIC_KEYS`.
        """
        _check_keys(metrics)
        if run_id not in self._last_epoch:
            self._last_epoch[run_id] = int(self.client.get_run(run_id).data.metrics.get("epoch", 0))
        if step <= self._last_epoch[run_id]:
            return
        self._log(run_id, {**metrics, "epoch": float(step)}, step, at=at)
        self._last_epoch[run_id] = step

    def finish(
        self,
        run_id: str,
        status: str,
        final_metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        at: float | None = None,
    ) -> None:
        """End a run with its outcome; metrics that no epoch recorded, such as test accuracy, go to its last step.

        Args:
            status: completed, pruned, diverged, failed, infeasible, or interrupted where it is to go on.
            final_metrics: the whole run's metrics. A key that the run has already keeps its last value.
            tags: further tags, set with the status.
            at: when it ended, in Unix seconds; None is now.

        Raises:
            ValueError: an unknown status, or a key outside `METRIC_KEYS`.
        """
        if status not in MLFLOW_STATUS or status == "running":
            raise ValueError(f"a run ends as one of {sorted(set(MLFLOW_STATUS) - {'running'})}, not as {status!r}")
        final_metrics = final_metrics or {}
        _check_keys(final_metrics)
        recorded = self.client.get_run(run_id).data.metrics
        new = {key: value for key, value in final_metrics.items() if key not in recorded}
        step = int(recorded.get("epoch", final_metrics.get("epoch", 0)))
        self._log(run_id, new, step, {**(tags or {}), "status": status}, at)
        self.client.set_terminated(run_id, MLFLOW_STATUS[status], _milliseconds(at))
        self._last_epoch.pop(run_id, None)

    def experiment_tag(self, key: str) -> str | None:
        """A tag of the study's experiment; None where it has none such."""
        return self.client.get_experiment(self.experiment_id).tags.get(key)

    def set_experiment_tag(self, key: str, value: str) -> None:
        """Add or replace a tag of the study's experiment."""
        self.client.set_experiment_tag(self.experiment_id, key, value)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a run, in one transaction."""
        self.client.log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def _log(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        step: int,
        tags: Mapping[str, str] | None = None,
        at: float | None = None,
    ) -> None:
        now = _milliseconds(at)
        points = [Metric(key, float(value), now, step) for key, value in metrics.items() if math.isfinite(value)]
        lost = [key for key, value in metrics.items() if not math.isfinite(value)]
        marks = dict(tags or {})
        if lost:
            marks["non_finite"] = f"{', '.join(lost)} at step {step}"
        if points or marks:
            self.client.log_batch(run_id, metrics=points, tags=[RunTag(key, text) for key, text in marks.items()])

    def _found_or_made(
        self,
        name: str,
        own: Mapping[str, str],
        tags: Mapping[str, str],
        known: str | None,
        fresh: bool,
        at: float | None,
    ) -> tuple[Run | None, str]:
        """The run that is there, with its id, or None with the id of the one made; `own` are the tags that find it."""
        if known is not None:
            return self.client.get_run(known), known
        with self._one_writer():
            run = None if fresh else self._find({key: own[key] for key in own if key in FOUND_BY})
            run_id = run.info.run_id if run else self._create(name, {**own, **tags}, at)
        if run is None:
            self._last_epoch[run_id] = 0
        return run, run_id

    def _create(self, name: str, tags: Mapping[str, str], at: float | None) -> str:
        origin = {} if {"git_commit", "versions", "hardware", "command"} <= tags.keys() else provenance()
        whole = {"status": "running", **origin, **tags}
        shown = {"mlflow.source.name": whole["command"], "mlflow.source.type": "LOCAL"}  # the UI's column `Source`
        values = {key: str(value) for key, value in {**shown, **whole}.items()}
        return self.client.create_run(self.experiment_id, _milliseconds(at), values, name).info.run_id

    def _add_params(
        self, run_id: str, params: Mapping[str, Any], run: Run | None, tags: Mapping[str, str] | None = None
    ) -> None:
        """Params cannot be changed once logged, so only those that a killed process did not get to are added."""
        known = run.data.params if run else {}
        new = [Param(key, _param_text(value)) for key, value in params.items() if key not in known]
        marks = [RunTag(key, str(value)) for key, value in (tags or {}).items()]
        if new or marks:
            self.client.log_batch(run_id, params=new, tags=marks)

    def _find(self, tags: Mapping[str, str]) -> Run | None:
        terms = " and ".join(f"tags.{key} = {_quoted(value)}" for key, value in tags.items())
        runs = self.client.search_runs(
            [self.experiment_id], terms, max_results=1, order_by=["attributes.start_time ASC"]
        )
        return runs[0] if runs else None

    def _find_or_create_experiment(self) -> str:
        with self._one_writer():
            experiment = self.client.get_experiment_by_name(self.study)
            if experiment is None:
                place = None if self._database is None else (self._database.parent / "mlartifacts").as_uri()
                tags = {"mlflow.experimentKind": "custom_model_development"}  # else the UI shows its pages for chats
                return self.client.create_experiment(self.study, artifact_location=place, tags=tags)
        if experiment.lifecycle_stage != "active":
            raise UserError(
                f"the MLflow experiment {self.study!r} in {self.tracking_uri} was deleted; restore it "
                f"(`mlflow experiments restore --experiment-id {experiment.experiment_id}`) or name the study otherwise"
            )
        return experiment.experiment_id

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        """Find-then-make is two steps; a lock beside the database keeps other local processes out between them."""
        if self._database is None:
            yield
        else:
            with locked_database(self._database):
                yield


def _check_keys(metrics: Mapping[str, float]) -> None:
    unknown = sorted(set(metrics) - set(METRIC_KEYS))
    if unknown:
        raise ValueError(f"metrics {unknown} are unknown; a run records only {METRIC_KEYS}")


def _milliseconds(at: float | None) -> int:
    """MLflow's time of a moment in Unix seconds; None is now."""
    return int((time.time() if at is None else at) * 1000)


def _param_text(value: Any) -> str:
    return "none" if value is None else str(value)


def _quoted(value: str) -> str:
    if "'" in value and '"' in value:
        raise ValueError(f"{value!r} holds both kinds of quotes, which MLflow's search cannot express")
    return f'"{value}"' if "'" in value else f"'{value}'"
