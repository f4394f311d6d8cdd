"""The answer in words, first of all: what may be said of each method, what is undecided, and what fits which memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from study.compare.contrasts import CONTROL, Measured, measure
from study.compare.scores import CellGroup, MethodSummary
from study.compare.statistics import SIGNIFICANCE, holm
from study.compare.table import group_title, percent
from study.compare.verdict import Verdict, WorkloadVerdicts, margin_text
from study.report.average import in_words
from study.report.content import StudyContent, confirmed
from study.report.differences import would_decide
from study.report.document import (
    Block,
    Listing,
    Paragraph,
    Section,
    Span,
    Text,
    anchor,
    by_workload,
    code,
    strong,
    table,
    text,
)
from trainers.data.catalog import lookup

MIB = 2**20


@dataclass(frozen=True)
class Step:
    """From how much memory on which method is the most accurate that fits.

    Attributes:
        row: the method.
        below: the step before it, which needs less; None for the first.
        gain: the paired difference of accuracies to that one, in points; None for the first, or without common seeds.
        sure: whether that difference is significant after Holm's correction over the stair, and the study's own verdict
            on these two, where it has one, does not leave them undecided.
    """

    row: MethodSummary
    below: MethodSummary | None
    gain: Measured | None
    sure: bool = False


def answer(content: StudyContent) -> Section:
    """What the study says, workload by workload."""
    parts = [
        Section(anchor("answer", str(number + 1)), group_title(one.group), tuple(_workload(content, one)))
        for number, one in enumerate(content.findings.workloads)
    ]
    blocks: list[Block] = list(in_words(content))
    if not parts:
        blocks.append(Paragraph(text([strong("No run has completed yet"), ", so nothing can be said of any method."])))
    if len(parts) == 1:
        blocks.append(Paragraph(text(parts[0].title), "note"))
    return by_workload("answer", "The answer", blocks, parts)


def _workload(content: StudyContent, workload: WorkloadVerdicts) -> Iterator[Block]:
    group = workload.group
    if not confirmed(group):
        yield Paragraph(
            text(
                [
                    strong("Undecided: nothing is confirmed yet."),
                    " What the search has reached so far was chosen for being high, so no method can be called better "
                    "than another by it.",
                ]
            ),
            "lead",
        )
        return
    if content.findings.banners:
        yield Paragraph(text("Read the warning above first: it says why the following is no result."), "note")
    yield Paragraph(_sentence(workload), "lead")
    yield from _by_memory(content, workload)
    yield Paragraph(text([strong("The verdicts"), f", against {_baseline_name(group)}:"]))
    yield Listing(tuple(_verdict_texts(workload)))
    undecided = list(_undecided(workload))
    if undecided:
        yield Paragraph(text([strong("What is undecided, and what would decide it:")]))
        yield Listing(tuple(undecided))
    elif len(confirmed(group)) > 1:
        yield Paragraph(text("Nothing is left undecided between a method and the baseline."))


def _sentence(workload: WorkloadVerdicts) -> Text:
    """Who keeps up with the baseline at how much of its memory, and how sure that is."""
    group, baseline = workload.group, workload.group.baseline
    if baseline is None:
        return text("No memory was measured, so there is no baseline to compare with.")
    said: list[str | Span] = [
        strong(baseline.label, _runs(group, baseline)),
        f", the baseline, reaches {percent(group.estimate(baseline))} % {group.measure} accuracy",
        f" in {_mib(baseline.memory)} of memory" if baseline.memory else "",
        ". ",
    ]
    by_kind = {
        kind: [one for one in workload.verdicts if one.kind == kind]
        for kind in ("comparable", "higher", "lower", "undecided")
    }
    within = margin_text(workload.margin)
    if higher := by_kind["higher"]:
        said += ["More accurate for sure: ", *_named(group, higher, points=True), ". "]
    if comparable := by_kind["comparable"]:
        said += [f"As accurate for sure, within {within}: ", *_named(group, comparable), ". "]
    if undecided := by_kind["undecided"]:
        said += [
            strong("Undecided: "),
            *_named(group, undecided, points=True),
            f"; with {_size(baseline)} this study cannot tell whether they differ from it by {within} or not at all. ",
        ]
    if lower := [one for one in by_kind["lower"] if one.row.method != CONTROL]:
        said += ["Less accurate for sure: ", *_named(group, lower, points=True), "."]
    if len(said) == 4:
        said.append("No other method is confirmed beside it.")
    return text(said)


def _named(group: CellGroup, verdicts: Sequence[Verdict], *, points: bool = False) -> Iterator[str | Span]:
    """Methods with their memory, of the baseline's, and their difference in points."""
    for number, one in enumerate(verdicts):
        yield "" if not number else " and " if number == len(verdicts) - 1 else ", "
        yield strong(one.row.label, _runs(group, one.row))
        told = []
        if points and one.difference is not None:
            told.append(f"{one.difference.mean:+.1f} points")
        if one.memory_ratio is not None:
            told.append(f"{one.memory_ratio.mean:.2f} times the memory")
        if told:
            yield f" ({' at '.join(told)})"


