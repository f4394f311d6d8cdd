"""What every kind of source looks like to the code that prepares it: labelled rows of encoded pictures.

A source has a train part and, where it comes with a split, a test part. Parts are read in ascending row order, so that
a reader of large files never has to go back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from trainers.data.pictures import png_bytes
from trainers.errors import UserError

SPLIT_WORDS = {"train": "train", "test": "test", "val": "train", "valid": "train", "validation": "train"}
"""File and folder names that tell a split. A validation part is training data here: ours is carved from train."""


class Part(Protocol):
    """Rows of one part of a source."""

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,), class indices."""

    def encoded(self, rows: np.ndarray) -> Iterator[bytes]:
        """The encoded pictures of the given rows, which ascend."""

    def where(self, row: int) -> str:
        """How to find this row, for messages."""


@dataclass(frozen=True)
class ImageSource:
    """A data set as it lies on disk.

    Attributes:
        description: Kind and place, kept in the manifest.
        fingerprint: Changes when the files do; hex.
        class_names: Index = label.
        train: The training rows, or all rows where there is no test part.
        test: The test rows, or None where the source comes without a split.
    """

    description: str
    fingerprint: str
    class_names: tuple[str, ...]
    train: Part
    test: Part | None


class FilePart:
    """Pictures that are files of their own."""

    def __init__(self, files: Sequence[Path], labels: Sequence[int] | np.ndarray) -> None:
        self._files = list(files)
        self.labels = np.asarray(labels, dtype=np.int64)

    def encoded(self, rows: np.ndarray) -> Iterator[bytes]:
        for row in rows:
            try:
                data = self._files[row].read_bytes()
            except OSError as error:
                raise UserError(f"cannot read {self._files[row]} ({error.strerror}); restore or remove it") from error
            yield data

    def where(self, row: int) -> str:
        return str(self._files[row])


class ArrayPart:
    """Pictures that are given as uint8 arrays (N, H, W) or (N, H, W, 3); they are encoded losslessly when asked for."""

    def __init__(self, values: np.ndarray, labels: Sequence[int] | np.ndarray, name: str) -> None:
        self._values = values
        self._name = name
        self.labels = np.asarray(labels, dtype=np.int64)

    def encoded(self, rows: np.ndarray) -> Iterator[bytes]:
        for row in rows:
            yield png_bytes(self._values[row])

    def where(self, row: int) -> str:
        return f"{self._name} row {row}"


class SubsetPart:
    """Some rows of another part, in ascending order, with labels of their own."""

    def __init__(self, part: Part, rows: np.ndarray, labels: np.ndarray | None = None) -> None:
        self._part = part
        self._rows = rows
        self.labels = part.labels[rows] if labels is None else labels

    def encoded(self, rows: np.ndarray) -> Iterator[bytes]:
        return self._part.encoded(self._rows[rows])

    def where(self, row: int) -> str:
        return self._part.where(int(self._rows[row]))


def without_classes(source: ImageSource, not_classes: Sequence[str]) -> ImageSource:
    """The source without the named classes (case ignored); the labels of the others close up."""
    unwanted = {name.casefold() for name in not_classes}
    kept = [index for index, name in enumerate(source.class_names) if name.casefold() not in unwanted]
    if len(kept) == len(source.class_names):
        return source
    new_label = np.full(len(source.class_names), -1, dtype=np.int64)
    new_label[kept] = np.arange(len(kept))

    def filtered(part: Part) -> Part:
        labels = new_label[part.labels]
        rows = np.flatnonzero(labels >= 0)
        return SubsetPart(part, rows, labels[rows])

    return replace(
        source,
        class_names=tuple(source.class_names[index] for index in kept),
        train=filtered(source.train),
        test=None if source.test is None else filtered(source.test),
    )


def check_labels(labels: np.ndarray, num_classes: int, part: Part) -> None:
    """Hold every label within 0..num_classes-1.

    Raises:
        UserError: Names the first row whose label is outside.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        row = int(wrong[0])
        raise UserError(
            f"{part.where(row)} has label {labels[row]}, outside 0..{num_classes - 1} ({wrong.size} such row(s)); "
            "labels count from 0; correct the labels or the declared number of classes"
        )
