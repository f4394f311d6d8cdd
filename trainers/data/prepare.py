"""Prepare a data set once, so that every later run only maps files: source -> shards of uint8 pixels (or bytes) on disk.

Decoded storage keeps uint8 pixels at the run's image size, which a run gathers without any decoding. Where that would
be larger than `MAX_DECODED_BYTES`, the original bytes are kept and decoded by the loader, to the same pixels.

A preparation that was killed continues: each complete shard is on record in a journal with its checksum. Two processes
that prepare the same thing take turns through a lock file, and the second finds the work done.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trainers.data.image_source import ImageSource, Part, SubsetPart
from trainers.data.locate import DatasetChoice, choose_dataset, find_source
from trainers.data.pictures import check_decodes, is_grey, open_picture, pixels
from trainers.data.splits import carve_test, validation_ranks
from trainers.data.store import (
    FORMAT_VERSION,
    JOURNAL,
    MANIFEST,
    Manifest,
    Shard,
    check_sizes,
    file_sha256,
    folder_prefix,
    is_writable,
    prepared_roots,
    read_manifest,
    root_for_writing,
    verify_prepared,
    write_manifest,
    write_shard,
)
from trainers.errors import UserError

MAX_DECODED_BYTES = 4 * 2**30
"""Above this many bytes of pixels (4 GiB; CIFAR-10 at 256x256 has 11 GiB) the encoded originals are kept instead."""
SHARD_BYTES = 64 * 2**20
"""Aimed-at size of a shard: what a killed preparation has to do again."""
MAX_IMAGE_SIZE = 4096
_PICTURES_AT_ONCE = 256  # decoded side by side; bounds memory where pictures are large

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Plan:
    """Everything that decides the bytes of the prepared folder."""

    choice: DatasetChoice
    source: ImageSource
    image_size: int
    native_size: int | None
    channels: int
    storage: str
    options: dict[str, Any]
    parts: dict[str, Part]

    def identity(self) -> str:
        """Hash that a journal carries, so that a changed source or request never mixes with older shards."""
        shape = [FORMAT_VERSION, self.image_size, self.channels, self.storage, SHARD_BYTES, self.options]
        text = json.dumps([shape, self.source.class_names, self.source.fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def picture_bytes(self) -> int:
        return self.channels * self.image_size**2

    def total_rows(self) -> int:
        return sum(len(part.labels) for part in self.parts.values())


def find_prepared(
    choice: DatasetChoice, data_root: Path, prepared_root: Path | None, image_size: int | None
) -> Path | None:
    """The folder in which this data set lies prepared at this size, or None.

    Without a size, a catalogued data set means the catalogue's, one's own the native size of its pictures.

    Raises:
        UserError: A manifest is damaged.
    """
    for root in prepared_roots(data_root, prepared_root):
        if image_size is None and choice.info is not None:
            image_size = choice.info.image_size
        if image_size is not None:
            folder = root / f"{folder_prefix(choice)}-{image_size}px"
            if read_manifest(folder) is not None:
                return folder
        elif root.is_dir():
            for folder in sorted(root.glob(f"{glob_escaped(folder_prefix(choice))}-*px")):
                manifest = read_manifest(folder)
                if manifest is not None and manifest.native_size == manifest.image_size:
                    return folder
    return None


def glob_escaped(text: str) -> str:
    """The text as a literal within a glob pattern: a folder may be called `images[v2]`."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)


def prepare(
    dataset: str | Path,
    data_root: str | Path,
    *,
    prepared_root: str | Path | None = None,
    image_size: int | None = None,
    source: str | Path | None = None,
    download: bool = False,
    test_fraction: float = 0.15,
    split_seed: int = 0,
    max_decoded_bytes: int = MAX_DECODED_BYTES,
    progress: Progress | None = None,
) -> Path:
    """Turn a data set into prepared files, or find that this was done before.

    Args:
        dataset: Catalogue name, or the path of one's own Parquet file, Parquet folder or folder of class folders.
        data_root: Where catalogued data sets are looked for and downloaded to.
        prepared_root: Where prepared data go; default `data_root/prepared`, or the user's cache where that is read-only.
        image_size: Side of the square pictures in pixels; default the catalogue's, or native for one's own data.
        source: Where the files are, if not at the usual places.
        download: Fetch original files through torchvision where nothing is on disk.
        test_fraction: Share of each class that becomes test where the source has no split.
        split_seed: Seeds the test carve and the validation ranks.
        max_decoded_bytes: Above this, encoded bytes are stored.
        progress: Called as `progress(rows done, rows in all, what)`.

    Returns:
        The prepared folder.

    Raises:
        UserError: Anything wrong with the request, the files or the folder; then nothing half-valid is left.
    """
    report: Progress = progress or (lambda done, total, what: None)
    choice = choose_dataset(dataset)
    _check_request(image_size, test_fraction, split_seed)
    data_root = Path(data_root).expanduser()
    if source is None and choice.path is None and not data_root.is_dir() and not download and choice.name != "Digits":
        raise UserError(
            f"data root {data_root} does not exist; create it and put {choice.name}/ there, name another with --data-root, "
            "or fetch the original files with --download"
        )
    explicit_root = None if prepared_root is None else Path(prepared_root)
    done = find_prepared(choice, data_root, explicit_root, image_size)
    if done is None or not is_writable(done.parent):
        root_for_writing(data_root, explicit_root)  # before the source is read, which may take minutes
    found = find_source(choice, data_root, source=None if source is None else Path(source), download=download)
    plan = _plan(choice, found, image_size, test_fraction, split_seed, max_decoded_bytes, report)
    done = find_prepared(choice, data_root, explicit_root, plan.image_size)
    if done is not None:
        _check_same(done, plan)
        return done
    folder = root_for_writing(data_root, explicit_root) / f"{folder_prefix(choice)}-{plan.image_size}px"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, report):
        if read_manifest(folder) is None:
            _write_all(plan, folder, report)
    _check_same(folder, plan)
    return folder


