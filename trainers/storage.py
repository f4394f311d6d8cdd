"""Shared storage: one place that every machine of a cluster reaches, a folder or a bucket, by one address.

    /mnt/shared/binsfo, file:///mnt/shared/binsfo     a folder that all machines mount under one path
    s3://BUCKET/PREFIX                                Amazon S3, or a server that speaks it (AWS_ENDPOINT_URL, or
                                                      ?endpoint_override=HOST:PORT&scheme=http)
    gs://BUCKET/PREFIX                                Google Cloud Storage, or its emulator (STORAGE_EMULATOR_HOST)

Who may do what there is said by the environment (AWS_ACCESS_KEY_ID, ~/.aws, a machine's role,
GOOGLE_APPLICATION_CREDENTIALS), never by the address, which stands in records and messages.

What is written is there whole or not at all: a bucket shows an object when it is complete, and in a folder a file gets
its name last. A network may be away for a while, so every call is tried again, with growing pauses, until `PATIENCE`
is over. Source: pyarrow's filesystems (https://arrow.apache.org/docs/python/filesystems.html).
"""

import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import fs

from trainers.atomic import write_atomically
from trainers.errors import DiskFullError, StorageError, UserError
from trainers.exhaustion import full_disk
from trainers.storage_address import CREDENTIALS, filesystem, parsed

