"""The search: the best so far, its growth with more trials, every trial, which settings mattered, and all at once.

Of a search that a study repeats all are shown.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from study.compare.budget import CellLedger
from study.compare.contrasts import CONTROL
from study.compare.figure_page import INK, panels
from study.compare.looks import styles_of
from study.compare.scores import CellGroup
from study.compare.table import NONE, group_title
from study.record.file_names import JOURNAL_FILE
from study.report.answer import runs_anchor
from study.report.content import StudyContent
from study.report.document import (
    Block,
    Figures,
    Paragraph,
    Section,
    Words,
    anchor,
    by_workload,
    linked,
    strong,
    table,
    text,
)
from study.report.drawing import FAINT_INK, Drawing, legend_below, line_style, marked_line, page, plain_axes
from study.report.parallel import parallel_coordinates, setting_title
from study.report.tuning import best_so_far, mean_best, tuning_curves
from trainers.errors import UserError

if TYPE_CHECKING:
    from study.search.searched import Searched, SearchedMethod

MARKS = {"pruned": "|", "diverged": "x", "failed": "x", "infeasible": "x"}
"""Of trials without a value: how they are drawn, by how they ended."""


def search(content: StudyContent) -> Section:
    """A part a workload that was searched."""
    from study.search.searched import read_searched

    cells = {
        (number, method): names
        for number, workload in enumerate(content.findings.workloads)
        for method, names in _cells(content, workload.group).items()
    }
    try:
        asked = {f"{number} {method}": names for (number, method), names in cells.items()}
        searched, lacking = read_searched(content.folder / JOURNAL_FILE, asked), ""
    except UserError as error:
        searched, lacking = {}, f"What was searched cannot be shown: {error}."
    if not searched and not lacking:
        lacking = "The search's journal is not in the study's folder, so its trials are only listed among the runs."
    blocks: tuple[Block, ...] = (Paragraph(text(lacking), "note"),) if lacking else ()
    parts = []
    for number, workload in enumerate(content.findings.workloads):
        group = workload.group
        names = [method for place, method in cells if place == number]
        own = {method: one for method in names if (one := searched.get(f"{number} {method}")) is not None}
        if own:
            accounts = {method: content.findings.account(group, method) for method in own}
            parts.append(
                Section(
                    anchor("search", str(number + 1)),
                    group_title(group),
                    tuple(_workload(group, own, accounts, str(number + 1))),
                )
            )
    return by_workload("search", "The search", blocks, parts)


def _cells(content: StudyContent, group: CellGroup) -> dict[str, list[str]]:
    """The cells of a workload's searches by method, in the order of the table; of repeated ones each, in order."""
    found: dict[str, list[tuple[int, str]]] = {row.method: [] for row in group.methods}
    for cell, tags in content.sweeps.items():
        if (tags.get("dataset"), tags.get("model")) == (group.dataset, group.model) and tags.get("method"):
            found.setdefault(tags["method"], []).append((int(tags.get("repeat") or 1), cell))
    return {method: [cell for _, cell in sorted(cells)] for method, cells in found.items() if cells}


def _workload(
    group: CellGroup, own: "Mapping[str, SearchedMethod]", accounts: Mapping[str, CellLedger], number: str
) -> list[Block]:
    drawings = [
        _best_so_far(group, own, f"best-so-far-{number}"),
        tuning_curves(group, own, accounts, f"tuning-{number}"),
        _trials(group, own, f"trials-{number}"),
    ]
    together = {method: one.together for method, one in own.items()}
    important = {method: one for method, one in together.items() if one.importance}
    if important:
        drawings.append(_importance(group, important, f"importance-{number}"))
    drawings += [
        drawing
        for place, (method, one) in enumerate(together.items())
        if (drawing := parallel_coordinates(group, method, one, f"parallel-{number}-{place + 1}")) is not None
    ]
    blocks: list[Block] = [Figures(tuple(one for one in drawings if one is not None))]
    if important:
        blocks.append(_importance_table(group, important))
    without = [method for method, one in together.items() if method not in important and len(one.settings) > 1]
    if without:
        words = f"Importance of settings is not worked out for {', '.join(without)}: too few trials completed."
        blocks.append(Paragraph(text(words), "note"))
    single = [f"{method} ({one.settings[0].name})" for method, one in together.items() if len(one.settings) == 1]
    if single:
        blocks.append(Paragraph(text(f"Only one setting was searched for {', '.join(single)}."), "note"))
    fixed = [method for method, one in together.items() if not one.settings]
    if fixed:
        blocks.append(Paragraph(text(f"Nothing was left to search for {', '.join(fixed)}."), "note"))
    return blocks


