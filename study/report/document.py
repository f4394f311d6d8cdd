"""What a report is made of, before it is HTML or Markdown: sections of paragraphs, tables, figures and pictures.

Everything here is plain text: who writes it out escapes it. So names, notes and messages from records may be put in as
they are, and both forms of a report say the same.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from study.compare.table import NONE

if TYPE_CHECKING:
    from study.report.drawing import Drawing


FIGURES = "figures"
"""The folder of the figures, beside the report."""


@dataclass(frozen=True)
class Span:
    """A piece of text.

    Attributes:
        text: as it is to be read.
        href: where it leads: `#` and an anchor of this report, or an address; empty: nowhere.
        style: `strong`, `code` or empty.
    """

    text: str
    href: str = ""
    style: str = ""


Text: TypeAlias = tuple[Span, ...]
Words: TypeAlias = "str | Span | Iterable[str | Span]"


def text(words: Words) -> Text:
    """Words and spans as one text."""
    if isinstance(words, (str, Span)):
        words = (words,)
    return tuple(span for one in words if (span := one if isinstance(one, Span) else Span(one)).text)


def strong(words: str, href: str = "") -> Span:
    return Span(words, href, "strong")


def linked(words: str, href: str) -> Span:
    """A number that leads to the runs that it was made from; where there is none, the dash leads nowhere."""
    return Span(words, "" if words == NONE else href)


def code(words: str) -> Span:
    return Span(words, style="code")


def anchor(*parts: str) -> str:
    """A name that can stand in an address and begins with a letter; other names give other anchors nearly always.

    >>> anchor("run", "Digits-MLP-binary-search-0003")
    'run-Digits-MLP-binary-search-0003'
    """
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-") for part in parts)


@dataclass(frozen=True)
class Paragraph:
    """One paragraph; `kind` is `lead` (what a reader must not miss), `note`, `warning` or empty."""

    text: Text
    kind: str = ""


def prose(words: str, kind: str = "") -> Paragraph:
    """A paragraph of our own words, in which `` ` `` encloses code."""
    spans = [Span(part, style="code" if place % 2 else "") for place, part in enumerate(words.split("`"))]
    return Paragraph(text(spans), kind)


@dataclass(frozen=True)
class Listing:
    """Points, one below the other."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Code:
    """Text kept line by line: a command, a file. `label` says what it is to who does not see it."""

    text: str
    label: str


@dataclass(frozen=True)
class Row:
    """A table's row; the first cell names it."""

    cells: tuple[Text, ...]
    anchor: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        caption: what it shows.
        header: of each column.
        rows: as long as the header.
        numeric: which columns hold numbers, that is, stand to the right; None: all but the first.
        stacked: whether on a phone each row is a block of its own, as suits a few rows of many words.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: tuple[int, ...] | None = None
    stacked: bool = False

    def is_numeric(self, column: int) -> bool:
        return column > 0 if self.numeric is None else column in self.numeric


@dataclass(frozen=True)
class Figures:
    """Figures that belong side by side, where there is room.

    Attributes:
        drawings: the figures.
        embedded: whether they stand in the page itself; otherwise it leads to their files and says what they show.
    """

    drawings: "tuple[Drawing, ...]"
    embedded: bool = True


@dataclass(frozen=True)
class Picture:
    """A small picture: a PNG file's bytes, what it shows, in words, and what is written below it."""

    png: bytes
    description: str
    caption: Text


@dataclass(frozen=True)
class Pictures:
    """Small pictures in rows."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Fold:
    """What most readers need not see: it opens on demand, and in print."""

    title: str
    blocks: "tuple[Block, ...]"


Block: TypeAlias = Paragraph | Listing | Code | Table | Figures | Pictures | Fold


@dataclass(frozen=True)
class Section:
    """A section with its anchor; sections of a section are one level deeper."""

    anchor: str
    title: str
    blocks: tuple[Block, ...] = ()
    sections: "tuple[Section, ...]" = ()

    @property
    def empty(self) -> bool:
        return not self.blocks and all(section.empty for section in self.sections)


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: of the page.
        banners: what must be read before anything else.
        sections: in order.
        made: by what it was made, and from what.
    """

    title: str
    banners: tuple[str, ...]
    sections: tuple[Section, ...]
    made: str = ""


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Words]],
    numeric: Sequence[int] | None = None,
    anchors: Sequence[str] = (),
    *,
    stacked: bool = False,
) -> Table:
    """A table of rows of words; `anchors` names the rows, where something leads to them."""
    texts = [tuple(text(cell) for cell in cells) for cells in rows]
    made = tuple(map(Row, texts, anchors or [""] * len(texts)))
    return Table(caption, tuple(header), made, None if numeric is None else tuple(numeric), stacked)


def by_workload(name: str, title: str, blocks: Sequence[Block], parts: Sequence[Section]) -> Section:
    """A section with a part a workload; where there is one workload, it needs no part of its own."""
    if len(parts) == 1:
        return Section(name, title, (*blocks, *parts[0].blocks), parts[0].sections)
    return Section(name, title, tuple(blocks), tuple(parts))


def drawings(sections: Iterable[Section]) -> "list[Drawing]":
    """Every figure of these sections, in order."""
    return [one for section in sections for one in [*_drawings(section.blocks), *drawings(section.sections)]]


def _drawings(blocks: Iterable[Block]) -> "list[Drawing]":
    found: list[Drawing] = []
    for block in blocks:
        if isinstance(block, Figures):
            found += block.drawings
        elif isinstance(block, Fold):
            found += _drawings(block.blocks)
    return found


def without_links(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """The same blocks, leading nowhere on this page: for a report that does not list the runs."""
    return tuple(_without_links(block) for block in blocks)


def _without_links(block: Block) -> Block:
    if isinstance(block, Paragraph):
        return replace(block, text=_plain(block.text))
    if isinstance(block, Listing):
        return Listing(tuple(map(_plain, block.items)))
    if isinstance(block, Table):
        return replace(block, rows=tuple(Row(tuple(map(_plain, row.cells))) for row in block.rows))
    return replace(block, blocks=without_links(block.blocks)) if isinstance(block, Fold) else block


def _plain(words: Text) -> Text:
    return tuple(replace(span, href="") if span.href.startswith("#") else span for span in words)
