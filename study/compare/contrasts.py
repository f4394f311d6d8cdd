"""Comparisons of two methods on one workload: which a study makes, what each measures, and what all of them say.

Three kinds are made (PROTOCOL §6.1): every method against the baseline, every method against the frozen control (its
*lift*: what training the binary weights is worth), and those that the study file names. All of a study's comparisons on
its workloads are one family: their p-values of "no difference" are adjusted by Holm's procedure, and so are those of "a
difference of at least the margin". What they are on average over data sets (`study.compare.overall`) is another.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from study.compare.moments import MeanMoments, PairedMoments
from study.compare.paired import EQUIVALENCE_LEVEL, SIGNIFICANCE, PairedVerdict, p_equivalent, verdict_of
from study.compare.power import Needed, Variances, needed
from study.compare.repeats import table_interval, table_p
from study.compare.scores import CellGroup, MethodSummary
from study.compare.statistics import Estimate, equivalence_p, estimate_as_dict, holm, paired_difference

CONTROL = "frozen"
"""The method whose binary weights stay as they were drawn."""
OTHER_MARGINS = (0.5, 2.0)
"""Margins, in points, at which each verdict is looked at again (as AlgoPerf relaxes its targets)."""
BASELINE, LIFT, NAMED = "baseline", "lift", "named"


@dataclass(frozen=True)
class Measured:
    """One comparison before any correction, in points.

    Attributes:
        estimate: the mean difference with its 95 % interval; `n` counts the common seeds.
        p_different: of "no difference"; None where one seed gives none.
        moments: over seeds and images; None where an answer is missing, so that only seeds are compared.
        differences: by search and seed, in points; of a mean over data sets, by data set.
    """

    estimate: Estimate
    p_different: float | None
    moments: PairedMoments | MeanMoments | None
    differences: tuple[tuple[float, ...], ...]

    def p_equivalent(self, margin: float) -> float:
        """Of "a difference of at least the margin"; 1 where the seeds cannot say."""
        if self.moments is not None:
            return p_equivalent(self.moments, margin) if self.moments.seeds > 1 else 1.0
        if len(self.differences) == 1:
            return equivalence_p(self.differences[0], margin)
        values = np.array(self.differences)
        return max(table_p(values, supposed, side=side) for supposed, side in ((margin, 1), (-margin, -1)))

    def turned_round(self) -> "Measured":
        """The same, told of the other method; its moments are as they were."""
        mean, low, high = (None if one is None else -one for one in astuple(self.estimate)[:3])
        assert mean is not None
        turned = tuple(tuple(-one for one in own) for own in self.differences)
        return replace(self, estimate=Estimate(mean, high, low, self.estimate.n), differences=turned)

    def needed(self, margin: float, comparisons: int) -> Needed | None:
        """What would decide it; None where that is not known for lack of answers."""
        if self.moments is None or self.moments.seeds < 2:
            return None
        variances, seen = Variances.of(self.moments), self.moments
        return needed(variances, margin, seen.seeds, seen.images, comparisons, seen.searches)


def turned_kind(kind: str) -> str:
    """What is said of the same two the other way round."""
    return {"higher": "lower", "lower": "higher"}.get(kind, kind)


@dataclass(frozen=True, kw_only=True)
class Comparison(ABC):
    """What may be said of two methods.

    Attributes:
        measured: None where they have no seed in common.
        kind: `comparable`, `higher`, `lower` or `undecided`.
        adjusted_p, adjusted_p_equivalent: Holm's, over the family; None where there is no p-value.
        at_margins: the kind at each of `OTHER_MARGINS`.
        needed: what would decide it, where it is undecided and its answers are kept.
    """

    measured: Measured | None
    kind: str = "undecided"
    adjusted_p: float | None = None
    adjusted_p_equivalent: float | None = None
    at_margins: tuple[str, ...] = ()
    needed: Needed | None = None

    @property
    @abstractmethod
    def names(self) -> tuple[str, str]:
        """Who is compared with whom; differences are of the first from the second."""

    @property
    def over_images(self) -> bool:
        """Whether it rests on seeds and images, not on seeds alone."""
        return self.measured is not None and self.measured.moments is not None

    def _turned(self) -> dict[str, Any]:
        """What is other where the two are named the other way round."""
        return {"kind": turned_kind(self.kind), "measured": self.measured.turned_round() if self.measured else None}

    def decision(self) -> dict[str, Any]:
        """What was decided, as plain values."""
        return {
            "kind": self.kind,
            "difference_points": estimate_as_dict(self.measured.estimate if self.measured else None),
            "holm_p": self.adjusted_p,
            "holm_p_equivalent": self.adjusted_p_equivalent,
            "at_margins": {str(margin): kind for margin, kind in zip(OTHER_MARGINS, self.at_margins, strict=True)},
            "needed": asdict(self.needed) if self.needed else None,
        }


@dataclass(frozen=True)
class Contrast(Comparison):
    """Of two rows of one workload.

    Attributes:
        row, against: which.
        sort: `baseline`, `lift` or `named`: why they are compared.
    """

    row: MethodSummary
    against: MethodSummary
    sort: str

    @property
    def names(self) -> tuple[str, str]:
        return self.row.label, self.against.label

    def turned_round(self) -> "Contrast":
        """The same comparison, told of the other row."""
        return replace(self, row=self.against, against=self.row, **self._turned())

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for `verdicts.json`."""
        found, moments = self.measured, self.measured.moments if self.measured else None
        parts = verdict_of(moments, 1.0) if isinstance(moments, PairedMoments) else None
        return {
            "method": self.row.label,
            "against": self.against.label,
            "sort": self.sort,
            **self.decision(),
            "over": None if found is None else "seeds and images" if self.over_images else "seeds",
            "images": moments.images if moments else None,
            "discordance": parts.discordance if parts else None,
            "seed_deviation_points": parts.seed_deviation if parts else None,
            "seed_error_points": parts.seed_error if parts else None,
            "image_error_points": parts.image_error if parts else None,
            **_of_searches(parts),
        }


