"""Prepared data on disk: where they lie, what their files hold, and how a damaged one is told from a good one.

    PREPARED_ROOT/<name>-<size>px/
        manifest.json          written last: without it there is nothing prepared here
        train-00000.arrow ...  Arrow IPC files of one record batch each: image, label, rank
        test-00000.arrow ...   the same without rank
        journal.jsonl          only while preparing: the shards that are complete, for resuming

Every file is written under a `.partial` name, flushed to disk and renamed, so a name that is there is a whole file.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trainers.atomic import write_atomically, write_text
from trainers.content_names import file_sha256
from trainers.data.depth import FLOAT, INTEGER
from trainers.data.notes import Note, note_of
from trainers.errors import UserError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Shard:
    """One Arrow file: its name, rows, size in bytes, SHA-256 of the file, and SHA-256 of its rows' values."""

    file: str
    rows: int
    size: int
    sha256: str
    content: str


@dataclass(frozen=True)
class Manifest:
    """What a prepared folder holds.

    Attributes:
        dataset: Name of the data set.
        image_size: Side of the square pictures in pixels.
        native_size: The one size that all of the source's pictures have, where that was looked at (one's own data).
        channels: 1 or 3.
        class_names: Index = label.
        storage: `decoded` (uint8 pixels at image_size) or `encoded` (original bytes, decoded when loaded).
        options: What the preparation was asked for and its result depends on (split seed, test fraction, ...).
        source: Description of the source; `source_fingerprint` changes when its files do.
        shards: Per split (`train`, `test`), in row order.
        class_counts: Per split, each class's rows; empty in folders of before it was written.
        grey_ranges: Black and white of grey deeper than eight bits, by kind (`trainers.data.depth`).
        notes: What was left out, changed, assumed or found odd.
        format_version: Of this layout.
    """

    dataset: str
    image_size: int
    native_size: int | None
    channels: int
    class_names: tuple[str, ...]
    storage: str
    options: dict[str, Any]
    source: str
    source_fingerprint: str
    shards: dict[str, tuple[Shard, ...]]
    class_counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    grey_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    format_version: int = FORMAT_VERSION

    def rows(self, split: str) -> int:
        """Number of rows of `train` or `test`."""
        return sum(shard.rows for shard in self.shards[split])

    def test_set(self) -> str:
        """Identity of the test set alone: 16 hex digits of a hash of what a run can see of it."""
        content = [shard.content for shard in self.shards["test"]]
        seen = [self.class_names, self.image_size, self.channels, self.storage, content]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    def fingerprint(self) -> str:
        """Hash of what a run can see: classes, shape and every stored value; not of places or file formats."""
        contents = {split: [shard.content for shard in shards] for split, shards in self.shards.items()}
        seen: list[Any] = [self.class_names, self.image_size, self.channels, self.storage, contents]
        if self.grey_ranges and self.storage == "encoded":  # there they decide what a run makes of the bytes
            seen.append(self.grey_ranges)
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def write_shard(path: Path, image: pa.Array, labels: np.ndarray, ranks: np.ndarray | None) -> Shard:
    """Write one Arrow IPC file of one record batch, whole or not at all, and describe it."""
    columns: dict[str, pa.Array] = {"image": image, "label": pa.array(labels, pa.int64())}
    if ranks is not None:
        columns["rank"] = pa.array(ranks, pa.int64())
    batch = pa.record_batch(columns)
    content = hashlib.sha256()
    for column in columns.values():
        for buffer in column.buffers():
            if buffer is not None:
                content.update(memoryview(buffer))

    def write(partial: Path) -> None:
        with partial.open("wb") as stream, pa.ipc.new_file(stream, batch.schema) as writer:
            writer.write_batch(batch)

    write_atomically(path, write)
    return Shard(path.name, len(labels), path.stat().st_size, file_sha256(path), content.hexdigest())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest: from here on the folder counts as prepared."""
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=1))


def read_manifest(folder: Path) -> Manifest | None:
    """Read a folder's manifest; None where there is none, so that nothing is prepared.

    Raises:
        UserError: It is damaged or of another version.
    """
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); delete {folder} and prepare again") from error
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version} and this program reads {FORMAT_VERSION}; "
            f"delete {folder} and prepare again"
        )
    try:
        raw["shards"] = {split: tuple(map(shard_of, shards)) for split, shards in raw["shards"].items()}
        raw["class_names"] = tuple(raw["class_names"])
        raw["class_counts"] = {split: tuple(counts) for split, counts in raw.get("class_counts", {}).items()}
        raw["grey_ranges"] = {kind: _range_of(ends) for kind, ends in raw.get("grey_ranges", {}).items()}
        raw["notes"] = tuple(map(note_of, raw.get("notes", ())))
        manifest = Manifest(**raw)
        _check_fields(manifest)
        return manifest
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); delete {folder} and prepare again") from error


def shard_of(entry: dict[str, Any]) -> Shard:
    """The shard that a manifest or journal describes; ValueError or TypeError where it describes none."""
    shard = Shard(**entry)
    if not all(isinstance(text, str) for text in (shard.file, shard.sha256, shard.content)):
        raise TypeError(f"{shard} has a name or checksum that is no text")
    if not re.fullmatch(r"(train|test)-\d{5,}\.arrow", shard.file):  # a name, never a path to elsewhere
        raise ValueError(f"{shard.file!r} is no shard's name")
    if not all(_whole(number) for number in (shard.rows, shard.size)):
        raise ValueError(f"{shard} has a count that is none")
    return shard


def _check_fields(manifest: Manifest) -> None:
    texts = (manifest.dataset, manifest.source, manifest.source_fingerprint, *manifest.class_names)
    if not all(isinstance(text, str) for text in texts) or not manifest.class_names:
        raise TypeError("a name in it is no text")
    if not _whole(manifest.image_size) or not manifest.image_size or manifest.channels not in (1, 3):
        raise ValueError(f"pictures of {manifest.channels!r} channels and {manifest.image_size!r} pixels")
    if manifest.native_size is not None and not _whole(manifest.native_size):
        raise ValueError(f"a native size of {manifest.native_size!r}")
    if manifest.storage not in ("decoded", "encoded") or set(manifest.shards) != {"train", "test"}:
        raise ValueError(f"storage {manifest.storage!r}, parts {sorted(manifest.shards)}")
    if not {"split_seed", "test_fraction"} <= manifest.options.keys():
        raise ValueError(f"options {manifest.options!r}")
    if manifest.class_counts:
        if set(manifest.class_counts) != {"train", "test"}:
            raise ValueError(f"counts of the classes of {sorted(manifest.class_counts)}")
        for counts in manifest.class_counts.values():
            if len(counts) != len(manifest.class_names) or not all(map(_whole, counts)):
                raise ValueError("counts of the classes that are none")
    if not set(manifest.grey_ranges) <= {INTEGER, FLOAT}:
        raise ValueError(f"ranges of {sorted(manifest.grey_ranges)}")
    if not all(manifest.shards.values()):
        raise ValueError("a part without shards")


def _range_of(ends: Any) -> tuple[float, float]:
    low, high = ends
    if not all(isinstance(end, (int, float)) and math.isfinite(end) for end in (low, high)):
        raise ValueError(f"a range of {ends!r}")
    return low, high


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Hold every shard's size against the manifest: cheap, no file is opened; finds missing and truncated ones.

    Raises:
        UserError: Names the first shard that differs.
    """
    for shard in (shard for shards in manifest.shards.values() for shard in shards):
        path = folder / shard.file
        size = path.stat().st_size if path.is_file() else None
        if size != shard.size:
            raise UserError(
                f"{path} {'is missing' if size is None else f'has {size} bytes'} where its manifest says "
                f"{shard.size} bytes; delete {folder} and prepare again"
            )


def verify_prepared(folder: Path, sha256: Callable[[Path], str] = file_sha256) -> None:
    """Compare every shard's SHA-256 with the manifest's.

    Args:
        folder: The prepared folder.
        sha256: Gives a file's SHA-256.

    Raises:
        UserError: The folder holds nothing prepared, or a shard was truncated or changed.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"{folder} holds no prepared data (no {MANIFEST}); prepare the data set first")
    check_sizes(folder, manifest)
    for shard in (shard for shards in manifest.shards.values() for shard in shards):
        if sha256(folder / shard.file) != shard.sha256:
            raise UserError(f"{folder / shard.file} does not match its checksum; delete {folder} and prepare again")
