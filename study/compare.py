"""`python -m study compare DIR`: from recorded runs to the table in the terminal, `results.parquet` and the figure.

Nothing is trained and nothing is looked up outside the records, so a study can be compared again after it was copied to
another machine.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.figure import draw_figure
from study.records import read_study, write_results
from study.summary import CellGroup, Estimate, MethodSummary, summarise
from trainers.data.catalog import lookup
from trainers.errors import UserError

MIB = 2**20
NONE = "–"
TRIAL_COLUMNS = ("done", "pruned", "failed")
SHORT_NAMES = {
    "mask_type": "mask",
    "scheduler_type": "scheduler",
    "temperature": "T",
    "bop_threshold": "threshold",
    "batch_size": "batch",
}


@dataclass(frozen=True)
class Comparison:
    """What `compare` made.

    Attributes:
        table: the comparison as plain text, one table per data set and model.
        groups: the same as values.
        results: the path of `results.parquet`.
        figures: the paths of the figure, as PNG and SVG.
    """

    table: str
    groups: tuple[CellGroup, ...]
    results: Path
    figures: tuple[Path, ...]


def compare(directory: str | Path) -> Comparison:
    """Read a study's recorded runs, write `results.parquet` and the figure into its folder, and return the table.

    Raises:
        UserError: no study there, records that cannot be read, no completed run, or a folder that cannot be written.
    """
    records = read_study(directory)
    groups = tuple(summarise(records.table))
    if not any(group.methods for group in groups):
        counts = Counter(records.table.column("status").to_pylist())
        found = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none at all"
        raise UserError(
            f"the study {records.study!r} in {directory} has no completed run to compare (runs: {found}); "
            "run it again, with the same command, until one completes"
        )
    groups = tuple(group for group in groups if group.methods)
    results = write_results(directory, records.table)
    figures = draw_figure(groups, Path(directory) / "accuracy_vs_memory", records.study)
    edges = [tags["range_edges"] for _, tags in sorted(records.sweeps.items()) if tags.get("range_edges")]
    return Comparison(render(records.study, groups, edges), groups, results, figures)


def render(study: str, groups: Sequence[CellGroup], range_edges: Sequence[str] = ()) -> str:
    """The comparison as text, at most 120 columns wide: per group a table, its best configurations, and notes."""
    parts = [f"Study {study}"]
    for group in groups:
        parts += ["", *_render_group(group)]
    if range_edges:
        parts += ["", "At the edge of a search range (within 5 %); a wider range may hold a better value:"]
        parts += [f"  {line}" for text in range_edges for line in text.splitlines()]
    return "\n".join(parts) + "\n"


def group_title(group: CellGroup) -> str:
    """`Digits, MLP: <the title that its authors use>`; the last part of the path for a data set of one's own."""
    info = lookup(group.dataset)
    if info is None:
        return f"{group.dataset.rstrip('/').rsplit('/', 1)[-1]}, {group.model}"
    return f"{info.name}, {group.model}: {info.title}"


def _render_group(group: CellGroup) -> list[str]:
    baseline = group.baseline
    against = f"vs {baseline.method}" if baseline else "ratio"
    header = ["method", "confirmed", "val acc %", "test acc %", "peak MiB", against, "train s", *TRIAL_COLUMNS]
    table = _aligned([header, *(_cells(summary, baseline) for summary in group.methods)], left=2)
    above = "search trials".rjust(len(table[0]))
    lines = [group_title(group), above, table[0], "-" * len(table[0]), *table[1:]]
    return [*lines, "", *_render_configurations(group), "", *_notes(group)]


def _render_configurations(group: CellGroup) -> list[str]:
    """The best configuration of each method; settings that all of them share are said once."""
    every = [_acting(summary.method, group.model, summary.configuration) for summary in group.methods]
    shared = {key: value for key, value in every[0].items() if all(other.get(key) == value for other in every)}
    names = [summary.method + ("" if summary.confirmed else f" ({summary.phase})") for summary in group.methods]
    width = max(len(name) for name in [*names, "all"])
    lines = ["Best configuration of each, chosen on validation:"]
    for name, configuration in zip(names, every, strict=True):
        own = {key: value for key, value in configuration.items() if len(every) == 1 or key not in shared}
        lines.append(f"  {name:<{width}}  {configuration_text(own) or NONE}")
    if len(every) > 1 and configuration_text(shared):
        lines.append(f"  {'all':<{width}}  {configuration_text(shared)}")
    return lines


def _acting(method: str, model: str, configuration: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the learning rate where that drives nothing: the MLP has no real parameters, and flips
    follow it only while no temperature is given."""
    flips_follow_lr = method != "frozen" and configuration.get("temperature") is None
    return {key: value for key, value in configuration.items() if key != "lr" or model != "MLP" or flips_follow_lr}


def _notes(group: CellGroup) -> list[str]:
    notes = []
    if any(method.confirmed for method in group.methods):
        notes.append("Accuracies: mean ± 95 % interval (Student's t) over the confirmation seeds.")
    if any(not method.confirmed for method in group.methods):
        notes.append(
            "* Not confirmed: the best search or train result, chosen by the value that it shows. It does not compare\n"
            "  with a confirmed one."
        )
    for method in group.methods:
        if len(method.seeds) < method.planned:
            notes.append(
                f"{method.method}: {method.planned - len(method.seeds)} of {method.planned} {method.phase} runs of its "
                "configuration did not complete and are left out."
            )
    return notes


def _cells(summary: MethodSummary, baseline: MethodSummary | None) -> list[str]:
    seeds = f"{len(summary.seeds)} seed" + ("s" if len(summary.seeds) > 1 else "")
    trials = summary.trials
    memory = summary.peak_memory_bytes
    ratio = memory / baseline.peak_memory_bytes if memory and baseline and baseline.peak_memory_bytes else None
    return [
        summary.method,
        seeds if summary.confirmed else f"no: {summary.phase}, {seeds} *",
        percent(summary.val_accuracy),
        percent(summary.test_accuracy),
        NONE if memory is None else f"{memory / MIB:.1f}",
        NONE if ratio is None else f"{ratio:.2f}x",
        NONE if summary.train_seconds is None else f"{summary.train_seconds:.1f}",
        *(
            [str(trials["completed"]), str(trials["pruned"]), str(trials["failed"] + trials["diverged"])]
            if trials
            else [NONE] * len(TRIAL_COLUMNS)
        ),
    ]


def percent(estimate: Estimate | None) -> str:
    """`91.2 ± 0.5`, in per cent; `91.2 ± –` where one seed gives no interval."""
    if estimate is None:
        return NONE
    half_width = NONE if estimate.half_width is None else f"{100 * estimate.half_width:.1f}"
    return f"{100 * estimate.mean:.1f} ± {half_width}"


def configuration_text(configuration: dict[str, Any]) -> str:
    """Settings in one line: `lr 0.312, mask EWM, scheduler gaussian, T 120, batch 96, epochs 10`."""
    usual = {("width", 1.0), ("workers", 1)}
    parts = []
    for name, value in configuration.items():
        if (name, value) not in usual:
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            parts.append(f"{SHORT_NAMES.get(name, name)} {text}")
    return ", ".join(parts)


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows of equal length as lines: the first `left` columns to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            f"{text:<{width}}" if column < left else f"{text:>{width}}"
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
