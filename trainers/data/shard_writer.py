"""Write a prepared folder: shard by shard, resumable after a kill, safe beside another process doing the same.

Each shard that is whole is put on record in a journal with its checksum; a preparation that was killed keeps those
whose checksum still holds and goes on. The journal carries the identity of the plan, so shards of an edited source or
of another request are never mixed in. The manifest is written last, and only it makes the folder count as prepared.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trainers.content_names import file_sha256
from trainers.data.image_source import ImageSource, Part
from trainers.data.notes import Note
from trainers.data.pictures import check_decodes, pixels
from trainers.data.splits import validation_ranks
from trainers.data.store import (
    FORMAT_VERSION,
    JOURNAL,
    Manifest,
    Shard,
    read_manifest,
    shard_of,
    write_manifest,
    write_shard,
)
from trainers.errors import UserError
from trainers.locks import locked
from trainers.machine import allowed_cpus

SHARD_BYTES = 64 * 2**20
"""Aimed-at bytes of pixels in a shard: what a killed preparation has to do again."""
_PICTURES_AT_ONCE = 256  # decoded side by side; bounds memory where pictures are large

Progress = Callable[[int, int, str], None]
"""`progress(rows done, rows in all, what)`."""


class DiskTooSmallError(UserError):
    """The disk does not hold what is to be prepared."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a prepared folder.

    Attributes:
        name: Name of the data set.
        source: Where the pictures come from.
        parts: `train` and `test`, the test part carved already where the source had none.
        image_size: Side of the square pictures in pixels.
        native_size: The one side that all pictures have in the source, where that was looked at.
        channels: 1 or 3.
        storage: `decoded` or `encoded`.
        options: Split seed, and the test fraction where test was carved.
        grey_ranges: Black and white of grey deeper than eight bits.
        notes: What was left out, changed, assumed or found odd.
    """

    name: str
    source: ImageSource
    parts: dict[str, Part]
    image_size: int
    native_size: int | None
    channels: int
    storage: str
    options: dict[str, Any]
    grey_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    def identity(self) -> str:
        """Hash that the journal carries."""
        shape = [FORMAT_VERSION, self.image_size, self.channels, self.storage, SHARD_BYTES, self.options]
        rows = hashlib.sha256(b"".join(part.labels.tobytes() for part in self.parts.values())).hexdigest()
        text = json.dumps([shape, self.source.class_names, self.source.fingerprint, rows, self.grey_ranges])
        return hashlib.sha256(text.encode()).hexdigest()

    def picture_bytes(self) -> int:
        """Bytes of one decoded picture."""
        return self.channels * self.image_size**2

    def total_rows(self) -> int:
        """Rows of all parts together."""
        return sum(len(part.labels) for part in self.parts.values())


def write_prepared(plan: Plan, folder: Path, progress: Progress) -> None:
    """Carry out a plan, unless another process has done so by the time the folder's lock is ours.

    Raises:
        UserError: A picture cannot be read (then nothing is left behind), or the disk is full or will be (then the
            shards that are whole are kept for the next attempt).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(folder.name + ".lock")
    with locked(
        lock,
        "give a folder on a local disk with --prepared-root",
        waiting=lambda: progress(0, 1, f"waiting for another process that prepares {folder.name}"),
    ):
        folder.mkdir(exist_ok=True)
        if read_manifest(folder) is not None:
            return
        try:
            _write_all(plan, folder, progress)
        except DiskTooSmallError:
            if not any(folder.glob("*.arrow")):
                shutil.rmtree(folder)
            raise
        except UserError:
            shutil.rmtree(folder)
            raise
        except OSError as error:
            raise UserError(
                f"{folder} could not be written ({error.strerror or error}); make room or give another folder with "
                "--prepared-root; preparing again goes on where this stopped"
            ) from error