def _of_searches(parts: PairedVerdict | None) -> dict[str, Any]:
    if parts is None or parts.searches == 1:
        return {}
    return {"searches": parts.searches, "search_error_points": parts.search_error}


def measure(group: CellGroup, row: MethodSummary, other: MethodSummary) -> Measured | None:
    """The paired difference of two rows: over seeds and images where both kept their answers to the same test set.

    Where searches were repeated, over those too. None where they have no seed in common.
    """
    if row.repeats and other.repeats:
        return _over_searches(group, row, other)
    difference = paired_difference(group.accuracy(row), group.accuracy(other))
    if difference is None:
        return None
    seeds = sorted(group.accuracy(row).keys() & group.accuracy(other).keys())
    points = tuple(
        round(100 * (group.accuracy(row)[seed] - group.accuracy(other)[seed]), 7)  # see `paired_difference`
        for seed in seeds
    )
    estimate, moments = difference.estimate.scaled(100), _moments(group, row, other, seeds)
    if moments is None:
        return Measured(estimate, difference.p, None, (points,))
    found = verdict_of(moments, 1.0)
    if len(seeds) == 1:
        return Measured(Estimate(found.difference, None, None, 1), None, moments, (points,))
    return Measured(Estimate(found.difference, *found.interval, len(seeds)), found.p_different, moments, (points,))


def _over_searches(group: CellGroup, row: MethodSummary, other: MethodSummary) -> Measured | None:
    """Search r of the one with search r of the other, over the seeds that all of them completed."""
    common = sorted(row.repeats.keys() & other.repeats.keys())
    pairs = [(row.repeats[repeat], other.repeats[repeat]) for repeat in common]
    shared = [set(group.accuracy(one)) for pair in pairs for one in pair]
    seeds = sorted(set.intersection(*shared)) if shared else []
    if len(common) < 2 or len(seeds) < 2:  # one search is compared as any other; one seed says nothing of others
        return measure(group, *pairs[0]) if pairs else None
    points = tuple(
        tuple(round(100 * (group.accuracy(ours)[seed] - group.accuracy(theirs)[seed]), 7) for seed in seeds)
        for ours, theirs in pairs
    )
    if group.measure == "test" and row.test_set and row.test_set == other.test_set and row.answered and other.answered:
        ours, theirs = (
            np.stack([[one.answers[seed] for seed in seeds] for one in side]) for side in zip(*pairs, strict=True)
        )
        moments = PairedMoments.of_answers(ours, theirs)
        found = verdict_of(moments, 1.0)
        estimate = Estimate(found.difference, *found.interval, moments.runs)
        return Measured(estimate, found.p_different, moments, points)
    values = np.array(points)
    return Measured(table_interval(values), table_p(values, 0.0), None, points)