def _baseline_name(group: CellGroup) -> str:
    return group.baseline.label if group.baseline else "nothing"


def _verdict_texts(workload: WorkloadVerdicts) -> Iterator[Text]:
    """A line a method: its accuracy, its memory, and the verdict."""
    group = workload.group
    for verdict in workload.verdicts:
        row = verdict.row
        if not row.confirmed or not group.accuracy(row):
            continue
        said: list[str | Span] = [
            strong(row.label, _runs(group, row)),
            f": {percent(group.estimate(row))} %",
            f" in {_mib(row.memory)}" if row.memory else "",
            f" – {verdict.text}",
        ]
        if verdict.front == "dominated":
            better, verb = list(verdict.dominated_by), "is" if len(verdict.dominated_by) == 1 else "are"
            said.append(f"; {_and(better)} {verb} better in both, or as good in one")
        yield text([*said, "."])


def _undecided(workload: WorkloadVerdicts) -> Iterator[Text]:
    for one in workload.comparisons():
        if one.kind == "undecided":
            yield text([strong(f"{one.row.label} or {one.against.label}"), f": {would_decide(one)}"])


def steps(workload: WorkloadVerdicts) -> list[Step]:
    """The stair of accuracy over memory: by the means, who is the most accurate of those that need no more."""
    group = workload.group
    rows = [row for row in confirmed(group) if row.memory and group.accuracy(row)]
    stair: list[Step] = []
    for row in sorted(rows, key=lambda row: (fmean(row.memory.values()), -fmean(group.accuracy(row).values()))):
        below = stair[-1].row if stair else None
        if below is not None and fmean(group.accuracy(row).values()) <= fmean(group.accuracy(below).values()):
            continue
        stair.append(Step(row, below, measure(group, row, below) if below else None))
    p_values = [step.gain.p_different for step in stair if step.gain and step.gain.p_different is not None]
    adjusted = iter(holm(p_values))
    undecided = {frozenset((id(one.row), id(one.against))) for one in workload.comparisons() if one.kind == "undecided"}
    return [
        replace(step, sure=next(adjusted) < SIGNIFICANCE and {id(step.row), id(step.below)} not in undecided)
        if step.gain and step.gain.p_different is not None
        else step
        for step in stair
    ]


