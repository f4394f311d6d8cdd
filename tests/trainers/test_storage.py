"""Shared storage: addresses that may be recorded, files that are whole, and one clear line for each bad day."""

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from trainers import storage as module
from trainers.errors import DiskFullError, StorageError, UserError
from trainers.storage import Storage


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are not waited for."""
    made: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        made.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(module.time, "sleep", sleep)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return made


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("uri", "recorded"),
    [
        ("/mnt/shared/", "/mnt/shared"),
        ("file:///mnt/a%20b", "/mnt/a b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket//a/b/", "s3://bucket/a/b"),
        (
            "s3://bucket/a?scheme=http&endpoint_override=127.0.0.1:9000",
            "s3://bucket/a?endpoint_override=127.0.0.1:9000&scheme=http",
        ),
        ("gs://bucket/a", "gs://bucket/a"),
    ],
)
def test_an_address_is_recorded_in_one_way(uri: str, recorded: str) -> None:
    assert Storage(uri).uri == recorded and Storage(recorded).uri == recorded


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "is empty"),
        ("hdfs://host/path", "'hdfs://' is unknown; use a path that all machines share, s3://"),
        ("s3://", "names no bucket"),
        ("file://host/path", "names no absolute path"),
    ],
)
def test_an_address_of_no_known_kind_is_refused(uri: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Storage(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAEXAMPLE:hush@bucket/a",
        "s3://AKIAEXAMPLE:hu/sh@bucket/a",
        "s3://bucket/a?secret_key=hush",
        "s3://bucket/a?access_key=hush&region=eu-west-1",
        "gs://hush@bucket/a",
        "s3://bucket/a#hush",
    ],
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UserError, match="credentials come from") as refusal:
        Storage(uri)
    assert "hush" not in str(refusal.value) and "hu/sh" not in str(refusal.value)


def test_what_is_written_is_read_listed_and_removed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.require()
    assert list(tmp_path.iterdir()) == []
    storage.write("a/b/c", b"content")
    assert storage.read("a/b/c") == b"content" and storage.size("a/b/c") == 7
    assert storage.names("a") == ["b"] and storage.names("a/b") == ["c"]
    assert storage.read("a/other") is None and storage.size("a") is None and storage.names("nowhere") == []
    storage.delete("a/b/c")
    storage.delete("a/b/c")
    storage.delete_folder("a")
    storage.delete_folder("a")
    assert storage.names("") == []


def test_a_file_is_copied_whole_and_only_where_its_content_is_what_was_written(tmp_path: Path) -> None:
    storage, file, copy = Storage(str(tmp_path / "there")), tmp_path / "file", tmp_path / "here" / "copy"
    content = os.urandom(100_000)
    file.write_bytes(content)
    storage.upload(file, "place/file")
    assert storage.download("place/file", copy, digest(content)) and copy.read_bytes() == content
    copy.write_bytes(b"older")
    assert not storage.download("place/file", copy, digest(b"another"))
    assert not storage.download("place/none", copy, digest(b"another"))
    assert copy.read_bytes() == b"older" and [path.name for path in copy.parent.iterdir()] == ["copy"]


class Away:
    """A file system that raises, the first `times` times it is asked for a file."""

    def __init__(self, error: OSError, times: int) -> None:
        self.error, self.left = error, times

    def __call__(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        open_input = storage._files.open_input_stream

        def failing(path: str) -> Any:
            if self.left:
                self.left -= 1
                raise self.error
            return open_input(path)

        class Files:
            open_input_stream = staticmethod(failing)

        storage._opened = Files()


def test_a_call_is_tried_again_until_storage_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    storage = Storage(str(tmp_path))
    storage.write("a", b"x")
    Away(OSError("AWS Error NETWORK_CONNECTION during HeadObject"), 3)(storage, monkeypatch)
    assert storage.read("a") == b"x" and pauses == [0.5, 1.0, 2.0]


def test_storage_that_stays_away_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    storage = Storage(str(tmp_path), patience=60)
    Away(OSError("AWS Error NETWORK_CONNECTION\nduring HeadObject"), 1000)(storage, monkeypatch)
    with pytest.raises(
        StorageError, match=r"cannot be reached: could not read a within 60 s .*nothing is lost"
    ) as said:
        storage.read("a")
    assert "\n" not in str(said.value) and 30 < sum(pauses) <= 60 and max(pauses) == 15


@pytest.mark.parametrize(
    ("error", "said", "kind"),
    [
        ("AWS Error NO_SUCH_BUCKET during PutObject operation", "no such bucket", StorageError),
        ("AWS Error ACCESS_DENIED during PutObject operation: Access Denied", "AWS_ACCESS_KEY_ID", StorageError),
        ("AWS Error UNKNOWN (HTTP status 403): InvalidAccessKeyId", "give it credentials", StorageError),
    ],
)
def test_a_refusal_is_said_at_once_with_the_remedy(
    error: str, said: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch, pauses: list[float], tmp_path: Path
) -> None:
    storage = Storage("s3://bucket/a")
    storage._opened = Storage(str(tmp_path))._files
    Away(OSError(error), 1000)(storage, monkeypatch)
    with pytest.raises(kind, match=said):
        storage.read("a")
    assert pauses == []


def test_full_storage_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    storage = Storage(str(tmp_path))
    monkeypatch.setattr(
        module, "write_atomically", lambda *given: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
    )
    with pytest.raises(DiskFullError, match=f"storage {tmp_path} is full"):
        storage.write("a", b"x")
    assert pauses == []


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; make it, or mount the disk"):
        Storage(str(tmp_path / "unmounted")).require()
    assert list(tmp_path.iterdir()) == []
