"""A folder of two files, `weights.safetensors` and `model.json`: written whole or not at all, and read with care."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from trainers.errors import UserError
from trainers.models.described import ModelDescription

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"


@dataclass(frozen=True)
class ModelFolder:
    """What such a folder holds.

    Attributes:
        about: the network.
        tensors: by name.
        more: what `model.json` says beside the network.
    """

    about: ModelDescription
    tensors: dict[str, Tensor]
    more: dict[str, Any]


def write_model_folder(
    folder: Path,
    kind: str,
    tensors: Mapping[str, Tensor],
    about: ModelDescription,
    more: Mapping[str, Any] | None = None,
    *,
    replace: bool = False,
) -> Path:
    """Write a folder, whole or not at all; returns its full path.

    Args:
        folder: is made; may be there already if it is empty.
        kind: stands in it as its format.
        tensors: go to `weights.safetensors`.
        about, more: go to `model.json`.
        replace: whether such a folder that is there already is replaced. Anything else is never touched.

    Raises:
        UserError: the folder is there already or cannot be written.
    """
    folder = folder.resolve()
    _check_free(folder, replace)
    weights = safetensors.torch.save(dict(tensors))
    content = {"format": kind, "weights_sha256": hashlib.sha256(weights).hexdigest(), **(more or {}), **asdict(about)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _replaced(folder) as unfinished:
            _write(unfinished / WEIGHTS, weights)
            _write(unfinished / DESCRIPTION, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}); give another folder") from error
    return folder


def _check_free(folder: Path, replace: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; give the name of a folder")
    names = {path.name for path in folder.iterdir()}
    if names - {WEIGHTS, DESCRIPTION}:
        raise UserError(f"{folder} is there already and holds other files than a packed model; give another folder")
    if names and not replace:
        raise UserError(f"{folder} holds a packed model already; replace it (--force), or give another folder")


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place when the block ends well, and is removed when it does not."""
    unfinished, old = (folder.with_name(f".{folder.name}-{os.getpid()}-{state}") for state in ("new", "old"))
    try:
        unfinished.mkdir()
        yield unfinished
        if folder.exists():
            folder.rename(old)
        unfinished.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_model_folder(folder: Path, kind: str, more: tuple[str, ...] = ()) -> ModelFolder:
    """Read a folder of this format.

    Args:
        folder: where it lies.
        kind: the format that it must be of.
        more: what its `model.json` must say beside the network.

    Raises:
        UserError: nothing of that kind there, or files that are damaged or do not belong to each other.
    """
    about, beside = read_description(folder, kind, ("weights_sha256", *more))
    file = folder / WEIGHTS
    content = _read(file)
    if hashlib.sha256(content).hexdigest() != beside.pop("weights_sha256"):
        raise UserError(f"{file} is damaged or belongs to another {DESCRIPTION}; copy the whole folder again")
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # beside its own errors, types that torch lacks and sizes that memory lacks
        raise UserError(f"{file} is no safetensors file ({error}); export the run again") from error
    return ModelFolder(about, tensors, beside)


def read_description(folder: Path, kind: str, more: tuple[str, ...]) -> tuple[ModelDescription, dict[str, Any]]:
    """The description in a folder of this format, and what else it says: `more`, by name."""
    file = folder / DESCRIPTION
    content = _read(file)
    try:
        values = json.loads(content)
        found = values.pop("format")
        if found != kind:
            raise UserError(f"{file} is of format {found!r}, and this release reads {kind}{_other(found)}")
        beside = {name: values.pop(name) for name in more}
        return ModelDescription(**values), beside
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} does not describe a packed model ({error!r}); export the run again") from error


def _other(found: object) -> str:
    """What to do about a folder of another format."""
    if isinstance(found, str) and found.startswith("binsfo-patch"):
        return " here: it is a patch, and needs the pretrained file that it is a patch of; give both"
    return "; export the run again"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file} cannot be read ({error.strerror}); give the folder that `python -m study export` wrote"
        ) from error