def _by_memory(content: StudyContent, workload: WorkloadVerdicts) -> Iterator[Block]:
    group, stair = workload.group, steps(workload)
    if not stair:
        return
    rows = []
    for number, step in enumerate(stair):
        need = fmean(step.row.memory.values())
        upper = fmean(stair[number + 1].row.memory.values()) if number + 1 < len(stair) else None
        span = f"{_amount(need)} to {_amount(upper)}" if upper else f"{_amount(need)} or more"
        guess = _at_chance(group, step.row)
        taken = strong(step.row.label, _runs(group, step.row))
        rows.append(
            [
                span,
                text(["nothing useful: ", taken]) if guess else taken,
                percent(group.estimate(step.row)),
                _surety(group, step),
            ]
        )
    yield table(
        "Which method for which memory: the most accurate of those that fit, by what was measured",
        ["memory that there is for training", "take", f"{group.measure} accuracy %", "how sure is that"],
        rows,
        numeric=[2],
        stacked=True,
    )
    least = fmean(stair[0].row.memory.values())
    setting = _setting(content, group)
    yield Paragraph(
        text(
            [
                f"Memory is the peak of one training step{setting}: weights, state, gradients, activations and all "
                f"else that is alive at once; 1 MiB = 1,048,576 bytes, 1 MB = 1,000,000. Below {_amount(least)} "
                "none of the methods fits at these settings. Another model, batch or image size needs another "
                "amount, which ",
                code("python -m study plan"),
                " predicts. The last column compares each with the one above it: the difference in points with its 95 "
                "% interval; sure means at the 5 % level after Holm's correction for the number of these comparisons, "
                "and not left undecided below, where the study compares the same two among more.",
            ]
        ),
        "note",
    )


def _surety(group: CellGroup, step: Step) -> str:
    parts = []
    if step.row.method == CONTROL:
        parts.append("the control, which flips no binary weight")
    if guess := _at_chance(group, step.row):
        parts.append(f"no better than guessing ({100 * guess:.3g} %)")
    if step.below is None:
        parts.append("the only one that needs so little")
    elif step.gain is None or step.gain.estimate.low is None or step.gain.estimate.high is None:
        parts.append(f"no interval: too few seeds in common with {step.below.label}")
    else:
        found = step.gain.estimate
        shown = f"{found.mean:+.1f} points [{found.interval[0]:.1f}, {found.interval[1]:.1f}]"
        below = f"{step.below.label}, which needs less: {shown}"
        if found.interval[0] <= 0:
            parts.append(f"not shown to beat {below}")
        else:
            parts.append(f"sure to beat {below}" if step.sure else f"perhaps better than {below}, but not sure")
    return "; ".join(parts)


def _setting(content: StudyContent, group: CellGroup) -> str:
    row = (confirmed(group) or list(group.methods))[0].configuration
    known = content.workload(group)
    batch, size = row.get("batch_size", known.get("batch_size")), row.get("image_size", known.get("image_size"))
    parts = [f"{batch} images a batch"] if batch else []
    parts += [f"images of {size}×{size} pixels"] if size else []
    return f" ({group.model}; {', '.join(parts)})" if parts else f" ({group.model})"


def _at_chance(group: CellGroup, row: MethodSummary) -> float | None:
    """The accuracy of guessing, where a method's interval holds it or lies below; otherwise, or unknown, None."""
    info = lookup(group.dataset)
    if row.configuration.get("classes"):
        return None  # some of the data set's classes, how many of which the records do not say
    accuracy = group.estimate(row)
    if info is None or accuracy is None or accuracy.interval[0] > 1 / info.num_classes:
        return None
    return 1 / info.num_classes


def _runs(group: CellGroup, row: MethodSummary) -> str:
    return "#" + runs_anchor(group, row.method)


def runs_anchor(group: CellGroup, method: str) -> str:
    """Where the runs of a method on a workload are listed."""
    return anchor("runs", group.dataset, group.model, method)


def _amount(size: float) -> str:
    return f"{size / MIB:.2f} MiB ({size / 1e6:.2f} MB)"


def _mib(memory: Mapping[int, float]) -> str:
    return f"{fmean(memory.values()) / MIB:.2f} MiB"


def _size(row: MethodSummary) -> str:
    images = {len(right) for part in row.parts for right in part.answers.values()}
    searches = f"{len(row.repeats)} searches x " if row.repeats else ""
    return f"{searches}{len(row.seeds)} seed{'' if len(row.seeds) == 1 else 's'}" + (
        f" and {images.pop():,} test images" if len(images) == 1 else ""
    )


def _and(names: Sequence[str]) -> str:
    """
    >>> _and(["a", "b", "c"])
    'a, b and c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
