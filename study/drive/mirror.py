"""Copies a study's folder to its shared storage while a command is at work, and says there who that is.

The folder of the command is the truth; what has changed in it is copied every few seconds and at the end. The log is
copied before the search's journal and holds what that says, as on disk.
"""

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from study.record.file_names import DATABASE_FILE, JOURNAL_FILE, LOG_FILE, STUDY_FILE
from study.record.folder import StudyFolder
from study.record.study_log import INTERRUPTED, RUNNING, TrialRecord
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.errors import DiskFullError, StorageError, UserError
from trainers.run_place import stop_path, study_place
from trainers.stop import request_stop
from trainers.storage import Storage, refused
from trainers.stored_run import StoredRun

NOT_MIRRORED = ("runs", "tune", "mlartifacts")
AT_WORK = "at-work.json"
SECONDS = 5.0
"""Between two looks at what has changed; longer where copying takes long, so that it takes a twentieth of the time."""
SIGN_SECONDS, SILENCE_SECONDS = 10.0, 60.0
"""Between two signs of a command at work, and after how long without one it counts as gone."""


@contextmanager
def mirrored(folder: StudyFolder, trials: Mapping[str, TrialRecord], show: Callable[[str], None]) -> Iterator[None]:
    """Copy the study's folder to its storage while the context is open, and once more at its end.

    Who enters is alone at work in the folder. Where storage cannot be reached meanwhile, that is said once and the
    study goes on; what it lacks is copied later, at the latest by the next command.

    Args:
        folder: the study's; without storage nothing happens.
        trials: the log's runs: those that have a checkpoint here alone are put into storage.
        show: takes lines for the user.

    Raises:
        UserError: another command is at work on the study elsewhere, or took it over meanwhile.
    """
    if folder.storage is None:
        yield
        return
    mirror = Mirror(folder, folder.storage, show)
    with refused():
        mirror.begin()
        for trial_id, record in trials.items():
            if record.outcome in (RUNNING, INTERRUPTED) and last_checkpoint(folder.run_dir(trial_id)).exists():
                stored = StoredRun(folder.place(trial_id), folder.run_dir(trial_id), storage=folder.storage)
                if not stored.is_stored():
                    stored.fingerprint = TrialConfig.recorded(record.config).fingerprint()
                    stored.push()
    mirror.start()
    try:
        yield
    finally:
        mirror.close()
    if mirror.taken:
        raise UserError(mirror.taken)


