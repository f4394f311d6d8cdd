"""A figure of a report, drawn once with matplotlib: as SVG inside the page, and as SVG and PNG files beside it.

The SVG is made small and readable to machines: text stays text, numbers have two decimals, what no reference needs is
dropped, and a title and a description say in words what is to be seen.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.compare import figure_page
from study.compare.figure_page import INK, blank_page, settle
from trainers.atomic import write_atomically, write_text
from trainers.errors import UserError

FAINT_INK = "#5f5f5f"
WIDTH = 4.8  # inches: as wide as a phone's page, so that text keeps its size there
_LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (8, 2, 1, 2, 1, 2)))


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: of its files, without suffix, and of its anchor; unique in a report.
        title: what it shows.
        description: what is to be seen, in words and numbers, for who does not see it.
        figure: matplotlib's.
        caption: what a reader needs to read it.
    """

    name: str
    title: str
    description: str
    figure: Figure
    caption: str = ""

    @cached_property
    def svg(self) -> str:
        """The figure as an `<svg>` element that can stand in a page."""
        return inlined(_rendered(self.figure, "svg", self.name).decode(), self.name, self.title, self.description)

    @cached_property
    def png(self) -> bytes:
        return _rendered(self.figure, "png", self.name)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `<name>.svg` and `<name>.png`, each whole or not at all.

        Raises:
            UserError: they cannot be written.
        """
        svg, png = folder / f"{self.name}.svg", folder / f"{self.name}.png"
        try:
            write_text(svg, f'<?xml version="1.0" encoding="utf-8"?>\n{self.svg}\n')
            write_atomically(png, lambda partial: partial.write_bytes(self.png))
        except OSError as error:
            raise UserError(f"{svg} cannot be written: {error.strerror or error}; make its folder writable") from error
        return svg, png


def page(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of so many inches."""
    return blank_page((width, height), pad=0.06)


def plain_axes(axis: Axes, across: str, up: str, title: str = "") -> None:
    """Axes without a frame, with a faint grid, in letters for a small figure."""
    figure_page.plain_axes(axis, across, up, size=9.5, tick_size=8.5)
    if title:
        axis.set_title(title, fontsize=10, color=INK, loc="left")


def marked_line(
    axis: Axes,
    across: Sequence[float],
    up: Sequence[float],
    look: tuple[str, str, object],
    label: str,
    *,
    marks: int = 8,
    place: int = 0,
    **further: Any,
) -> None:
    """A line with marks that stay apart, none of more than so many.

    Args:
        axis: where.
        across, up: its points.
        look: its colour, its mark and its kind of line.
        label: its name in the legend.
        marks: how many at most.
        place: the line's among several: their marks begin at other points, so that each is seen where lines coincide.
        further: as matplotlib takes it.
    """
    colour, mark, style = look
    every = max(1, -(-len(across) // marks))
    plain = {"markersize": 5.5, "markeredgecolor": "white", "linewidth": 1.6}
    marked = {"marker": mark, "markevery": (place % every, every)}
    axis.plot(across, up, color=colour, linestyle=style, label=label, **{**marked, **plain, **further})


def line_style(place: int) -> object:
    """The n-th of some kinds of line that stay apart without colours."""
    return _LINES[place % len(_LINES)]


def legend_below(figure: Figure, axis: Axes, columns: int = 2) -> None:
    """The names of an axis's lines, below the figure, as many in a row as fit."""
    handles, names = axis.get_legend_handles_labels()
    if handles:
        columns = 1 if max(map(len, names)) > 30 else columns
        figure.legend(handles, names, loc="outside lower left", ncols=columns, frameon=False, fontsize=8.5)


def _rendered(figure: Figure, kind: str, name: str) -> bytes:
    settle(figure)
    stream = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else None
    # Words of a font, not outlines; and names that are the same whenever it is drawn.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format=kind, metadata=metadata)
    return stream.getvalue()


def inlined(svg: str, name: str, title: str, description: str) -> str:
    """An SVG file as an element of a page: small, with a title and a description, its names its own.

    Args:
        svg: matplotlib's file.
        name: what its names are made of.
        title, description: of the picture, in words.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r'<style type="text/css">.*?</style>', "", body, flags=re.S)
    needed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in needed else "", body)
    for number, old in enumerate(sorted(needed)):
        body = re.sub(rf'(id="|href="#|url\(#){re.escape(old)}(?=["\)])', rf"\g<1>{name}-{number}", body)
    body = re.sub(r' (?:d|x|y|points)="[^"]*"', lambda found: _short(found[0]), body)
    body = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1'DejaVu Sans', Verdana, sans-serif", body)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = re.sub(r">\s+<", "><", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    width, height = (size[1], size[2]) if size else ("345", "260")
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'viewBox="0 0 {width} {height}" width="{width}pt" height="{height}pt" '
        f'aria-labelledby="{name}-title {name}-desc" style="stroke-linejoin:round">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    )
    return opening + body[body.index(">") + 1 :]


def _short(numbers: str) -> str:
    """The numbers of an attribute with two decimals: a hundredth of a point is below what any screen shows."""
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), numbers)
