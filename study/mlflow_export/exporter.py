"""Brings MLflow's pages of a study to what its log says, whatever is there already: twice is as good as once.

What MLflow holds of the study is read first, by the study's id. Then only the difference is written: runs that are
missing, params, tags and epochs that they lack, and how they ended. So it does not matter whether a delivery was
killed, whether runs or the whole experiment were deleted in MLflow's pages, or whether nothing was ever delivered.
Runs of others are neither read nor touched (`study.mlflow_export.shown`).
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Experiment, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from study.mlflow_export.attachments import FILES, LOCATION, MODEL, Attachments, export_of, state_of
from study.mlflow_export.confusion import FILE as CONFUSION
from study.mlflow_export.confusion import as_csv, as_svg, matrices
from study.mlflow_export.findings import NOTE, Artifact, artifacts, notes, overview
from study.mlflow_export.pages import STUDY_ID, Key, Page, Pages, Workload
from study.mlflow_export.requests import Epoch, epoch_of, input_of, points_of, requests
from study.mlflow_export.shown import (
    KIND,
    PRESENT_KIND,
    Identity,
    Shown,
    find_experiment,
    lacking,
    read_shown,
)
from study.mlflow_export.store import open_store, plain
from study.mlflow_export.views import views
from study.record.postgres import is_postgres
from study.record.predictions import read_study_predictions
from study.record.study_log import read_lines
from study.record.tracking_uri import database_path
from trainers.errors import UserError

# Epochs of one run that are kept in memory before they are written.
MOST_EPOCHS_WAITING = 500


class MlflowExporter:
    """Shows one study in MLflow. Where a call raises, this object is done with: a new one reads anew what is there.

    Args:
        log: the study's log.
        tracking_uri: a checked one.
        identity: the study's name and id.

    Raises:
        UserError: the store cannot be made, read or reached.
    """

    def __init__(self, log: Path, tracking_uri: str, identity: Identity) -> None:
        self._log, self._own = log, identity
        self.client = open_store(tracking_uri, make=True)
        database = database_path(tracking_uri)
        self._files = log.parent if is_postgres(tracking_uri) else database and database.parent
        self._attachments = Attachments(self.client, self._files)
        experiment = self._find_or_make_experiment(database)
        self.experiment_id = str(experiment.experiment_id)
        self._experiment_tags = dict(experiment.tags)
        self._pages = Pages(*identity)
        self._shown, doubles = read_shown(self.client, self.experiment_id, identity)
        if self._experiment_tags.get(KIND) != PRESENT_KIND:  # runs under names of before
            doubles += [shown.run_id for shown in self._shown.values()]
            self._shown = {}
        for run_id in doubles:  # one that a server made, and could not say so before it was asked again
            self.client.delete_run(run_id)
        self._tag_experiment({KIND: PRESENT_KIND})
        self.refused = ""
        """Why files could not be put there, if so; everything else is shown all the same."""
        self._compared = ""  # the state of the comparison's files that were looked at last
        self._viewed: list[Workload] = []  # what the views are of
        self._begin = 0  # the byte of the log at which the next event begins
        self._runs_written = 0

    @property
    def written(self) -> int:
        """How many runs and files were brought up to date, each counted as often as that was done."""
        return self._runs_written + self._attachments.count

    def update(self) -> int:
        """Bring everything to what the log says now; how many runs were written. Raises what MLflow raises."""
        first = self._begin == 0
        changed: dict[Key, list[Epoch]] = {}
        for event in self._new_events():
            for key in self._pages.add(event):
                waiting = changed.setdefault(key, [])
                if not first and event["event"] == "epoch":
                    waiting.append(epoch_of(event))
        files = artifacts(self._log.parent)
        compared = (state := state_of(files)) != self._compared
        self._compared = state
        for key in self._pages.take_notes(notes(self._log.parent)) if compared else ():
            changed.setdefault(key, [])
        written = self._catch_up() if first else len(changed)
        if not first:
            for key in sorted(changed):  # a sweep before its trials
                self._write(key, changed[key])
        if written and (workloads := self._pages.workloads()) != self._viewed:
            self._tag_experiment(dict(view.tag(self._pages.began) for view in views(workloads)))
            self._viewed = workloads
        if first or compared:
            self._show_files(files, state)
        return written

    def _show_files(self, files: Sequence[Artifact], state: str) -> None:
        """Bring what lies beside the log to the pages: the comparison in this state, and models that were exported."""
        key, folder = Key("study", self._own.study_id), self._log.parent
        self.refused = ""
        try:
            if files and self._lacks(key, FILES, state):
                said = overview(folder)
                tags = {**self._pages.common, "run_kind": "study", **({NOTE: said} if said else {})}
                if key not in self._shown:
                    name = f"{self._own.study}: the comparison"
                    run = self.client.create_run(self.experiment_id, int(self._pages.latest * 1000), tags, name)
                    self._shown[key] = Shown.of(run)
                shown = self._shown[key]
                self._attachments.put(shown.run_id, shown.uri, files)
                self._show_confusions()
                self._tag(shown, {**tags, FILES: state})
                self.client.set_terminated(shown.run_id, "FINISHED", int(self._pages.latest * 1000))
                if said:
                    self._tag_experiment({NOTE: said})
            for trial, shown in self._shown.items():
                if trial.kind == "trial" and (export := export_of(folder / "runs" / trial.name)) is not None:
                    model = state_of([Artifact(path) for path in sorted(export.folder.iterdir()) if path.is_file()])
                    if self._lacks(trial, MODEL, model):
                        name = re.sub(r"[/:.%\"']", "-", shown.name)  # which MLflow takes in no model's name
                        self._attachments.put_model(self.experiment_id, shown.run_id, name, export)
                        self._tag(shown, {MODEL: model})
        except (OSError, UserError, MlflowException) as error:
            self.refused = plain(error)

    def _show_confusions(self) -> None:
        """Beside each confirmed run that kept its answers, which classes it took for which."""
        confirmed = {key.name: shown for key, shown in self._shown.items() if shown.tags.get("phase") == "confirm"}
        found = matrices(read_study_predictions(self._log.parent, confirmed))
        with tempfile.TemporaryDirectory() as folder:
            for trial_id, counts in found.items():
                shown = confirmed[trial_id]
                texts = {"csv": as_csv(counts), "svg": as_svg(counts, shown.name)}
                files = [Path(folder) / f"{CONFUSION}.{kind}" for kind, text in texts.items() if text]
                for file in files:
                    file.write_text(str(texts[file.suffix[1:]]), encoding="utf-8")
                self._attachments.put(shown.run_id, shown.uri, map(Artifact, files))

    def _lacks(self, key: Key, tag: str, value: str) -> bool:
        return key not in self._shown or self._shown[key].tags.get(tag) != value

    def _tag(self, shown: Shown, tags: Mapping[str, str]) -> None:
        new = [RunTag(name, value) for name, value in tags.items() if shown.tags.get(name) != value]
        self.client.log_batch(shown.run_id, tags=new)
        shown.tags |= tags

    def _new_events(self) -> Iterator[Mapping[str, Any]]:
        for line in read_lines(self._log, self._begin):
            self._begin = line.end
            if line.event is not None:
                yield line.event

    def _catch_up(self) -> int:
        """Write all that differs; epochs are read from the log once more, so that few are in memory at a time."""
        behind = lacking(self._pages, self._shown)
        waiting: dict[Key, list[Epoch]] = {}
        for key in behind:
            if self._pages.page(key).epoch > (self._shown[key].epoch if key in self._shown else 0):
                waiting[key] = []
            else:
                self._write(key, [])
        end = self._begin
        for line in read_lines(self._log):
            if not waiting or line.end > end:
                break
            event = line.event or {}
            key = Key("trial", event.get("trial_id", ""))
            if key not in waiting or event["event"] not in ("epoch", "end"):
                continue
            if event["event"] == "epoch":
                waiting[key].append(epoch_of(event))
            if event["event"] == "end" or len(waiting[key]) >= MOST_EPOCHS_WAITING:
                self._write(key, waiting.pop(key))
                if self._shown[key].epoch < self._pages.page(key).epoch:
                    waiting[key] = []
        for key, epochs in waiting.items():
            self._write(key, epochs)
        return len(behind)

    def _write(self, key: Key, epochs: Sequence[Epoch]) -> None:
        """Bring one run to its page, with these epochs of it."""
        page, shown = self._pages.page(key), self._shown.get(key)
        tags = {**page.tags, **self._parent(page)}
        if shown is None:
            began = int(page.began * 1000)
            run = self.client.create_run(self.experiment_id, began, tags, page.name)
            shown = self._shown[key] = Shown(run.info.run_id, run.info.artifact_uri, page.name, "RUNNING", dict(tags))
        points = [point for epoch in epochs if epoch.number > shown.epoch for point in points_of(epoch)]
        reached = max((epoch.number for epoch in epochs), default=0)
        metrics = shown.metrics | {point.key for point in points}
        if page.epoch <= max(reached, shown.epoch):
            at = int((page.ended or page.began) * 1000)
            final = {name: value for name, value in (page.final or {}).items() if name not in metrics}
            points += [Metric(name, value, at, page.epoch) for name, value in final.items()]
        reached = max(reached, shown.epoch)
        params = [Param(name, value) for name, value in page.params.items() if name not in shown.params]
        changed = [RunTag(name, value) for name, value in tags.items() if shown.tags.get(name) != value]
        for request in requests(points, params, changed, shown.epoch, reached):
            self.client.log_batch(shown.run_id, **request)
        if used := [data for data in page.data if data.digest not in shown.data]:
            self.client.log_inputs(shown.run_id, [input_of(data) for data in used])
        if shown.name != page.name:
            self.client.update_run(shown.run_id, name=page.name)
        if shown.status != page.status:
            if page.ended is None:
                self.client.update_run(shown.run_id, status=page.status)
            else:
                self.client.set_terminated(shown.run_id, page.status, int(page.ended * 1000))
        shown.name, shown.status, shown.epoch = page.name, page.status, reached
        shown.data |= {data.digest for data in page.data}
        shown.tags |= tags
        shown.params |= page.params.keys()
        shown.metrics |= {point.key for point in points}
        self._runs_written += 1

    def _parent(self, page: Page) -> dict[str, str]:
        """The tag by which MLflow's pages nest a run; one whose parent was deleted gets the new one."""
        return {} if page.parent is None else {"mlflow.parentRunId": self._shown[Key("sweep", page.parent)].run_id}

    def _tag_experiment(self, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            if self._experiment_tags.get(name) != value:
                self.client.set_experiment_tag(self.experiment_id, name, value)
                self._experiment_tags[name] = value

    def _find_or_make_experiment(self, database: Path | None) -> Experiment:
        """The study's experiment: the one with its id, or a new one, of its name where that is free."""
        found = find_experiment(self.client, self._own, database)
        if found is not None and database is not None and found.tags.get(KIND) != PRESENT_KIND:
            # Its files would be where the folder was when it was made; MLflow can restore it.
            self.client.rename_experiment(found.experiment_id, f"{found.name} of before {found.experiment_id}")
            self.client.delete_experiment(found.experiment_id)
            found = None
        if found is not None:
            if STUDY_ID not in found.tags:
                self.client.set_experiment_tag(found.experiment_id, STUDY_ID, self._own.study_id)
            return found
        place = None if self._files is None else LOCATION
        kind = {"mlflow.experimentKind": "custom_model_development"}  # else the UI shows its pages for chats
        tags = {STUDY_ID: self._own.study_id, KIND: PRESENT_KIND, **kind}
        for name in names(self._own):
            if self.client.get_experiment_by_name(name) is None:
                try:
                    made = self.client.create_experiment(name, artifact_location=place, tags=tags)
                    return self.client.get_experiment(made)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
        raise AssertionError("names do not end")


def names(identity: Identity) -> Iterator[str]:
    """Names for a study's experiment; MLflow lets none be taken twice, nor that of a deleted one."""
    yield identity.study
    yield f"{identity.study} {identity.study_id[:8]}"
    number = 2
    while True:
        yield f"{identity.study} {identity.study_id[:8]}-{number}"
        number += 1
