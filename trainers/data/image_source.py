"""What every kind of source looks like to the code that prepares it: labelled rows of encoded pictures.

A source has a train part and, where it comes with a split, a test part. Parts are read in ascending row order, so that
a reader of large files never has to go back.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from trainers.data.damage import DamagedPictureError
from trainers.data.notes import LEFT_OUT, Note, listed, note, printable
from trainers.data.pictures import png_bytes
from trainers.errors import UserError

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "train"),
}
"""File and folder names that tell a split, in any case. A validation part is training data: ours is carved from it."""
SPLIT_WORDS_IN_WORDS = "train, training; test, testing; val, valid, validation, dev (counted as train)"


class Part(Protocol):
    """Rows of one part of a source."""

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,), class indices."""

    def picture(self, row: int) -> bytes:
        """The encoded picture of a row; rows are asked for in ascending order.

        Raises:
            DamagedPictureError: this row's cannot be read.
        """

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
        notes: What of the files was left out or assumed.
        arrays: Whether the pictures are arrays that a data set's own reader has checked: none can be damaged.
    """

    description: str
    fingerprint: str
    class_names: tuple[str, ...]
    train: Part
    test: Part | None
    notes: tuple[Note, ...] = ()
    arrays: bool = False

    @property
    def parts(self) -> dict[str, Part]:
        """`train` and, where there is one, `test`."""
        return {"train": self.train, **({} if self.test is None else {"test": self.test})}


class FilePart:
    """Pictures that are files of their own."""

    def __init__(self, files: Sequence[Path], labels: Sequence[int] | np.ndarray) -> None:
        self._files = list(files)
        self.labels = np.asarray(labels, dtype=np.int64)

    def picture(self, row: int) -> bytes:
        file = self._files[row]
        try:
            return file.read_bytes()
        except OSError as error:
            if file.is_symlink() and not os.path.exists(file):
                target = f"to {printable(os.readlink(file))}"
                raise DamagedPictureError(str(file), "is a dead link", "mend or remove the link", target) from error
            what = f"cannot be read ({error.strerror})"
            raise DamagedPictureError(str(file), what, "restore or remove it") from error

    def where(self, row: int) -> str:
        return str(self._files[row])


class ArrayPart:
    """Pictures that are given as uint8 arrays (N, H, W) or (N, H, W, 3); they are encoded losslessly when asked for."""

    def __init__(self, values: np.ndarray, labels: Sequence[int] | np.ndarray, name: str) -> None:
        self._values = values
        self._name = name
        self.labels = np.asarray(labels, dtype=np.int64)

    def picture(self, row: int) -> bytes:
        return png_bytes(self._values[row])

    def where(self, row: int) -> str:
        return f"{self._name} row {row}"


class SubsetPart:
    """Some rows of another part, in ascending order, with labels of their own."""

    def __init__(self, part: Part, rows: np.ndarray, labels: np.ndarray | None = None) -> None:
        self._part = part
        self._rows = rows
        self.labels = part.labels[rows] if labels is None else labels

    def picture(self, row: int) -> bytes:
        return self._part.picture(int(self._rows[row]))

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

    left_out = sum(int((new_label[part.labels] < 0).sum()) for part in source.parts.values())
    names = [name for name in source.class_names if name.casefold() in unwanted]
    return replace(
        source,
        class_names=tuple(source.class_names[index] for index in kept),
        train=filtered(source.train),
        test=None if source.test is None else filtered(source.test),
        notes=(*source.notes, note(LEFT_OUT, left_out, "picture(s) that {is|are} of no class: ", names=listed(names))),
    )


def without_rows(source: ImageSource, rows: Mapping[str, Collection[int]]) -> ImageSource:
    """The source without some rows of its parts, by the part's name."""

    def kept(name: str, part: Part) -> Part:
        if not rows.get(name):
            return part
        return SubsetPart(part, np.setdiff1d(np.arange(len(part.labels)), np.array(sorted(rows[name]))))

    parts = {name: kept(name, part) for name, part in source.parts.items()}
    return replace(source, train=parts["train"], test=parts.get("test"))


def check_labels(labels: np.ndarray, num_classes: int, part: Part) -> None:
    """Hold every label within 0..num_classes-1.

    Raises:
        UserError: Names the first rows whose label is outside.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        others = f"; so have {listed([part.where(int(row)) for row in wrong[1:21]], 20)}" if wrong.size > 1 else ""
        raise UserError(
            f"{part.where(int(wrong[0]))} has label {labels[wrong[0]]}, outside 0..{num_classes - 1} "
            f"({wrong.size} such row(s)){others}; "
            "labels count from 0; correct the labels or the declared number of classes"
        )
