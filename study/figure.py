"""Accuracy against peak memory: one point a method, with its 95 % interval over the confirmation seeds.

One panel per data set and model. A panel shows confirmed results; where nothing is confirmed yet it shows the single
best search or train results with hollow marks, and says so. Methods are labelled beside their points, in colours that
stay apart for colour-blind readers (Okabe and Ito, "Color Universal Design", 2008), each with a mark of its own. Points
that would hide one another are set side by side.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from study.summary import CellGroup, Estimate, MethodSummary
from trainers.data.catalog import lookup
from trainers.errors import UserError

MIB = 2**20
STYLES = {  # colour and mark of each method; the same in every figure
    "binary": ("#0072B2", "o"),
    "bop": ("#D55E00", "s"),
    "frozen": ("#595959", "X"),
    "real-SGD": ("#009E73", "^"),
    "real-Adam": ("#CC79A7", "D"),
}
OTHER_STYLE = ("#000000", "P")
INK, FAINT_INK = "#333333", "#666666"
PANEL_INCHES = (6.4, 4.8)
MOST_COLUMNS = 3
CAPTION_CHARACTERS = 78  # that fit below one panel
MARK_APART = 12  # points between the middles of marks that stand side by side
LEAST_OCTAVES = 2  # of memory that an axis spans, so that a difference of a few bytes does not look like one
CHANCE_GAP = 25  # per cent; further below the lowest point the chance line would squeeze the points: say it in words
# Where a label may stand, in degrees and points from its point; of the places that are free, the first is taken.
ANGLES = (0, 180, 35, 145, -35, -145, 90, -90)
DISTANCES = (9, 22, 36, 52, 70)


@dataclass
class Point:
    """A method's point: accuracies in per cent, memory in MiB, and where in MiB its mark is drawn."""

    summary: MethodSummary
    memory: float
    mean: float
    half_width: float
    drawn_at: float

    @property
    def style(self) -> tuple[str, str]:
        return STYLES.get(self.summary.method, OTHER_STYLE)


def draw_figure(groups: Sequence[CellGroup], stem: Path, study: str) -> tuple[Path, Path]:
    """Write `<stem>.png` and `<stem>.svg`, whole or not at all, and return their paths.

    Args:
        groups: what `summarise` returned; at least one.
        stem: the path without its suffix.
        study: the study's name, for the title.

    Raises:
        UserError: the files cannot be written.
    """
    columns = min(MOST_COLUMNS, len(groups))
    rows = math.ceil(len(groups) / columns)
    size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.3)
    figure = Figure(
        figsize=size,
        dpi=150,
        layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12),
    )
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(f"Accuracy against peak memory, study {study}", fontsize=12, color=INK)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    panels = [(axis, _draw_frame(axis, group)) for axis, group in zip(axes, groups, strict=False)]
    for spare in axes[len(groups) :]:
        spare.remove()
    canvas.draw()  # the layout settles, and with it where every point lies on the page
    figure.set_layout_engine("none")
    for axis, points in panels:
        _set_side_by_side(axis, points)
        _draw_points(axis, points)
        _place_labels(axis, points)
    paths = (stem.with_suffix(".png"), stem.with_suffix(".svg"))
    for path in paths:
        unfinished = path.with_name(f".{path.name}.part")
        try:
            figure.savefig(unfinished, format=path.suffix[1:])
            unfinished.replace(path)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}; make its folder writable") from error
        finally:
            unfinished.unlink(missing_ok=True)
    return paths


def shown(group: CellGroup) -> tuple[str, list[MethodSummary]]:
    """Which accuracy a panel shows (`test_accuracy` or `val_accuracy`) and of which methods, never of both kinds.

    Confirmed methods alone where there are any, by test accuracy if each of them was tested.
    """
    confirmed = [method for method in group.methods if method.confirmed]
    methods = [method for method in confirmed or group.methods if method.peak_memory_bytes]
    measure = "test_accuracy" if methods and all(method.test_accuracy for method in methods) else "val_accuracy"
    return measure, [method for method in methods if getattr(method, measure)]


