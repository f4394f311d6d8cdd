"""Learning curves, and the flip rate and temperature over a run by mask and scheduler."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from study.compare.figure_page import INK
from study.compare.looks import styles_of
from study.compare.scores import CellGroup
from study.compare.table import group_title
from study.report.content import Row, StudyContent
from study.report.document import Block, Figures, Paragraph, Section, anchor, by_workload, text
from study.report.drawing import Drawing, legend_below, line_style, marked_line, page, plain_axes
from study.report.results import far_control

HEIGHT = 3.9
MOST_THIN_LINES = 60
"""Single runs drawn as thin lines in one figure; more cannot be told apart, and make the page heavy."""
SPARE_LOOKS = (("#E69F00", "P"), ("#56B4E9", "X"), ("#000000", "h"), ("#B8A800", "*"), ("#8C564B", "<"))
"""Of further masks of a method whose own look is taken."""


@dataclass(frozen=True)
class _Kind:
    """What a figure of rule variables shows: the metric, its words, its unit."""

    metric: str
    title: str
    up: str


FLIPS = _Kind("flip_rate", "Flip rate", "share of weights flipped a step")
TEMPERATURE = _Kind("temperature", "Temperature", "temperature T")


def curves(content: StudyContent) -> Section:
    """A part a workload."""
    parts = []
    for number, workload in enumerate(content.findings.workloads):
        group = workload.group
        drawings = [
            _learning(content, group, f"learning-{number + 1}"),
            _rule_variable(content, group, FLIPS, f"flip-rate-{number + 1}"),
            _rule_variable(content, group, TEMPERATURE, f"temperature-{number + 1}"),
        ]
        drawn = tuple(one for one in drawings if one is not None)
        blocks: tuple[Block, ...] = (Figures(drawn),) if drawn else ()
        lacking = [kind for kind, one in zip(("learning curves", "flip rates"), drawings, strict=False) if one is None]
        if lacking:
            blocks += (Paragraph(text(f"Not recorded: {' and '.join(lacking)}."), "note"),)
        parts.append(Section(anchor("curves", str(number + 1)), group_title(group), blocks))
    return by_workload("curves", "How the runs went: learning curves, flip rate, temperature", (), parts)


def steps_per_epoch(content: StudyContent, group: CellGroup) -> int | None:
    """Training steps of an epoch, where the records say how many images there are; None where they do not, or vary."""
    images = content.workload(group).get("train_images")
    batches = {row.get("batch_size") for row in content.own_rows(group)}
    if not images or len(batches) != 1 or not (batch := batches.pop()):
        return None
    return math.ceil(images / batch)


def _learning(content: StudyContent, group: CellGroup, name: str) -> Drawing | None:
    """Validation accuracy over epochs: of each scored row the mean over its seeds, and from the least to the most."""
    figure = page(HEIGHT)
    axis = figure.subplots()
    styles = styles_of(row.method for row in group.methods)
    told = []
    below = far_control(group)
    for place, row in enumerate(group.scored):
        if row is below:
            continue
        mean, low, high = _over_runs([content.epochs(trial_id, "val_accuracy") for trial_id in row.trial_ids])
        if not mean:
            continue
        epochs = sorted(mean)
        colour, mark = styles[row.method]
        up = [100 * mean[epoch] for epoch in epochs]
        marked_line(axis, epochs, up, (colour, mark, line_style(place)), row.label, marks=4, place=place)
        least, most = [100 * low[epoch] for epoch in epochs], [100 * high[epoch] for epoch in epochs]
        axis.fill_between(epochs, least, most, color=colour, alpha=0.15, linewidth=0)
        told.append(f"{row.label} from {up[0]:.1f} % to {up[-1]:.1f} %")
    if not told:
        return None
    plain_axes(axis, "epoch", "validation accuracy (%)")
    _steps_above(content, group, axis)
    legend_below(figure, axis, 3)
    seeds = "Mean over the confirmation seeds, shaded from the lowest to the highest."
    caption = seeds if group.scored[0].confirmed else "The best search or train run of each, not confirmed."
    if below is not None:
        caption += f" Not drawn, being far below: {below.label}."
    return Drawing(
        name,
        f"Validation accuracy over the epochs, {group.dataset}, {group.model}.",
        f"From the first to the last epoch: {'; '.join(told)}.",
        figure,
        caption,
    )


def _rule_variable(content: StudyContent, group: CellGroup, kind: _Kind, name: str) -> Drawing | None:
    """A variable of the flip rules over epochs: thin a run, thick the mean of each mask and scheduler, or method."""
    families = _families(content, group, kind.metric)
    if not families:
        return None
    figure = page(HEIGHT - 0.5 + 0.085 * len(families))
    axis = figure.subplots()
    told = []
    looks = _family_looks(families)
    thin = max(1, MOST_THIN_LINES // len(families))
    for place, (label, lines) in enumerate(families.items()):
        for epochs, values in lines[:thin]:
            axis.plot(epochs, values, color=looks[label][0], linewidth=0.6, alpha=0.35, linestyle="-")
        mean = _over_runs(lines, geometric=True)[0]
        across = sorted(mean)
        marked_line(
            axis, across, [mean[epoch] for epoch in across], looks[label], label, marks=4, place=place, linewidth=2
        )
        told.append(f"{label} from {mean[across[0]]:.2g} to {mean[across[-1]]:.2g} over {len(lines)} runs")
    plain_axes(axis, "epoch", kind.up)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _steps_above(content, group, axis)
    legend_below(figure, axis, 2)
    return Drawing(
        name,
        f"{kind.title} over the epochs, {group.dataset}, {group.model}.",
        f"Geometric means at the first and at the last epoch: {'; '.join(told)}.",
        figure,
        "By mask and scheduler, or by method where it has none; logarithmic. Thin: single runs of search and "
        "confirmation; thick: their geometric mean.",
    )


Line = tuple[Sequence[int], Sequence[float]]


def _families(content: StudyContent, group: CellGroup, metric: str) -> dict[str, list[Line]]:
    """The curves of a metric by what the rule was: `binary EWM, gaussian`, or the method alone."""
    found: dict[str, list[Line]] = {}
    for row in content.own_rows(group):
        epochs, values = content.epochs(row["trial_id"], metric)
        kept = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value > 0]
        if len(kept) > 1 and row["status"] not in ("diverged", "failed"):
            found.setdefault(_family(row), []).append(([e for e, _ in kept], [v for _, v in kept]))
    return dict(sorted(found.items()))


def _family(row: Row) -> str:
    parts = [str(row[name]) for name in ("mask_type", "scheduler_type") if row.get(name)]
    return f"{row['method']} {', '.join(parts)}" if parts else str(row["method"])


def _family_looks(families: Mapping[str, Any]) -> dict[str, tuple[str, str, Any]]:
    """Colour and mark by method and mask, the kind of line by scheduler; a method's first mask looks as the method."""
    heads = list(dict.fromkeys(label.partition(",")[0] for label in families))
    tails = list(dict.fromkeys(label.partition(",")[2] for label in families))
    styles = styles_of(head.split()[0] for head in heads)
    spare = cycle((colour, mark) for colour, mark in SPARE_LOOKS if colour not in {one for one, _ in styles.values()})
    first = {head.split()[0]: head for head in reversed(heads)}
    looks = {head: styles[head.split()[0]] if head in first.values() else next(spare) for head in heads}
    return {
        label: (*looks[head], line_style(tails.index(tail)))
        for label in families
        for head, _, tail in [label.partition(",")]
    }


def _over_runs(
    lines: Sequence[Line], *, geometric: bool = False
) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
    """Mean, least and most of several curves, epoch by epoch."""
    by_epoch: dict[int, list[float]] = {}
    for epochs, values in lines:
        for epoch, value in zip(epochs, values, strict=True):
            by_epoch.setdefault(epoch, []).append(value)
    mean = {
        epoch: math.exp(fmean(map(math.log, values))) if geometric else fmean(values)
        for epoch, values in by_epoch.items()
    }
    return mean, {e: min(v) for e, v in by_epoch.items()}, {e: max(v) for e, v in by_epoch.items()}


def _steps_above(content: StudyContent, group: CellGroup, axis: Axes) -> None:
    """The same axis in training steps, above, where the records say how many an epoch has."""
    steps = steps_per_epoch(content, group)
    if steps is not None:
        above = axis.secondary_xaxis("top", functions=(_times(steps), _times(1 / steps)))
        above.set_xlabel("training step", fontsize=9, color=INK)
        above.tick_params(labelsize=8, colors=INK)


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda values: np.asarray(values) * factor
