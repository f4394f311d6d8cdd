"""Files of a study beside MLflow's pages: its comparison as a run of its own, and models where they were exported.

What is there already is known by a tag that names the files' sizes and times, so that twice is as good as once.

A database names a study's files by `mlflow-artifacts:`, which the server that `python -m study ui` starts finds below
the study's folder, wherever that is: a study that was copied is whole. So they are put there by name, without a server;
a server elsewhere is given them through MLflow's client.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput

from study.mlflow_export.findings import Artifact
from trainers.atomic import write_atomically

DESCRIPTION = "model.json"
"""Of an exported model (`trainers.models.packed`, which needs torch)."""

LOCATION = "mlflow-artifacts:/"
"""Where a database's experiments keep files: what its server serves."""
FOLDER = "mlartifacts"
"""Where that is, beside an SQLite database, or in the study's folder."""
FILES, MODEL = "files_shown", "export_shown"
"""The tags of runs that say which files, and which exported model, are there."""
EXPORT = "export"
"""The folder within a run's own in which `python -m study export` leaves it, unless told otherwise."""


class Export(NamedTuple):
    """An exported model: its folder, and its description (`trainers.models.packed`)."""

    folder: Path
    about: Mapping[str, Any]


class Attachments:
    """Puts files where MLflow's pages find them.

    Args:
        client: of the store.
        beside: the folder in which files that a database names lie, below `FOLDER`; None of a server elsewhere.
    """

    def __init__(self, client: MlflowClient, beside: Path | None) -> None:
        self._client, self._beside = client, beside
        self.count = 0
        """How many files and models were put there."""

    def put(self, run_id: str, uri: str, files: Iterable[Artifact]) -> None:
        """Put files beside a run; `uri` is where the run keeps them."""
        for file in files:
            if (place := self._place(uri)) is not None:
                _copy(file.source, place / file.folder / file.source.name)
            else:
                self._client.log_artifact(run_id, str(file.source), file.folder or None)
            self.count += 1

    def put_model(self, experiment_id: str, run_id: str, name: str, export: Export) -> None:
        """Show an exported model as the run's logged model, in place of one that was shown before."""
        for old in self._models_of(experiment_id, run_id):
            self._client.delete_logged_model(old.model_id)
        origin = export.about.get("origin", {})
        facts = {
            key: origin[key] for key in ("checkpoint", "epoch", "val_accuracy", "test_accuracy") if origin.get(key)
        }
        params = {"model": export.about.get("model"), "image_size": export.about.get("image_size"), **facts}
        model = self._client.create_logged_model(
            experiment_id,
            name=name,
            source_run_id=run_id,
            params={key: str(value) for key, value in params.items() if value is not None},
            model_type="binary network",
        )
        if (place := self._place(model.artifact_location)) is not None:
            for path in sorted(path for path in export.folder.rglob("*") if path.is_file()):
                _copy(path, place / path.relative_to(export.folder))
        else:
            self._client.log_model_artifacts(model.model_id, str(export.folder))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=int(origin.get("epoch") or 0))])
        self.count += 1

    def _models_of(self, experiment_id: str, run_id: str) -> list[LoggedModel]:
        return list(self._client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'"))

    def _place(self, uri: str) -> Path | None:
        """The folder behind a URI of files, where that is on this machine and named by a database."""
        if self._beside is None or not uri.startswith(LOCATION):
            return None
        return self._beside / FOLDER / urlsplit(uri).path.lstrip("/")


def state_of(files: Iterable[Artifact]) -> str:
    """What changes when any of these files does."""
    return hashlib.sha256("\n".join(file.state for file in files).encode()).hexdigest()[:16]


def export_of(run_dir: Path) -> Export | None:
    """A run's exported model; None where there is none, or what is there is none."""
    folder = run_dir / EXPORT
    try:
        return Export(folder, dict(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        return None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda partial: shutil.copyfile(source, partial), durable=False)
