"""A study's folder: where everything lies, and `study.json`, which says what the folder belongs to.

    DIR/study.json            format, the study's own id (a UUID), name, tracking URI, shared storage where it has some,
                              whether runs are simulated, the plug-ins that runs need, each cell's identity and budget
    DIR/simulation.json       of a simulated study: where its learning curves come from
    DIR/log.jsonl             everything that happened, in order: see `study.record.study_log`
    DIR/mlflow.db             its pages in MLflow (unless another tracking URI was given), which can be made again
    DIR/mlartifacts/          MLflow's folder for files
    DIR/optuna.journal        every search trial: its parameters, values and outcome
    DIR/runs/<trial_id>/      one run's checkpoints
    DIR/tune/                 Ray Tune's own state; nothing here is read again
    DIR/results.parquet, DIR/verdicts.json, DIR/accuracy_vs_*.png, .svg   what `compare` writes
    DIR/report.html, DIR/report.md, DIR/figures/   what `report` writes

A cell's identity is everything but its budget. The same cell with another identity is refused; more trials, more seeds
and further cells extend a study; what each cell is offered is kept with its history.
"""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from study.record.file_names import DATABASE_FILE, JOURNAL_FILE, LOG_FILE, STUDY_FILE
from study.record.offered import extended
from study.record.tracking_uri import checked_uri, database_path, default_tracking_uri
from trainers.atomic import write_text
from trainers.clock import stamp
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.plugins import origins
from trainers.registry import declared
from trainers.run_place import RunPlace, study_place

if TYPE_CHECKING:  # most commands reach no storage
    from trainers.storage import Storage

FORMAT = 1


