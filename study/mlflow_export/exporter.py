"""Brings MLflow's pages of a study to what its log says, whatever is there already: twice is as good as once.

What MLflow holds of the study is read first, by the study's id. Then only the difference is written: runs that are
missing, params, tags and epochs that they lack, and how they ended. So it does not matter whether a delivery was
killed, whether runs or the whole experiment were deleted in MLflow's pages, or whether nothing was ever delivered.
Runs of others are neither read nor touched.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from study.mlflow_export import metrics as named
from study.mlflow_export.pages import STUDY_ID, Data, Key, Page, Pages, finite
from study.mlflow_export.store import open_store
from study.mlflow_export.views import views
from study.record.study_log import read_lines
from study.record.tracking_uri import database_path

# MLflow takes so many entries in one request; an epoch's metrics are never split over two.
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 800, 100, 99  # and the tag that says up to where a run is delivered
# Epochs of one run that are kept in memory before they are written.
MOST_EPOCHS_WAITING = 500
# The tag of a run that says up to which epoch its metrics are there.
REACHED = "epochs_shown"
# The tag of an experiment that says how its runs are written; those of another kind are made anew.
KIND, PRESENT_KIND = "pages", "2"


class Identity(NamedTuple):
    """A study as MLflow knows it: its name, which its experiment takes where it is free, and its own id."""

    study: str
    study_id: str


@dataclass
class Shown:
    """What MLflow shows of one run."""

    run_id: str
    name: str = ""
    status: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)
    metrics: set[str] = field(default_factory=set)
    epoch: int = 0
    data: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, run: Run) -> "Shown":
        data = run.data
        return cls(
            run.info.run_id,
            run.info.run_name or "",
            run.info.status,
            dict(data.tags),
            set(data.params),
            set(data.metrics),
            int(data.tags.get(REACHED, 0)),
            {used.dataset.digest for used in run.inputs.dataset_inputs} if run.inputs else set(),
        )


class Epoch(NamedTuple):
    """An epoch's metrics, and when they were logged in Unix seconds."""

    at: float
    number: int
    metrics: Mapping[str, float]


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
        experiment = self._find_or_make_experiment(database_path(tracking_uri))
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
        self._begin = 0  # the byte of the log at which the next event begins
        self.written = 0
        """How many runs were brought up to date, each counted as often as that was done."""

    def update(self) -> int:
        """Bring everything to what the log says now; how many runs were written. Raises what MLflow raises."""
        first = self._begin == 0
        changed: dict[Key, list[Epoch]] = {}
        for event in self._new_events():
            key = self._pages.add(event)
            if key is not None:
                waiting = changed.setdefault(key, [])
                if not first and event["event"] == "epoch":
                    waiting.append(_epoch(event))
        written = self._catch_up() if first else len(changed)
        if not first:
            for key in sorted(changed):  # a sweep before its trials
                self._write(key, changed[key])
        if written:
            self._tag_experiment(dict(view.tag(self._pages.began) for view in views(self._pages.workloads())))
        return written

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
                waiting[key].append(_epoch(event))
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
            run_id = self.client.create_run(self.experiment_id, began, tags, page.name).info.run_id
            shown = self._shown[key] = Shown(run_id, page.name, "RUNNING", dict(tags))
        points = [point for epoch in epochs if epoch.number > shown.epoch for point in _points(epoch)]
        reached = max((epoch.number for epoch in epochs), default=0)
        metrics = shown.metrics | {point.key for point in points}
        if page.epoch <= max(reached, shown.epoch):
            at = int((page.ended or page.began) * 1000)
            final = {name: value for name, value in (page.final or {}).items() if name not in metrics}
            points += [Metric(name, value, at, page.epoch) for name, value in final.items()]
        reached = max(reached, shown.epoch)
        params = [Param(name, value) for name, value in page.params.items() if name not in shown.params]
        changed = [RunTag(name, value) for name, value in tags.items() if shown.tags.get(name) != value]
        for request in _requests(points, params, changed, shown.epoch, reached):
            self.client.log_batch(shown.run_id, **request)
        if used := [data for data in page.data if data.digest not in shown.data]:
            self.client.log_inputs(shown.run_id, [_input(data) for data in used])
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
        self.written += 1

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
        if found is not None:
            if STUDY_ID not in found.tags:
                self.client.set_experiment_tag(found.experiment_id, STUDY_ID, self._own.study_id)
            return found
        place = None if database is None else (database.parent / "mlartifacts").as_uri()
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


