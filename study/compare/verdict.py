"""What may be said of each method against the baseline, on accuracy *and* memory (PROTOCOL §6).

A verdict rests on a comparison of accuracies (`study.compare.contrasts`) and the paired ratio of memories. "Comparable"
is said only where a difference of the margin is excluded, never because a test found nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from study.compare.contrasts import BASELINE, Comparison, Contrast, contrasts_of, decided, measure, tested
from study.compare.scores import CellGroup, MethodSummary
from study.compare.statistics import Estimate, estimate_as_dict, paired_ratio

ON_FRONT, PERHAPS, DOMINATED = "on the Pareto front", "perhaps on the Pareto front", "dominated"


@dataclass(frozen=True)
class Verdict:
    """Of one row of a workload.

    Attributes:
        row: whose.
        kind: `baseline`, `comparable`, `higher`, `lower`, `undecided`; `none` where the row is not confirmed.
        contrast: its comparison with the baseline; None for the baseline itself and where there is none.
        memory_ratio: to the baseline's memory; None where one of the two was not measured.
        front: `ON_FRONT`, `PERHAPS` or `DOMINATED` (§6.4); empty where it cannot be said.
        dominated_by: the rows that dominate it by their means, by label.
        text: the verdict in words.
    """

    row: MethodSummary
    kind: str
    contrast: Contrast | None
    memory_ratio: Estimate | None
    front: str
    dominated_by: tuple[str, ...]
    text: str

    @property
    def difference(self) -> Estimate | None:
        """Of accuracies against the baseline, in points; None for the baseline and where no seed is common."""
        return self.contrast.measured.estimate if self.contrast and self.contrast.measured else None

    @property
    def adjusted_p(self) -> float | None:
        """Holm's, over the study; None where there is no p-value."""
        return self.contrast.adjusted_p if self.contrast else None


@dataclass(frozen=True)
class WorkloadVerdicts:
    """The verdicts on one workload.

    Attributes:
        group: its scores.
        margin: of equivalence, in points.
        verdicts: against the baseline, in the order of the rows.
        family: how many comparisons of the study Holm's procedure corrects for.
        contrasts: the workload's other comparisons: lifts over the control, and those that the study names.
    """

    group: CellGroup
    margin: float
    verdicts: tuple[Verdict, ...]
    family: int
    contrasts: tuple[Contrast, ...] = ()

    def comparisons(self) -> Iterator[Contrast]:
        """All of them: with the baseline, and the others."""
        yield from (verdict.contrast for verdict in self.verdicts if verdict.contrast is not None)
        yield from self.contrasts


def judge(groups: Sequence[CellGroup], margin: float, named: Sequence[tuple[str, str]] = ()) -> list[WorkloadVerdicts]:
    """The verdicts on every workload; all comparisons of the study are one family for Holm's correction (§5.5).

    Args:
        groups: what `summarise` returned.
        margin: of equivalence, in points.
        named: the pairs of methods that the study file asks to compare.
    """
    made = [
        (group, Contrast(row, against, sort, measured=measure(group, row, against)))
        for group in groups
        for row, against, sort in contrasts_of(group, named)
    ]
    family = [one for _, one in made]
    decisions = list(zip((group for group, _ in made), decided(family, margin), strict=True))
    judged, count = [], tested(family)
    for group in groups:
        own = [one for its, one in decisions if its is group]
        against_baseline = {id(one.row): one for one in own if one.sort == BASELINE}
        verdicts = tuple(_verdict(group, row, against_baseline.get(id(row)), margin) for row in group.methods)
        others = tuple(one for one in own if one.sort != BASELINE)
        judged.append(WorkloadVerdicts(group, margin, verdicts, count, others))
    return judged


def _verdict(group: CellGroup, row: MethodSummary, contrast: Contrast | None, margin: float) -> Verdict:
    baseline = group.baseline
    ratio = paired_ratio(row.memory, baseline.memory) if baseline and row.confirmed else None
    if not row.confirmed:
        kind, text = "none", "not confirmed, so no verdict"
    elif row is baseline:
        kind, text = "baseline", "the baseline"
    elif contrast is None:
        kind, text = "none", "no baseline, since no memory was measured"
    else:
        kind, text = contrast.kind, accuracy_text(contrast, margin)
        text += at_memory(kind, ratio.mean, ratio.interval) if ratio else ""
    front, dominated_by = _place(group, row) if row.confirmed else ("", ())
    return Verdict(row, kind, contrast, ratio, front, dominated_by, text)


def accuracy_text(contrast: Comparison, margin: float) -> str:
    """The verdict on a comparison's accuracies, in words."""
    if contrast.measured is None:
        return f"undecided: no seed in common with {contrast.names[1]}"
    points = contrast.measured.estimate
    if points.low is None or points.high is None:
        if points.n > 1 and contrast.kind in ("higher", "lower"):
            return f"{contrast.kind} by {abs(points.mean):.1f} points"
        return f"undecided: {'a single common seed gives' if points.n == 1 else 'seeds that agree give'} no interval"
    if contrast.kind == "comparable":
        return f"comparable accuracy (within {margin_text(margin)})"
    if contrast.kind in ("higher", "lower"):
        low, high = sorted((abs(points.low), abs(points.high)))
        return f"{contrast.kind} by {abs(points.mean):.1f} [{low:.1f}, {high:.1f}] points"
    shown = f"undecided: [{_signed(points.low)}, {_signed(points.high)}]"
    if -margin <= points.low and points.high <= margin:
        return f"{shown} lies within the margin, but is not significant after Holm"
    text = f"{shown} reaches beyond the margin"
    if points.low > 0 or points.high < 0:  # the interval alone would suggest a difference
        text += " and is not significant after Holm"
    return text


