"""The comparison as plain text, at most 120 columns wide: scores, budgets, verdicts, configurations, remarks."""

import textwrap
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from study.compare.budget import COUNTED, CellLedger, Used, offers
from study.compare.contrasts import OTHER_MARGINS, Comparison
from study.compare.findings import Findings
from study.compare.overall import MeanContrast, Overall
from study.compare.scores import CellGroup, MethodSummary, shared_settings
from study.compare.statistics import Estimate
from study.compare.verdict import Verdict, WorkloadVerdicts, accuracy_text, at_memory, margin_text
from study.define.offer import Offered
from trainers.data.catalog import lookup
from trainers.registry import METHODS, MODELS, declared, lr_trains_real

MIB = 2**20
WIDTH = 120
NONE = "–"


def render(findings: Findings, range_edges: Sequence[str] = ()) -> str:
    """The whole comparison; banners first.

    Args:
        findings: what the comparison found.
        range_edges: of each search whose best values lie at the edge of a range, what lies where.
    """
    lines = [f"Study {findings.study}"]
    for banner in findings.banners:
        lines += ["", *_wrapped(f"!! {banner} !!", 3)]
    for workload, remarks in zip(findings.workloads, findings.remarks, strict=True):
        lines += ["", *_workload(findings, workload, remarks)]
    if findings.overall:
        lines += ["", *_overall(findings.overall)]
    if range_edges:
        lines += ["", "At the edge of a search range (within 5 %); a wider range may hold a better value (§2.2):"]
        lines += [line for text in range_edges for part in text.splitlines() for line in _wrapped(f"  {part}", 4)]
    lines += [
        "",
        "§: see study/PROTOCOL.md. Per-seed values, verdicts and budgets: verdicts.json; all runs: results.parquet.",
    ]
    return "\n".join(lines) + "\n"


def group_title(group: CellGroup) -> str:
    """`Digits, MLP: <the title that its authors use>`; the last part of the path for a data set of one's own."""
    info = lookup(group.dataset)
    if info is None:
        return f"{group.dataset.rstrip('/').rsplit('/', 1)[-1]}, {group.model}"
    return f"{info.name}, {group.model}: {info.title}"


def percent(estimate: Estimate | None) -> str:
    """A fraction in per cent with its interval: `91.2 [90.6, 91.8]`; a dash where there is none."""
    if estimate is None:
        return NONE
    if estimate.low is None or estimate.high is None:
        return f"{100 * estimate.mean:.1f} [{NONE}]"
    return f"{100 * estimate.mean:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def configuration_text(configuration: dict[str, Any]) -> str:
    """Settings in one line: `lr 0.312, mask EWM, scheduler gaussian, T 120, batch 96, epochs 10`.

    What its declaration does not say to show always is named only where it is not at its default.
    """
    known, parts = declared(), []
    for name, value in configuration.items():
        setting = known.get(name)
        if setting is None or setting.shown or not setting.is_default(value):
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            parts.append(f"{setting.title if setting else name} {text}")
    return ", ".join(parts)


def _workload(findings: Findings, workload: WorkloadVerdicts, remarks: Sequence[str]) -> Iterator[str]:
    group = workload.group
    yield from _wrapped(group_title(group), 0)
    yield from _scores(findings, group)
    yield ""
    yield from _verdicts(workload)
    yield ""
    yield from _budgets(findings, group)
    yield ""
    yield from _configurations(group)
    if remarks:
        yield ""
        for remark in remarks:
            yield from _wrapped(remark, 2)


def _scores(findings: Findings, group: CellGroup) -> Iterator[str]:
    baseline = group.baseline
    against = f"vs {baseline.method}" if baseline else "ratio"
    # Bits of state a binary weight (`trainers.memory.state`), in studies that recorded them.
    with_state = any(row.state_bits for row in group.methods)
    header = ["method", "n", "val acc %", "test acc %", *["bits"] * with_state, "peak MiB", against]
    header += ["epochs", "device-s"]
    rows = []
    for row in group.methods:
        memory = row.peak_memory
        base = baseline.peak_memory if baseline else None
        rows.append(
            [
                row.label + ("" if row.confirmed else " *"),
                row.n,
                percent(row.val_accuracy),
                percent(row.test_accuracy),
                *[f"{fmean(row.state_bits.values()):.1f}" if row.state_bits else NONE] * with_state,
                NONE if memory is None else f"{memory.mean / MIB:.1f}",
                NONE if memory is None or base is None else f"{memory.mean / base.mean:.2f}x",
                *_use(findings.account(group, row.method).behind(row.phase)),
            ]
        )
    table = _aligned([header, *rows])
    if len(table[0]) > WIDTH:  # the verdicts name the baseline too
        table = _aligned([["ratio" if name == against else name for name in header], *rows])
    yield "used in all".rjust(len(table[0]))
    yield from _ruled(table)


