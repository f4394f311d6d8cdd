"""What a study names on this machine, as it goes to a cluster: the study file, own data, weights, plug-ins.

Everything lies there in one folder of the study's own, on the disk that all nodes share:

    ~/data/submitted/NAME/study.yaml     the study file; each path in it is the one that the file has there
    ~/data/submitted/NAME/data/          own data sets: Parquet files, folders
    ~/data/submitted/NAME/weights/       pretrained files
    ~/data/submitted/NAME/plugins/       plug-ins

A study file's text is kept as it was written, but for its paths. Data sets of the catalog are the cluster's own
(`~/data`), unless a data root of this machine is named to send them from.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from study.define.cells import StudyConfig
from study.define.study_file import study_file
from trainers.data.catalog import lookup, normalised_name
from trainers.data.locate import choose_dataset, find_source
from trainers.errors import UserError

HOME = "~/data"
"""The data root of every node."""
SUBMITTED = "submitted"
"""In it, where what was sent lies, a folder a study."""
ROOT = "@root@"
"""Stands in a bundle for the study's folder there until that is known."""


@dataclass(frozen=True)
class Item:
    """Something to send.

    Attributes:
        what: in words.
        source: the file or folder here.
        there: the path within the study's folder there; beginning with `../` beside it.
        files, size: how many, and their bytes.
    """

    what: str
    source: Path
    there: str
    files: int
    size: int


@dataclass(frozen=True)
class Bundle:
    """A study as it is sent.

    Attributes:
        name: the study's.
        items: what is sent beside the study file.
        text: the study file as it is there, with `ROOT` in its paths.
    """

    name: str
    items: tuple[Item, ...]
    text: str

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return len(self.text.encode()) + sum(item.size for item in self.items)

    def text_at(self, root: str) -> str:
        """The study file as it is in a folder there."""
        return self.text.replace(ROOT, root)

    def plugins_at(self, root: str) -> list[str]:
        """The plug-ins' paths there."""
        return [f"{root}/{item.there}" for item in self.items if item.what == "plug-in"]

    def digest(self, words: Sequence[str]) -> str:
        """What tells whether a job runs this very study: of its text, its options, and of what each item is."""
        told = [self.text, *words]
        for item in self.items:
            small = item.source.read_bytes() if item.what == "plug-in" else b""
            told.append(f"{item.there} {item.files} {item.size} {hashlib.sha256(small).hexdigest()}")
        return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]

    def lines(self) -> list[str]:
        """What is sent and how large it is, one line each."""
        told = [f"  study file {self.name}"]
        for item in self.items:
            files = f"{item.files} files, " if item.source.is_dir() else ""
            told.append(f"  {item.what} {item.source} ({files}{size_text(item.size)})")
        return [*told, f"  in all {size_text(self.size)}"]


def bundle_of(study: StudyConfig, source: str, plugins: Sequence[str], data_root: str | None) -> Bundle:
    """What a study names, found on this machine.

    Args:
        study: as `source` was read, so that its paths are known to be paths.
        source: a preset's name or a study file's path.
        plugins: files.
        data_root: where data sets of the catalog are sent from; None leaves them to the cluster.

    Raises:
        UserError: something that the study names is not here, is empty, or could not be read there.
    """
    text = study_file(source).read_text(encoding="utf-8")
    items: dict[Path, Item] = {}
    places: list[tuple[yaml.ScalarNode, str]] = []
    for node, kind in _paths(yaml.compose(text, Loader=yaml.SafeLoader), ()):
        if kind == "data" and lookup(node.value) is not None:
            continue
        what, path = _own_data(node.value) if kind == "data" else _weights(node.value)
        item = items.setdefault(path, _item(what, path, f"{kind}/{_name(path, kind, items)}"))
        places.append((node, f"{ROOT}/{item.there}"))
    for file in plugins:
        path = Path(file).resolve()
        items.setdefault(path, _item("plug-in", path, f"plugins/{path.name}"))
    if data_root is not None:
        for path in _catalogued(study, Path(data_root)):
            items.setdefault(path, _item("data", path, f"../../{path.name}"))
    return Bundle(study.name, tuple(items.values()), _replaced(text, places))


