"""Where each method's memory goes: stacked bars of the categories of the peak, against the baseline's."""

from collections.abc import Mapping
from statistics import fmean

from study.compare.figure_page import INK
from study.compare.scores import CellGroup, MethodSummary
from study.compare.table import NONE, group_title
from study.report.answer import MIB, runs_anchor
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
from study.report.drawing import Drawing, legend_below, page, plain_axes
from trainers.memory.report import CATEGORIES

# Okabe and Ito's colours, light to dark in turns, each with a hatch of its own: they stay apart in grey too.
LOOKS = {
    "weights": ("#0072B2", ""),
    "latent": ("#F0E442", "///"),
    "optimizer_state": ("#D55E00", ""),
    "gradients": ("#56B4E9", "|||"),
    "saved_activations": ("#009E73", "\\\\\\"),
    "real_parameters_and_buffers": ("#CC79A7", "xxx"),
    "workspace": ("#D9D9D9", ""),
}
WORDS = {"latent": "latent weights", "real_parameters_and_buffers": "real parameters and buffers"}


def memory(content: StudyContent) -> Section:
    """A part a workload."""
    parts = []
    for number, workload in enumerate(content.findings.workloads):
        group = workload.group
        found = {row.label: by for row in group.scored if (by := by_category(content, row))}
        blocks: tuple[Block, ...]
        if found:
            drawing = _bars(group, found, f"memory-{number + 1}")
            blocks = (Figures((drawing,)), _table(group, found))
        else:
            blocks = (Paragraph(text("The records do not say what the memory was for.")),)
        parts.append(Section(anchor("memory", str(number + 1)), group_title(group), blocks))
    return by_workload("memory", "Where the memory goes", (), parts)


def by_category(content: StudyContent, row: MethodSummary) -> dict[str, float]:
    """Bytes of each category at the peak, the mean over the row's runs; empty where they are not recorded."""
    runs = [run for run in content.rows if run["trial_id"] in row.trial_ids]
    known = [run for run in runs if run.get("memory_weights_bytes") is not None]
    if not known:
        return {}
    return {name: fmean(run[f"memory_{name}_bytes"] or 0 for run in known) for name in CATEGORIES}


def words_of(category: str) -> str:
    return WORDS.get(category, category.replace("_", " "))


def _bars(group: CellGroup, found: Mapping[str, Mapping[str, float]], name: str) -> Drawing:
    figure = page(1.5 + 0.42 * len(found))
    axis = figure.subplots()
    labels = list(found)
    used = [category for category in CATEGORIES if any(by[category] > 0 for by in found.values())]
    lefts = [0.0] * len(labels)
    for category in used:
        colour, hatch = LOOKS[category]
        widths = [found[label][category] / MIB for label in labels]
        axis.barh(
            labels,
            widths,
            left=lefts,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.6,
            height=0.66,
            label=words_of(category),
        )
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    base = group.baseline.label if group.baseline else ""
    whole = sum(found[base].values()) / MIB if base in found else None
    for place, total in enumerate(lefts):
        ratio = f" ({total / whole:.2f}×)" if whole else ""
        axis.text(total + 0.015 * max(lefts), place, f"{total:.2f}{ratio}", va="center", fontsize=8.5, color=INK)
    if whole:
        axis.axvline(whole, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    plain_axes(axis, "peak memory of training (MiB)", "")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlim(0, max(lefts) * 1.24)
    legend_below(figure, axis, 2)
    told = "; ".join(
        f"{label} {sum(by.values()) / MIB:.2f} MiB, most of it {words_of(max(by, key=lambda name: by[name]))}"
        for label, by in found.items()
    )
    against = f" Dashed: {base}, the baseline; in brackets the multiple of it." if whole else ""
    return Drawing(
        name,
        f"Peak memory by what it is for, {group.dataset}, {group.model}.",
        f"{told}.",
        figure,
        f"At the moment of the peak.{against}",
    )


def _table(group: CellGroup, found: Mapping[str, Mapping[str, float]]) -> Block:
    by_label = {row.label: row for row in group.scored}
    header = ["method", *(words_of(category) for category in CATEGORIES), "in all"]
    rows: list[list[Words]] = []
    for label, by in found.items():
        amounts = [f"{by[category] / MIB:.2f}" if by[category] else NONE for category in CATEGORIES]
        link = "#" + runs_anchor(group, by_label[label].method)
        rows.append([strong(label, link), *(linked(one, link) for one in [*amounts, f"{sum(by.values()) / MIB:.2f}"])])
    return table("The same in MiB", header, rows)
