"""Folders of images as a source: one folder a class, with or without a train/ and test/ level above.

The sorted folder names are the classes. Images lie directly in their class folder; other files (read-me files, lists)
and hidden entries are passed over, by their suffix.
"""

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from trainers.data.image_source import SPLIT_WORDS, FilePart, ImageSource
from trainers.data.pictures import SUFFIXES
from trainers.errors import UserError


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in SUFFIXES and entry.is_file() and not entry.name.startswith(".")
    )


def _class_folders(path: Path, left_out: Collection[str]) -> list[Path]:
    folders = [folder for folder in _folders(path) if folder.name.casefold() not in left_out]
    if not folders:
        raise UserError(
            f"{path} holds no class folders; a folder data set is one folder of images a class, "
            "or train/ and test/ with class folders in each, or Parquet files"
        )
    return folders


def _part(roots: Sequence[Path], classes: Sequence[str]) -> tuple[FilePart, list[Path]]:
    """The images of all roots (train and validation folders may be several), class by class."""
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = [image for root in roots if (root / name).is_dir() for image in _images(root / name)]
        if not images:
            raise UserError(
                f"{roots[0] / name} holds no images ({', '.join(sorted(SUFFIXES))}); fill the class folder or remove it"
            )
        files += images
        labels += [label] * len(images)
    return FilePart(files, labels), files


def class_folder_source(path: Path, not_classes: Sequence[str] = ()) -> ImageSource:
    """Read class folders as a data set.

    Args:
        path: The folder that holds the class folders, or train/ and test/ folders of class folders.
        not_classes: Folder names to pass over (case ignored), such as a background folder.

    Raises:
        UserError: No class folders, an empty class folder, or train and test folders with different classes.
    """
    left_out = {name.casefold() for name in not_classes}
    folders = _class_folders(path, left_out)
    splits: dict[str, list[Path]] = {"train": [path]}
    if all(folder.name.casefold() in SPLIT_WORDS for folder in folders):
        splits = {}
        for folder in folders:
            splits.setdefault(SPLIT_WORDS[folder.name.casefold()], []).append(folder)
        if "train" not in splits:
            raise UserError(f"{path} holds {folders[0].name}/ but no train/; add it, or put the class folders directly")
    names = {
        split: sorted({folder.name for root in roots for folder in _class_folders(root, left_out)})
        for split, roots in splits.items()
    }
    if "test" in names and names["test"] != names["train"]:
        odd = sorted(set(names["test"]) ^ set(names["train"]))
        raise UserError(
            f"{path}: train and test have different class folders ({', '.join(odd[:5])} in only one of them); "
            "both must hold the same classes"
        )
    parts = {split: _part(roots, names[split]) for split, roots in splits.items()}
    digest = hashlib.sha256()
    for _, files in parts.values():
        for file in files:
            digest.update(os.fsencode(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n"))
    return ImageSource(
        f"class folders at {path}",
        digest.hexdigest(),
        tuple(names["train"]),
        parts["train"][0],
        parts["test"][0] if "test" in parts else None,
    )
