"""The answer by memory: a stair of the most accurate that fit, and how sure each step is."""

from study.compare.scores import CellGroup, MethodSummary
from study.report.answer import steps

MIB = 2**20


def row(method: str, memory: float, *accuracies: float, phase: str = "confirm") -> MethodSummary:
    seeds = tuple(range(11, 11 + len(accuracies)))
    by_seed = dict(zip(seeds, accuracies, strict=True))
    return MethodSummary(method, phase, seeds, len(seeds), {}, by_seed, by_seed, dict.fromkeys(seeds, memory * MIB))


def group(*rows: MethodSummary) -> CellGroup:
    return CellGroup("Digits", "MLP", rows)


def test_each_step_needs_more_memory_and_is_more_accurate() -> None:
    stair = steps(group(row("binary", 2, 0.90, 0.91), row("bop", 3, 0.88, 0.89), row("real-Adam", 7, 0.97, 0.98)))
    assert [step.row.method for step in stair] == ["binary", "real-Adam"]
    assert stair[0].below is None and stair[1].below is stair[0].row


def test_of_two_that_need_the_same_the_more_accurate_is_taken() -> None:
    stair = steps(group(row("binary", 2, 0.90, 0.91), row("bop", 2, 0.93, 0.94)))
    assert [step.row.method for step in stair] == ["bop"]


def test_difference_within_the_spread_of_seeds_is_not_sure() -> None:
    noisy = steps(group(row("binary", 2, 0.90, 0.95, 0.85), row("bop", 3, 0.96, 0.90, 0.86)))
    clear = steps(group(row("binary", 2, 0.80, 0.81, 0.80), row("bop", 3, 0.95, 0.96, 0.951)))
    assert [step.sure for step in noisy] == [False, False]
    assert [step.sure for step in clear] == [False, True]


def test_what_is_not_confirmed_is_on_no_step() -> None:
    assert steps(group(row("binary", 2, 0.9, phase="search"))) == []
