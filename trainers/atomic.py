"""Files that are there whole or not at all, whatever ends the process that writes them, or the machine."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PARTIAL = ".partial"


def write_atomically(path: Path, write: Callable[[Path], Any], *, durable: bool = True) -> None:
    """Let `write` fill a file beside `path`, bring it to disk, then put it in the place of `path`.

    A kill leaves the old file or the new one; an error leaves the old one and nothing else.

    Args:
        path: the file.
        write: fills the file whose path it is given.
        durable: hold that when the machine stops too; without it, only processes may. Bringing a file to disk takes
            milliseconds, too many for what is written often and can be made again.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        write(partial)
        if durable:
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text, whole or not at all."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"), durable=durable)


def write_json(path: Path, content: Any, *, durable: bool = True) -> None:
    """Write `content` as JSON, whole or not at all."""
    write_text(path, json.dumps(content), durable=durable)


def clear_partials(folder: Path) -> None:
    """Remove what killed processes left half-written in `folder`."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a renamed file's new name to disk; file systems that cannot do so for a folder have no need to."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
