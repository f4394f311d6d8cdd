"""What lies in a folder of pictures: which files are pictures, and everything else, counted by what it is.

Pictures are told by their suffix and, where that says nothing, by their first bytes. A dead link stands among the
pictures: whether it was one nobody can say, so it is never passed over.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from trainers.data.damage import FORMATS, HEAD_BYTES, starts_like_picture, what_it_is
from trainers.data.notes import ASSUMED, LEFT_OUT, Note, listed, note
from trainers.data.pictures import SUFFIXES

# What operating systems, file servers, archives and notebooks put beside people's files.
SYSTEM_NAMES = frozenset(
    {
        *("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "lost+found", "$recycle.bin", "@eadir", "#recycle"),
        *("system volume information", "__pycache__", "icon\r", ".ds_store", ".ipynb_checkpoints"),
    }
)


def is_system(name: str) -> bool:
    """Whether a system made this file or folder beside the user's own: `.DS_Store`, `__MACOSX`, `._x.jpg`."""
    return name.casefold() in SYSTEM_NAMES or name.startswith("._")


@dataclass
class Walk:
    """What was found, over all folders that were walked.

    Attributes:
        root: what examples are named from.
        system, hidden: entries that were passed over by their name.
        others: files that are no pictures, by suffix, and which format of picture they are where it is not read.
        odd: entries that are neither files nor folders.
        back: links to folders that were walked already, or that hold the data set itself.
        by_content: pictures whose name does not say so.
        deeper: pictures in folders below the one that they are counted for, by the folder.
    """

    root: Path
    system: dict[str, None] = field(default_factory=dict)
    hidden: dict[str, None] = field(default_factory=dict)
    others: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    back: dict[str, None] = field(default_factory=dict)
    by_content: list[str] = field(default_factory=list)
    deeper: Counter[str] = field(default_factory=Counter)
    _visited: set[tuple[int, int]] = field(default_factory=set)

    def pictures(self, folder: Path) -> list[Path]:
        """The pictures in a folder and below it, sorted by path, and the dead links among them."""
        self._visited.clear()
        found = list(self._below(folder))
        for file in found:
            if file.parent != folder:
                self.deeper[self._named(file.parent)] += 1
        return sorted(found, key=lambda file: file.parts)

    def folders(self, folder: Path) -> list[Path]:
        """The folders directly in a folder, sorted, without hidden ones and the system's; those are counted."""
        found = []
        for entry in sorted(folder.iterdir()):
            if self._passed_over(entry):
                continue
            if entry.is_dir() or is_dead_link(entry):
                found.append(entry)
        return found

    def loose(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The files directly in a folder: those that are pictures by their suffix, and the others."""
        files = [
            entry
            for entry in sorted(folder.iterdir())
            if not is_system(entry.name) and not entry.name.startswith(".") and entry.is_file()
        ]
        pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
        return pictures, [file for file in files if file.suffix.lower() not in SUFFIXES]

    def notes(self) -> tuple[Note, ...]:
        """What was left out and assumed."""
        found = []
        if self.system:
            found.append(note(LEFT_OUT, len(self.system), "entr{y|ies} that a system put there", self.system))
        if self.hidden:
            found.append(note(LEFT_OUT, len(self.hidden), "hidden entr{y|ies}", self.hidden))
        for (suffix, told), names in sorted(self.others.items(), key=lambda item: -len(item[1])):
            what = "file(s), each of which " if told else "file(s) that {is no picture|are no pictures}, "
            found.append(note(LEFT_OUT, len(names), what, names, f"{told} ({suffix})" if told else suffix))
        if self.odd:
            found.append(note(LEFT_OUT, len(self.odd), "entr{y|ies} that {is|are} neither file nor folder", self.odd))
        if self.back:
            what = "link(s) to a folder that is looked at already or holds the data set"
            found.append(note(LEFT_OUT, len(self.back), what, self.back))
        if self.by_content:
            what = "file(s) taken as {a picture|pictures} by content, though {its name does|their names do} not say so"
            found.append(note(ASSUMED, len(self.by_content), what, self.by_content))
        if self.deeper:
            folders = sorted(self.deeper)
            what = "picture(s) below a class folder, counted for the class above: "
            found.append(note(ASSUMED, sum(self.deeper.values()), what, names=listed(folders, 5)))
        return tuple(found)

    def _below(self, folder: Path) -> Iterator[Path]:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in self._visited or self._around(folder):
            self.back[self._named(folder)] = None
            return
        self._visited.add((status.st_dev, status.st_ino))
        for entry in sorted(folder.iterdir()):
            if self._passed_over(entry):
                continue
            if entry.is_dir():
                yield from self._below(entry)
            elif is_dead_link(entry):
                yield entry
            elif not entry.is_file():
                self.odd.append(self._named(entry))
            elif entry.suffix.lower() in SUFFIXES:
                yield entry
            elif self._is_picture(entry):
                self.by_content.append(self._named(entry))
                yield entry

    def _around(self, folder: Path) -> bool:
        """Whether this is a link to a folder that the data set lies in: to its own root, a home folder, `/`."""
        return folder.is_symlink() and self.root.resolve().is_relative_to(folder.resolve())

    def _passed_over(self, entry: Path) -> bool:
        if is_system(entry.name):
            self.system[self._named(entry)] = None
        elif entry.name.startswith("."):
            self.hidden[self._named(entry)] = None
        else:
            return False
        return True

    def _is_picture(self, file: Path) -> bool:
        """Whether a file of no picture's suffix is a picture all the same; it is counted where it is none."""
        try:
            with file.open("rb") as stream:
                head = stream.read(HEAD_BYTES)
        except OSError:
            head = b""
        if starts_like_picture(head):
            with contextlib.suppress(Exception), Image.open(file, formats=FORMATS):  # as `open_picture` says
                return True
        told = what_it_is(head)
        suffix = file.suffix.lower() or "no suffix"
        foreign = told if told is not None and "format that is not read" in told else ""
        self.others.setdefault((suffix, foreign), []).append(self._named(file))
        return False

    def _named(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def is_dead_link(path: Path) -> bool:
    """Whether this is a link that leads nowhere."""
    return path.is_symlink() and not os.path.exists(path)