def find_experiment(client: MlflowClient, identity: Identity, database: Path | None) -> Experiment | None:
    """A study's experiment that is not deleted.

    In a study's own database, `mlflow.db`, an experiment of its name without an id is its own: one of before ids.
    """
    found = client.search_experiments(filter_string=f"tags.{STUDY_ID} = '{identity.study_id}'", max_results=1)
    if found:
        return found[0]
    if database is not None and database.name == "mlflow.db":
        named = client.get_experiment_by_name(identity.study)
        if named is not None and named.lifecycle_stage == "active" and STUDY_ID not in named.tags:
            return named
    return None


def read_shown(client: MlflowClient, experiment_id: str, identity: Identity) -> tuple[dict[Key, Shown], list[str]]:
    """The runs of a study that its experiment holds, the first of each; and the ids of those that are there again."""
    shown: dict[Key, Shown] = {}
    doubles = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
        )
        for run in page:
            tags = run.data.tags
            if tags.get(STUDY_ID, identity.study_id) != identity.study_id:
                continue
            kind: Any = tags.get("run_kind")
            name = tags.get({"sweep": "cell", "trial": "trial_id"}.get(kind, ""), "")
            if not name:
                continue
            if Key(kind, name) in shown:
                doubles.append(run.info.run_id)
            else:
                shown[Key(kind, name)] = Shown.of(run)
        token = page.token
        if not token:
            return shown, doubles


def lacking(pages: Pages, shown: Mapping[Key, Shown]) -> list[Key]:
    """The pages that MLflow lacks, or of which it lacks something; a sweep before its trials."""
    return [key for key in pages.keys() if not _is_whole(pages.page(key), shown, key)]  # noqa: SIM118 (not a dict)


def _is_whole(page: Page, shown: Mapping[Key, Shown], key: Key) -> bool:
    one = shown.get(key)
    if one is None or (one.name, one.status) != (page.name, page.status) or one.epoch < page.epoch:
        return False
    if not {data.digest for data in page.data} <= one.data:
        return False
    if page.parent is not None:
        parent = shown.get(Key("sweep", page.parent))
        if parent is None or one.tags.get("mlflow.parentRunId") != parent.run_id:
            return False
    return (
        page.params.keys() <= one.params
        and (page.final or {}).keys() <= one.metrics
        and all(one.tags.get(name) == value for name, value in page.tags.items())
    )


def _epoch(event: Mapping[str, Any]) -> Epoch:
    return Epoch(float(event["at"]), int(event["epoch"]), event["metrics"])


def _points(epoch: Epoch) -> list[Metric]:
    at = int(epoch.at * 1000)
    return [Metric(name, value, at, epoch.number) for name, value in named.shown(epoch.metrics) if finite(value)]


def _input(data: Data) -> DatasetInput:
    """A data set as MLflow takes it; where it lies says nothing on another machine, so its source is its name."""
    source = json.dumps({"dataset": data.name})
    dataset = Dataset(data.name, data.digest, "local", source, profile=json.dumps(data.profile))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", data.use)])


def _requests(
    points: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag], before: int, reached: int
) -> Iterator[dict[str, Any]]:
    """As few requests as MLflow's limits allow; each that holds epochs says up to where they are there by then.

    A store writes a request's tags after its metrics, and takes a point that it has already.
    """
    waiting = (_chunks(params, MOST_PARAMS), _chunks(tags, MOST_TAGS), list(_by_epoch(points)))
    number = max(*(len(some) for some in waiting), int(reached > before))
    for place in range(number):
        some: dict[str, Sequence[Any]] = {
            name: parts[place] if place < len(parts) else []
            for name, parts in zip(("params", "tags", "metrics"), waiting, strict=True)
        }
        last = reached if place == number - 1 else some["metrics"][-1].step if some["metrics"] else before
        if last > before:
            some["tags"], before = [*some["tags"], RunTag(REACHED, str(last))], last
        yield some


def _chunks(entries: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [entries[begin : begin + size] for begin in range(0, len(entries), size)]


def _by_epoch(points: Iterable[Metric]) -> Iterator[Sequence[Metric]]:
    """Points in portions that hold whole epochs; none where there are no points."""
    portion: list[Metric] = []
    epoch: list[Metric] = []
    for point in points:
        if epoch and point.step != epoch[-1].step:
            if len(portion) + len(epoch) > MOST_METRICS:
                yield portion
                portion = []
            portion, epoch = portion + epoch, []
        epoch.append(point)
    if len(portion) + len(epoch) > MOST_METRICS:
        yield portion
        portion = []
    if portion or epoch:
        yield portion + epoch