def _check_request(image_size: int | None, test_fraction: float, split_seed: int) -> None:
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise UserError(f"image size is {image_size}; use a number of pixels from 1 to {MAX_IMAGE_SIZE}")
    if not 0 < test_fraction < 1:
        raise UserError(f"test fraction is {test_fraction}; use a number between 0 and 1, such as 0.15")
    if split_seed < 0:
        raise UserError(f"split seed is {split_seed}; use 0 or a positive integer")


def _plan(
    choice: DatasetChoice,
    source: ImageSource,
    image_size: int | None,
    test_fraction: float,
    split_seed: int,
    max_decoded_bytes: int,
    report: Progress,
) -> _Plan:
    native_size: int | None = None
    if choice.info is not None:
        channels, image_size = choice.info.channels, image_size or choice.info.image_size
    else:
        channels, native = _probe([part for part in (source.train, source.test) if part is not None], report)
        native_size = native[0] if native is not None and native[0] == native[1] else None
        if image_size is None and native_size is None:
            shape = "pictures of different sizes" if native is None else f"pictures of {native[0]}x{native[1]} pixels"
            raise UserError(
                f"{choice.path} holds {shape}, not of one square size; give the input size with --image-size"
            )
        image_size = image_size or native_size
    assert image_size is not None  # given, catalogued or native: the error above leaves no other case
    carved = source.test is None
    if source.test is None:
        train_rows, test_rows = carve_test(source.train.labels, test_fraction, split_seed)
        parts: dict[str, Part] = {
            "train": SubsetPart(source.train, train_rows),
            "test": SubsetPart(source.train, test_rows),
        }
    else:
        parts = {"train": source.train, "test": source.test}
    total = sum(len(part.labels) for part in parts.values())
    decoded_bytes = total * channels * image_size**2
    storage = "decoded" if decoded_bytes <= max_decoded_bytes else "encoded"
    options = {"split_seed": split_seed, "test_fraction": test_fraction if carved else None}
    return _Plan(choice, source, image_size, native_size, channels, storage, options, parts)


def _probe(parts: Sequence[Part], report: Progress) -> tuple[int, tuple[int, int] | None]:
    """Look at every header: channels (1 only where all are grey), and the size (W, H) that all share, if they do."""
    all_grey = True
    sizes: set[tuple[int, int]] = set()
    total, done = sum(len(part.labels) for part in parts), 0
    for part in parts:
        rows = np.arange(len(part.labels))
        for row, data in zip(rows, part.encoded(rows), strict=True):
            picture = open_picture(data, part.where(int(row)))
            all_grey = all_grey and is_grey(picture)
            sizes.add(picture.size)
            done += 1
            if done % 1000 == 0 or done == total:
                report(done, total, "looking at pictures")
    return (1 if all_grey else 3), (sizes.pop() if len(sizes) == 1 else None)


def _check_same(folder: Path, plan: _Plan) -> None:
    """Hold a finished folder against what was asked for now: never replaced silently, runs may be using it."""
    manifest = read_manifest(folder)
    assert manifest is not None  # callers found or wrote it
    differences = [
        f"{name} {was!r} instead of {now!r}"
        for name, was, now in (
            *((name, manifest.options.get(name), value) for name, value in plan.options.items()),
            ("storage", manifest.storage, plan.storage),
            ("source", manifest.source_fingerprint[:12], plan.source.fingerprint[:12]),
        )
        if was != now
    ]
    if differences:
        raise UserError(
            f"{folder} was prepared with other data or settings ({'; '.join(differences)}; from {manifest.source}); "
            "delete that folder to prepare anew, or keep both with another --prepared-root"
        )
    check_sizes(folder, manifest)