def _draw_frame(axis: Axes, group: CellGroup) -> list[Point]:
    """Everything of a panel but its points, which it returns."""
    measure, methods = shown(group)
    info = lookup(group.dataset)
    title = group.dataset.rstrip("/").rsplit("/", 1)[-1] if info is None else info.title
    lines = textwrap.wrap(f"{title}: {group.model}", 62, break_on_hyphens=False)
    axis.set_title("\n".join(lines), fontsize=10.5, color=INK)
    axis.set_xlabel("peak memory of training (MiB, log scale)", color=INK)
    axis.set_ylabel(f"{'test' if measure == 'test_accuracy' else 'validation'} accuracy (%)", color=INK)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, which="both")
    axis.grid(color="#e4e4e4", linewidth=0.7)
    axis.set_axisbelow(True)
    points = [_point(method, getattr(method, measure)) for method in methods]
    if not points:
        axis.text(0.5, 0.5, "no run with accuracy and memory", transform=axis.transAxes, ha="center", color=INK)
        return []
    _scale_memory(axis, [point.memory for point in points])
    _scale_accuracy(axis, points, None if info is None else 100 / info.num_classes)
    caption = "\n".join(textwrap.wrap(_caption(methods), CAPTION_CHARACTERS))
    axis.annotate(caption, (0, 0), (0, -42), "axes fraction", "offset points", fontsize=8.5, color=FAINT_INK, va="top")
    return points


def _point(method: MethodSummary, estimate: Estimate) -> Point:
    memory = (method.peak_memory_bytes or 0) / MIB
    return Point(method, memory, 100 * estimate.mean, 100 * (estimate.half_width or 0), memory)


def _scale_memory(axis: Axes, values: Sequence[float]) -> None:
    """A log2 axis with room for labels, marked at powers of two and, where those are few, halfway between them."""
    low, high = math.log2(min(values)), math.log2(max(values))
    room = max(0.22 * (high - low), (LEAST_OCTAVES - high + low) / 2)
    low, high = low - room, high + room
    axis.set_xscale("log", base=2)
    axis.set_xlim(2**low, 2**high)
    spacing = math.ceil((high - low) / 8)
    powers = [2.0**power for power in range(math.floor(low), math.ceil(high) + 1) if power % spacing == 0]
    ticks = sorted(powers + [1.5 * power for power in powers]) if high - low < 4 else powers
    axis.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if 2**low <= tick <= 2**high]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}" if value < 1000 else f"{value:.0f}"))


def _scale_accuracy(axis: Axes, points: Sequence[Point], chance: float | None) -> None:
    """An axis around the intervals, in per cent, with the chance level as a line where it is near."""
    low = min(point.mean - point.half_width for point in points)
    high = max(point.mean + point.half_width for point in points)
    if chance is not None:
        near = low - chance < CHANCE_GAP
        if near:
            low, high = min(low, chance), max(high, chance)
            axis.axhline(chance, color="#888888", linewidth=1, linestyle=(0, (5, 4)), zorder=1)
        axis.annotate(
            f"chance {chance:.3g} %" + ("" if near else " (below this axis)"),
            (0.995, chance if near else 0.01),
            xycoords=axis.get_yaxis_transform() if near else "axes fraction",
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=FAINT_INK,
        )
    room = max(0.6, 0.12 * (high - low))
    axis.set_ylim(low - room, max(min(high + room, 100.5), high + 0.3))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))


def _caption(methods: Sequence[MethodSummary]) -> str:
    if not methods[0].confirmed:
        return "Hollow: the best single search or train result, not confirmed on fresh seeds; no interval."
    counts = sorted({len(method.seeds) for method in methods})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    return (
        f"Mean and 95 % interval (Student's t) over confirmation seeds, {n}, of each method's best configuration. "
        "Marks that would overlap stand side by side."
    )


def _set_side_by_side(axis: Axes, points: Sequence[Point]) -> None:
    """Move marks that overlap apart (`drawn_at`), in the order of their memory, around the middle of their places."""
    scale = _pixels_per_point(axis)
    clusters: list[list[Point]] = []
    for point in sorted(points, key=lambda point: point.memory):
        boxes = _mark_boxes(axis, point)
        touching = [
            c
            for c in clusters
            if any(one.overlaps(other) for p in c for one in _mark_boxes(axis, p) for other in boxes)
        ]
        clusters = [c for c in clusters if not any(c is t for t in touching)] + [
            [p for c in touching for p in c] + [point]
        ]
    for cluster in clusters:
        pixels = axis.transData.transform([(point.memory, point.mean) for point in cluster])
        middle = float(pixels[:, 0].mean())
        for place, point in enumerate(cluster):
            x = middle + (place - (len(cluster) - 1) / 2) * MARK_APART * scale
            point.drawn_at = point.memory if len(cluster) == 1 else axis.transData.inverted().transform((x, 0))[0]