def size_text(size: int) -> str:
    """Bytes as people read them.

    >>> size_text(900), size_text(5_400_000)
    ('900 bytes', '5.1 MiB')
    """
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def _paths(node: yaml.Node | None, trail: tuple[str, ...]) -> Iterator[tuple[yaml.ScalarNode, str]]:
    """The scalars of a study file that may be paths: of a data set (`data`), of a pretrained file (`weights`)."""
    if isinstance(node, yaml.ScalarNode):
        if trail[-1:] == ("datasets",) or trail == ("pretrain", "dataset"):
            yield node, "data"
        elif trail[-1:] == ("pretrained",) and not node.tag.endswith(":null"):
            yield node, "weights"
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _paths(value, trail)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _paths(value, (*trail, str(key.value)))


def _replaced(text: str, places: Sequence[tuple[yaml.ScalarNode, str]]) -> str:
    """The text with other values in these places; an anchor's, which several places name, once."""
    by_start = {node.start_mark.index: (node.end_mark.index, value) for node, value in places}
    for start, (end, value) in sorted(by_start.items(), reverse=True):
        # A block scalar (`|`, `>`) ends with the newline before the next line.
        after = "\n" if text[start:end].endswith("\n") else ""
        text = text[:start] + json.dumps(value, ensure_ascii=False) + after + text[end:]
    return text


def _own_data(value: str) -> tuple[str, Path]:
    choice = choose_dataset(value)
    assert choice.path is not None  # it is in no catalog
    find_source(choice, Path(), source=None, download=False)  # refuses what could not be read there either
    return "data", choice.path


def _weights(value: str) -> tuple[str, Path]:
    path = Path(os.path.expanduser(value))
    if not path.exists():
        raise UserError(f"there is no pretrained file {value}; give its path from this folder, {Path.cwd()}")
    return "weights", path.resolve()


def _catalogued(study: StudyConfig, data_root: Path) -> list[Path]:
    """The folders of a data root that hold the study's data sets of the catalog."""
    names = dict.fromkeys(cell.base.dataset for cell in study.cells)
    names |= dict.fromkeys(pretraining.dataset for pretraining in study.pretrainings.values())
    found = []
    for name in names:
        info = lookup(name)
        if info is None or info.name == "Digits":  # which comes with scikit-learn
            continue
        spellings = {normalised_name(spelling) for spelling in (info.name, *info.aliases)}
        entries = sorted(data_root.iterdir()) if data_root.is_dir() else []
        folders = [entry for entry in entries if entry.is_dir() and normalised_name(entry.name) in spellings]
        if not folders:
            raise UserError(
                f"{info.name}: there is no folder of that name in the data root {data_root} to send; put its files "
                "there, or leave --data-root out where the cluster has them in ~/data or may fetch them (--download)"
            )
        found.append(folders[0].resolve())
    return found


def _name(path: Path, kind: str, items: Mapping[Path, Item]) -> str:
    """A name there that no other file of the kind has."""
    taken = {item.there for other, item in items.items() if other != path}
    if f"{kind}/{path.name}" not in taken:
        return path.name
    return f"{path.stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}{path.suffix}"


def _item(what: str, path: Path, there: str) -> Item:
    if path.is_file():
        return Item(what, path, there, 1, path.stat().st_size)
    files = size = 0
    for folder, inner, names in os.walk(path):
        for name in (*inner, *names):
            entry = os.path.join(folder, name)
            if os.path.islink(entry):
                raise UserError(f"{entry} is a link, and only files are sent; put the file itself there")
        files += len(names)
        size += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return Item(what, path, there, files, size)


def request(words: Sequence[str], digest: str) -> dict[str, Any]:
    """What `study.submit.head` is told by a file beside the study: the command line behind `python -m study`."""
    return {"words": list(words), "digest": digest}
