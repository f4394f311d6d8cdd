"""A run's folder in shared storage: what lets the run go on on another machine, after this one is gone.

    PLACE/run.json      the run's files by name, each with its SHA-256 and size; how far it has come; who writes
    PLACE/<sha256>      the content of one file
    PLACE/error.txt     the traceback of a run that failed

A run works in a folder of its machine. After each epoch, before that is reported, what has changed there is copied:
contents first, under names of their own, then `run.json`, which makes them count. So a kill leaves the old state or the
new one, and two files of one content (the last checkpoint is often the best) are sent once.

A run that starts takes from here what its machine lacks or has older. Whoever started last is the one that writes; an
attempt on a machine that was cut off, and for which another was started, finds that out before it writes and stops.
"""

import json
import secrets
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainers.atomic import write_json, write_text
from trainers.checkpoint import recorded_steps
from trainers.content_names import file_sha256
from trainers.errors import DiskFullError, StoppedError, StorageError
from trainers.locks import locked
from trainers.run_place import RunPlace, stop_path
from trainers.storage import Storage

RECORD = "run.json"
FORMAT = 1
CHECKPOINTS = ("checkpoints/last.safetensors", "checkpoints/best.safetensors", "start.safetensors")
SMALL = ("inputs.json", "test_opening.json", "predictions.parquet", "result.json")
"""What the command of a study fetches when a run has ended; its checkpoints stay here until they are asked for."""
_ERROR = "error.txt"
_COPY_OF = ".stored"  # in the local folder: which study's run it is
_STOP_SECONDS = 5.0  # between two looks for a stop that was asked for on another machine
_TRIES = 3