def margin_text(margin: float) -> str:
    """
    >>> margin_text(0.5)
    '±0.5 points'
    """
    return f"±{margin:g} point" + ("" if margin == 1 else "s")


def at_memory(kind: str, ratio: float, interval: tuple[float, float] | None = None) -> str:
    """How a verdict of a kind goes on: at which multiple of the other's memory.

    >>> at_memory("undecided", 0.14, (0.13, 0.15))
    ', at 0.14x [0.13, 0.15] memory'
    """
    low, high = (f"{end:.2f}" for end in interval or (ratio, ratio))
    spread = "" if low == high else f" [{low}, {high}]"
    return f"{',' if kind == 'undecided' else ''} at {ratio:.2f}x{spread} memory"


def _place(group: CellGroup, row: MethodSummary) -> tuple[str, tuple[str, ...]]:
    """Where a row stands to the Pareto front (§6.4), and the labels of the rows that dominate it by their means."""
    if not row.memory or not group.accuracy(row):
        return "", ()
    others = [other for other in group.scored if other is not row and other.memory and group.accuracy(other)]
    above = [other for other in others if _dominates(group, other, row)]
    if not above:
        return ON_FRONT, ()
    surely = any(_surely(group, other, row) for other in above)
    return DOMINATED if surely else PERHAPS, tuple(other.label for other in above)


def _dominates(group: CellGroup, one: MethodSummary, other: MethodSummary) -> bool:
    accuracy = _mean(group.accuracy(one)) - _mean(group.accuracy(other))
    memory = _mean(one.memory) - _mean(other.memory)
    return accuracy >= 0 and memory <= 0 and (accuracy > 0 or memory < 0)


def _surely(group: CellGroup, one: MethodSummary, other: MethodSummary) -> bool:
    """Whether the intervals exclude that `other` is the more accurate, or the one that needs less memory."""
    difference = measure(group, one, other)
    ratio = paired_ratio(one.memory, other.memory)
    if difference is None or difference.estimate.low is None or ratio is None or ratio.high is None:
        return False
    return difference.estimate.low >= 0 and ratio.high <= 1


def _mean(by_seed: Mapping[int, float]) -> float:
    return fmean(by_seed.values())


def _signed(points: float) -> str:
    """One decimal, without a sign before zero."""
    return f"{round(points, 1) + 0.0:.1f}"


def as_dict(workload: WorkloadVerdicts) -> dict[str, Any]:
    """A workload's scores and verdicts as plain values: fractions and bytes, differences in points."""
    group = workload.group
    return {
        "dataset": group.dataset,
        "model": group.model,
        "measure": group.measure,
        "baseline": group.baseline.label if group.baseline else None,
        "methods": [_row(group, verdict) for verdict in workload.verdicts],
        "contrasts": [
            {**contrast.as_dict(), "text": accuracy_text(contrast, workload.margin)} for contrast in workload.contrasts
        ],
    }


def _row(group: CellGroup, verdict: Verdict) -> dict[str, Any]:
    row = verdict.row
    return {
        "method": row.method,
        "label": row.label,
        "phase": row.phase,
        "trial": row.trial,
        "represents_method": row.represents,
        "configuration": row.configuration,
        "seeds": list(row.seeds),
        "planned": row.planned,
        "val_accuracy": estimate_as_dict(row.val_accuracy),
        "test_accuracy": estimate_as_dict(row.test_accuracy),
        "images": {"validation": row.validation_images, "test": row.test_images},
        "peak_memory_bytes": estimate_as_dict(row.peak_memory),
        "train_seconds": row.train_seconds,
        "by_seed": {
            "val_accuracy": {str(seed): value for seed, value in row.validation.items()},
            "test_accuracy": {str(seed): value for seed, value in row.test.items()},
            "peak_memory_bytes": {str(seed): value for seed, value in row.memory.items()},
            "state_bits_per_weight": {str(seed): value for seed, value in row.state_bits.items()},
        },
        **_searches(row),
        "kind": verdict.kind,
        "difference_points": estimate_as_dict(verdict.difference),
        "holm_p": verdict.adjusted_p,
        "comparison": verdict.contrast.as_dict() if verdict.contrast else None,
        "memory_ratio": estimate_as_dict(verdict.memory_ratio),
        "front": verdict.front,
        "dominated_by": list(verdict.dominated_by),
        "text": verdict.text,
    }


def _searches(row: MethodSummary) -> dict[str, Any]:
    """Of a method whose search was repeated: each search's configuration and values, and whose the variance is."""
    if not row.repeats:
        return {}
    split = row.split
    return {
        "searches": [
            {
                "repeat": repeat,
                "trial": one.trial,
                "configuration": one.configuration,
                "seeds": list(one.seeds),
                "val_accuracy": {str(seed): value for seed, value in one.validation.items()},
                "test_accuracy": {str(seed): value for seed, value in one.test.items()},
                "peak_memory_bytes": {str(seed): value for seed, value in one.memory.items()},
            }
            for repeat, one in row.repeats.items()
        ],
        "variance_points2": {"search": split.search, "seed": split.seed, "image": split.image} if split else None,
    }