class StudyFolder:
    """A study's folder, to be written. Nothing is written before `create` or `claim`: a command may yet be refused.

    Args:
        path: the folder.
        name: the study's name; None takes what `study.json` says, or the folder's own name for a new study.
        tracking_uri: where MLflow shows the study; None takes what `study.json` says, or the study's own database.
        simulated: how runs are simulated, `synthetic` or `recorded`; empty: they train. A folder holds one kind alone;
            None takes what is there.
        storage: shared storage that the study is mirrored to (`study.drive.shared`); None: none.

    Raises:
        UserError: the folder cannot be written, is no study's folder, or is that of another study; or a tracking URI
            that cannot be used.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        tracking_uri: str | None = None,
        simulated: str | None = "",
        storage: "Storage | None" = None,
    ) -> None:
        self.path = Path(path).resolve()
        self._check_writable()
        content = self._read()
        simulated = content["simulated"] if simulated is None else simulated
        if name is not None and content["name"] not in (None, name):
            raise UserError(
                f"{self.path} holds the study {content['name']!r}, not {name!r}; give another --output, "
                f"or the name {content['name']!r}"
            )
        if content["name"] is not None and content["simulated"] != simulated:
            was, wanted = (
                f"of {kind} curves" if kind else "of trained runs" for kind in (content["simulated"], simulated)
            )
            raise UserError(f"{self.path} holds a study {was}, not {wanted}; the two never mix: give another --output")
        self.simulated = simulated
        self.name: str = content["name"] or name or self.path.name
        tracking_uri = tracking_uri or content["tracking_uri"]
        if tracking_uri is not None:
            tracking_uri = checked_uri(tracking_uri)
        own = tracking_uri is not None and database_path(tracking_uri) == self.path / DATABASE_FILE
        self.tracking_uri: str | None = None if own else tracking_uri  # its own is worked out from where it lies
        self.study_id: str = content["id"] or uuid.uuid4().hex
        """Stands in every record of the study elsewhere, so that two studies of one name stay apart."""
        self.storage = storage
        self.inputs: dict[str, dict[str, str]] = {}
        """What runs read, in shared storage (`trainers.stored_inputs.share_inputs`)."""
        self._cells: dict[str, dict[str, Any]] = content["cells"]
        self._offers: dict[str, list[dict[str, Any]]] = content["offered"]
        self._plugins: dict[str, str] = content["plugins"]
        self._workloads: dict[str, dict[str, Any]] = content["workloads"]

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL_FILE

    @property
    def log(self) -> Path:
        return self.path / LOG_FILE

    @property
    def stop_file(self) -> Path:
        """While it exists, every run of the study finishes its step, saves and stops."""
        return self.path / ".stop"

    @property
    def tune(self) -> Path:
        return self.path / "tune"

    @property
    def simulation(self) -> str | None:
        """What a simulated run reads its curve from; None where runs train."""
        return str(self.path / "simulation.json") if self.simulated else None

    @property
    def shown(self) -> str:
        """The folder as a user would type it: relative to the working directory where it lies below it."""
        return os.path.relpath(self.path) if self.path.is_relative_to(Path.cwd()) else str(self.path)

    def run_dir(self, trial_id: str) -> Path:
        """The folder of one run's checkpoints."""
        return self.path / "runs" / trial_id

    def place(self, trial_id: str) -> RunPlace | None:
        """Where a run lies in shared storage; None where the study has none."""
        if self.storage is None:
            return None
        return RunPlace(self.storage.uri, study_place(self.name), self.study_id, trial_id, self.inputs)

    def offered(self, cell: str) -> dict[str, Any] | None:
        """The budget that a cell is offered by all commands so far; None where none said."""
        history = self._offers.get(cell)
        return {key: value for key, value in history[-1].items() if key != "at"} if history else None

    def workload(self, cell: str) -> dict[str, Any]:
        """What a cell's data and task were when its study began; empty where that was not recorded."""
        return dict(self._workloads.get(cell, {}))

    def claim(
        self,
        cells: Mapping[str, Mapping[str, Any]],
        offers: Mapping[str, Mapping[str, Any]] | None = None,
        workloads: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Enter cells by name with their identities; all of them, or none where one differs from what is there.

        Only who is alone at work in the folder may (`study.drive.session`): what others wrote meanwhile is read anew.

        Args:
            cells: each cell's identity.
            offers: each cell's budget (`Offered.as_dict`). It extends what was offered before; a command
                that asks for less takes nothing back.
            workloads: each cell's workload (`study.define.workload`), data included.

        Raises:
            UserError: a cell is there with another identity or workload, and what differs is named; or a plug-in that
                one needs was another version.
        """
        content = self._read()
        self._cells, self._offers, self._workloads = content["cells"], content["offered"], content["workloads"]
        self._plugins = content["plugins"]
        self._require_workloads(workloads or {})
        needed: dict[str, str] = {}
        for name, identity in cells.items():
            needed |= origins(*(str(identity.get(part, "")) for part in ("dataset", "model", "algorithm")))
            known = self._cells.get(name)
            if known is None:
                continue
            wanted = json.loads(json.dumps(identity))
            # An identity that was written before there was a setting does not name it.
            earlier = {key: setting.earlier for key, setting in declared().items() if setting.optional}
            known = {**{key: earlier[key] for key in wanted if key in earlier}, **known}
            different = [key for key in {**known, **wanted} if known.get(key) != wanted.get(key)]
            if different:
                shown = "; ".join(f"{key} was {known.get(key)!r}, now {wanted.get(key)!r}" for key in different)
                raise UserError(
                    f"{self.path} belongs to another configuration of {name}: {shown}. Only the number of trials and "
                    "the confirmation seeds may grow; give another --output, or the same settings"
                )
        self._require_plugins(needed)
        self._cells = {**self._cells, **{name: dict(identity) for name, identity in cells.items()}}
        for name, offer in (offers or {}).items():
            together = extended(self.offered(name), offer)
            if together != self.offered(name):
                self._offers.setdefault(name, []).append({"at": stamp(), **together})
        self.create()

    def claim_run(self, config: TrialConfig) -> None:
        """Enter the plug-ins that a run of its own needs; raises as `claim` for another version of one."""
        self._require_plugins(origins(config.dataset, config.model, config.algorithm))
        self.create()

    def _require_workloads(self, workloads: Mapping[str, Mapping[str, Any]]) -> None:
        """Enter workloads by cell, unless one is there with other data or another task."""
        for name, workload in workloads.items():
            begun, wanted = self._workloads.get(name, {}), json.loads(json.dumps(workload))
            if other := changed(begun, wanted):
                raise UserError(
                    f"{name} is not what its study began with: {'; '.join(other)}. Nothing was trained; put the data "
                    "and files back as they were, or give another --output"
                )
            self._workloads[name] = {**begun, **wanted}

    def _require_plugins(self, needed: Mapping[str, str]) -> None:
        """Enter plug-ins, SHA-256 by name, unless one is there in another version."""
        for name, sha256 in needed.items():
            known = self._plugins.get(name, sha256)
            if known != sha256:
                raise UserError(
                    f"{self.path} was begun with the plug-in {name} of SHA-256 {known[:16]}, and this one's is "
                    f"{sha256[:16]}: another version may train other weights. Give the file as it was, or another "
                    "--output"
                )
        self._plugins = {**self._plugins, **needed}

    def create(self) -> "StudyFolder":
        """Make the folder where it is not there, and write `study.json` where it does not say so yet; returns itself.

        A folder of before studies had an id is given one.
        """
        content = {
            "format": FORMAT,
            "id": self.study_id,
            "name": self.name,
            "tracking_uri": self.tracking_uri,
            "simulated": self.simulated,
            "cells": self._cells,
            "offered": self._offers,
            "plugins": self._plugins,
            "workloads": self._workloads,
            **({"storage": self.storage.uri} if self.storage else {}),
        }
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        file = self.path / STUDY_FILE
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(file, text)
        return self

    def _check_writable(self) -> None:
        """Try to write into the folder, and leave nothing, not even a folder that was not there."""
        made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
            for path in made:
                path.rmdir()
        except OSError as error:
            raise UserError(
                f"the output folder {self.path} cannot be written ({error.strerror}); give another --output"
            ) from None

    def _read(self) -> dict[str, Any]:
        file = self.path / STUDY_FILE
        empty: dict[str, Any] = {"id": None, "name": None, "tracking_uri": None, "simulated": ""}
        empty |= {"cells": {}, "offered": {}, "plugins": {}, "workloads": {}}
        if not file.exists():
            return empty
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            whole = content["format"] == FORMAT and isinstance(content["cells"], dict)
            whole = whole and isinstance(content["name"], str) and "tracking_uri" in content
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file} cannot be read ({error}); restore it from a copy, or give another --output"
            ) from None
        if not whole:
            raise UserError(f"{file} is of format {content['format']!r}, not {FORMAT}; give another --output")
        return {key: content.get(key, default) for key, default in empty.items()}


def changed(known: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of a workload is another than it was, in words; what was not recorded then is let pass."""
    different = (name for name in known if known[name] != now.get(name))
    return [f"{name.replace('_', ' ')} was {known[name]}, now {now.get(name)}" for name in different]


class StudyIdentity(NamedTuple):
    """What a study is called, where it lies, and its own id (None in a folder of before ids)."""

    name: str
    folder: Path
    study_id: str | None
    recorded_uri: str | None

    @property
    def tracking_uri(self) -> str:
        """Where MLflow shows it: the study's own database unless it says otherwise. Raises as `checked_uri` does."""
        return checked_uri(self.recorded_uri or default_tracking_uri(self.folder))


def study_content(directory: str | Path) -> dict[str, Any]:
    """All that a folder's `study.json` says; it has a `name`.

    Raises:
        UserError: no such folder, or no study in it.
    """
    folder = Path(directory)
    file = folder / STUDY_FILE
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name the folder of a study that was run")
    if not file.is_file():
        raise UserError(f"{folder} is no study folder: it has no study.json; name the folder that the study was run in")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {**content, "name": str(content["name"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read as a study's identity ({error!r}); restore it from a copy") from error


def study_identity(directory: str | Path) -> StudyIdentity:
    """What a folder's `study.json` says of its study. Raises as `study_content`."""
    content = study_content(directory)
    return StudyIdentity(content["name"], Path(directory).resolve(), content.get("id"), content.get("tracking_uri"))


def recorded_log(directory: str | Path) -> tuple[str, Path]:
    """A study's name and its log.

    Raises:
        UserError: as `study_identity`, or nothing was recorded yet.
    """
    name, log = study_identity(directory).name, Path(directory) / LOG_FILE
    if not log.is_file():
        raise UserError(f"the study {name!r} in {directory} has no records yet: {log} is not there; run it first")
    return name, log
