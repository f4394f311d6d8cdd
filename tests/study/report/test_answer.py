"""The answer by memory: a stair of the most accurate that fit, and how sure each step is."""

from pathlib import Path

from study.compare.contrasts import LIFT, Contrast
from study.compare.findings import find
from study.compare.scores import CellGroup, MethodSummary
from study.compare.table import percent
from study.compare.verdict import WorkloadVerdicts
from study.record.folder import StudyIdentity
from study.report.answer import answer, steps
from study.report.content import StudyContent
from study.report.document import Paragraph
from tests.study.made_up_runs import confirmed, table

MIB = 2**20


def row(method: str, memory: float, *accuracies: float, phase: str = "confirm") -> MethodSummary:
    seeds = tuple(range(11, 11 + len(accuracies)))
    by_seed = dict(zip(seeds, accuracies, strict=True))
    return MethodSummary(method, phase, seeds, len(seeds), {}, by_seed, by_seed, dict.fromkeys(seeds, memory * MIB))


def workload(*rows: MethodSummary, contrasts: tuple[Contrast, ...] = ()) -> WorkloadVerdicts:
    return WorkloadVerdicts(CellGroup("Digits", "MLP", rows), 1.0, (), 1, contrasts)


def test_each_step_needs_more_memory_and_is_more_accurate() -> None:
    stair = steps(workload(row("binary", 2, 0.90, 0.91), row("bop", 3, 0.88, 0.89), row("real-Adam", 7, 0.97, 0.98)))
    assert [step.row.method for step in stair] == ["binary", "real-Adam"]
    assert stair[0].below is None and stair[1].below is stair[0].row


def test_of_two_that_need_the_same_the_more_accurate_is_taken() -> None:
    stair = steps(workload(row("binary", 2, 0.90, 0.91), row("bop", 2, 0.93, 0.94)))
    assert [step.row.method for step in stair] == ["bop"]


def test_difference_within_the_spread_of_seeds_is_not_sure() -> None:
    noisy = steps(workload(row("binary", 2, 0.90, 0.95, 0.85), row("bop", 3, 0.96, 0.90, 0.86)))
    clear = steps(workload(row("binary", 2, 0.80, 0.81, 0.80), row("bop", 3, 0.95, 0.96, 0.951)))
    assert [step.sure for step in noisy] == [False, False]
    assert [step.sure for step in clear] == [False, True]


def test_what_the_study_leaves_undecided_is_sure_on_no_step() -> None:
    low, high = row("frozen", 2, 0.80, 0.81, 0.80), row("bop", 3, 0.95, 0.96, 0.951)
    for kind, sure in (("undecided", False), ("higher", True)):
        stair = steps(workload(low, high, contrasts=(Contrast(high, low, LIFT, measured=None, kind=kind),)))
        assert stair[1].sure is sure


def test_what_is_not_confirmed_is_on_no_step() -> None:
    assert steps(workload(row("binary", 2, 0.9, phase="search"))) == []


def test_a_score_over_repeated_searches_has_the_tables_interval() -> None:
    rows = [
        confirmed("real-Adam", [level + seed / 10**4], seeds=[seed], repeat=repeat, trial_id=f"r{repeat}-s{seed}")
        for repeat, level in enumerate((0.90, 0.92, 0.94), start=1)
        for seed in (11, 12, 13)
    ]
    findings = find("made up", table(*rows), {})
    content = StudyContent(Path(), StudyIdentity("made up", Path(), None, None), findings, (), {}, {}, {}, {}, (), {})
    said = [block for block in answer(content).blocks if isinstance(block, Paragraph) and block.kind == "lead"]
    shown = percent(findings.groups[0].methods[0].test_accuracy)
    assert shown == "92.1 [87.2, 97.1]"
    assert f"reaches {shown} %" in "".join(span.text for span in said[0].text)
