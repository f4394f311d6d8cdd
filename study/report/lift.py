"""Lift over the control: what training the binary weights is worth, as a figure and as a table."""

from collections.abc import Sequence
from dataclasses import astuple, replace

from study.compare.contrasts import CONTROL, LIFT, Contrast
from study.compare.figure_page import INK
from study.compare.looks import styles_of
from study.compare.scores import CellGroup
from study.compare.statistics import Estimate
from study.compare.table import group_title
from study.compare.verdict import WorkloadVerdicts, accuracy_text, margin_text
from study.report.answer import runs_anchor
from study.report.content import StudyContent
from study.report.document import Block, Figures, Section, Span, Words, anchor, by_workload, prose, strong, table
from study.report.drawing import FAINT_INK, Drawing, page, plain_axes
from study.report.results import contrast_text


def lift(content: StudyContent) -> Section:
    """What training the binary weights is worth: every method against the control, which flips none."""
    parts = []
    for number, workload in enumerate(content.findings.workloads):
        lifts, group = lifts_of(workload), workload.group
        if not lifts:
            continue
        drawing = _drawn(group, lifts, workload.margin, f"lift-{number + 1}")
        blocks: tuple[Block, ...] = (Figures((drawing,)),) if drawing else ()
        blocks += (_table(group, lifts, workload.margin),)
        parts.append(Section(anchor("lift", str(number + 1)), group_title(group), blocks))
    if not parts:
        words = "The control that flips no binary weight (`frozen`) is not confirmed beside the others, so "
        words += "what training them is worth cannot be said."
        return Section("lift", "Lift over the control", (prose(words),))
    words = "The control, `frozen`, trains everything but the binary weights. Lift is what training those is worth."
    return by_workload("lift", "Lift over the control", (prose(words),), parts)


def _table(group: CellGroup, lifts: Sequence[Contrast], margin: float) -> Block:
    rows: list[list[Words]] = []
    for one in lifts:
        link = "#" + runs_anchor(group, one.row.method)
        rows.append([strong(one.row.label, link), Span(contrast_text(one), link), accuracy_text(one, margin)])
    return table("Accuracy above the control", ["method", "lift in points", "verdict"], rows, numeric=[1], stacked=True)


def _drawn(group: CellGroup, lifts: Sequence[Contrast], margin: float, name: str) -> Drawing | None:
    """A row a method: its lift with the interval, hollow where it is undecided; None where none was measured."""
    measured = [(one, one.measured.estimate) for one in lifts if one.measured is not None]
    if not measured:
        return None
    figure = page(0.9 + 0.36 * len(measured))
    axis = figure.subplots()
    styles = styles_of(one.row.method for one, _ in measured)
    axis.axvspan(-margin, margin, color="#e9e9e9", zorder=0)
    axis.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for place, (one, found) in enumerate(measured):
        (colour, mark), (low, high) = styles[one.row.method], found.interval
        axis.plot([low, high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt", zorder=2)
        axis.plot([low, high], [place, place], "|", color=colour, markersize=9, markeredgewidth=1.8, zorder=2)
        face = "white" if one.kind == "undecided" else colour
        axis.plot(
            found.mean, place, mark, color=colour, markersize=8, markerfacecolor=face, markeredgewidth=1.6, zorder=3
        )
        axis.annotate(
            contrast_text(one), (1.01, place), xycoords=axis.get_yaxis_transform(), va="center", fontsize=8.5,
            color=FAINT_INK if one.kind == "undecided" else INK,
        )  # fmt: skip
    plain_axes(axis, f"{group.measure} accuracy above the control's, in points", "")
    axis.set_yticks(range(len(measured)), [one.row.label for one, _ in measured])
    axis.set_ylim(len(measured) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    within = margin_text(margin)
    told = [f"{one.row.label} {contrast_text(one)}, {one.kind}" for one, _ in measured]
    return Drawing(
        name,
        f"Lift over the control, {group.dataset}, {group.model}.",
        f"Points of accuracy above the control with 95 % intervals: {'; '.join(told)}.",
        figure,
        "Mean and 95 % interval of the difference, over the seeds in common. Filled: decided after Holm's correction "
        f"over the study; hollow: undecided. Dashed: the control; grey: no difference, within {within}.",
    )


def lifts_of(workload: WorkloadVerdicts) -> list[Contrast]:
    """The comparisons with the control in the order of the table; the baseline's is the control's own, turned round."""
    found = {id(one.row): one for one in workload.contrasts if one.sort == LIFT}
    for verdict in workload.verdicts:
        if verdict.contrast is not None and verdict.row.method == CONTROL and verdict.row.represents:
            turned = turned_round(verdict.contrast)
            found[id(turned.row)] = turned
    return [found[id(row)] for row in workload.group.methods if id(row) in found]


def turned_round(contrast: Contrast) -> Contrast:
    """The same comparison, told of the other row."""
    measured = contrast.measured
    if measured is not None:
        mean, low, high, n = astuple(measured.estimate)
        ends = (None if high is None else -high, None if low is None else -low)
        turned = tuple(tuple(-one for one in of_search) for of_search in measured.differences)
        measured = replace(measured, estimate=Estimate(-mean, *ends, n), differences=turned)
    kind = {"higher": "lower", "lower": "higher"}.get(contrast.kind, contrast.kind)
    return replace(contrast, row=contrast.against, against=contrast.row, measured=measured, kind=kind)
