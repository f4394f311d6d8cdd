"""Folders of pictures as a source: one folder a class, with or without a level of splits above.

The sorted folder names are the classes. Pictures lie in their class folder or anywhere below it. Folders called train,
test, val and the like (`SPLIT_WORDS`) are splits; so is one that is the only folder of the data set an unpacked
archive's, whose folders are looked at in its place. What is no picture is left out and counted.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from trainers.data.folder_walk import Walk, is_dead_link
from trainers.data.image_source import SPLIT_WORDS, SPLIT_WORDS_IN_WORDS, FilePart, ImageSource
from trainers.data.notes import ASSUMED, LEFT_OUT, Note, listed, note
from trainers.errors import UserError

_LAYOUT = (
    "a folder data set is one folder of pictures a class, or train/ and test/ with class folders in each, "
    "or Parquet files"
)

# Names that people give to splits beside those that are read as such: train_set, test1, trainval, eval-images.
_LIKE_SPLIT = re.compile(
    r"(?:^|[^a-z])(?:train|test|val|valid|dev|eval|holdout)(?:ing|ation|val|set|data)?(?:[^a-z]|$)"
)


class _Reader:
    """Reads one data set's folders, and keeps what is to be said of them."""

    def __init__(self, path: Path, not_classes: Sequence[str]) -> None:
        self.walk = Walk(path)
        self.notes: list[Note] = []
        self._not_classes = {name.casefold() for name in not_classes}
        self._pictures: dict[Path, list[Path]] = {}

    def pictures(self, folder: Path) -> list[Path]:
        """The pictures below a folder, looked for once."""
        if folder not in self._pictures:
            self._pictures[folder] = self.walk.pictures(folder)
        return self._pictures[folder]

    def class_folders(self, path: Path) -> list[Path]:
        """The folders of one level that hold, or should hold, pictures."""
        folders = self.walk.folders(path)
        left_out = [folder for folder in folders if folder.name.casefold() in self._not_classes]
        if left_out:
            count = sum(len(self.pictures(folder)) for folder in left_out)
            names = [folder.name for folder in left_out]
            self.notes.append(note(LEFT_OUT, count, "picture(s) that {is|are} of no class: ", names=listed(names)))
        kept = [folder for folder in folders if folder not in left_out]
        dead = [str(folder) for folder in kept if is_dead_link(folder)]
        if dead:
            raise UserError(
                f"{listed(dead)} {'is a dead link' if len(dead) == 1 else 'are dead links'} among the class folders; "
                "mend or remove, or the class would be missing"
            )
        if not kept:
            raise UserError(f"{path} holds no class folders; {_LAYOUT}")
        for files, what in zip(
            self.walk.loose(path),
            (
                "picture(s) beside the class folders, of no class",
                "file(s) beside the class folders",
            ),
            strict=True,
        ):
            if files:
                names = [file.relative_to(self.walk.root).as_posix() for file in files]
                self.notes.append(note(LEFT_OUT, len(names), what, names))
        return kept

    def top(self, path: Path) -> tuple[Path, list[Path]]:
        """The level that the classes or splits lie on, and its folders: below a lone folder of an unpacked archive."""
        folders = self.class_folders(path)
        while len(folders) == 1 and folders[0].name.casefold() not in SPLIT_WORDS:
            (only,) = folders
            if self._has_loose(only) or not self.walk.folders(only):
                break
            self.notes.append(note(ASSUMED, 1, "folder is the whole data set: ", names=f"{only.name}/"))
            path, folders = only, self.class_folders(only)
        return path, folders

    def splits(self, path: Path, folders: Sequence[Path]) -> dict[str, list[Path]] | None:
        """The folders of each split; None where the folders are classes.

        Raises:
            UserError: some are called like splits and others that hold pictures are not.
        """
        named = [folder for folder in folders if folder.name.casefold() in SPLIT_WORDS]
        alike = [folder for folder in folders if _LIKE_SPLIT.search(folder.name.casefold())]
        if len(alike) == len(folders) and len(named) < len(folders) and not any(map(self._has_loose, folders)):
            raise UserError(
                f"{path} holds {listed([folder.name for folder in folders])}, which sound like splits and would be "
                f"classes; names of splits are {SPLIT_WORDS_IN_WORDS}; rename them"
            )
        if not named or any(self._has_loose(folder) for folder in named):
            return None
        others = [folder for folder in folders if folder not in named]
        with_pictures = [folder.name for folder in others if self.pictures(folder)]
        if with_pictures:
            raise UserError(
                f"{path} holds {listed([folder.name for folder in named])}, which are called like splits, beside "
                f"{listed(with_pictures)}, which are not; names of splits are {SPLIT_WORDS_IN_WORDS}; "
                "rename or move the others"
            )
        if others:
            names = [folder.name for folder in others]
            self.notes.append(note(LEFT_OUT, len(names), "folder(s) without pictures beside the splits", names))
        splits: dict[str, list[Path]] = {}
        for folder in named:
            splits.setdefault(SPLIT_WORDS[folder.name.casefold()], []).append(folder)
        if "train" not in splits:
            raise UserError(
                f"{path} holds {named[0].name}/ but no train/; add it, or put the class folders directly; "
                f"names of splits are {SPLIT_WORDS_IN_WORDS}"
            )
        read_as = [f"{folder.name}/ as {SPLIT_WORDS[folder.name.casefold()]}" for folder in named]
        if any(folder.name.casefold() not in ("train", "test") for folder in named):
            self.notes.append(note(ASSUMED, len(named), "split(s) by folder name: ", names=", ".join(read_as)))
        return splits

    def part(self, roots: Sequence[Path], classes: Sequence[str]) -> tuple[FilePart, list[Path]]:
        """The pictures of all roots (train and validation folders may be several), class by class."""
        files: list[Path] = []
        labels: list[int] = []
        empty: list[str] = []
        for label, name in enumerate(classes):
            images = [image for root in roots if (root / name).is_dir() for image in self.pictures(root / name)]
            if not images:
                empty.append(str(roots[0] / name))
            files += images
            labels += [label] * len(images)
        if empty:
            what = "holds no pictures; fill it or remove it" if len(empty) == 1 else "hold no pictures; fill or remove"
            raise UserError(f"{listed(empty)} {what}")
        return FilePart(files, labels), files

    def _has_loose(self, folder: Path) -> bool:
        return bool(self.walk.loose(folder)[0])


