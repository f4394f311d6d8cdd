"""A study in shared storage: begun or gone on with from there, and mirrored there while a command is at work.

    STORAGE/studies/<study>/study.json, log.jsonl, optuna.journal, ...   the folder's own files, but for what can be
                                                                         made again (MLflow's, Tune's) and the runs
    STORAGE/studies/<study>/at-work.json                                 who is at work, renewed every few seconds
    STORAGE/studies/<study>/runs/<trial_id>/                             each run's own (`trainers.stored_run`)

The folder of the command is the truth, and is copied there as it changes (`study.drive.mirror`). Where the command's
machine is lost, the same command on another one takes the study from here and goes on.
"""

import json
from pathlib import Path
from typing import Any

from study.define.trial_spec import TrialSpec
from study.drive.mirror import AT_WORK, NOT_MIRRORED, require_nobody, whole_lines
from study.record.file_names import LOG_FILE, STUDY_FILE
from study.record.folder import StudyFolder
from study.record.terminal import say
from study.record.working_alone import only_one
from trainers.atomic import write_atomically
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.run_place import RunPlace, study_place
from trainers.storage import Storage, refused
from trainers.stored_inputs import share_inputs
from trainers.stored_run import SMALL, StoredRun


def shared_folder(path: str | Path, storage: str | None, *, name: str | None = None, **given: Any) -> StudyFolder:
    """A study's folder; with shared storage, taken from there where this machine has it older or not at all.

    Args:
        path: the folder.
        storage: its address; None takes what `study.json` says, or none.
        name: the study's.
        given: as `StudyFolder` takes it.

    Raises:
        UserError: storage cannot be used; another study of this name, or another command at work, is there; or the
            study went on here and elsewhere.
    """
    folder = Path(path).resolve()
    known = _read_json(folder / STUDY_FILE)
    uri = storage or known.get("storage")
    if uri is None:
        return StudyFolder(path, name=name, **given)
    found = Storage(str(uri))
    found.require()
    with refused():
        _take(folder, found, known.get("name") or name or folder.name, known.get("id"))
    return StudyFolder(path, name=name, storage=found, **given)


def share(folder: StudyFolder, configs: list[TrialConfig]) -> None:
    """Put what these runs read into the study's storage, where it has some.

    Raises:
        UserError: storage cannot be reached, or is full.
    """
    if folder.storage is None:
        return
    say(f"bringing data to {folder.storage.uri}, where they are not there yet ...")
    with refused():
        folder.inputs = share_inputs(folder.storage, configs)


def fetch_ended(spec: TrialSpec, outcome: str) -> None:
    """Fetch what a run that has ended left in storage, without its checkpoints; remove a pruned one's.

    Raises:
        UserError: storage cannot be reached; the run's end is not logged, and the same command comes here again.
    """
    if spec["place"] is None:
        return
    stored = StoredRun(RunPlace(**spec["place"]), Path(spec["run_dir"]))
    with refused():
        if outcome == "pruned":
            stored.remove()
        else:
            stored.fetch(SMALL)
            if outcome == "failed":
                stored.fetch_error()


def fetch_checkpoints(run_dir: Path) -> None:
    """Fetch an ended run's checkpoints into its folder, where they are not there and its study is in storage.

    Raises:
        UserError: storage cannot be reached.
    """
    try:
        run_dir = run_dir.resolve()
    except ValueError:  # no folder has such a name
        return
    study = _read_json(run_dir.parent.parent / STUDY_FILE)
    if not study.get("storage") or last_checkpoint(run_dir).exists():
        return
    place = RunPlace(str(study["storage"]), study_place(str(study["name"])), str(study["id"]), run_dir.name)
    with refused():
        stored = StoredRun(place, run_dir, storage=Storage(place.uri, patience=10))
        if stored.is_stored():
            stored.fetch()


def is_stored(folder: StudyFolder, trial_id: str) -> bool:
    """Whether a run's checkpoints are in the study's storage."""
    if (place := folder.place(trial_id)) is None:
        return False
    return StoredRun(place, folder.run_dir(trial_id), storage=folder.storage).is_stored()


def _take(folder: Path, storage: Storage, name: str, study_id: str | None) -> None:
    """Bring a study's folder to what storage has of it, unless the folder has it all."""
    place = study_place(name)
    text = storage.read(f"{place}/study.json")
    if text is None:
        return
    try:
        theirs = str(json.loads(text)["id"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{place}/study.json in {storage.uri} cannot be read; remove it, or put a copy back") from None
    if study_id is not None and study_id != theirs:
        raise UserError(
            f"{storage.uri} holds another study called {name!r}; give another --storage, or this study another name"
        )
    require_nobody(storage, place, folder)
    log = folder / LOG_FILE
    there = storage.read(f"{place}/{LOG_FILE}") or b""
    here = whole_lines(log.read_bytes()) if log.exists() else b""
    if study_id is not None and here.startswith(there):
        return
    if not there.startswith(here):
        raise UserError(
            f"the study {name!r} went on here and elsewhere: {log} and {place}/{LOG_FILE} in {storage.uri} "
            "each hold what the other lacks. Remove the folder here to go on with the one there; or, to keep this one, "
            "the one there"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder):
        files = _stored_files(storage, place)
        for path in (*sorted(files - {STUDY_FILE}), STUDY_FILE):
            if (content := storage.read(f"{place}/{path}")) is not None:
                _write(folder / path, content)
    say(f"the study {name!r} goes on from {storage.uri}")


def _stored_files(storage: Storage, place: str, below: str = "") -> set[str]:
    """The names of a study's own files in storage, those of the folders in it too."""
    found: set[str] = set()
    for name in storage.names(f"{place}/{below}".rstrip("/")):
        path = f"{below}{name}"
        if path in (*NOT_MIRRORED, AT_WORK, "stop") or name.startswith("."):
            continue
        if storage.size(f"{place}/{path}") is None:
            found |= _stored_files(storage, place, f"{path}/")
        else:
            found.add(path)
    return found


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda partial: partial.write_bytes(content))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
