"""Methods on average over a study's data sets: the answer that takes all of it together, in words and as figures."""

from collections.abc import Iterator, Sequence

from study.compare.contrasts import BASELINE, CONTROL, LIFT, NAMED
from study.compare.overall import MeanContrast, Overall
from study.compare.verdict import accuracy_text, margin_text
from study.report.content import StudyContent
from study.report.differences import Row, comparison_text, differences, would_decide
from study.report.document import (
    Block,
    Figures,
    Listing,
    Paragraph,
    Section,
    Span,
    Text,
    Words,
    prose,
    strong,
    table,
    text,
)

TITLE = "On average over data sets"
_KINDS = {
    "higher": "More accurate for sure: ",
    "comparable": "As accurate for sure, within the margin: ",
    "undecided": "Undecided: ",
    "lower": "Less accurate for sure: ",
}


def in_words(content: StudyContent) -> Iterator[Block]:
    """Who keeps up with the baseline on average, at how much of its memory, and what flipping weights is worth; nothing
    where that was not asked."""
    found = content.findings.overall
    if found is None or content.findings.banners:
        return
    for model, datasets in dict.fromkeys((one.model, one.datasets) for one in found.means):
        against, lifts = (
            [one for one in _of(found, sort) if (one.model, one.datasets) == (model, datasets)]
            for sort in (BASELINE, LIFT)
        )
        if against:
            yield Paragraph(_sentence(against, found.margin), "lead")
        gains = [one for one in lifts if one.kind == "higher"]
        if gains:
            yield Paragraph(_gains(gains), "lead")


def _sentence(own: Sequence[MeanContrast], margin: float) -> Text:
    first = own[0]
    said: list[str | Span] = [
        f"On average over {len(first.datasets)} data sets ({', '.join(first.datasets)}), with {first.model}, against ",
        strong(first.against),
        f" (margin {margin_text(margin)}). ",
    ]
    for kind, words in _KINDS.items():
        named = [one for one in own if one.kind == kind and (kind != "lower" or one.method != CONTROL)]
        if named:
            said.append(strong(words) if kind == "undecided" else words)
        for number, one in enumerate(named):
            said += ["; " if number else "", strong(one.method, "#average"), f" ({_amounts(one)})"]
        if named:
            said.append(". ")
    return text(said)


def _gains(lifts: Sequence[MeanContrast]) -> Text:
    said: list[str | Span] = ["Above ", strong(lifts[0].against), ", which flips no binary weight, for sure: "]
    for number, one in enumerate(sorted(lifts, key=_points, reverse=True)):
        said += ["; " if number else "", strong(one.method, "#average"), f" by {comparison_text(one)} points"]
    return text([*said, "."])


def _points(one: MeanContrast) -> float:
    return one.measured.estimate.mean if one.measured else 0.0


def _amounts(one: MeanContrast) -> str:
    points = f"{comparison_text(one)} points"
    return points if one.memory_ratio is None else f"{points} at {one.memory_ratio:.2f} times the memory"


def average(content: StudyContent) -> Section:
    """Figures and tables of what methods differ by on average."""
    found = content.findings.overall
    if found is None or not found.means:
        return Section("average", TITLE, ())
    most = max(len(one.datasets) for one in found.means)
    blocks: list[Block] = [
        prose(
            "Each data set counts alike. What is asked is the mean over these data sets, which are no sample of any "
            f"others. The {found.family} means are one family for Holm's correction."
        )
    ]
    for sort, title, zero in (
        (BASELINE, "Against the baseline", "the baseline"),
        (LIFT, "Lift over the control, which flips no weight", "the control"),
        (NAMED, "Further comparisons that the study names", "the other method"),
    ):
        own = _of(found, sort)
        if not own:
            continue
        labels = [_label(found, one, most) for one in own]
        drawing = differences(
            f"average-{sort}",
            f"{TITLE}: {title[0].lower()}{title[1:]}.",
            f"test accuracy minus {_whose(own)}, in points",
            [Row(one.method, label, one) for one, label in zip(own, labels, strict=True)],
            found.margin,
            zero,
            over_datasets=True,
        )
        blocks += [Figures((drawing,))] if drawing else []
        blocks.append(_table(title, own, labels, found.margin))
    undecided = [one for one in found.means if one.kind == "undecided"]
    if undecided:
        blocks.append(Paragraph(text([strong("What is undecided, and what would decide it:")])))
        blocks.append(
            Listing(tuple(text([strong(" or ".join(one.names)), f": {would_decide(one)}"]) for one in undecided))
        )
    return Section("average", TITLE, tuple(blocks))


def _of(found: Overall, sort: str) -> list[MeanContrast]:
    """The means of a sort; the baseline's lift is the control's difference from it, turned round."""
    own = [one for one in found.means if one.sort == sort]
    if sort == LIFT:
        own += [one.turned_round() for one in found.means if one.sort == BASELINE and one.method == CONTROL]
    return own


def _whose(own: Sequence[MeanContrast]) -> str:
    against = {one.against for one in own}
    return f"{against.pop()}'s" if len(against) == 1 else "the other's"


def _label(found: Overall, one: MeanContrast, most: int) -> str:
    """A method, with what tells it from the others: whom it is compared with, the model, fewer data sets."""
    same = {other.against for other in _of(found, one.sort)}
    parts = [one.method if len(same) == 1 else " − ".join(one.names)]
    if len({other.model for other in found.means}) > 1:
        parts.append(one.model)
    if len(one.datasets) < most:
        parts.append(f"{len(one.datasets)} sets")
    return ", ".join(parts)


def _table(title: str, own: Sequence[MeanContrast], labels: Sequence[str], margin: float) -> Block:
    with_memory = any(one.memory_ratio is not None for one in own)
    header = ["comparison", "difference in points", *["memory"] * with_memory, "verdict", "on each data set"]
    rows: list[list[Words]] = []
    for one, label in zip(own, labels, strict=True):
        each = zip(one.datasets, one.measured.differences if one.measured else (), strict=True)
        memory = "–" if one.memory_ratio is None else f"{one.memory_ratio:.2f}×"
        rows.append(
            [
                strong(label, "#table"),
                Span(comparison_text(one), "#table"),
                *[memory] * with_memory,
                accuracy_text(one, margin),
                ", ".join(f"{name} {mean:+.1f}" for name, (mean,) in each),
            ]
        )
    return table(title, header, rows, numeric=[1, 2] if with_memory else [1], stacked=True)
