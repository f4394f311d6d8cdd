"""Where the marks and names of a panel stand, so that none hides another.

Marks that overlap are set side by side; each name stands where it covers no mark, no interval and no other name.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from study.compare.statistics import Estimate

MARK_APART = 12  # points between the middles of marks that stand side by side
# Where a label may stand, in degrees and points from its point; of the places that are free, the first is taken.
ANGLES = (0, 180, 35, 145, -35, -145, 90, -90)
DISTANCES = (9, 22, 36, 52, 70)


@dataclass
class Point:
    """One mark: accuracy in per cent, what lies across, and where across it is drawn once marks stand side by side."""

    name: str
    accuracy: Estimate
    x: Estimate
    style: tuple[str, str]
    filled: bool
    drawn_at: float

    @property
    def x_interval(self) -> tuple[float, float]:
        """Its ends where the mark is drawn; on a logarithmic axis the interval keeps its length."""
        low, high = self.x.interval
        return low * self.drawn_at / self.x.mean, high * self.drawn_at / self.x.mean


def set_side_by_side(axis: Axes, points: Sequence[Point]) -> None:
    """Move marks that overlap apart (`drawn_at`), in the order of what lies across, around their middle."""
    scale = _pixels_per_point(axis)
    clusters: list[list[Point]] = []
    for point in sorted(points, key=lambda point: point.x.mean):
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
        pixels = axis.transData.transform([(point.x.mean, point.accuracy.mean) for point in cluster])
        middle = float(pixels[:, 0].mean())
        for place, point in enumerate(cluster):
            x = middle + (place - (len(cluster) - 1) / 2) * MARK_APART * scale
            point.drawn_at = point.x.mean if len(cluster) == 1 else axis.transData.inverted().transform((x, 0))[0]


def place_labels(axis: Axes, points: Sequence[Point], lines: Sequence[Sequence[tuple[float, float]]] = ()) -> None:
    """Write each method's name where it covers no mark, no interval and no other name; a thin line leads to far ones.

    Places are tried from near to far; the first free one is taken, or the least covered.

    Args:
        axis: the panel, on which everything else is drawn.
        points: its marks.
        lines: corners of lines of upright and level parts that names keep off too, in the axes' units.
    """
    canvas = axis.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer, scale = canvas.get_renderer(), _pixels_per_point(axis)
    frame = axis.get_window_extent(renderer)
    taken = [box for point in points for box in _mark_boxes(axis, point)]
    taken += [box for line in lines for box in _line_boxes(axis, line)]
    taken += [text.get_window_extent(renderer) for text in axis.texts]
    for point in sorted(points, key=lambda point: -point.accuracy.mean):
        text = axis.annotate(
            point.name,
            (point.drawn_at, point.accuracy.mean),
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
                "",
                (point.drawn_at, point.accuracy.mean),
                offset,
                textcoords="offset points",
                arrowprops=line,
                zorder=2.5,
            )


def _crossings(axis: Axes, point: Point, offset: tuple[float, float], points: Sequence[Point]) -> int:
    """How many of the other points' marks and intervals lie under the line from a point to its name."""
    x, y = axis.transData.transform((point.drawn_at, point.accuracy.mean))
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
    """The pixels that a point's mark and its intervals cover."""
    scale = _pixels_per_point(axis)
    (low, high), (left, right) = point.accuracy.interval, point.x_interval
    middle = point.accuracy.mean
    corners = [(point.drawn_at, middle), (left, low), (right, high)]
    (x, y), (x0, y0), (x1, y1) = axis.transData.transform(corners)
    mark, cap, thin = 5 * scale, 4.5 * scale, 1.5 * scale
    return [
        Bbox.from_extents(x - mark, y - mark, x + mark, y + mark),
        Bbox.from_extents(x - thin, y0, x + thin, y1),
        Bbox.from_extents(x - cap, y0 - scale, x + cap, y0 + scale),
        Bbox.from_extents(x - cap, y1 - scale, x + cap, y1 + scale),
        Bbox.from_extents(x0, y - thin, x1, y + thin),
    ]


def _line_boxes(axis: Axes, corners: Sequence[tuple[float, float]]) -> list[Bbox]:
    """The pixels that a line of upright and level parts covers, a part a box."""
    thin = _pixels_per_point(axis)
    pixels = axis.transData.transform(corners)
    return [Bbox.from_extents(*lower, *upper).padded(thin) for lower, upper in _ordered(pixels)]


def _ordered(pixels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for one, other in pairwise(pixels):
        yield np.minimum(one, other), np.maximum(one, other)


def _shared_area(one: Bbox, other: Bbox) -> float:
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else float(shared.width * shared.height)