PATIENCE = 120.0
"""Seconds for which a call is tried again before storage counts as out of reach."""
FIRST_PATIENCE = 5.0
"""The same of the first look, while the user is there to read what is wrong."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PIECE = 4 * 2**20  # bytes read or sent at a time

# How the services' errors read, which pyarrow passes on as text.
_DENIED = re.compile(
    "ACCESS_DENIED|INVALID_ACCESS_KEY|InvalidAccessKeyId|SIGNATURE|INVALID_CLIENT_TOKEN|PERMISSION_DEN|UNAUTHENTICATED|"
    "HTTP response code 40[13]|could not create .*(credentials|access token)|default credentials",
    re.IGNORECASE,
)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist|Bucket '[^']*' not found", re.IGNORECASE)

T = TypeVar("T")


@contextmanager
def refused() -> Iterator[None]:
    """In a command: storage that cannot be reached, or is full, ends it with one line, as bad input does.

    Raises:
        UserError: what was amiss with storage.
    """
    try:
        yield
    except (StorageError, DiskFullError) as error:
        raise UserError(str(error)) from error


class Storage:
    """A place of shared storage, by its address. Paths are relative to it, with `/` between their parts.

    Args:
        uri: as above.
        patience: seconds for which a call is tried again.

    Attributes:
        uri: the address as it may be recorded: a folder's is its absolute path.

    Raises:
        UserError: the address is of no kind that is known, lacks its bucket, or holds a secret, which the message does
            not repeat.
    """

    def __init__(self, uri: str, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._address = parsed(uri)
        self.uri, self._scheme, self._base, _ = self._address
        self._opened: fs.FileSystem | None = None

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    def __reduce__(self) -> tuple[type["Storage"], tuple[str, float]]:
        return Storage, (self.uri, self.patience)

    def require(self) -> None:
        """Prove that this machine can write, read, list and delete here.

        Raises:
            UserError: it cannot; says why and what to do.
        """
        patience, self.patience = self.patience, min(self.patience, FIRST_PATIENCE)
        probe, token = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
        try:
            if self._scheme == "file" and not os.path.isdir(self._base):
                raise UserError(f"the storage folder {self.uri} does not exist; make it, or mount the disk it lies on")
            with refused():
                self.write(f"{probe}/probe", token)
                if self.read(f"{probe}/probe") != token or self.names(probe) != ["probe"]:
                    raise UserError(f"the storage {self.uri} does not give back what was written to it; use another")
                self.delete_folder(probe)
        finally:
            self.patience = patience

    def read(self, path: str) -> bytes | None:
        """A small file's content; None where there is none."""

        def call() -> bytes | None:
            try:
                with self._files.open_input_stream(self._at(path)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

        return self._tried(call, f"read {path}")

    def size(self, path: str) -> int | None:
        """A file's size in bytes; None where there is none."""

        def call() -> int | None:
            info = self._files.get_file_info(self._at(path))
            return int(info.size) if info.type == fs.FileType.File else None

        return self._tried(call, f"look for {path}")

    def age(self, path: str) -> float | None:
        """Seconds since a file was written, by the storage's own clock; None where there is none."""

        def call() -> float | None:
            then, now = self._files.get_file_info([self._at(path), self._at(probe)])
            return None if then.mtime_ns is None or now.mtime_ns is None else (now.mtime_ns - then.mtime_ns) / 1e9

        probe = f".clock-{secrets.token_hex(8)}"
        self.write(probe, b"")
        try:
            return self._tried(call, f"look for {path}")
        finally:
            self.delete(probe)

    def names(self, folder: str) -> list[str]:
        """The files and folders right below a folder, sorted; none where there is no such folder."""

        def call() -> list[str]:
            found = self._files.get_file_info(fs.FileSelector(self._at(folder), allow_not_found=True))
            return sorted(info.base_name for info in found)

        return self._tried(call, f"list {folder}")

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        self._put(path, lambda: [content])

    def upload(self, file: Path, path: str) -> None:
        """Copy a file of this machine here, whole or not at all."""
        self._put(path, lambda: _pieces(file))

    def download(self, path: str, file: Path, sha256: str) -> bool:
        """Copy a file from here to this machine, whole or not at all; False where it is not there or not what it was.

        Args:
            path: the file here.
            file: where it goes; its folder is made.
            sha256: of its content; a file of another is not kept.
        """

        def call() -> bool:
            try:
                stream = self._files.open_input_stream(self._at(path))
            except FileNotFoundError:
                return False
            digest = hashlib.sha256()
            file.parent.mkdir(parents=True, exist_ok=True)

            def fill(partial: Path) -> None:
                with partial.open("wb") as copy:
                    while piece := stream.read(_PIECE):
                        digest.update(piece)
                        copy.write(piece)
                if digest.hexdigest() != sha256:
                    raise _AnotherError

            with stream:
                try:
                    write_atomically(file, fill)
                except _AnotherError:
                    return False
                except OSError as error:
                    if error.errno in _FULL:
                        raise DiskFullError(full_disk(file)) from error
                    raise
            return True

        return self._tried(call, f"read {path}")

    def delete(self, path: str) -> None:
        """Remove a file; nothing where there is none."""

        def call() -> None:
            with suppress(FileNotFoundError):
                self._files.delete_file(self._at(path))

        self._tried(call, f"remove {path}")

    def delete_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it; nothing where there is none."""

        def call() -> None:
            with suppress(FileNotFoundError):
                self._files.delete_dir(self._at(folder))

        self._tried(call, f"remove {folder}")

    def for_ray(self, path: str) -> dict[str, Any]:
        """A folder here as Ray's configurations take one."""
        return {"storage_path": self._at(path), "storage_filesystem": self._files}

    def _at(self, path: str) -> str:
        return f"{self._base}/{path}"

    @property
    def _files(self) -> fs.FileSystem:
        if self._opened is None:
            self._opened = filesystem(self._address)
        return self._opened

    def _put(self, path: str, pieces: Callable[[], Any]) -> None:
        def fill(stream: Any) -> None:
            for piece in pieces():
                stream.write(piece)

        def call() -> None:
            if self._scheme == "file":
                target = Path(self._at(path))
                target.parent.mkdir(parents=True, exist_ok=True)

                def to_disk(partial: Path) -> None:
                    with partial.open("wb") as stream:
                        fill(stream)

                write_atomically(target, to_disk)
            else:
                with self._files.open_output_stream(self._at(path)) as stream:
                    fill(stream)

        self._tried(call, f"write {path}")

    def _tried(self, call: Callable[[], T], what: str) -> T:
        """What `call` returns, tried again while storage is out of reach.

        Raises:
            StorageError: it stays so, or refuses. DiskFullError: it, or this machine's disk, is full.
        """
        until, pause = time.monotonic() + self.patience, _FIRST_PAUSE
        while True:
            try:
                return call()
            except OSError as error:
                reason = " ".join(str(error).split())[:300]
                if error.errno in _FULL:
                    raise DiskFullError(
                        f"the storage {self.uri} is full (could not {what}); make space there and run the same command "
                        "again: it goes on from what is whole"
                    ) from error
                if refused := self._refusal(error, reason):
                    raise StorageError(refused) from error
                if time.monotonic() + pause > until:
                    raise StorageError(
                        f"the storage {self.uri} cannot be reached: could not {what} within {self.patience:.0f} s "
                        f"({reason}); nothing is lost: the same command goes on once it can"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _refusal(self, error: OSError, reason: str) -> str:
        """Why another try would end alike, and what to do; empty where it might not."""
        # A write needs nothing to be in a bucket, and what only looks takes absence for an answer.
        if _NO_BUCKET.search(reason) or (self._scheme != "file" and isinstance(error, FileNotFoundError)):
            return f"the storage {self.uri} does not exist: no such bucket; make it, or give another --storage"
        if self._scheme in CREDENTIALS and _DENIED.search(reason):
            return (
                f"the storage {self.uri} refuses this machine ({reason}); give it credentials by "
                f"{CREDENTIALS[self._scheme]}, with leave to read, write, list and delete there"
            )
        if isinstance(error, PermissionError) or error.errno in (errno.EROFS, errno.ENOTDIR):
            return f"the storage {self.uri} cannot be written ({reason}); give it leave, or another --storage"
        return ""


class _AnotherError(Exception):
    """What was read is not what was written."""


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece
