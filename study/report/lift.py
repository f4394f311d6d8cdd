"""Lift over the control: what training the binary weights is worth, as a figure and as a table."""

from collections.abc import Sequence

from study.compare.contrasts import CONTROL, LIFT, Contrast
from study.compare.scores import CellGroup
from study.compare.table import group_title
from study.compare.verdict import WorkloadVerdicts, accuracy_text
from study.report.answer import runs_anchor
from study.report.content import StudyContent
from study.report.differences import Row, comparison_text, differences
from study.report.document import Block, Figures, Section, Span, Words, anchor, by_workload, prose, strong, table
from study.report.drawing import Drawing


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
        rows.append([strong(one.row.label, link), Span(comparison_text(one), link), accuracy_text(one, margin)])
    return table("Accuracy above the control", ["method", "lift in points", "verdict"], rows, numeric=[1], stacked=True)


def _drawn(group: CellGroup, lifts: Sequence[Contrast], margin: float, name: str) -> Drawing | None:
    rows = [Row(one.row.method, one.row.label, one) for one in lifts]
    title = f"Lift over the control, {group.dataset}, {group.model}."
    across = f"{group.measure} accuracy above the control's, in points"
    return differences(name, title, across, rows, margin, "the control")


def lifts_of(workload: WorkloadVerdicts) -> list[Contrast]:
    """The comparisons with the control in the order of the table; the baseline's is the control's own, turned round."""
    found = {id(one.row): one for one in workload.contrasts if one.sort == LIFT}
    for verdict in workload.verdicts:
        if verdict.contrast is not None and verdict.row.method == CONTROL and verdict.row.represents:
            turned = verdict.contrast.turned_round()
            found[id(turned.row)] = turned
    return [found[id(row)] for row in workload.group.methods if id(row) in found]