def _best_so_far(group: CellGroup, own: "Mapping[str, SearchedMethod]", name: str) -> Drawing | None:
    """A line a method: its search's best so far, or the mean over its searches."""
    figure = page(3.7)
    axis = figure.subplots()
    styles, told, settled = styles_of(own), [], list[float]()
    for place, (method, one) in enumerate(own.items()):
        steps = mean_best([points for single in one.searches if (points := best_so_far(single.trials))])
        if not steps:
            continue
        colour, mark = styles[method]
        across, up = [count for count, _ in steps], [100 * value for _, value in steps]
        marked_line(
            axis, across, up, (colour, mark, line_style(place)), method, marks=3, place=place, drawstyle="steps-post"
        )
        half = len(up) // 2
        told.append(f"{method} {up[-1]:.1f} % after {across[-1]}, {up[half]:.1f} % after {across[half]}")
        if method != CONTROL:
            settled.append(up[len(up) // 4])
    if not told:
        return None
    plain_axes(axis, "search trials ended", "best validation accuracy so far (%)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    # What the very first trials reached says little and would press the rest together.
    if settled:
        top = min(axis.get_ylim()[1], 100.5)
        axis.set_ylim(min(settled) - 0.08 * (top - min(settled)), top)
    legend_below(figure, axis, 3)
    repeated = any(len(one.searches) > 1 for one in own.values())
    return Drawing(
        name,
        f"The best so far by number of trials, {group.dataset}, {group.model}.",
        f"{'; '.join(told)}.",
        figure,
        ("Where a search was repeated: the mean over its searches. " if repeated else "")
        + "Where a line still rises at its end, more trials may find more. These values were chosen for being high: "
        "they are no scores. Below the axis lie first trials that hardly learnt, and a control that learns as little.",
    )


def _trials(group: CellGroup, own: "Mapping[str, SearchedMethod]", name: str) -> Drawing | None:
    """A panel a method: completed trials by their accuracy, the others as strokes at the bottom."""
    figure, axes = panels(len(own), 2, lambda columns, rows: page(0.6 + 1.55 * rows), sharex=True)
    styles, told = styles_of(own), []
    for axis, (method, one) in zip(axes, own.items(), strict=True):
        colour, mark = styles[method]
        trials = one.together.trials
        valued = [trial for trial in trials if trial.accuracy is not None and trial.outcome == "completed"]
        completed = [(trial.number, 100 * (trial.accuracy or 0.0)) for trial in valued]
        for number in dict.fromkeys(trial.search for trial in valued):
            of_search = [point for trial, point in zip(valued, completed, strict=True) if trial.search == number]
            face, edge = (colour, "white") if number == 1 else ("white", colour)
            axis.plot(
                *zip(*of_search, strict=True), mark, markersize=6 if number == 1 else 5,
                markerfacecolor=face, markeredgecolor=edge,
            )  # fmt: skip
        others = {kind: [t.number for t in trials if t.outcome == kind] for kind in MARKS}
        for kind, numbers in others.items():
            if numbers:
                axis.plot(
                    numbers, [0.03] * len(numbers), MARKS[kind], color=FAINT_INK, markersize=6,
                    transform=axis.get_xaxis_transform(), clip_on=False,
                )  # fmt: skip
        plain_axes(axis, "", "", method)
        low, high = axis.get_ylim()
        axis.set_ylim(low - 0.15 * (high - low), high + 0.05 * (high - low))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        axis.tick_params(labelsize=8)
        counted = ", ".join(f"{len(numbers)} {kind}" for kind, numbers in others.items() if numbers)
        span = f" from {min(v for _, v in completed):.1f} to {max(v for _, v in completed):.1f} %" if completed else ""
        whose = f"{method}, {len(one.searches)} searches" if len(one.searches) > 1 else method
        told.append(f"{whose}: {len(completed)} completed{span}" + (f", {counted}" if counted else ""))
    figure.supxlabel("search trial", fontsize=9.5, color=INK)
    figure.supylabel("validation accuracy (%)", fontsize=9.5, color=INK)
    return Drawing(
        name,
        f"Every search trial, {group.dataset}, {group.model}.",
        f"{'; '.join(told)}.",
        figure,
        "Completed trials by their accuracy, each panel on an axis of its own. On the line at the bottom stand the "
        "others: strokes are pruned trials, whose last value was measured too early to be compared; crosses diverged, "
        "failed or had no memory."
        + (" Hollow: of a method's further searches." if any(len(one.searches) > 1 for one in own.values()) else ""),
    )


def _importance(group: CellGroup, important: "Mapping[str, Searched]", name: str) -> Drawing:
    bars = [
        (f"{method}: {setting_title(setting)}", value, method)
        for method, one in important.items()
        for setting, value in sorted(one.importance.items(), key=lambda item: -item[1])
    ]
    figure = page(0.8 + 0.3 * len(bars))
    axis = figure.subplots()
    styles = styles_of(important)
    labels, values, methods = zip(*bars, strict=True)
    axis.barh(labels, values, color=[styles[method][0] for method in methods])
    for place, (_, value, _) in enumerate(bars):
        axis.text(value + 0.01, place, f"{value:.2f}", va="center", fontsize=8.5, color=INK)
    plain_axes(axis, "importance (fANOVA; in all 1 a method)", "")
    axis.invert_yaxis()
    axis.set_xlim(0, 1.1)
    axis.grid(axis="y", visible=False)
    return Drawing(
        name,
        f"Which settings mattered, {group.dataset}, {group.model}.",
        "; ".join(f"{label} {value:.2f}" for label, value, _ in bars) + ".",
        figure,
        "Of what single settings explain of the completed trials' accuracy the share of each, in the ranges searched.",
    )


def _importance_table(group: CellGroup, important: "Mapping[str, Searched]") -> Block:
    rows: list[list[Words]] = [
        [
            strong(method, "#" + runs_anchor(group, method)),
            linked(str(sum(trial.outcome == "completed" for trial in one.trials)), "#" + runs_anchor(group, method)),
            ", ".join(
                f"{setting_title(name)} {value:.2f}"
                for name, value in sorted(one.importance.items(), key=lambda item: -item[1])
            )
            or NONE,
        ]
        for method, one in important.items()
    ]
    return table("Importance of settings", ["method", "completed trials", "importance of each, in all 1"], rows, [1])
