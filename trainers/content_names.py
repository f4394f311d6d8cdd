"""Files whose name ends with digits of their own SHA-256: the same file wherever it lies."""

import hashlib
import os
import re
from pathlib import Path

_NAMED = re.compile(r"-([0-9a-f]{16})\.safetensors$")


def content_digits(path: str | os.PathLike[str]) -> str | None:
    """The digits of its content's SHA-256 that a file's name carries; None where it carries none.

    >>> content_digits("pretrained/Digits-MLP-0123456789abcdef.safetensors")
    '0123456789abcdef'
    """
    found = _NAMED.search(os.fspath(path))
    return found.group(1) if found else None


def identity_of(path: str) -> str:
    """What stands for a file in a run's identity: its name alone where that says what is in it, else its path.

    >>> identity_of("a/Digits-MLP-0123456789abcdef.safetensors"), identity_of("a/AdamBNN.pth.tar")
    ('Digits-MLP-0123456789abcdef.safetensors', 'a/AdamBNN.pth.tar')
    """
    return path if content_digits(path) is None else os.path.basename(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read a piece at a time."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
