"""From a data set's name or path to its source on disk: where is looked, and what is said when nothing is there."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from trainers.data.catalog import CATALOG, DatasetInfo, lookup, normalised_name
from trainers.data.class_folders import class_folder_source
from trainers.data.image_source import ImageSource, check_labels, without_classes
from trainers.data.originals import digits_source, has_original_files, original_source
from trainers.data.parquet import parquet_files, parquet_source
from trainers.errors import UserError


class SourceMissingError(UserError):
    """A catalogued data set's files are at none of the usual places."""


@dataclass(frozen=True)
class DatasetChoice:
    """Which data set is meant: a catalogued one, or one's own at a path.

    Attributes:
        name: Catalogue name, or the stem of one's own file or folder.
        info: The catalogue entry; None for one's own.
        path: One's own file or folder, absolute; None for a catalogued data set.
    """

    name: str
    info: DatasetInfo | None
    path: Path | None


def choose_dataset(dataset: str | Path) -> DatasetChoice:
    """Resolve a `--dataset` value.

    Raises:
        UserError: It is neither a catalogue name nor an existing path.
    """
    info = lookup(str(dataset))
    if info is not None:
        return DatasetChoice(info.name, info, None)
    path = Path(os.path.expanduser(dataset))
    if not os.path.exists(path):  # unlike Path's, it takes a name that no file can have for that of none
        raise UserError(
            f"data set {str(dataset)!r} is unknown; use {', '.join(CATALOG)}, "
            "or the path of a Parquet file, a folder of Parquet files or a folder of class folders"
        )
    path = path.resolve()
    return DatasetChoice(path.stem if path.is_file() else path.name, None, path)


def prepare_command(choice: DatasetChoice, data_root: Path, image_size: int | None = None) -> str:
    """The command line that prepares this data set, for messages."""
    root = shlex.quote(str(data_root))
    size = "" if image_size is None else f" --image-size {image_size}"
    return f"python -m study prepare {shlex.quote(str(choice.path or choice.name))} --data-root {root}{size}"


def _at_path(path: Path, info: DatasetInfo | None) -> ImageSource:
    """The source at an explicit place, told apart by what is there: Parquet, original files or class folders."""
    if not path.exists():
        raise UserError(f"{path} does not exist; give a Parquet file, a folder of Parquet files or of class folders")
    if path.is_file():
        if path.suffix.lower() != ".parquet":
            raise UserError(f"{path} is not a Parquet file (.parquet); folders of class folders are allowed too")
        return parquet_source(path)
    if parquet_files(path):
        return parquet_source(path)
    if info is not None:
        for root in (path, path.parent):
            if has_original_files(info, root):
                return original_source(info, root, download=False)
    return class_folder_source(path, info.not_classes if info else ())


def _in_data_root(info: DatasetInfo, data_root: Path, download: bool) -> ImageSource | None:
    """A folder of the data set's name (any accepted spelling), else torchvision's layout; None where neither is."""
    spellings = {normalised_name(name) for name in (info.name, *info.aliases)}
    folders = [
        entry for entry in sorted(data_root.iterdir()) if entry.is_dir() and normalised_name(entry.name) in spellings
    ]
    # Among several spellings the one with Parquet or images wins over torchvision's, which is tried last.
    original = has_original_files(info, data_root)
    for folder in folders:
        if parquet_files(folder):
            return parquet_source(folder)
    if original:
        return original_source(info, data_root, download=download)  # a download that was cut short is completed
    return _at_path(folders[0], info) if folders else None


def find_source(choice: DatasetChoice, data_root: Path, *, source: Path | None, download: bool) -> ImageSource:
    """Open the source of a data set and hold it against the catalogue.

    Looked for at `source` where given; else at one's own path; else in `data_root/<NAME>/` (case and hyphens do not
    matter), else in torchvision's layout below `data_root`, else downloaded there where asked. Digits comes out of
    scikit-learn.

    Raises:
        SourceMissingError: Nothing is at the usual places.
        UserError: Nothing is at the place given, or it does not fit the catalogue (classes, split, labels).
    """
    info = choice.info
    if source is not None:
        return _checked(_at_path(source.expanduser().resolve(), info), choice)
    if choice.path is not None:
        return _checked(_at_path(choice.path, None), choice)
    assert info is not None  # a choice is a catalogue entry or a path
    if info.read is not None:
        return _checked(info.read(data_root), choice)
    if info.name == "Digits":
        return _checked(digits_source(), choice)
    found = _in_data_root(info, data_root, download) if data_root.is_dir() else None
    if found is None and download:
        data_root.mkdir(parents=True, exist_ok=True)
        found = original_source(info, data_root, download=True)
    if found is None:
        missing = "" if data_root.is_dir() else " (the folder does not exist)"
        raise SourceMissingError(
            f"{info.name}: no files found in data root {data_root}{missing}; put Parquet files or class folders at "
            f"{data_root / info.name}, or let `{prepare_command(choice, data_root)} --download` fetch the originals"
        )
    return _checked(found, choice)


def _checked(source: ImageSource, choice: DatasetChoice) -> ImageSource:
    info = choice.info
    if info is not None:
        source = without_classes(source, info.not_classes)
        if len(source.class_names) != info.num_classes:
            raise UserError(
                f"{info.name}: {source.description} has {len(source.class_names)} classes and the data set has "
                f"{info.num_classes}; use the complete data, or give it by path as a data set of your own"
            )
        if info.has_test_split and source.test is None:
            raise UserError(
                f"{info.name}: {source.description} has no test part, and this data set's published test set is what "
                "its figures are measured on; add the test files, or give it by path as a data set of your own"
            )
    if len(source.class_names) < 2:
        raise UserError(
            f"{choice.name}: {source.description} has {len(source.class_names)} class(es); at least 2 needed"
        )
    for part, name in ((source.train, "training"), (source.test, "test")):
        if part is not None:
            if len(part.labels) == 0:
                raise UserError(f"{choice.name}: the {name} part of {source.description} has no rows; add images")
            check_labels(part.labels, len(source.class_names), part)
    return source
