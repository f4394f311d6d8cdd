"""Which of a data set's classes a run uses, and the data set as such a run sees it.

    0..4              from one class to another, in the data set's order; `..4` and `5..` leave an end open
    cat, dog, 5..     names and ranges, comma-separated

A network may so be pretrained on some of the classes and fine-tuned on the others.
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainers.data.notes import listed
from trainers.data.store import Manifest
from trainers.errors import UserError

_RANGE = ".."


def chosen_classes(text: str, names: Sequence[str]) -> tuple[int, ...]:
    """The positions of the classes that `text` names, ascending.

    >>> chosen_classes("b, d..", ["a", "b", "c", "d", "e"])
    (1, 3, 4)

    Raises:
        UserError: a name that is no class, a range that runs backwards, or fewer than two classes.
    """
    positions = {name: position for position, name in enumerate(names)}

    def position(name: str) -> int:
        if name not in positions:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UserError(
                f"classes {text!r}: {name!r} is none of the {len(names)} classes{hint}; use {listed(list(names))}, "
                "comma-separated, or ranges of them such as A..B"
            )
        return positions[name]

    chosen: set[int] = set()
    for part in (part.strip() for part in text.split(",")):
        if part in positions or _RANGE not in part:
            chosen.add(position(part))
            continue
        first, _, last = (end.strip() for end in part.partition(_RANGE))
        begin, end = position(first) if first else 0, position(last) if last else len(names) - 1
        if begin > end:
            raise UserError(f"classes {text!r}: {part} runs backwards; {last} stands before {first}")
        chosen.update(range(begin, end + 1))
    if len(chosen) < 2:
        raise UserError(f"classes {text!r} is one class, and there is nothing to tell it from; give two or more")
    return tuple(sorted(chosen))


class ClassSubset:
    """Some classes of a prepared data set, numbered anew from 0 in their order.

    Attributes:
        positions: of the classes among all of the data set's.
        manifest: what is prepared, as far as it is of these classes.
    """

    def __init__(self, text: str, manifest: Manifest) -> None:
        self.positions = chosen_classes(text, manifest.class_names)
        self._number = np.full(len(manifest.class_names), -1, dtype=np.int64)
        self._number[list(self.positions)] = np.arange(len(self.positions))
        self.manifest = replace(
            manifest,
            class_names=tuple(manifest.class_names[position] for position in self.positions),
            class_counts={
                split: tuple(counts[position] for position in self.positions)
                for split, counts in manifest.class_counts.items()
            },
        )

    def rows(self, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` whose label, of all rows' `labels`, is one of these classes."""
        kept: np.ndarray = rows[self._number[labels[rows]] >= 0]
        return kept

    def numbered(self, labels: np.ndarray) -> np.ndarray:
        """Labels of these classes, numbered anew."""
        return self._number[labels]

    def identity(self, of_all: str) -> str:
        """The identity of these classes' part of what `of_all` identifies; a SHA-256 as long as that one."""
        seen = json.dumps([of_all, self.manifest.class_names])
        return hashlib.sha256(seen.encode()).hexdigest()[: len(of_all)]