def _moments(group: CellGroup, row: MethodSummary, other: MethodSummary, seeds: Sequence[int]) -> PairedMoments | None:
    if group.measure != "test" or row.test_set is None or row.test_set != other.test_set:
        return None
    if not all(seed in row.answers and seed in other.answers for seed in seeds):
        return None
    ours, theirs = (np.stack([one.answers[seed] for seed in seeds]) for one in (row, other))
    return PairedMoments.of_answers(ours, theirs)


def contrasts_of(group: CellGroup, named: Sequence[tuple[str, str]]) -> list[tuple[MethodSummary, MethodSummary, str]]:
    """The comparisons that a workload gives rise to: (row, against, why), each pair once."""
    found: dict[tuple[int, int], tuple[MethodSummary, MethodSummary, str]] = {}
    for row, against, sort in _every(group, named):
        if row.confirmed and against.confirmed and row is not against:
            pair = (id(row), id(against))
            if pair not in found and pair[::-1] not in found:
                found[pair] = (row, against, sort)
    return list(found.values())


def _every(group: CellGroup, named: Sequence[tuple[str, str]]) -> Iterator[tuple[MethodSummary, MethodSummary, str]]:
    baseline = group.baseline
    if baseline is None:
        return
    yield from ((row, baseline, BASELINE) for row in group.methods)
    control = _row(group, CONTROL)
    if control is not None:
        yield from ((row, control, LIFT) for row in group.methods if row is not baseline)
        yield baseline, control, LIFT
    for one, other in named:
        pair = _row(group, one), _row(group, other)
        if pair[0] is not None and pair[1] is not None:
            yield pair[0], pair[1], NAMED


def _row(group: CellGroup, method: str) -> MethodSummary | None:
    return next((row for row in group.scored if row.method == method and row.represents), None)


_Compared = TypeVar("_Compared", bound=Comparison)


def decided(family: Sequence[_Compared], margin: float) -> list[_Compared]:
    """A whole family with its adjusted p-values and kinds, in the order given; margin in points."""
    comparisons = tested(family)
    at = {other: _kinds(family, other) for other in (margin, *OTHER_MARGINS)}
    made = []
    for index, one in enumerate(family):
        kind, p, p_margin = at[margin][index]
        undecided = kind == "undecided" and one.measured is not None
        made.append(
            replace(
                one,
                kind=kind,
                adjusted_p=p,
                adjusted_p_equivalent=p_margin,
                at_margins=tuple(at[other][index][0] for other in OTHER_MARGINS),
                needed=one.measured.needed(margin, comparisons) if undecided and one.measured else None,
            )
        )
    return made


def tested(family: Sequence[Comparison]) -> int:
    """How many comparisons Holm's procedure corrects for."""
    return sum(one.measured is not None and one.measured.p_different is not None for one in family)


def _kinds(family: Sequence[Comparison], margin: float) -> list[tuple[str, float | None, float | None]]:
    """Of each comparison its kind, and Holm's p of "no difference" and of "at least the margin"."""
    measured = [one.measured for one in family if one.measured is not None and one.measured.p_different is not None]
    different = iter(holm([one.p_different for one in measured if one.p_different is not None]))
    equivalent = iter(holm([one.p_equivalent(margin) for one in measured]))
    found: list[tuple[str, float | None, float | None]] = []
    for one in family:
        if one.measured is None or one.measured.p_different is None:
            found.append(("undecided", None, None))
            continue
        p, p_margin, estimate = next(different), next(equivalent), one.measured.estimate
        kind, (low, high) = "undecided", estimate.interval
        if p_margin <= EQUIVALENCE_LEVEL:
            kind = "comparable"
        elif p < SIGNIFICANCE and (low > 0 or high < 0):
            kind = "higher" if estimate.mean > 0 else "lower"
        found.append((kind, p, p_margin))
    return found
