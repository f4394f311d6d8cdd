"""What MLflow holds of a study: its experiment, found by the study's id, its runs, and what they lack.

Runs of others are neither read nor touched.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run

from study.mlflow_export.pages import STUDY_ID, Key, Page, Pages
from study.record.file_names import DATABASE_FILE

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
    uri: str = ""
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
            run.info.artifact_uri or "",
            run.info.run_name or "",
            run.info.status,
            dict(data.tags),
            set(data.params),
            set(data.metrics),
            int(data.tags.get(REACHED, 0)),
            {used.dataset.digest for used in run.inputs.dataset_inputs} if run.inputs else set(),
        )


def find_experiment(client: MlflowClient, identity: Identity, database: Path | None) -> Experiment | None:
    """A study's experiment that is not deleted.

    In a study's own database, `mlflow.db`, an experiment of its name without an id is its own: one of before ids.
    """
    found = client.search_experiments(filter_string=f"tags.{STUDY_ID} = '{identity.study_id}'", max_results=1)
    if found:
        return found[0]
    if database is not None and database.name == DATABASE_FILE:
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
            name = tags.get({"sweep": "cell", "trial": "trial_id", "study": STUDY_ID}.get(kind, ""), "")
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
