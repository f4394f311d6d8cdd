"""Accuracy against memory: one point a method, with 95 % intervals over the confirmation seeds both ways.

One figure has the peak memory of a training step across, another the bits of state a weight that training keeps from
step to step, where those were recorded. One panel per data set and model, with the Pareto front of the means as a line
(PROTOCOL §6.4). A panel shows confirmed results; where nothing is confirmed yet it shows the single best search or
train results with hollow marks, and says so.
Methods are labelled beside their points, in colours that stay apart for colour-blind readers (Okabe and Ito, "Color
Universal Design", 2008), each with a mark of its own; an ablation's variants share their method's colour.
Over several workloads a second figure shows the performance profiles (PROTOCOL §6.5).
"""

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from study.compare.figure_labels import Point, place_labels, set_side_by_side
from study.compare.figure_page import FAINT_INK, INK, blank_page, panels, plain_axes, settle, write_figure, write_title
from study.compare.findings import Findings
from study.compare.looks import styles_of
from study.compare.overall import Overall
from study.compare.scores import CellGroup, MethodSummary
from study.compare.statistics import FURTHEST_RATIO, mean_and_interval, profile
from study.compare.verdict import PERHAPS, WorkloadVerdicts
from trainers.data.catalog import lookup

MIB = 2**20
VARIANT_LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
PANEL_INCHES = (6.4, 4.8)
MOST_COLUMNS = 3
CAPTION_CHARACTERS = 12.2  # that fit below one panel, an inch
LEAST_OCTAVES = 2  # of memory that an axis spans, so that a difference of a few bytes does not look like one
CHANCE_GAP = 25  # per cent; further below the lowest point the chance line would squeeze the points: say it in words


@dataclass(frozen=True)
class Across:
    """What lies across a figure's panels.

    Attributes:
        name: in the figure's title.
        label: of the axis.
        by_seed: a row's values, empty where it has none.
        scale: what they are multiplied by.
    """

    name: str
    label: str
    by_seed: Callable[[MethodSummary], Mapping[int, float]]
    scale: float


PEAK_MEMORY = Across("peak memory", "peak memory of training (MiB, log scale)", lambda row: row.memory, 1 / MIB)
STATE = Across(
    "bits of state", "state kept from step to step (bits a binary weight, log scale)", lambda row: row.state_bits, 1.0
)


def draw_figures(findings: Findings, folder: Path) -> tuple[Path, ...]:
    """Write the figures of a comparison, each as PNG and SVG.

    `accuracy_vs_memory`; `accuracy_vs_state` where the state was recorded; over several workloads
    `performance_profile`.

    Returns:
        The paths, PNG before SVG.

    Raises:
        UserError: a file cannot be written.
    """
    banners = findings.short_banners
    paths: tuple[Path, ...] = draw_figure(findings.workloads, folder / "accuracy_vs_memory", findings.study, banners)
    if any(row.state_bits for workload in findings.workloads for row in shown(workload.group, STATE)[1]):
        paths += draw_figure(findings.workloads, folder / "accuracy_vs_state", findings.study, banners, STATE)
    if findings.overall and findings.overall.standings:
        paths += draw_profiles(findings.overall, folder / "performance_profile", findings.study, banners)
    return paths


def draw_figure(
    workloads: Sequence[WorkloadVerdicts],
    stem: Path,
    study: str,
    banners: Sequence[str] = (),
    across: Across = PEAK_MEMORY,
) -> tuple[Path, Path]:
    """Write the panels as `<stem>.png` and `<stem>.svg`, each whole or not at all, and return their paths.

    Args:
        workloads: scores and verdicts; at least one.
        stem: the path without its suffix.
        study: the study's name, for the title.
        banners: what must be read before anything else, a few words each.
        across: what accuracy is drawn against.

    Raises:
        UserError: the files cannot be written.
    """
    return write_figure(_panels(workloads, f"Accuracy against {across.name}, study {study}", banners, across), stem)


def panel_of(workload: WorkloadVerdicts, banners: Sequence[str], across: Across, inches: tuple[float, float]) -> Figure:
    """One workload's panel as a figure of its own, without titles and `caption`: they stand beside it."""
    return _panels([workload], "", banners, across, inches, captioned=False)