def _verdicts(workload: WorkloadVerdicts) -> Iterator[str]:
    baseline, measure = workload.group.baseline, workload.group.measure
    if not any(verdict.row.confirmed for verdict in workload.verdicts) or baseline is None:
        yield "No verdicts: nothing is confirmed (§6.2)." if baseline else "No verdicts: no memory was measured (§6.1)."
        return
    within = f"margin {margin_text(workload.margin)}"
    holm = f"Holm over the study's {workload.family} comparison" + ("" if workload.family == 1 else "s")
    yield f"Verdicts against {baseline.label} on {measure} accuracy ({within}; {holm}; §6):"
    width = max(len(verdict.row.label) for verdict in workload.verdicts)
    for verdict in workload.verdicts:
        yield from _wrapped(f"  {verdict.row.label:<{width}}  {_verdict_text(verdict)}", width + 4)
    if workload.contrasts:
        yield f"Other comparisons, in the same family (on {measure} accuracy; {within}; §6.1):"
        names = [f"{contrast.row.label} - {contrast.against.label}" for contrast in workload.contrasts]
        width = max(map(len, names))
        for name, contrast in zip(names, workload.contrasts, strict=True):
            text = "; ".join([accuracy_text(contrast, workload.margin), *_contrast_text(contrast)])
            yield from _wrapped(f"  {name:<{width}}  {text}", width + 4)


def _verdict_text(verdict: Verdict) -> str:
    parts = [verdict.text, *(_contrast_text(verdict.contrast) if verdict.contrast else ())]
    if verdict.front:
        parts.append(verdict.front + (f" by {', '.join(verdict.dominated_by)}" if verdict.front == "dominated" else ""))
    return "; ".join(parts)


def _contrast_text(contrast: Comparison) -> Iterator[str]:
    """Beside the verdict: the mean difference, its p-values, other margins, and what would decide it."""
    if contrast.measured is None:
        return
    difference = contrast.measured.estimate
    if contrast.kind == "undecided":
        yield f"mean {difference.mean:+.1f}"
    if contrast.kind == "comparable":
        yield f"difference {difference.mean:+.1f} [{difference.interval[0]:.1f}, {difference.interval[1]:.1f}]"
    if contrast.adjusted_p is not None and contrast.adjusted_p_equivalent is not None:
        yield f"p {contrast.adjusted_p:.2g}, of the margin {contrast.adjusted_p_equivalent:.2g}"
        others = zip(OTHER_MARGINS, contrast.at_margins, strict=True)
        yield "at " + ", ".join(f"±{margin:g} {kind}" for margin, kind in others)
    if not contrast.over_images:
        yield "over seeds alone"
    elif contrast.needed is not None and contrast.measured.moments is not None:
        moments = contrast.measured.moments
        yield f"no difference would be found by {contrast.needed.text(moments.seeds, moments.images)}"


def _budgets(findings: Findings, group: CellGroup) -> Iterator[str]:
    """What was offered, once where it is the same for all, and what each method used (§4)."""
    accounts = findings.accounts_of(group)
    for to, offered in offers(accounts):
        yield from _wrapped(f"Offered to {to} (§4.1): {offer_text(offered)}.", 2)
    header = ["used (§4.2)", "done", *COUNTED[1:], "epochs", "device-s", "runs", "epochs", "device-s"]
    rows = [header, *(_budget_row(account) for account in accounts)]
    phases = {phase for account in accounts for phase in account.used}
    trained = " and ".join(
        name for phase, name in (("confirm", "confirmation"), ("train", "training")) if phase in phases
    )
    ends = [len(_aligned([row[:columns] for row in rows])[0]) for columns in (len(COUNTED) + 3, len(header))]
    yield ("search".rjust(ends[0]) + trained.rjust(ends[1] - ends[0])).rstrip()
    yield from _ruled(_aligned(rows))


def _budget_row(account: CellLedger) -> list[str]:
    search, trained = account.searched, account.trained
    counts = [str(search.outcomes[outcome]) for outcome in COUNTED]
    return [account.method, *counts, *_use(search), str(trained.ended), *_use(trained)]


def _use(used: Used) -> list[str]:
    """Epochs and device-seconds; with a + where some runs did not record theirs, a dash where none did."""
    more = "+" if used.unknown else ""
    epochs = NONE if used.epochs is None else f"{used.epochs}{more}"
    seconds = NONE if used.device_seconds is None else f"{used.device_seconds:.0f}{more}"
    return [epochs, seconds]


def offer_text(offered: Offered) -> str:
    """What was offered, in words."""
    trials = f"{offered.trials} search trial" + ("" if offered.trials == 1 else "s")
    if offered.repeats > 1:
        trials = f"{offered.repeats} searches of {offered.trials} trial" + ("" if offered.trials == 1 else "s")
    epochs = f"{offered.epochs} epoch" + ("" if offered.epochs == 1 else "s")
    pruner = "no pruner"
    if offered.pruner:
        pruner = f"pruned from epoch {offered.pruner[0]} on, of {offered.pruner[1]} at a rung one goes on"
    confirm = "no confirmation"
    if offered.k:
        best = "the best configuration" if offered.k == 1 else f"the best {offered.k} configurations"
        best += " of each" if offered.repeats > 1 else ""
        confirm = f"{best} confirmed on seeds {', '.join(map(str, offered.seeds))}"
    return f"{trials} of at most {epochs}; {pruner}; {confirm}"


def _configurations(group: CellGroup) -> Iterator[str]:
    """The best configuration of each method; settings that all of them share are said once."""
    rows = [(row.label + (f" r{repeat}" if repeat else ""), one) for row, repeat, one in _searched(group)]
    every = [acting(one, group.model) for _, one in rows]
    shared = shared_settings(every)
    width = max(len(name) for name in [*(name for name, _ in rows), "all"])
    yield "Best configuration of each, chosen on validation (§5.1):"
    for (name, _), configuration in zip(rows, every, strict=True):
        own = {key: value for key, value in configuration.items() if len(every) == 1 or key not in shared}
        yield from _wrapped(f"  {name:<{width}}  {configuration_text(own) or NONE}", width + 4)
    if len(every) > 1 and configuration_text(shared):
        yield from _wrapped(f"  {'all':<{width}}  {configuration_text(shared)}", width + 4)


def _searched(group: CellGroup) -> Iterator[tuple[MethodSummary, int, MethodSummary]]:
    """Every row with the number of its search and that search's own row; 0 and the row where it was not repeated."""
    for row in group.methods:
        yield from ((row, repeat, one) for repeat, one in (row.repeats or {0: row}).items())


def acting(row: MethodSummary, model: str) -> dict[str, Any]:
    """A configuration without the learning rate where that drives nothing: neither real parameters, which have an
    optimizer of their own or are not there, nor binary weights, as where a temperature is given."""
    method = METHODS.all().get(row.method.partition("-")[0])
    known = model in MODELS.all()
    acts = (
        not known or method is None or lr_trains_real(model, row.configuration) or method.follows_lr(row.configuration)
    )
    return {key: value for key, value in row.configuration.items() if key != "lr" or acts}


def _overall(found: Overall) -> Iterator[str]:
    count = len(found.workloads)
    if found.means:
        yield from _means(found)
        yield ""
    yield f"Over {count} workloads (§6.5; a description, no test):"
    if found.standings:
        header = ["method", "mean rank", "profile area", "best on", "error ratio, largest"]
        rows = [
            [
                standing.method,
                f"{standing.mean_rank:.2f}",
                f"{standing.area:.2f}",
                f"{sum(ratio == 1 for ratio in standing.ratios)} of {count}",
                NONE if max(standing.ratios) == float("inf") else f"{max(standing.ratios):.2f}",
            ]
            for standing in found.standings
        ]
        yield from _ruled(_aligned([header, *rows]))
    if found.left_out:
        yield from _wrapped(f"Left out, having no cell on some workload: {', '.join(found.left_out)}.", 2)


def _means(found: Overall) -> Iterator[str]:
    """What methods differ by on average, the comparisons over the same data sets of a model together."""
    holm = f"Holm over {found.family} such mean" + ("" if found.family == 1 else "s")
    yield f"On average over data sets, each counted alike (margin {margin_text(found.margin)}; {holm}; §6.5):"
    over: dict[tuple[str, tuple[str, ...]], list[MeanContrast]] = {}
    for one in found.means:
        over.setdefault((one.model, one.datasets), []).append(one)
    for (model, datasets), own in over.items():
        without = f" (not {', '.join(own[0].without)}, for lack of runs or of their answers)" if own[0].without else ""
        yield from _wrapped(f"  {model}, {', '.join(datasets)}{without}", 2)
        names = [" - ".join(one.names) for one in own]
        width = max(map(len, names))
        for name, one in zip(names, own, strict=True):
            said = accuracy_text(one, found.margin)
            said += "" if one.memory_ratio is None else at_memory(one.kind, one.memory_ratio)
            yield from _wrapped(f"    {name:<{width}}  {'; '.join([said, *_contrast_text(one)])}", width + 6)


def _ruled(table: Sequence[str]) -> Iterator[str]:
    yield table[0]
    yield "-" * len(table[0])
    yield from table[1:]


def _wrapped(text: str, indent: int) -> list[str]:
    """The text in lines of at most `WIDTH` columns, the further ones indented; blanks within a line are kept."""
    return textwrap.wrap(
        text,
        WIDTH,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as lines: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            f"{text:>{width}}" if column else f"{text:<{width}}"
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
