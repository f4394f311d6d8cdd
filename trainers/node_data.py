"""The data of a run on the node that it runs on: held against what its study began with, before it trains.

A command checks the data of its own machine. A cluster's other nodes read copies of their own, so every worker of a run
checks the files that it is about to read: all of them once a node, by their SHA-256; from then on by size, time of
change and inode of each file, which costs nothing. What was found lies in the node's temporary folder, for this user
alone.
"""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from trainers.atomic import write_text
from trainers.config import TrialConfig
from trainers.content_names import file_sha256
from trainers.data.store import verify_prepared
from trainers.errors import DataChangedError, UserError
from trainers.locks import file_lock
from trainers.run_data import data_of


def check_data(config: TrialConfig, expected: Mapping[str, str]) -> None:
    """Hold this node's data and pretrained file against what the study began with.

    Args:
        config: of the run.
        expected: `data` and `test_set` as `PreparedData` names them, `pretrained_sha256`; what is not in it is not
            compared, and where it is empty nothing is checked.

    Raises:
        DataChangedError: a file was changed or replaced; names it, and the node.
    """
    if not expected:
        return
    try:
        data = data_of(config)
        verify_prepared(data.path, sha256_once)
        found = {"data": data.fingerprint, "test_set": data.test_set}
        for name in found.keys() & expected.keys():
            if found[name] != expected[name]:
                raise UserError(
                    f"the data in {data.path} are not those that the study began with ({name.replace('_', ' ')} was "
                    f"{expected[name][:12]}, is {found[name][:12]}); put those back"
                )
        if config.pretrained is not None and (then := expected.get("pretrained_sha256")):
            now = sha256_once(Path(config.pretrained))
            if now != then:
                raise UserError(
                    f"the pretrained file {config.pretrained} is another one than the study began with (SHA-256 "
                    f"{then[:12]}... then, {now[:12]}... now); put that one back"
                )
    except (UserError, OSError) as error:
        text = f"on node {platform.node()}: {error}; no run is lost: the same command then goes on"
        raise DataChangedError(text) from None


def sha256_once(file: Path) -> str:
    """A file's SHA-256, read again only where its size, time of change or inode is another than when it was read."""
    state = file.stat()
    path = str(file.resolve())
    identity = [path, state.st_size, state.st_mtime_ns, state.st_ino, state.st_dev]
    place = _notes()
    if place is None:
        return file_sha256(file)
    note = place / f"{hashlib.sha256(path.encode()).hexdigest()[:32]}.json"
    with file_lock(note.with_suffix(".lock")):  # trials that start together: one of them reads it
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(note.read_text(encoding="utf-8"))
            if kept["identity"] == identity:
                return str(kept["sha256"])
        found = file_sha256(file)
        with suppress(OSError):
            write_text(note, json.dumps({"identity": identity, "sha256": found}))
    return found


def _notes() -> Path | None:
    """Where this node's notes lie: a folder that nobody else can write to; None where there can be none."""
    place = Path(tempfile.gettempdir()) / f"binsfo-verified-{os.getuid()}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        state = place.lstat()
    except OSError:
        return None
    ours = state.st_uid == os.getuid() and state.st_mode & 0o077 == 0 and not place.is_symlink()
    return place if ours else None
