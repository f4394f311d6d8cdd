"""Parquet files as a source of pictures: plain binary columns, and the layout of the Hugging Face hub.

Accepted columns: the picture in `image` or `img`, either binary (encoded bytes) or struct<bytes, path> (hub); the class
in `label`, `fine_label` or `labels`: integers from 0, text, categories or true/false (`trainers.data.parquet_labels`).
Class names come from the schema metadata `class_names` (JSON list) or from the hub's `huggingface` entry (ClassLabel);
where neither is there, from `num_classes`, and where that is missing too the integers themselves must cover 0..max.

The split of a file is told by its name (`train.parquet`, `test-00000-of-00002.parquet`) or by its folder (`train/...`).
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainers.data.damage import HEAD_BYTES, DamagedPictureError, what_it_is
from trainers.data.folder_walk import is_system
from trainers.data.image_source import SPLIT_WORDS, SPLIT_WORDS_IN_WORDS, ImageSource, check_labels
from trainers.data.notes import ASSUMED, LEFT_OUT, Note, listed, note
from trainers.data.parquet_labels import Labels, number_labels, read_labels
from trainers.data.pictures import SUFFIXES
from trainers.errors import UserError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label", "labels")
_SHARD = re.compile(r"^(?P<stem>.*)-(?P<index>\d{5})-of-(?P<count>\d{5})$")
_LEADING_WORD = re.compile(r"^[A-Za-z]+")
MOST_CLASSES = 1_000_000  # beyond this a number of classes is a slip, and their names alone would fill the memory
_FOOTER_BYTES = 64 * 1024  # more than the footer of a file with a few hundred row groups


@contextmanager
def _readable(otherwise: str) -> Iterator[None]:
    """Turn whatever reading raises into a `UserError` that begins so: pyarrow stumbles over damage in many ways."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{otherwise} ({error}); restore or remove it") from error