def _panels(
    workloads: Sequence[WorkloadVerdicts],
    title: str,
    banners: Sequence[str],
    across: Across,
    inches: tuple[float, float] = PANEL_INCHES,
    captioned: bool = True,
) -> Figure:
    figure, axes = panels(
        len(workloads),
        MOST_COLUMNS,
        lambda columns, rows: blank_page((inches[0] * columns, inches[1] * rows + 0.3)),
    )
    if title or banners:
        write_title(figure, title, banners)
    styles = styles_of(row.method for workload in workloads for row in workload.group.methods)
    drawn = [
        (axis, *_draw_frame(axis, workload, styles, across, inches[0], captioned))
        for axis, workload in zip(axes, workloads, strict=True)
    ]
    settle(figure)  # and with it where every point lies on the page
    for axis, points, line in drawn:
        set_side_by_side(axis, points)
        _draw_points(axis, points)
        place_labels(axis, points, [line] if line else [])
    return figure


def draw_profiles(overall: Overall, stem: Path, study: str, banners: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write every method's performance profile ρ(τ) as `<stem>.png` and `<stem>.svg`; see `draw_figure`."""
    figure = blank_page((7.2, 4.8))
    write_title(figure, f"Performance profiles over {len(overall.workloads)} workloads, study {study}", banners)
    axis = figure.subplots()
    plain_axes(
        axis, f"τ: error, as a multiple of the least error (1 to {FURTHEST_RATIO:g})", "ρ(τ): share of workloads"
    )
    styles = styles_of(standing.method for standing in overall.standings)
    of_colour: Counter[str] = Counter()
    for standing in overall.standings:
        colour, mark = styles[standing.method]
        line = VARIANT_LINES[of_colour[colour] % len(VARIANT_LINES)]
        of_colour[colour] += 1
        steps = sorted({1.0, FURTHEST_RATIO, *(ratio for ratio in standing.ratios if ratio <= FURTHEST_RATIO)})
        axis.plot(
            steps,
            [profile(standing.ratios, tau) for tau in steps],
            drawstyle="steps-post",
            color=colour,
            linestyle=line,
            marker=mark,
            markersize=6,
            markeredgecolor="white",
            linewidth=1.8,
            label=f"{standing.method} (area {standing.area:.2f})",
            clip_on=False,
        )
    axis.set_xlim(1, FURTHEST_RATIO)
    axis.set_ylim(-0.02, 1.02)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    return write_figure(figure, stem)


def shown(group: CellGroup, across: Across = PEAK_MEMORY) -> tuple[str, list[MethodSummary]]:
    """Which accuracy a panel shows (`test` or `validation`) and of which rows, never of both kinds."""
    return group.measure, [row for row in group.scored if across.by_seed(row) and group.accuracy(row)]


def _draw_frame(
    axis: Axes,
    workload: WorkloadVerdicts,
    styles: Mapping[str, tuple[str, str]],
    across: Across,
    inches: float,
    captioned: bool,
) -> tuple[list[Point], list[tuple[float, float]]]:
    """Everything of a panel but its points, which it returns with the corners of the front's line."""
    group = workload.group
    measure, rows = shown(group, across)
    info, some = lookup(group.dataset), rows[0].configuration.get("classes") if rows else None
    title = group.dataset.rstrip("/").rsplit("/", 1)[-1] if info is None else info.title
    if captioned:
        lines = textwrap.wrap(f"{title}: {group.model}", int(9.7 * inches), break_on_hyphens=False)
        axis.set_title("\n".join(lines), fontsize=10.5, color=INK)
    plain_axes(axis, across.label, f"{measure} accuracy (%)")
    points = _points(group, rows, styles, across)
    if not points:
        axis.text(0.5, 0.5, f"no run with accuracy and {across.name}", transform=axis.transAxes, ha="center", color=INK)
        return [], []
    _scale_across(axis, points)
    _scale_accuracy(axis, points, None if info is None or some else 100 / info.num_classes)
    line = _front_line(axis, points) if rows[0].confirmed else []
    if line:
        axis.plot(*zip(*line, strict=True), color="#b5b5b5", linewidth=1.2, zorder=1.5)
    told = textwrap.wrap(caption(workload, across), int(CAPTION_CHARACTERS * inches)) if captioned else []
    axis.annotate(
        "\n".join(told), (0, 0), (0, -42), "axes fraction", "offset points", fontsize=8.5, color=FAINT_INK, va="top"
    )
    return points, line


def _points(
    group: CellGroup, rows: Sequence[MethodSummary], styles: Mapping[str, tuple[str, str]], across: Across
) -> list[Point]:
    same_n = len({row.n for row in rows}) == 1
    points = []
    for row in rows:
        n = f"n = {row.n}"
        name = row.label
        if not row.confirmed:
            name = f"{row.method} ({row.phase}, {n})"
        elif not same_n:
            name += f" ({n})"
        accuracy = (group.estimate(row) or mean_and_interval(list(group.accuracy(row).values()))).scaled(100)
        x = mean_and_interval(list(across.by_seed(row).values())).scaled(across.scale)
        points.append(Point(name, accuracy, x, styles[row.method], row.confirmed, x.mean))
    return points


def _scale_across(axis: Axes, points: Sequence[Point]) -> None:
    """A log2 axis with room for labels, marked at powers of two and, where those are few, halfway between them."""
    # An interval of two seeds may be far wider than everything else; then it runs out of the panel.
    low = math.log2(min(max(point.x.interval[0], point.x.mean / 2) for point in points))
    high = math.log2(max(min(point.x.interval[1], point.x.mean * 2) for point in points))
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
    low = max(0.0, min(point.accuracy.interval[0] for point in points))
    high = min(100.0, max(point.accuracy.interval[1] for point in points))
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


def _front_line(axis: Axes, points: Sequence[Point]) -> list[tuple[float, float]]:
    """The most accuracy that an x buys, by the means, as a stair: its corners, a step up at each point on the front."""
    corners: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point.x.mean, -point.accuracy.mean)):
        if corners and point.accuracy.mean <= corners[-1][1]:
            continue
        if corners:
            corners.append((point.x.mean, corners[-1][1]))
        corners.append((point.x.mean, point.accuracy.mean))
    return [*corners, (axis.get_xlim()[1], corners[-1][1])] if corners else []