class StoredRun:
    """One attempt's copy of a run in shared storage; of a run without, nothing happens.

    Args:
        place: where the run lies; None: nowhere.
        run_dir: its folder on this machine.
        fingerprint: of the run's configuration.
        storage: of `place`, where it is opened already.
    """

    def __init__(
        self, place: RunPlace | None, run_dir: Path, fingerprint: str = "", storage: Storage | None = None
    ) -> None:
        self.place, self.run_dir, self.fingerprint = place, run_dir, fingerprint
        self._storage = storage or (Storage(place.uri) if place else None)
        self._token = secrets.token_hex(8)
        self._ours = False
        self._hashes: dict[str, tuple[tuple[int, int, int], str]] = {}
        self._pushed: dict[str, tuple[int, int, int]] = {}
        self._watch: threading.Event | None = None

    def fetch(self, names: Iterable[str] = (*CHECKPOINTS, *SMALL)) -> str:
        """Bring the folder to what storage has, unless this machine is further; what was amiss, in words.

        Args:
            names: the files that are wanted.

        Raises:
            StorageError: storage cannot be reached.
        """
        if self.place is None:
            return ""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with locked(self.run_dir / ".fetch.lock", "use another disk"):  # several workers of a run on one machine
            return self._fetch(tuple(names))

    def _fetch(self, names: tuple[str, ...]) -> str:
        assert self.place is not None
        if not self._of_this_study():
            self._clear()
        note = ""
        for _ in range(_TRIES):  # whoever else writes may remove what the record named just now
            record = self._record()
            if record is None:
                break
            another = self.fingerprint and record["fingerprint"] not in ("", self.fingerprint)
            if another and "test_opening.json" not in record["files"]:
                # Of a trial that the search did not remember when its command was killed.
                self.storage.delete_folder(self.place.path)
                self._clear()
                break
            if recorded_steps(self.run_dir) > record["steps"]:
                break
            for name in record["files"].keys() - set(names):
                if (self.run_dir / name).is_file() and self._sha256(name) != record["files"][name]["sha256"]:
                    (self.run_dir / name).unlink()  # older, and nobody is to take it for the newest
            damaged = [name for name in names if name in record["files"] and not self._have(name, record)]
            note = "".join(
                f"{name} of {self.place.trial_id} in {self.storage.uri} is not what was written; " for name in damaged
            )
            if not damaged:
                break
            for name in damaged:
                (self.run_dir / name).unlink(missing_ok=True)
        write_json(self.run_dir / _COPY_OF, {"study_id": self.place.study_id}, durable=False)
        return note.removesuffix("; ")

    def push(self) -> None:
        """Copy what has changed; the first time, take the run over from whoever wrote before.

        Raises:
            StoppedError: another attempt has taken it over since. StorageError: storage cannot be reached.
        """
        if self.place is None:
            return
        record = self._record() or {"files": {}}
        if self._ours and record.get("owner") != self._token:
            raise StoppedError("another attempt at this run was started elsewhere; this one ends")
        before = {entry["sha256"] for entry in record["files"].values()}
        files = dict(record["files"])
        for name in (*CHECKPOINTS, *SMALL):
            file = self.run_dir / name
            if file.is_file():
                files[name] = {"sha256": self._sha256(name), "size": file.stat().st_size}
        states = {name: self._hashes[name][0] for name in files if name in self._hashes}
        there = set(before)
        for name, entry in files.items():
            if entry["sha256"] not in there:
                self.storage.upload(self.run_dir / name, f"{self.place.path}/{entry['sha256']}")
                there.add(entry["sha256"])
        content = {
            "format": FORMAT,
            "study_id": self.place.study_id,
            "fingerprint": self.fingerprint or record.get("fingerprint", ""),
            "owner": self._token,
            "steps": max(recorded_steps(self.run_dir), int(record.get("steps", 0))),
            "files": files,
        }
        self.storage.write(f"{self.place.path}/{RECORD}", json.dumps(content).encode())
        self._pushed = states
        kept = {entry["sha256"] for entry in files.values()}
        # The first time also what killed attempts have left here, which no record names.
        old = before if self._ours else set(self.storage.names(self.place.path)) - {RECORD}
        for name in sorted(old - kept):
            self.storage.delete(f"{self.place.path}/{name}")
        self._ours = True

    def push_error(self) -> None:
        """Copy a failed run's traceback; that takes the run over from nobody."""
        if self.place is not None:
            self.storage.upload(self.run_dir / _ERROR, f"{self.place.path}/{_ERROR}")

    def fetch_error(self) -> None:
        """Fetch it, where the folder has none."""
        if self.place is not None and not (self.run_dir / _ERROR).exists():
            content = self.storage.read(f"{self.place.path}/{_ERROR}")
            if content is not None:
                self.run_dir.mkdir(parents=True, exist_ok=True)
                write_text(self.run_dir / _ERROR, content.decode(errors="replace"))

    def remove(self) -> None:
        """Remove the run from storage, as a pruned one is."""
        if self.place is not None:
            self.storage.delete_folder(self.place.path)

    def for_ray(self) -> dict[str, Any]:
        """A folder of the run for Ray Train's own bookkeeping, which all of its workers must reach."""
        assert self.place is not None
        return self.storage.for_ray(f"{self.place.path}-ray")

    def clear_ray(self) -> None:
        """Remove that folder."""
        if self.place is not None:
            with suppress(StorageError, DiskFullError):
                self.storage.delete_folder(f"{self.place.path}-ray")

    def is_stored(self) -> bool:
        """Whether storage knows of the run."""
        return self.place is not None and self._record() is not None

    def watch_for_stop(self, stop_file: Path | None) -> None:
        """Put this machine's stop file where it belongs while storage says that the study is to stop.

        On the machine of the study's own folder the file is the command's.
        """
        if self.place is None or stop_file is None or self._at_home():
            return
        stop_file.unlink(missing_ok=True)  # of an earlier command
        over = self._watch = threading.Event()
        path, storage = stop_path(self.place.study), Storage(self.place.uri, patience=0)

        def watch() -> None:
            while not over.is_set():
                try:
                    if storage.size(path) is not None:
                        stop_file.parent.mkdir(parents=True, exist_ok=True)
                        stop_file.touch()
                        return
                except (StorageError, OSError):
                    pass  # what matters is said by who must write
                over.wait(_STOP_SECONDS)

        threading.Thread(target=watch, name="stop", daemon=True).start()

    def close(self) -> None:
        """End the attempt; a copy on a machine that is not the study's own is removed where storage has all of it."""
        if self._watch is not None:
            self._watch.set()
        if self.place is None or not self._ours or self._at_home():
            return
        present = [name for name in (*CHECKPOINTS, *SMALL) if (self.run_dir / name).is_file()]
        if all(self._pushed.get(name) == self._state(name) for name in present):
            shutil.rmtree(self.run_dir, ignore_errors=True)

    @property
    def storage(self) -> Storage:
        assert self._storage is not None
        return self._storage

    def _at_home(self) -> bool:
        return (self.run_dir.parent.parent / "study.json").exists()

    def _of_this_study(self) -> bool:
        """Whether the local folder is this run's, or nobody has said whose."""
        assert self.place is not None
        try:
            said = json.loads((self.run_dir / _COPY_OF).read_text(encoding="utf-8"))
            return bool(said["study_id"] == self.place.study_id)
        except FileNotFoundError:
            return True
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _clear(self) -> None:
        for name in (*CHECKPOINTS, *SMALL):
            (self.run_dir / name).unlink(missing_ok=True)

    def _record(self) -> dict[str, Any] | None:
        """What storage says of the run; None where there is none, or none that can be read."""
        assert self.place is not None
        try:
            record = json.loads(self.storage.read(f"{self.place.path}/{RECORD}") or b"null")
            if record is None or record["format"] != FORMAT or record["study_id"] != self.place.study_id:
                return None
            whole = all(name in (*CHECKPOINTS, *SMALL) for name in record["files"])  # never a path to elsewhere
            whole = whole and all(_is_digest(entry["sha256"]) for entry in record["files"].values())
            return record if whole and isinstance(record["steps"], int) and "fingerprint" in record else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _have(self, name: str, record: dict[str, Any]) -> bool:
        """Whether the file is here as the record says, fetched where it was not."""
        assert self.place is not None
        wanted = record["files"][name]["sha256"]
        file = self.run_dir / name
        if file.is_file() and self._sha256(name) == wanted:
            return True
        return self.storage.download(f"{self.place.path}/{wanted}", file, wanted)

    def _sha256(self, name: str) -> str:
        """Of a file of the local folder, which is read again only when it has changed."""
        state = self._state(name)
        if self._hashes.get(name, (None, ""))[0] != state:
            self._hashes[name] = (state, file_sha256(self.run_dir / name))
        return self._hashes[name][1]

    def _state(self, name: str) -> tuple[int, int, int]:
        state = (self.run_dir / name).stat()
        return state.st_size, state.st_mtime_ns, state.st_ino


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 64 and not set(text) - set("0123456789abcdef")
