"""A report as one HTML file: nothing in it is fetched, nothing runs, and everything from records is escaped.

It says so to the browser too: the page's content security policy allows styles and pictures of the page's own and
nothing else.
"""

import base64
from functools import cache
from importlib import resources
from itertools import count

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from study.report.document import (
    Code,
    Document,
    Figures,
    Fold,
    Listing,
    Paragraph,
    Pictures,
    Span,
    Table,
)

LARGEST = 3 * 10**6
"""Bytes that a report may have, so that it can go by mail."""
_KINDS = {
    Paragraph: "paragraph",
    Listing: "listing",
    Code: "code",
    Table: "table",
    Figures: "figures",
    Pictures: "pictures",
    Fold: "fold",
}


def render_html(document: Document) -> str:
    """The whole page."""
    return _environment().get_template("report.html.j2").render(document=document, number=count(1).__next__)


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
