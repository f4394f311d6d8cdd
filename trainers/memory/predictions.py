"""Predicted peaks of memory, kept in the user's cache folder: a study that goes on need not predict them again.

A prediction takes a second of computing and, the first one, torch's compiler, whose import takes four; it depends on
nothing but the configuration, the data's shape, this package's code and the libraries below it. All of that is in a
kept prediction's name, so that none is ever out of date. Where the folder cannot be used, each is made anew.
"""

import hashlib
import json
import os
import platform
import shutil
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from trainers.atomic import write_json
from trainers.config import TrialConfig
from trainers.data.prepared_folders import user_cache
from trainers.memory.report import CATEGORIES, MemoryReport
from trainers.memory.workload import what_takes_memory
from trainers.registry import METHODS, MODELS
from trainers.sources import sources_sha256

# Whose releases decide what a step takes; without numba there are no kernels of our own.
_LIBRARIES = ("torch", "numpy", "numba")
# Folders of other code or libraries that stay: those of a few checkouts side by side.
_OTHERS_KEPT = 4


def predicted_step(config: TrialConfig, num_classes: int, channels: int, image_size: int) -> MemoryReport:
    """What `trainers.memory.predict.predict_step` says, looked up where it was said before."""
    if METHODS.origin(config.algorithm) or MODELS.origin(config.model):  # a plug-in's code may read anything
        return _predict(config, num_classes, channels, image_size)
    subject = [what_takes_memory(config).to_dict(), num_classes, channels, image_size]
    folder = predictions_folder()
    if folder is None:
        return _predict(config, num_classes, channels, image_size)
    file = folder / f"{_digest(subject)}.json"
    if (report := _read(file)) is None:
        report = _predict(config, num_classes, channels, image_size)
        with suppress(OSError):  # read-only, or a full disk
            _make_room(folder)
            write_json(file, report.by_category(), durable=False)
    return report


def predictions_folder() -> Path | None:
    """Where predictions of this code lie; None for a user without a home folder."""
    cache = user_cache()
    return None if cache is None else cache / "binsfo" / "predictions" / _code()


def _predict(config: TrialConfig, num_classes: int, channels: int, image_size: int) -> MemoryReport:
    from trainers.memory.predict import predict_step  # brings torch's compiler

    return predict_step(config, num_classes, channels, image_size)


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of this package, the libraries that it computes with, and what they make of this processor."""
    code = sources_sha256(Path(__file__).parents[1])
    releases = [f"{name} {_release(name)}" for name in _LIBRARIES]
    # What torch makes use of, and whether it was told to make use of less than our own kernels do.
    processor = (platform.machine(), torch.backends.cpu.get_cpu_capability(), os.environ.get("ATEN_CPU_CAPABILITY"))
    return _digest([code, releases, platform.python_version(), processor])[:16]


def _digest(subject: Any) -> str:
    return hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()


def _release(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _read(file: Path) -> MemoryReport | None:
    """A kept prediction; None where there is none, or none that can be read."""
    try:
        numbers = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(numbers, dict) and sorted(numbers) == sorted(CATEGORIES)
    return MemoryReport(**numbers) if whole and all(type(value) is int for value in numbers.values()) else None


def _make_room(folder: Path) -> None:
    """Make the folder; of those that other code has left, only the latest stay."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted((path for path in folder.parent.iterdir() if path != folder), key=lambda path: path.stat().st_mtime)
    for path in others[:-_OTHERS_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
