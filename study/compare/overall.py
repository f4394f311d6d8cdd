"""The methods over all workloads of a study (PROTOCOL §6.5): on average over its data sets, and by ranks and profiles.

Two methods that were compared on several data sets with one model differ on average by the mean of those differences,
each counted alike. That is asked of these very data sets, which are no sample of any others; what it varies by are the
images and the seeds of each. It needs fewer of both than an answer on every single one. These means are a family of
their own for Holm's procedure.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, geometric_mean
from typing import Any

from study.compare.contrasts import BASELINE, LIFT, NAMED, Comparison, Measured, decided, tested
from study.compare.moments import MeanMoments, PairedMoments
from study.compare.paired import POINTS, interval_of, p_different
from study.compare.scores import CellGroup
from study.compare.statistics import Estimate, error_ratios, mean_ranks, profile_area
from study.compare.verdict import WorkloadVerdicts, accuracy_text


@dataclass(frozen=True)
class MeanContrast(Comparison):
    """Two methods on average over data sets.

    Attributes:
        model: with which they were compared.
        method, against: who.
        sort: `baseline`, `lift` or `named`: why.
        datasets: over which, in the order of `measured.differences`.
        without: the model's other data sets on which something is confirmed, but not both of these, with their answers.
        memory_ratio: of the baseline's memory, the geometric mean over the data sets; None of other sorts, and where it
            was not measured.
    """

    model: str
    method: str
    against: str
    sort: str
    datasets: tuple[str, ...]
    without: tuple[str, ...]
    memory_ratio: float | None

    @property
    def names(self) -> tuple[str, str]:
        return self.method, self.against

    def turned_round(self) -> "MeanContrast":
        """The same comparison, told of the other method."""
        return replace(self, method=self.against, against=self.method, memory_ratio=None, **self._turned())

    def as_dict(self, margin: float) -> dict[str, Any]:
        """As plain values, for `verdicts.json`; margin in points, for its text."""
        differences = self.measured.differences if self.measured else ()
        return {
            "model": self.model,
            "method": self.method,
            "against": self.against,
            "sort": self.sort,
            "by_dataset_points": {name: mean for name, (mean,) in zip(self.datasets, differences, strict=True)},
            "without": list(self.without),
            **self.decision(),
            "memory_ratio": self.memory_ratio,
            "text": accuracy_text(self, margin),
        }


@dataclass(frozen=True)
class Standing:
    """One method over several workloads: its mean rank, its error ratios and the area of its profile."""

    method: str
    mean_rank: float
    ratios: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class Overall:
    """Every method over all confirmed workloads, the best mean rank first.

    Attributes:
        workloads: (data set, model) of each, in the order of the ratios.
        standings: of the methods that have a cell on every workload.
        left_out: the other methods.
        margin: of equivalence, in points.
        means: what two methods differ by on average over data sets, with the baseline first, then lifts, then what the
            study names.
    """

    workloads: tuple[tuple[str, str], ...]
    standings: tuple[Standing, ...]
    left_out: tuple[str, ...]
    margin: float
    means: tuple[MeanContrast, ...] = ()

    @property
    def family(self) -> int:
        """How many means Holm's procedure corrects for."""
        return tested(self.means)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for `verdicts.json`."""
        return {
            "workloads": [list(workload) for workload in self.workloads],
            "methods": [
                {
                    "method": standing.method,
                    "mean_rank": standing.mean_rank,
                    # JSON has no infinity: a workload without a score is null.
                    "error_ratios": [ratio if ratio != float("inf") else None for ratio in standing.ratios],
                    "profile_area": standing.area,
                }
                for standing in self.standings
            ],
            "left_out": list(self.left_out),
            "means_family": self.family,
            "means": [one.as_dict(self.margin) for one in self.means],
        }


def overall(judged: Sequence[WorkloadVerdicts], cells: Collection[tuple[str, str, str]]) -> Overall | None:
    """The methods over all workloads on which something is confirmed; None where those are fewer than two.

    Args:
        judged: the verdicts on each workload.
        cells: (data set, model, method) of every cell that has runs, those without a score included.
    """
    confirmed = [one for one in judged if any(row.confirmed for row in one.group.methods)]
    if len(confirmed) < 2:
        return None
    margin = confirmed[0].margin
    workloads = tuple((one.group.dataset, one.group.model) for one in confirmed)
    standings, left_out = _standings([one.group for one in confirmed], cells)
    return Overall(workloads, standings, left_out, margin, tuple(decided(list(_means(confirmed)), margin)))


def _standings(
    groups: Sequence[CellGroup], cells: Collection[tuple[str, str, str]]
) -> tuple[tuple[Standing, ...], tuple[str, ...]]:
    """Ranks and profiles of the methods with a cell on each workload, and the other methods."""
    workloads = [(group.dataset, group.model) for group in groups]
    scores: list[dict[str, float]] = []
    for group in groups:
        rows = [row for row in group.scored if row.represents and group.accuracy(row)]
        scores.append({row.method: fmean(group.accuracy(row).values()) for row in rows})
    names = list(dict.fromkeys([row.method for group in groups for row in group.methods]))
    names += sorted({method for dataset, model, method in cells if (dataset, model) in workloads}.difference(names))
    ranked = [name for name in names if all((*workload, name) in cells for workload in workloads)]
    if not ranked:
        return (), tuple(names)
    table = {name: [by_method.get(name) for by_method in scores] for name in ranked}
    ranks, ratios = mean_ranks(table), error_ratios(table)
    standings = [Standing(name, ranks[name], tuple(ratios[name]), profile_area(ratios[name])) for name in ranked]
    standings.sort(key=lambda standing: standing.mean_rank)
    return tuple(standings), tuple(name for name in names if name not in ranked)


@dataclass(frozen=True)
class _Found:
    """A comparison on one data set: who with whom and why, what it varies by, and its memory ratio if one is known."""

    dataset: str
    question: tuple[str, str, str]
    moments: PairedMoments
    ratio: float | None

    def of(self, method: str) -> PairedMoments:
        return self.moments if self.question[0] == method else self.moments.turned_round()


def _means(judged: Sequence[WorkloadVerdicts]) -> Iterator[MeanContrast]:
    """Each pair that was compared on two data sets of a model or more, with answers that are kept.

    Where a data set's baseline is not confirmed yet, another method stands in for it, and a pair may be compared the
    other way round and for another reason than elsewhere; it is told as on most data sets.
    """
    pairs: dict[tuple[str, frozenset[str]], list[_Found]] = {}
    for one in judged:
        for found in _found_on(one):
            pairs.setdefault((one.group.model, frozenset(found.question[:2])), []).append(found)
    made = []
    for (model, _), own in pairs.items():
        if len(own) < 2:
            continue
        method, against, sort = Counter(found.question for found in own).most_common(1)[0][0]
        ratios = [found.ratio for found in own if found.ratio is not None and found.question[0] == method]
        datasets = tuple(found.dataset for found in own)
        others = (its.group.dataset for its in judged if its.group.model == model)
        made.append(
            MeanContrast(
                model=model,
                method=method,
                against=against,
                sort=sort,
                datasets=datasets,
                without=tuple(name for name in others if name not in datasets),
                memory_ratio=geometric_mean(ratios) if len(ratios) == len(own) else None,
                measured=_mean(MeanMoments(tuple(found.of(method) for found in own))),
            )
        )
    order = (BASELINE, LIFT, NAMED)
    yield from sorted(made, key=lambda one: order.index(one.sort))


def _found_on(workload: WorkloadVerdicts) -> Iterator[_Found]:
    ratios = {id(one.contrast): one.memory_ratio.mean for one in workload.verdicts if one.contrast and one.memory_ratio}
    for contrast in workload.comparisons():
        row, against = contrast.row, contrast.against
        moments = contrast.measured.moments if contrast.measured else None
        if row.represents and against.represents and isinstance(moments, PairedMoments) and moments.seeds > 1:
            question = row.method, against.method, contrast.sort
            yield _Found(workload.group.dataset, question, moments, ratios.get(id(contrast)))


def _mean(moments: MeanMoments) -> Measured:
    estimate = Estimate(POINTS * float(moments.mean), *interval_of(moments), moments.seeds)
    by_dataset = tuple((POINTS * float(part.mean),) for part in moments.parts)
    return Measured(estimate, p_different(moments), moments, by_dataset)
