"""Which code runs: a digest of sources, by which kept results and other machines are known to be of the same code."""

import hashlib
from pathlib import Path


def sources_sha256(*folders: Path) -> str:
    """SHA-256 of all Python sources under these folders: names and contents, in order."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
