"""The table, and accuracy against memory and against bits of state."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

from study.compare.contrasts import CONTROL, NAMED
from study.compare.figure import PEAK_MEMORY, STATE, Across, panel_of, shown
from study.compare.figure import caption as panel_caption
from study.compare.findings import Findings
from study.compare.scores import CellGroup, MethodSummary
from study.compare.table import NONE, acting, configuration_text, group_title, percent
from study.compare.verdict import WorkloadVerdicts, accuracy_text
from study.report.answer import MIB, runs_anchor
from study.report.budgets import amounts
from study.report.content import StudyContent
from study.report.differences import comparison_text, difference_text
from study.report.document import (
    Block,
    Figures,
    Paragraph,
    Section,
    Span,
    Words,
    anchor,
    by_workload,
    linked,
    strong,
    table,
    text,
)
from study.report.drawing import Drawing

PANEL = (4.8, 4.3)
FAR_BELOW = 0.25
"""Of accuracy: so far below all others a control is left out of a panel."""


def results(content: StudyContent) -> Section:
    """Scores, budgets used and verdicts, one table a workload."""
    findings = content.findings
    parts = [
        Section(anchor("table", str(number + 1)), group_title(workload.group), tuple(_table(findings, workload)))
        for number, workload in enumerate(findings.workloads)
    ]
    blocks: tuple[Block, ...] = ()
    if not parts:
        blocks = (Paragraph(text("There is no completed run to show.")),)
    return by_workload("table", "The table", blocks, parts)


def _table(findings: Findings, workload: WorkloadVerdicts) -> Iterator[Block]:
    group, baseline = workload.group, workload.group.baseline
    with_state = any(row.state_bits for row in group.methods)
    header = ["method", "n", "validation accuracy %", "test accuracy %", *["bits of state a weight"] * with_state]
    header += ["peak memory MiB", f"of {baseline.label}" if baseline else "ratio", "epochs", "device-seconds"]
    header += ["difference in points", "verdict on accuracy"]
    rows: list[list[Words]] = []
    for verdict in workload.verdicts:
        row = verdict.row
        link = "#" + runs_anchor(group, row.method)
        memory, base = row.peak_memory, baseline.peak_memory if baseline else None
        bits = f"{fmean(row.state_bits.values()):.1f}" if row.state_bits else NONE
        cells: list[Words] = [
            strong(row.label + ("" if row.confirmed else " *"), link),
            Span(row.n, link),
            linked(percent(row.val_accuracy), link),
            linked(percent(row.test_accuracy), link),
            *[linked(bits, link)] * with_state,
            linked(NONE if memory is None else f"{memory.mean / MIB:.2f}", link),
            linked(NONE if memory is None or base is None else f"{memory.mean / base.mean:.2f}×", link),
            *(linked(amount, link) for amount in amounts(findings.account(group, row.method).behind(row.phase))),
            linked(difference_text(verdict.difference), link),
            verdict.kind + (f", {verdict.front}" if verdict.front else ""),
        ]
        rows.append(cells)
    yield table(
        "Means with 95 % intervals over n confirmation seeds and the images; each number leads to its runs",
        header,
        rows,
        numeric=range(1, len(header) - 1),
    )
    if any(not row.confirmed for row in group.methods):
        yield Paragraph(text("* Not confirmed: the best search or train result, chosen by the value that it shows."))
    yield table(
        "The configuration of each, chosen on validation accuracy",
        ["method", "settings"],
        [
            [
                Span(row.label, "#" + runs_anchor(group, row.method)),
                configuration_text(acting(row, group.model)) or NONE,
            ]
            for row in group.methods
        ],
        numeric=(),
    )
    named = [contrast for contrast in workload.contrasts if contrast.sort == NAMED]
    if named:
        yield table(
            "Further comparisons that the study names",
            ["comparison", "difference in points", "verdict on accuracy"],
            [
                [f"{one.row.label} − {one.against.label}", comparison_text(one), accuracy_text(one, workload.margin)]
                for one in named
            ],
            numeric=[1],
        )


def accuracy_against(content: StudyContent) -> Section:
    """Accuracy against peak memory and against bits of state, a panel a workload."""
    drawings = []
    for number, workload in enumerate(content.findings.workloads):
        for name, across in (("memory", PEAK_MEMORY), ("state", STATE)):
            drawing = accuracy_panel(content, workload, f"accuracy-{name}-{number + 1}", across)
            if drawing is not None:
                drawings.append(drawing)
    blocks: tuple[Block, ...] = (Figures(tuple(drawings)),) if drawings else ()
    return Section("accuracy", "Accuracy against memory and against bits of state", blocks)


def accuracy_panel(
    content: StudyContent, workload: WorkloadVerdicts, name: str, across: Across = PEAK_MEMORY, prefix: str = ""
) -> Drawing | None:
    """One workload's panel, its title begun by `prefix`; None where no run has both.

    A control that lies far below all others would press them together, so it is left out then, and the caption says so.
    """
    whole = workload.group
    below = far_control(whole)
    group = replace(whole, methods=tuple(row for row in whole.methods if row is not below))
    measure, rows = shown(group, across)
    if not rows:
        return None
    caption = ""
    if below is not None:
        low, at = (fmean(by_seed.values()) for by_seed in (whole.accuracy(below), across.by_seed(below)))
        caption = (
            f"Not drawn, being far below: {below.label}, {100 * low:.1f} % at {at * across.scale:.3g} "
            f"{'MiB' if across is PEAK_MEMORY else 'bits'}."
        )
    told = []
    for row in rows:
        x = fmean(across.by_seed(row).values()) * across.scale
        told.append(f"{row.label} {percent(group.estimate(row))} % at {x:.3g}")
    drawn = replace(workload, group=group)
    return Drawing(
        name,
        f"{prefix}{measure.capitalize()} accuracy against {across.name}, {group.dataset}, {group.model}.",
        f"Across: {across.label}. Up: {measure} accuracy in per cent. {'; '.join(told)}. {caption}".rstrip(),
        panel_of(drawn, content.findings.short_banners, across, PANEL),
        f"{panel_caption(drawn, across)} {caption}".rstrip(),
    )


def far_control(group: CellGroup) -> MethodSummary | None:
    """The control where its accuracy lies far below all others': in one picture it would press them together."""
    scored = [row for row in group.scored if row.confirmed and group.accuracy(row)]
    control = next((row for row in scored if row.method == CONTROL), None)
    others = [fmean(group.accuracy(row).values()) for row in scored if row is not control]
    if control is None or len(others) < 2 or min(others) - fmean(group.accuracy(control).values()) < FAR_BELOW:
        return None
    return control