def _draw_points(axis: Axes, points: Sequence[Point]) -> None:
    for point in points:
        colour, mark = point.style
        confirmed = point.summary.confirmed
        axis.errorbar(
            point.drawn_at,
            point.mean,
            yerr=point.half_width or None,
            fmt=mark,
            markersize=8,
            color=colour,
            markerfacecolor=colour if confirmed else "white",
            markeredgecolor="white" if confirmed else colour,
            markeredgewidth=0.8 if confirmed else 1.5,
            elinewidth=1.6,
            capsize=4,
            zorder=3,
        )


def _place_labels(axis: Axes, points: Sequence[Point]) -> None:
    """Write each method's name where it covers no mark, no interval and no other name; a thin line leads to far ones.

    Places are tried from near to far; the first free one is taken, or the least covered.
    """
    canvas = axis.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer, scale = canvas.get_renderer(), _pixels_per_point(axis)
    frame = axis.get_window_extent(renderer)
    taken = [box for point in points for box in _mark_boxes(axis, point)]
    taken += [text.get_window_extent(renderer) for text in axis.texts]
    same_n = len({len(point.summary.seeds) for point in points}) == 1
    for point in sorted(points, key=lambda point: -point.mean):
        summary = point.summary
        name = summary.method
        if not summary.confirmed:
            name += f" ({summary.phase}, n = {len(summary.seeds)})"
        elif not same_n:
            name += f" (n = {len(summary.seeds)})"
        text = axis.annotate(
            name,
            (point.drawn_at, point.mean),
            (0, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=[0.75 * part for part in to_rgb(point.style[0])],  # text needs more contrast than a mark
            zorder=4,
        )
        places = []
        for order, (distance, angle) in enumerate((d, a) for d in DISTANCES for a in ANGLES):
            offset = (distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle)))
            _stand(text, offset)
            box = text.get_window_extent(renderer).padded(1.5 * scale)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            covered = sum(_shared_area(box, other) for other in taken) + (0 if inside else box.width * box.height)
            covered += box.height**2 * _crossings(
                axis, point, offset, [other for other in points if other is not point]
            )
            places.append((covered, order, offset, box))
            if covered == 0:
                break
        _, _, offset, box = min(places, key=lambda place: place[:2])
        _stand(text, offset)
        taken.append(box)
        if math.hypot(*offset) > DISTANCES[0] + 1:
            line = {"arrowstyle": "-", "color": point.style[0], "linewidth": 0.7, "shrinkA": 1, "shrinkB": 5}
            axis.annotate(
                "", (point.drawn_at, point.mean), offset, textcoords="offset points", arrowprops=line, zorder=2.5
            )


def _crossings(axis: Axes, point: Point, offset: tuple[float, float], points: Sequence[Point]) -> int:
    """How many of the other points' marks and intervals lie under the line from a point to its name."""
    x, y = axis.transData.transform((point.drawn_at, point.mean))
    steps = [step / 20 * _pixels_per_point(axis) for step in range(21)]
    line = [(x + step * offset[0], y + step * offset[1]) for step in steps]
    boxes = [box for other in points if other is not point for box in _mark_boxes(axis, other)]
    return sum(any(box.contains(*place) for place in line) for box in boxes)


def _stand(text: Annotation, offset: tuple[float, float]) -> None:
    text.set_position(offset)
    text.set_horizontalalignment("center" if abs(offset[0]) < 1 else "left" if offset[0] > 0 else "right")


def _pixels_per_point(axis: Axes) -> float:
    return axis.figure.dpi / 72


def _mark_boxes(axis: Axes, point: Point) -> list[Bbox]:
    """The pixels that a point's mark and its interval cover."""
    scale = _pixels_per_point(axis)
    ends = (point.mean, point.mean - point.half_width, point.mean + point.half_width)
    (x, y), (_, low), (_, high) = axis.transData.transform([(point.drawn_at, end) for end in ends])
    mark, cap = 5 * scale, 4.5 * scale
    return [
        Bbox.from_extents(x - mark, y - mark, x + mark, y + mark),
        Bbox.from_extents(x - 1.5 * scale, low, x + 1.5 * scale, high),
        Bbox.from_extents(x - cap, low - scale, x + cap, low + scale),
        Bbox.from_extents(x - cap, high - scale, x + cap, high + scale),
    ]


def _shared_area(one: Bbox, other: Bbox) -> float:
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else float(shared.width * shared.height)