@contextlib.contextmanager
def _locked(folder: Path, report: Progress) -> Iterator[None]:
    """Hold the folder's lock: one process prepares, others wait. The lock goes with its process, however that ends."""
    with folder.with_name(folder.name + ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(0, 1, f"waiting for another process that prepares {folder.name}")
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(
                f"{folder.parent} does not support file locks ({error.strerror}); "
                "give a folder on a local disk with --prepared-root"
            ) from error
        yield


def _write_all(plan: _Plan, folder: Path, report: Progress) -> None:
    kept = _journalled_shards(folder, plan.identity())
    _check_space(plan, folder)
    what = f"preparing {plan.choice.name} at {plan.image_size}x{plan.image_size}"
    rows_per_shard = max(1, SHARD_BYTES // plan.picture_bytes())
    shards: dict[str, tuple[Shard, ...]] = {}
    done, total = 0, plan.total_rows()
    try:
        for split, part in plan.parts.items():
            labels = np.asarray(part.labels, dtype=np.int64)
            ranks = validation_ranks(labels, plan.options["split_seed"]) if split == "train" else None
            written: list[Shard] = []
            for number, start in enumerate(range(0, len(labels), rows_per_shard)):
                rows = np.arange(start, min(start + rows_per_shard, len(labels)))
                name = f"{split}-{number:05d}.arrow"
                shard = kept.get(name)
                if shard is None:
                    image = _image_column(plan, part, rows, lambda count, base=done: report(base + count, total, what))
                    shard = write_shard(folder / name, image, labels[rows], None if ranks is None else ranks[rows])
                    _journal(folder, asdict(shard))
                written.append(shard)
                done += len(rows)
                report(done, total, what)
            shards[split] = tuple(written)
    except UserError:
        shutil.rmtree(folder)  # a source that cannot be used leaves nothing behind
        raise
    manifest = Manifest(
        dataset=plan.choice.name,
        image_size=plan.image_size,
        native_size=plan.native_size,
        channels=plan.channels,
        class_names=plan.source.class_names,
        storage=plan.storage,
        options=plan.options,
        source=plan.source.description,
        source_fingerprint=plan.source.fingerprint,
        shards=shards,
    )
    write_manifest(folder, manifest)
    (folder / JOURNAL).unlink()


def _check_space(plan: _Plan, folder: Path) -> None:
    need = plan.total_rows() * plan.picture_bytes() if plan.storage == "decoded" else 0
    there = sum(entry.stat().st_size for entry in folder.iterdir())
    free = shutil.disk_usage(folder).free + there
    if need > free:
        raise UserError(
            f"{folder} needs {need / 2**30:.1f} GiB and its disk has {free / 2**30:.1f} GiB free; "
            "make room, or give another disk with --prepared-root, or a smaller --image-size"
        )


def _image_column(plan: _Plan, part: Part, rows: np.ndarray, report: Callable[[int], None]) -> pa.Array:
    """The pictures of one shard as an Arrow column; every one is decoded on the way, also where bytes are kept."""
    decoded = plan.storage == "decoded"
    shape = (plan.channels, plan.image_size, plan.image_size)
    values = np.empty((len(rows) if decoded else 0, *shape), dtype=np.uint8)
    kept_bytes: list[bytes] = []
    stream = part.encoded(rows)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # Pillow works outside Python's lock
        for start in range(0, len(rows), _PICTURES_AT_ONCE):
            block = rows[start : start + _PICTURES_AT_ONCE]
            encoded = [next(stream) for _ in block]
            places = [part.where(int(row)) for row in block]
            if decoded:
                arrays = pool.map(pixels, encoded, repeat(plan.channels), repeat(plan.image_size), places)
                for index, array in enumerate(arrays, start):
                    values[index] = array
            else:
                list(pool.map(check_decodes, encoded, places))
                kept_bytes += encoded
            report(start + len(block))
    if not decoded:
        return pa.array(kept_bytes, pa.large_binary())
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(plan.picture_bytes()), len(rows), [None, pa.py_buffer(values.reshape(-1))]
    )


def _journal(folder: Path, entry: dict[str, Any]) -> None:
    with (folder / JOURNAL).open("a") as stream:
        stream.write(json.dumps(entry) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _journalled_shards(folder: Path, identity: str) -> dict[str, Shard]:
    """The shards of an earlier, killed preparation of the same thing that are whole; everything else is removed."""
    kept: dict[str, Shard] = {}
    path = folder / JOURNAL
    lines = path.read_text().splitlines() if path.exists() else []
    with contextlib.suppress(ValueError, TypeError, KeyError):  # the last line may be torn: what follows it is redone
        if lines and json.loads(lines[0])["identity"] == identity:
            for line in lines[1:]:
                shard = Shard(**json.loads(line))
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


__all__ = ["MANIFEST", "MAX_DECODED_BYTES", "find_prepared", "prepare", "verify_prepared"]
