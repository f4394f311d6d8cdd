"""What preparing leaves out, changes, assumes or finds odd: counted, by kind, with examples.

One rule holds for every reader of data: nothing of it happens without a note. Notes are printed, and stay in the
manifest of the prepared folder, from which every run takes them into its own record.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LEFT_OUT, CHANGED, ASSUMED, ODD = "left out", "changed", "assumed", "odd"
KINDS = (LEFT_OUT, CHANGED, ASSUMED, ODD)
EXAMPLES_SHOWN = 3
"""Examples in a note's line on the terminal."""
EXAMPLES_KEPT = 1000
"""Examples in the manifest: all, but where a data set is mostly damaged."""


@dataclass(frozen=True)
class Note:
    """One thing that happened to a data set's pictures.

    Attributes:
        kind: one of `KINDS`.
        what: a clause that begins with the count: "12 pictures are cut short".
        count: how many.
        examples: where; files and rows as messages name them.
    """

    kind: str
    what: str
    count: int
    examples: tuple[str, ...] = ()

    def line(self) -> str:
        """As it is printed."""
        if not self.examples:
            return f"{self.kind}: {self.what}"
        shown = ", ".join(self.examples[:EXAMPLES_SHOWN])
        more = ", ..." if self.count > min(len(self.examples), EXAMPLES_SHOWN) else ""
        return f"{self.kind}: {self.what}: {shown}{more}"


def note(kind: str, count: int, thing: str, examples: Iterable[str] = (), names: str = "") -> Note:
    """A note of `count` things.

    Args:
        kind: one of `KINDS`.
        count: how many.
        thing: what one of them is, with the plural in brackets: `picture(s)`, `{is|are}`.
        examples: where.
        names: what is said after it as it stands: names of the user's, which may hold brackets themselves.

    >>> note(LEFT_OUT, 1, "hidden file(s)", ["a/.x.png"]).line()
    'left out: 1 hidden file: a/.x.png'
    >>> note(CHANGED, 7, "picture(s) that {is|are} not square").line()
    'changed: 7 pictures that are not square'
    """
    what = f"{count:,} {plural(thing, count)}{printable(names)}"
    return Note(kind, what, count, tuple(printable(text) for text in examples)[:EXAMPLES_KEPT])


def plural(text: str, count: int) -> str:
    """The text for one or for several: of `{is|are}` the one that fits, and `(s)` as it must be."""
    parts = text.split("{")
    for index, part in enumerate(parts[1:], start=1):
        choice, _, rest = part.partition("}")
        one, _, several = choice.partition("|")
        parts[index] = (one if count == 1 else several) + rest
    return "".join(parts).replace("(s)", "" if count == 1 else "s")


def printable(text: str) -> str:
    """The text without what a terminal or a record cannot hold: line ends, control characters, broken bytes."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode() for sign in text
    )


def note_of(entry: dict[str, Any]) -> Note:
    """The note that a manifest holds; TypeError or ValueError where it is none."""
    found = Note(**{**entry, "examples": tuple(entry["examples"])})
    texts = (found.kind, found.what, *found.examples)
    if not all(isinstance(text, str) for text in texts) or found.kind not in KINDS:
        raise TypeError(f"{found} is no note")
    if not isinstance(found.count, int) or found.count < 0:
        raise ValueError(f"{found} has a count that is none")
    return found


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names in a message, all of them up to `most`."""
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + more
