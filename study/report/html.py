"""A report as one HTML file: nothing in it is fetched, nothing runs, and everything from records is escaped.

It says so to the browser too: the page's content security policy allows styles and pictures of the page's own and
nothing else.
"""

import base64
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import resources
from itertools import count

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from study.report.document import (
    FIGURES,
    Block,
    Code,
    Document,
    Figures,
    Fold,
    Listing,
    Paragraph,
    Pictures,
    Section,
    Span,
    Table,
    text,
)

LARGEST = 29 * 10**5
"""Bytes that a page may have, below 3 MB, so that it can go by mail."""
_KINDS = {
    Paragraph: "paragraph",
    Listing: "listing",
    Code: "code",
    Table: "table",
    Figures: "figures",
    Pictures: "pictures",
    Fold: "fold",
}


def render_html(document: Document, most: int = LARGEST) -> str:
    """The whole page; where it would be larger than `most` bytes, without what fewest readers look at.

    First the lists of search trials go, then the figures of the search, then those of how runs went: the page says so,
    and leads to the figures' files beside it.
    """
    page = _rendered(document)
    for anchor, slim in (("runs", _without_trials), ("search", _as_files), ("curves", _as_files)):
        if len(page.encode()) <= most:
            break
        sections = (_slimmed(one, slim) if one.anchor == anchor else one for one in document.sections)
        document = replace(document, sections=tuple(sections))
        page = _rendered(document)
    return page


def _rendered(document: Document) -> str:
    template = _environment().get_template("report.html.j2")
    return template.render(document=document, number=count(1).__next__, figures=FIGURES)


def _slimmed(section: Section, slim: Callable[[Block], Block]) -> Section:
    inner = tuple(_slimmed(one, slim) for one in section.sections)
    return replace(section, blocks=tuple(map(slim, section.blocks)), sections=inner)


def _without_trials(block: Block) -> Block:
    if not isinstance(block, Fold):
        return block
    return Paragraph(text(f"{block.title}: not listed, to keep this page small; results.parquet has them."), "note")


def _as_files(block: Block) -> Block:
    return replace(block, embedded=False) if isinstance(block, Figures) else block


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("study.report", "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: _KINDS[type(block)]
    environment.filters["data"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    # What is ours as it stands: the style, and figures, whose texts were escaped where they were drawn.
    environment.filters["ours"] = Markup
    environment.globals["style"] = _style()
    environment.globals["address"] = _address
    return environment


def _style() -> str:
    return resources.files("study.report").joinpath("templates", "style.css").read_text(encoding="utf-8")


def _address(span: Span) -> str:
    """Where a span leads, if it is a place on this page, beside it or on a server: no other kind of address."""
    known = span.href.startswith(("#", "http://", "https://")) or ":" not in span.href
    return span.href if known else ""