def _told(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise TypeError(f"the classes' names are no list but {type(names).__name__}")
    return tuple(str(name) for name in names)


class _File:
    """One Parquet file: its columns, its labels, and its row groups read one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(f"{path} cannot be read as Parquet"):
            with path.open("rb") as stream:
                head = stream.read(HEAD_BYTES)
            if told := what_it_is(head):
                raise ValueError(f"it {told.removesuffix(', not a picture').removesuffix(', not the picture')}")
            self._file = pq.ParquetFile(path, memory_map=True)
            self.schema = self._file.schema_arrow
            groups = [self._file.metadata.row_group(index).num_rows for index in range(self._file.num_row_groups)]
        self.image_column = self._column(IMAGE_COLUMNS, "picture")
        self.label_column = self._column(LABEL_COLUMNS, "label")
        kind = self.schema.field(self.image_column).type
        self.in_struct = pa.types.is_struct(kind)
        if self.in_struct:
            names = [field.name for field in kind.fields]
            kind = kind.field("bytes").type if "bytes" in names else pa.null()
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise UserError(
                f"{path}: column {self.image_column!r} has type {self.schema.field(self.image_column).type}; "
                "it must be binary (encoded pictures) or struct<bytes: binary, path: string>"
            )
        self.group_starts = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self._group_index = -1
        self._group: pa.Array = pa.nulls(0)

    def _column(self, allowed: Sequence[str], what: str) -> str:
        for name in allowed:
            if name in self.schema.names:
                return name
        raise UserError(
            f"{self.path} has no {what} column; it has {', '.join(self.schema.names) or 'none'}, "
            f"and {' or '.join(allowed)} is needed; rename the column"
        )

    def labels(self) -> Labels:
        """The label column: integers, or text."""
        with _readable(f"{self.path} cannot be read as Parquet"):
            column = self._file.read(columns=[self.label_column]).column(self.label_column).combine_chunks()
        if len(column) != self.group_starts[-1]:
            raise UserError(
                f"{self.path} is damaged: it declares {self.group_starts[-1]} rows and holds {len(column)}; restore it"
            )
        return read_labels(column, self.label_column, str(self.path))

    def picture(self, row: int) -> bytes:
        """The encoded picture of one row; its row group stays in memory until another is asked for."""
        group = int(np.searchsorted(self.group_starts, row, side="right")) - 1
        if group != self._group_index:
            with _readable(f"{self.path} is damaged near row {row}"):
                table = self._file.read_row_group(group, columns=[self.image_column])
                self._group, self._group_index = table.column(self.image_column).combine_chunks(), group
        with _readable(f"{self.path} is damaged near row {row}"):
            value: Any = self._group[row - int(self.group_starts[group])].as_py()
        if self.in_struct and value is not None:
            value = value["bytes"]
        if value is None:
            where = f"{self.path} row {row}"
            raise DamagedPictureError(where, "has no picture bytes (null)", "remove the row or embed the picture")
        return bytes(value)

    def fingerprint(self) -> str:
        """Hash of size and footer: the footer holds every column chunk's place, size and statistics."""
        size = self.path.stat().st_size
        with self.path.open("rb") as stream:
            stream.seek(max(0, size - _FOOTER_BYTES))
            return hashlib.sha256(str(size).encode() + stream.read()).hexdigest()

    def notes(self) -> list[Note]:
        """Columns that are not looked at."""
        unread = [name for name in self.schema.names if name not in (self.image_column, self.label_column)]
        if not unread:
            return []
        taken = f"{self.image_column}, labels from {self.label_column}"
        return [note(LEFT_OUT, len(unread), "column(s); pictures are read from ", unread, taken)]

    def class_names(self) -> tuple[str, ...] | None:
        """Names from the schema metadata, or None where it tells nothing."""
        metadata = self.schema.metadata or {}
        try:
            if b"class_names" in metadata:
                return _told(json.loads(metadata[b"class_names"]))
            if b"huggingface" in metadata:
                features = json.loads(metadata[b"huggingface"]).get("info", {}).get("features", {})
                names = (features.get(self.label_column) or {}).get("names")
                if names:
                    return _told(names)
            if b"num_classes" in metadata:
                count = int(metadata[b"num_classes"])
                if count > MOST_CLASSES:
                    raise ValueError(f"{count} classes, more than {MOST_CLASSES}")
                return tuple(str(index) for index in range(count))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{self.path}: its schema metadata about classes is malformed ({error})") from error
        return None


class ParquetPart:
    """The rows of several Parquet files, one after the other."""

    def __init__(self, files: Sequence[_File], parts: Sequence[np.ndarray]) -> None:
        self._files = files
        self._starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        self.labels = np.concatenate(parts)

    def _locate(self, row: int) -> tuple[_File, int]:
        index = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._files[index], row - int(self._starts[index])

    def picture(self, row: int) -> bytes:
        file, local = self._locate(row)
        return file.picture(local)

    def where(self, row: int) -> str:
        file, local = self._locate(row)
        return f"{file.path} row {local}"


def _split_word(path: Path, root: Path) -> str | None:
    """The name of a split that is the file's first word or else a folder's below the root; None where neither is."""
    word = _LEADING_WORD.match(path.stem)
    names = [word.group().casefold() if word else ""]
    names += [folder.casefold() for folder in reversed(path.relative_to(root).parent.parts)]
    return next((name for name in names if name in SPLIT_WORDS), None)


def _check_all_shards_present(files: Sequence[Path]) -> None:
    """Hub shards count themselves (`-00000-of-00002`): a download that was cut short shows in the names."""
    found: dict[tuple[Path, str, int], set[int]] = {}
    for path in files:
        match = _SHARD.match(path.stem)
        if match:
            key = (path.parent, match["stem"], int(match["count"]))
            found.setdefault(key, set()).add(int(match["index"]))
    for (folder, stem, count), indices in found.items():
        missing = sorted(set(range(count)) - indices)
        if missing:
            names = ", ".join(f"{stem}-{index:05d}-of-{count:05d}.parquet" for index in missing[:5])
            raise UserError(f"{folder} holds {len(indices)} of {count} {stem} shards; missing: {names}; fetch them")


def parquet_files(folder: Path) -> list[Path]:
    """All Parquet files in a folder and below, hidden folders left out, sorted."""
    return sorted(
        path
        for path in folder.rglob("*.parquet")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _grouped(path: Path) -> tuple[dict[str, list[Path]], Path]:
    """The files of each split. A single file, or files whose names tell no split, are one unsplit train part."""
    if path.is_file():
        return {"train": [path]}, path.parent
    files = parquet_files(path)
    _check_all_shards_present(files)
    by_split: dict[str | None, list[Path]] = {}
    for file in files:
        word = _split_word(file, path)
        by_split.setdefault(word and SPLIT_WORDS[word], []).append(file)
    unknown = by_split.pop(None, [])
    splits = {split: names for split, names in by_split.items() if split is not None}
    if not splits:
        return {"train": unknown}, path
    if unknown:
        raise UserError(
            f"{path}: some files tell their split by name and {listed([file.name for file in unknown])} "
            f"{'does' if len(unknown) == 1 else 'do'} not; names start with {SPLIT_WORDS_IN_WORDS}; rename or remove"
        )
    if "train" not in splits:
        raise UserError(f"{path} holds test files but no train file; add train.parquet or name the one file to use")
    roots = {tuple(p for p in file.relative_to(path).parent.parts if p.casefold() not in SPLIT_WORDS) for file in files}
    if len(roots) > 1:
        raise UserError(
            f"{path} holds several data sets ({', '.join('/'.join(root) or '.' for root in sorted(roots))})"
        )
    return splits, path


def _declared_names(files: Sequence[_File]) -> tuple[str, ...] | None:
    told = {file.path: names for file in files if (names := file.class_names()) is not None}
    if len(set(told.values())) > 1:
        first = next(iter(told))
        second = next(path for path in told if told[path] != told[first])
        raise UserError(f"{first} and {second} declare different classes; all files of a data set must agree")
    return next(iter(told.values()), None)


def _split_notes(splits: Mapping[str, Sequence[Path]], root: Path) -> list[Note]:
    """Files whose names tell their split in other words than `train` and `test`."""
    read_as = [
        f"{file.relative_to(root).as_posix()} as {split}"
        for split, files in splits.items()
        for file in files
        if _split_word(file, root) not in (None, "train", "test")
    ]
    return [note(ASSUMED, len(read_as), "split(s) by file name", read_as)] if read_as else []


def _other_files(path: Path) -> list[Note]:
    """Pictures that lie beside the Parquet files: they are no part of the data set."""
    if path.is_file():
        return []
    found = [
        file.relative_to(path).as_posix()
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not any(is_system(part) for part in file.relative_to(path).parts)
    ]
    return [note(LEFT_OUT, len(found), "picture file(s) beside the Parquet files", found)] if found else []


def parquet_source(path: Path) -> ImageSource:
    """Read a Parquet file, or a folder of them, as a data set.

    Raises:
        UserError: Unreadable files, missing columns or shards, labels of a type or range that cannot be meant, unclear
            splits.
    """
    splits, root = _grouped(path)
    opened = {split: [_File(file) for file in files] for split, files in splits.items()}
    every_file = [file for files in opened.values() for file in files]
    classes = number_labels([file.labels() for file in every_file], _declared_names(every_file))
    numbers = iter(classes.numbers)
    parts = {split: ParquetPart(files, [next(numbers) for _ in files]) for split, files in opened.items()}
    for part in parts.values():
        check_labels(part.labels, len(classes.names), part)
    digest = hashlib.sha256()
    for file in every_file:
        digest.update(os.fsencode(f"{file.path.relative_to(root).as_posix()} {file.fingerprint()}\n"))
    kept = ", ".join(f"{split}: {len(files)} file(s)" for split, files in splits.items())
    notes = [*every_file[0].notes(), *classes.notes, *_split_notes(splits, root), *_other_files(path)]
    return ImageSource(
        f"Parquet at {path} ({kept})",
        digest.hexdigest(),
        classes.names,
        parts["train"],
        parts.get("test"),
        tuple(notes),
    )