def caption(workload: WorkloadVerdicts, across: Across) -> str:
    """What a reader of a panel should know."""
    rows = shown(workload.group, across)[1]
    if not rows[0].confirmed:
        return "Hollow: the best single search or train result, not confirmed on fresh seeds; no interval."
    counts = sorted({len(row.seeds) for row in rows})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    if any(row.repeats for row in rows):
        n = f"n = {' or '.join(dict.fromkeys(row.n for row in rows))} searches x seeds"
    images = " and images" if all(row.over_images(workload.group.measure) for row in rows) else ""
    # The verdicts' front is that of accuracy and peak memory.
    perhaps = [v.row.label for v in workload.verdicts if v.front == PERHAPS and across is PEAK_MEMORY]
    text = f"Mean and 95 % interval over confirmation seeds ({n}){images}. Line: Pareto front of the means"
    text += f"; perhaps on it, by the intervals: {', '.join(perhaps)}. " if perhaps else ". "
    return text + "Marks that would overlap stand side by side."


def _draw_points(axis: Axes, points: Sequence[Point]) -> None:
    for point in points:
        colour, mark = point.style
        (low, high), (left, right) = point.accuracy.interval, point.x_interval
        axis.errorbar(
            point.drawn_at,
            point.accuracy.mean,
            yerr=None if low == high else np.array([[point.accuracy.mean - low], [high - point.accuracy.mean]]),
            xerr=None if left == right else np.array([[point.drawn_at - left], [right - point.drawn_at]]),
            fmt=mark,
            markersize=8,
            color=colour,
            markerfacecolor=colour if point.filled else "white",
            markeredgecolor="white" if point.filled else colour,
            markeredgewidth=0.8 if point.filled else 1.5,
            elinewidth=1.6,
            capsize=4,
            zorder=3,
        )