def class_folder_source(path: Path, not_classes: Sequence[str] = ()) -> ImageSource:
    """Read class folders as a data set.

    Args:
        path: The folder that holds the class folders, or train/ and test/ folders of class folders.
        not_classes: Folder names to pass over (case ignored), such as a background folder.

    Raises:
        UserError: No class folders, empty ones, dead links among them, folders that cannot be read, or splits that are
            unclear or of different classes.
    """
    try:
        return _read(path, not_classes)
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be looked at ({error.strerror}); make it readable, or move it out of the data set"
        ) from error


def _read(path: Path, not_classes: Sequence[str]) -> ImageSource:
    reader = _Reader(path, not_classes)
    top, folders = reader.top(path)
    splits = reader.splits(top, folders)
    names: dict[str, list[str]] = {"train": [folder.name for folder in folders]}
    if splits is not None:
        names = {
            split: sorted({folder.name for root in roots for folder in reader.class_folders(root)})
            for split, roots in splits.items()
        }
    if "test" in names and names["test"] != names["train"]:
        odd = sorted(set(names["test"]) ^ set(names["train"]))
        raise UserError(
            f"{path}: train and test have different class folders ({listed(odd)} in only one of them); "
            "both must hold the same classes"
        )
    parts = {split: reader.part(roots, names[split]) for split, roots in (splits or {"train": [top]}).items()}
    digest = hashlib.sha256()
    for _, files in parts.values():
        for file in files:
            size = file.lstat().st_size if is_dead_link(file) else file.stat().st_size
            digest.update(os.fsencode(f"{file.relative_to(path).as_posix()} {size}\n"))
    return ImageSource(
        f"class folders at {path}",
        digest.hexdigest(),
        tuple(names["train"]),
        parts["train"][0],
        parts["test"][0] if "test" in parts else None,
        (*reader.notes, *reader.walk.notes()),
    )
