"""What every figure of a comparison has: a page, a title below its banners, plain axes, and two files."""

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from trainers.atomic import write_atomically
from trainers.errors import UserError

INK, FAINT_INK, WARNING_INK = "#333333", "#666666", "#B00020"


def blank_page(size: tuple[float, float], pad: float = 0.12) -> Figure:
    """An empty figure of that width and height, and so much room around its axes, in inches."""
    figure = Figure(figsize=size, dpi=150, layout=ConstrainedLayoutEngine(h_pad=pad, w_pad=pad))
    FigureCanvasAgg(figure)
    return figure


def panels(
    count: int, most_columns: int, page_of: Callable[[int, int], Figure], **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes, row by row, on a page made from the number of its columns and that of its rows.

    Args:
        count: axes.
        most_columns: side by side, at most.
        page_of: the empty figure for (columns, rows).
        shared: what `Figure.subplots` takes: `sharex`, say.
    """
    columns = min(most_columns, count)
    rows = -(-count // columns)
    figure = page_of(columns, rows)
    axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def write_title(figure: Figure, text: str, banners: Sequence[str]) -> None:
    """A title, below what must be read first."""
    width = int(figure.get_figwidth() * 12)
    lines = [line for banner in banners for line in textwrap.wrap(banner, width)]
    colour = WARNING_INK if lines else INK
    figure.suptitle("\n".join([*lines, *textwrap.wrap(text, width)]), fontsize=12, color=colour)


def settle(figure: Figure) -> None:
    """Lay a figure out once, for all the files that are made of it; it takes as long as drawing it."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.execute(figure)
        figure.set_layout_engine("none")


def write_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure as `<stem>.png` and `<stem>.svg`, each whole or not at all; raises `UserError` where it cannot."""
    settle(figure)
    paths = (stem.with_suffix(".png"), stem.with_suffix(".svg"))
    for path in paths:
        try:
            write_atomically(path, partial(figure.savefig, format=path.suffix[1:]))
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}; make its folder writable") from error
    return paths


def plain_axes(axis: Axes, across: str, up: str, size: float = 10, tick_size: float = 10) -> None:
    """Axes with their titles and a faint grid; letters in points."""
    axis.set_xlabel(across, color=INK, fontsize=size)
    axis.set_ylabel(up, color=INK, fontsize=size)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, which="both", labelsize=tick_size)
    axis.grid(color="#e4e4e4", linewidth=0.7)
    axis.set_axisbelow(True)
