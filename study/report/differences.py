"""Differences in points: in words, with what would decide them, and drawn a row each."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.compare.contrasts import Comparison, Measured
from study.compare.figure_page import INK
from study.compare.looks import styles_of
from study.compare.statistics import Estimate
from study.compare.table import NONE
from study.compare.verdict import margin_text
from study.report.drawing import FAINT_INK, Drawing, page, plain_axes


@dataclass(frozen=True)
class Row:
    """One difference: the method that it is drawn as, its name, and what was found."""

    method: str
    label: str
    comparison: Comparison


def difference_text(estimate: Estimate | None) -> str:
    """A difference in points with its interval."""
    if estimate is None:
        return NONE
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:+.1f} [{NONE}]"
    return f"{estimate.mean:+.1f} [{estimate.low:+.1f}, {estimate.high:+.1f}]"


def comparison_text(comparison: Comparison) -> str:
    """A comparison's difference in points with its interval."""
    return difference_text(comparison.measured.estimate if comparison.measured else None)


def would_decide(comparison: Comparison) -> str:
    """Of an undecided comparison: what is known, and how many seeds or images would decide it."""
    found = comparison.measured
    if found is None:
        return "they have no seed in common; confirm both on the same seeds."
    low, high = found.estimate.low, found.estimate.high
    if low is None or high is None:
        lacking = "with one seed, which gives" if found.estimate.n == 1 else "with seeds that all agree, which give"
        return f"measured {found.estimate.mean:+.1f} points {lacking} no interval; confirm on more."
    known = f"measured {found.estimate.mean:+.1f} points, and anything from {low:+.1f} to {high:+.1f} is possible"
    if found.moments is None:
        return f"{known}; the answers to each test image are not kept, so what would decide it is not known."
    if comparison.needed is None:
        return f"{known}; more than one common seed would say what decides it."
    wanted, moments = comparison.needed, found.moments
    if wanted.seeds is None and wanted.images is None and wanted.searches is None:
        return (
            f"{known}. If there is no difference, neither more seeds (up to 100) nor more test images alone would show "
            f"it; it takes more of both than the {moments.seeds} seeds and {moments.images:,} images that there are."
        )
    return (
        f"{known}. If there is no difference, {wanted.text(moments.seeds, moments.images)} would show that in 4 of 5 "
        "studies."
    )


def differences(
    name: str, title: str, across: str, rows: Sequence[Row], margin: float, zero: str, *, over_datasets: bool = False
) -> Drawing | None:
    """A row a difference, hollow where it is undecided; None where none was measured.

    Args:
        name, title: of the drawing.
        across: what is drawn, for the axis.
        rows: what was found.
        margin: of equivalence, in points.
        zero: what the dashed line is.
        over_datasets: each is a mean over data sets, whose own differences stand beside it as small marks.
    """
    measured = [(row, row.comparison.measured) for row in rows if row.comparison.measured is not None]
    if not measured:
        return None
    figure = page(0.9 + 0.36 * len(measured))
    axis = figure.subplots()
    styles = styles_of(row.method for row, _ in measured)
    axis.axvspan(-margin, margin, color="#e9e9e9", zorder=0)
    axis.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for place, (row, found) in enumerate(measured):
        (colour, mark), (low, high) = styles[row.method], found.estimate.interval
        undecided = row.comparison.kind == "undecided"
        if over_datasets:
            own = _means(found)
            axis.plot(own, [place + 0.24] * len(own), ".", color=colour, markersize=5, alpha=0.7, zorder=2)
        axis.plot([low, high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt", zorder=2)
        axis.plot([low, high], [place, place], "|", color=colour, markersize=9, markeredgewidth=1.8, zorder=2)
        face = "white" if undecided else colour
        axis.plot(
            found.estimate.mean, place, mark, color=colour, markersize=8, markerfacecolor=face, markeredgewidth=1.6,
            zorder=3,
        )  # fmt: skip
        axis.annotate(
            difference_text(found.estimate), (1.01, place), xycoords=axis.get_yaxis_transform(), va="center",
            fontsize=8.5, color=FAINT_INK if undecided else INK,
        )  # fmt: skip
    plain_axes(axis, across, "")
    axis.set_yticks(range(len(measured)), [row.label for row, _ in measured])
    axis.set_ylim(len(measured) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    told = "; ".join(f"{row.label} {difference_text(found.estimate)}, {row.comparison.kind}" for row, found in measured)
    of_what = "over the seeds in common"
    if over_datasets:
        of_what = "on average over the data sets, whose own differences are the small dots"
    return Drawing(
        name,
        title,
        f"{across[0].upper()}{across[1:]}, with 95 % intervals: {told}.",
        figure,
        f"Mean and 95 % interval of the difference, {of_what}. Filled: decided after Holm's correction; hollow: "
        f"undecided. Dashed: {zero}; grey: no difference, within {margin_text(margin)}.",
    )


def _means(found: Measured) -> list[float]:
    return [of_dataset[0] for of_dataset in found.differences]
