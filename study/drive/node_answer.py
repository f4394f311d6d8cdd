"""What a node of a cluster says of itself when it is asked whether trials can run there.

The question travels to the node by value, since one that this project was never installed on must answer too.
"""

import platform
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.record.provenance import versions
from trainers.sources import sources_sha256

DECIDING = ("python", "torch", "ray", "numpy", "pyarrow")
"""Whose releases decide whether a run is the same anywhere."""
PROBE = ".nodes-probe"
"""The file that nodes must find in the study's folder, and what the name of those that they write there begins with."""
SHARE = "storage is a path that every node mounts alike, or a bucket (s3://, gs://)"


@dataclass(frozen=True)
class Node:
    """What a node answered.

    Attributes:
        host: its name, with its address where Ray knows one.
        versions: package -> release.
        code: SHA-256 of the project's sources as its workers import them; empty where they find none.
        free_shared_memory: bytes; None where there is no /dev/shm.
        clock: seconds by which its clock is ahead of this machine's.
        clock_error: seconds by which that may be wrong.
        problems: of its storage, one line each.
        wrote: the name of the file that it has written into shared storage; empty where it wrote none.
    """

    host: str
    versions: dict[str, str] = field(default_factory=dict)
    code: str = ""
    free_shared_memory: int | None = None
    clock: float = 0.0
    clock_error: float = 0.0
    problems: tuple[str, ...] = ()
    wrote: str = ""


def this_machine() -> Node:
    """What a node with nothing against it would answer."""
    return Node(socket.gethostname(), releases(), code_hash(), None)


def question(probe: str = PROBE, share: str = SHARE) -> Callable[..., dict[str, Any]]:
    """The task, which travels by value: a node may not have this module."""

    def in_storage(folder: str | None, token: str, uri: str, place: str, found: list[str]) -> str:
        import os
        import uuid

        if folder is not None:
            made = os.path.join(folder, "runs", f"{probe}-{uuid.uuid4().hex}")
            try:
                os.makedirs(made)
                os.rmdir(made)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                found.append(f"cannot make the runs' folders in {folder} ({reason}); give an --output that it can make")
        try:
            from trainers.storage import Storage
        except ImportError:
            return ""  # said as what it is
        storage, own = Storage(uri, patience=10), uuid.uuid4().hex
        try:
            if (seen := storage.read(f"{place}/head")) is None or seen.decode() != token:
                found.append(f"does not find in {uri} what this machine wrote there; {share}")
            storage.write(f"{place}/{own}", b"")
        except Exception as error:
            found.append(str(error))
            return ""
        return own

    def answer(
        folder: str | None, token: str, files: dict[str, int], storage: tuple[str, str] | None
    ) -> dict[str, Any]:
        import os
        import time
        import uuid

        clock, found, wrote = time.time(), list[str](), ""
        if storage is not None:
            wrote = in_storage(folder, token, *storage, found)
        elif folder is not None:
            try:
                with open(os.path.join(folder, probe), encoding="utf-8") as file:
                    seen = file.read()
                own = os.path.join(folder, f"{probe}-{uuid.uuid4().hex}")
                with open(own, "w", encoding="utf-8"):
                    pass
                os.unlink(own)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                found.append(f"cannot use the study's folder {folder} ({reason}); it must lie on a shared disk")
            else:
                if seen != token:
                    found.append(f"sees another folder at {folder}; the study must lie on a disk that all nodes share")
        for path, size in files.items():
            there = os.path.getsize(path) if os.path.isfile(path) else -1 if os.path.isdir(path) else None
            if there is None:
                found.append(f"does not have {path}; put it on a disk that all nodes share, under the same path")
            elif there != size:
                found.append(f"has another file at {path} ({there} bytes, {size} on this machine); copy this one there")
        try:
            from study.drive.node_answer import code_hash, releases

            code, versions = code_hash(), releases()
        except ImportError:
            code, versions = "", {}
        try:
            shm = os.statvfs("/dev/shm")
            free = shm.f_bavail * shm.f_frsize
        except (OSError, AttributeError):
            free = None
        return {"clock": clock, "problems": found, "code": code, "versions": versions, "shm": free, "wrote": wrote}

    return answer


def code_hash() -> str:
    """SHA-256 of the project's sources as this process imports them."""
    import search_spaces
    import trainers

    return sources_sha256(*map(Path, search_spaces.__path__), Path(__file__).parents[1], *map(Path, trainers.__path__))


def releases() -> dict[str, str]:
    """The releases that decide whether a run is the same anywhere, by package."""
    found = dict(part.split(" ", 1) for part in versions().split(", "))
    # The patch of an interpreter decides nothing; a build's tag (+cpu, +cu130) is what differs between nodes.
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    return {name: release.partition("+")[0] for name, release in found.items() if name in DECIDING}