def _write_all(plan: Plan, folder: Path, progress: Progress) -> None:
    kept = _journalled_shards(folder, plan.identity())
    _check_space(plan, folder)
    what = f"preparing {plan.name} at {plan.image_size}x{plan.image_size}"
    rows_per_shard = max(1, SHARD_BYTES // plan.picture_bytes())
    shards: dict[str, tuple[Shard, ...]] = {}
    done, total = 0, plan.total_rows()
    for split, part in plan.parts.items():
        labels = np.asarray(part.labels, dtype=np.int64)
        ranks = validation_ranks(labels, plan.options["split_seed"]) if split == "train" else None
        written: list[Shard] = []
        for number, start in enumerate(range(0, len(labels), rows_per_shard)):
            rows = np.arange(start, min(start + rows_per_shard, len(labels)))
            name = f"{split}-{number:05d}.arrow"
            shard = kept.get(name)
            if shard is None:
                blocks = []
                for block in _blocks(plan, part, rows):
                    blocks.append(block)
                    progress(done + sum(len(array) for array in blocks), total, what)
                image = pa.concat_arrays(blocks)
                shard = write_shard(folder / name, image, labels[rows], None if ranks is None else ranks[rows])
                _journal(folder, asdict(shard))
            written.append(shard)
            done += len(rows)
        shards[split] = tuple(written)
    progress(total, total, what)
    manifest = Manifest(
        dataset=plan.name,
        image_size=plan.image_size,
        native_size=plan.native_size,
        channels=plan.channels,
        class_names=plan.source.class_names,
        storage=plan.storage,
        options=plan.options,
        source=plan.source.description,
        source_fingerprint=plan.source.fingerprint,
        shards=shards,
        class_counts={
            split: tuple(np.bincount(part.labels, minlength=len(plan.source.class_names)).tolist())
            for split, part in plan.parts.items()
        },
        grey_ranges=plan.grey_ranges,
        notes=plan.notes,
    )
    write_manifest(folder, manifest)
    (folder / JOURNAL).unlink()


def _check_space(plan: Plan, folder: Path) -> None:
    need = plan.total_rows() * plan.picture_bytes() if plan.storage == "decoded" else 0
    available = shutil.disk_usage(folder).free + sum(entry.stat().st_size for entry in folder.iterdir())
    if need > available:
        raise DiskTooSmallError(
            f"{folder} needs {need / 2**30:.1f} GiB and its disk has {available / 2**30:.1f} GiB for it; "
            "make room, or give another disk with --prepared-root, or a smaller --image-size; "
            "shards that are finished are kept, and preparing again goes on with them"
        )


def _blocks(plan: Plan, part: Part, rows: np.ndarray) -> Iterator[pa.Array]:
    """The pictures of some rows as Arrow arrays, block by block; all are decoded, also where their bytes are kept."""
    with ThreadPoolExecutor(allowed_cpus()) as pool:  # Pillow works outside Python's lock
        for start in range(0, len(rows), _PICTURES_AT_ONCE):
            block = rows[start : start + _PICTURES_AT_ONCE]
            encoded = [part.picture(int(row)) for row in block]
            places = [part.where(int(row)) for row in block]
            if plan.storage == "encoded":
                list(pool.map(check_decodes, encoded, places))
                yield pa.array(encoded, pa.large_binary())
            else:
                shape = (repeat(plan.channels), repeat(plan.image_size))
                arrays = pool.map(pixels, encoded, *shape, places, repeat(plan.grey_ranges))
                values = np.stack(list(arrays)).reshape(-1)
                buffers = [None, pa.py_buffer(values)]
                yield pa.FixedSizeBinaryArray.from_buffers(pa.binary(plan.picture_bytes()), len(block), buffers)


def _journal(folder: Path, entry: dict[str, Any]) -> None:
    with (folder / JOURNAL).open("a") as stream:
        stream.write(json.dumps(entry) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _journalled_shards(folder: Path, identity: str) -> dict[str, Shard]:
    """The shards of an earlier, killed preparation of the same plan that are whole; everything else is removed."""
    kept: dict[str, Shard] = {}
    path = folder / JOURNAL
    lines = path.read_bytes().splitlines() if path.exists() else []
    with contextlib.suppress(
        ValueError, TypeError, KeyError, RecursionError
    ):  # the last line may be torn: its shard is made again
        if lines and json.loads(lines[0])["identity"] == identity:
            for line in lines[1:]:
                shard = shard_of(json.loads(line))
                file = folder / shard.file
                if file.is_file() and file.stat().st_size == shard.size and file_sha256(file) == shard.sha256:
                    kept[shard.file] = shard
    for entry in folder.iterdir():
        if entry.name not in kept:
            entry.unlink()
    _journal(folder, {"identity": identity})
    for shard in kept.values():
        _journal(folder, asdict(shard))
    return kept