class Mirror:
    """Copies a study's folder to its storage, as it changes.

    Args:
        folder: the study's.
        storage: where it goes.
        show: takes lines for the user.
    """

    def __init__(self, folder: StudyFolder, storage: Storage, show: Callable[[str], None]) -> None:
        self._folder, self._show = folder, show
        self._storage = Storage(storage.uri, patience=min(storage.patience, 20.0))
        self._place = study_place(folder.name)
        self._token = secrets.token_hex(8)
        self._states: dict[str, tuple[int, int, int]] = {}
        self._stop_told = False
        self._signed = 0.0
        self._away = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self.taken = ""
        """Where another command took the study over: a line that says so."""

    def begin(self) -> None:
        """Say that a command is at work, and take back an earlier one's request to stop."""
        require_nobody(self._storage, self._place, self._folder.path)
        self._sign()
        self._storage.delete(stop_path(self._place))

    def start(self) -> None:
        """Copy from now on."""
        self._thread.start()

    def close(self) -> None:
        """Copy what is left, and say that nobody is at work."""
        self._over.set()
        self._thread.join()
        if not self.taken and self._pass(last=True) and not self.taken:
            with suppress(StorageError, DiskFullError):
                self._storage.delete(stop_path(self._place))
                self._storage.delete(f"{self._place}/{AT_WORK}")
        if self._away:
            self._show(
                f"{self._storage.uri} lacks the last of this study, which is whole in {self._folder.shown}; the next "
                "command there brings it"
            )

    def _work(self) -> None:
        while not self._over.is_set() and not self.taken:
            began = time.monotonic()
            self._pass()
            next_pass = time.monotonic() + max(SECONDS, 19 * (time.monotonic() - began))
            while time.monotonic() < next_pass and not self._over.wait(min(1.0, SECONDS)):
                if self._folder.stop_file.exists() and not self._stop_told:
                    break

    def _pass(self, last: bool = False) -> bool:
        """Copy what has changed; whether storage has all of it."""
        try:
            if not self._still_ours():
                return False
            if last or time.monotonic() - self._signed > SIGN_SECONDS:
                self._sign()
            if self._folder.stop_file.exists() and not self._stop_told:
                self._storage.write(stop_path(self._place), b"")
                self._stop_told = True
            for name, state, content in self._changed():
                self._storage.write(f"{self._place}/{name}", content)
                self._states[name] = state
        except (StorageError, DiskFullError) as error:
            if not self._away:
                self._show(f"note: {error}; until then the study goes on, and lies in {self._folder.shown} alone")
            self._away = True
            return False
        except OSError:
            return False  # of a file that is being replaced: next time
        self._away = False
        return True

    def _changed(self) -> list[tuple[str, tuple[int, int, int], bytes]]:
        """The files that have changed, in the order in which they are to be written, with their content.

        The journal is read first and written last, and the log is written before it, so that what the journal says is
        in the log there too, wherever this is cut short.
        """
        found: dict[str, tuple[tuple[int, int, int], bytes]] = {}
        files = _files(self._folder.path)
        for name in sorted(files, key=lambda name: (name != JOURNAL_FILE, name == STUDY_FILE, name == LOG_FILE)):
            status = files[name].stat()
            state = status.st_size, status.st_mtime_ns, status.st_ino
            if self._states.get(name) != state:
                content = files[name].read_bytes()
                found[name] = state, whole_lines(content) if name in (LOG_FILE, JOURNAL_FILE) else content
        order = sorted(found, key=lambda name: (name == JOURNAL_FILE, name != STUDY_FILE, name != LOG_FILE, name))
        return [(name, *found[name]) for name in order]

    def _still_ours(self) -> bool:
        owner = _owner(self._storage, self._place)
        if owner is None or owner.get("owner") == self._token:
            return True
        self.taken = (
            f"another command, on {owner.get('host')}, took this study over in {self._storage.uri}; it goes on there, "
            f"and what this one did since then lies in {self._folder.shown} alone"
        )
        request_stop(self._folder.stop_file)
        return False

    def _sign(self) -> None:
        content = {"owner": self._token, "host": platform.node(), "folder": str(self._folder.path)}
        self._storage.write(f"{self._place}/{AT_WORK}", json.dumps(content).encode())
        self._signed = time.monotonic()


def whole_lines(content: bytes) -> bytes:
    """What a file of lines holds up to the end of its last whole one."""
    return content[: content.rfind(b"\n") + 1]


def require_nobody(storage: Storage, place: str, folder: Path) -> None:
    """Refuse where a command is at work on the study on another machine.

    One that was killed in this very folder is not: whoever is alone there knows.
    """
    owner = _owner(storage, place)
    if owner is None or (owner.get("host"), owner.get("folder")) == (platform.node(), str(folder)):
        return
    silence = storage.age(f"{place}/{AT_WORK}")
    if silence is not None and silence < SILENCE_SECONDS:
        raise UserError(
            f"another command is at work on this study, on {owner.get('host')} (its last sign is {silence:.0f} s old); "
            f"wait for its end, or, where it was killed, give the same command in {SILENCE_SECONDS - silence:.0f} s"
        )


def _owner(storage: Storage, place: str) -> dict[str, Any] | None:
    try:
        found = json.loads(storage.read(f"{place}/{AT_WORK}") or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _files(folder: Path) -> dict[str, Path]:
    """The files of a study's folder that are mirrored, by name relative to it."""
    found = {}
    for place, folders, names in os.walk(folder):
        top = Path(place) == folder
        folders[:] = [name for name in folders if not (name.startswith(".") or (top and name in NOT_MIRRORED))]
        for name in names:
            if not name.startswith((".", DATABASE_FILE)) and not name.endswith(".lock"):
                path = Path(place) / name
                found[path.relative_to(folder).as_posix()] = path
    return found
