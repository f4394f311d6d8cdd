"""What may be said of a method against the baseline, and what may not (PROTOCOL §6)."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.compare.scores import summarise
from study.compare.statistics import paired_difference
from study.compare.verdict import DOMINATED, ON_FRONT, PERHAPS, Verdict, as_dict, judge
from tests.study.made_up_runs import Row, confirmed, searched, table

ADAM = confirmed("real-Adam", [0.950, 0.955, 0.945], 40)


def verdicts(*rows: list[Row], margin: float = 1.0) -> dict[str, Verdict]:
    (workload,) = judge(summarise(table(*rows)), margin)
    return {verdict.row.label: verdict for verdict in workload.verdicts}


def against_adam(accuracies: Sequence[float], mib: float | Sequence[float] = 10, margin: float = 1.0) -> Verdict:
    return verdicts(ADAM, confirmed("bop", accuracies, mib), margin=margin)["bop"]


def test_an_interval_within_the_margin_is_comparable_at_a_share_of_the_memory() -> None:
    """Differences -0.1, -0.2, 0.0 points: mean -0.1, interval ± 4.302653 x 0.1 / sqrt 3."""
    verdict = against_adam([0.949, 0.953, 0.945], 3.6)
    assert verdict.kind == "comparable"
    assert verdict.text == "comparable accuracy (within ±1 point) at 0.09x memory"
    assert verdict.difference is not None
    assert verdict.difference.interval == pytest.approx((-0.1 - 0.24841, -0.1 + 0.24841), abs=1e-4)


def test_a_difference_that_is_not_significant_is_not_comparable() -> None:
    """Differences -2, 1, -1.5: p is far above 0.05, and the interval reaches beyond ± 1."""
    verdict = against_adam([0.930, 0.965, 0.930])
    assert verdict.adjusted_p is not None and verdict.adjusted_p > 0.3
    assert verdict.kind == "undecided" and "reaches beyond the margin, at 0.25x memory" in verdict.text


def test_a_clear_difference_is_said_with_its_interval() -> None:
    lower = against_adam([0.930, 0.934, 0.924])
    assert (lower.kind, lower.text) == ("lower", "lower by 2.1 [1.9, 2.2] points at 0.25x memory")
    assert against_adam([0.970, 0.976, 0.964]).text.startswith("higher by 2.0 [")


def test_a_significant_difference_within_the_margin_is_comparable_all_the_same() -> None:
    verdict = against_adam([0.9449, 0.9500, 0.9401])
    assert verdict.adjusted_p is not None and verdict.adjusted_p < 0.05 and verdict.kind == "comparable"


def test_the_margin_decides() -> None:
    accuracies = [0.930, 0.934, 0.924]
    assert against_adam(accuracies, margin=2.5).text.startswith("comparable accuracy (within ±2.5 points)")
    assert against_adam(accuracies, margin=2.0).kind == "lower"


def test_holms_correction_is_over_all_workloads_of_the_study() -> None:
    """§5.5: what is significant alone is undecided in a large family."""
    barely = [0.930, 0.937, 0.922]
    alone = against_adam(barely)
    assert alone.kind == "lower"
    rows: list[list[Row]] = []
    for dataset in ("Digits", "MNIST", "CIFAR10", "CIFAR100"):
        rows.append(confirmed("real-Adam", [0.950, 0.955, 0.945], 40, dataset=dataset))
        rows += [confirmed(name, barely, dataset=dataset) for name in ("bop", "binary", "frozen")]
    judged = judge(summarise(table(*rows)), 1.0)
    found = [verdict for workload in judged for verdict in workload.verdicts if verdict.kind != "baseline"]
    # Beside 12 comparisons with the baseline two lifts over the control a workload, which share the family.
    assert {workload.family for workload in judged} == {12 + 8} and len(found) == 12
    assert [len(workload.contrasts) for workload in judged] == [2] * 4
    difference = paired_difference(dict(enumerate(barely)), dict(enumerate([0.950, 0.955, 0.945])))
    assert difference is not None and difference.p is not None
    assert [verdict.adjusted_p for verdict in found] == [pytest.approx(min(1, 20 * difference.p))] * 12
    assert {verdict.kind for verdict in found} == {"undecided"}
    assert "and is not significant after Holm" in found[0].text


def test_one_common_seed_decides_nothing() -> None:
    verdict = against_adam([0.95])
    assert (verdict.kind, verdict.adjusted_p) == ("undecided", None) and "single common seed" in verdict.text
    apart = verdicts(ADAM, confirmed("bop", [0.95, 0.95], seeds=(21, 22)))["bop"]
    assert apart.text == "undecided: no seed in common with real-Adam" and apart.memory_ratio is None


def test_equal_differences_on_three_seeds_are_too_little_evidence() -> None:
    """§5.4: the seeds agree, but three signs could fall alike with probability 1/4."""
    verdict = against_adam([0.930, 0.935, 0.925])
    assert verdict.adjusted_p == 0.25 and verdict.kind == "undecided"


def test_what_is_not_confirmed_gets_no_verdict() -> None:
    found = verdicts(ADAM, searched("bop"))["bop (search)"]
    assert (found.kind, found.front, found.difference) == ("none", "", None)


def test_a_memory_that_varies_is_said_with_its_interval() -> None:
    assert against_adam([0.949, 0.953, 0.945], [10, 11, 12]).text.endswith(" at 0.27x [0.22, 0.34] memory")


def test_the_front_tells_sure_from_perhaps() -> None:
    """§6.4"""
    found = verdicts(
        ADAM,
        confirmed("binary", [0.930, 0.934, 0.926], 10),
        confirmed("bop", [0.900, 0.905, 0.894], 10),  # below binary beyond any interval
        confirmed("frozen", [0.931, 0.925, 0.931], 10),  # below by the mean alone
        confirmed("real-SGD", [0.940, 0.942, 0.941], 30),
    )
    fronts = {label: verdict.front for label, verdict in found.items()}
    assert fronts == {
        "real-Adam": ON_FRONT, "real-SGD": ON_FRONT, "binary": ON_FRONT, "bop": DOMINATED, "frozen": PERHAPS
    }  # fmt: skip
    assert found["bop"].dominated_by == ("binary", "frozen") and found["frozen"].dominated_by == ("binary",)


def test_equal_points_do_not_dominate_each_other() -> None:
    found = verdicts(ADAM, confirmed("bop", [0.9, 0.91]), confirmed("binary", [0.9, 0.91]))
    assert found["bop"].front == found["binary"].front == ON_FRONT


def test_plain_values_stand_for_every_number_of_a_verdict() -> None:
    (workload,) = judge(summarise(table(ADAM, confirmed("bop", [0.949, 0.953, 0.945]))), 1.0)
    values = as_dict(workload)
    assert (values["baseline"], values["measure"]) == ("real-Adam", "test")
    bop = values["methods"][0]
    assert bop["by_seed"]["test_accuracy"] == {"11": 0.949, "12": 0.953, "13": 0.945}
    assert bop["memory_ratio"]["mean"] == pytest.approx(0.25) and bop["kind"] == "comparable"


THREE = st.lists(st.integers(900, 999).map(lambda value: value / 1000), min_size=3, max_size=3)


@given(THREE, st.sampled_from([0.5, 1.0, 5.0]))
@settings(max_examples=80, deadline=None)
def test_each_kind_of_verdict_stands_on_its_rule(accuracies: list[float], margin: float) -> None:
    """§6.2: of any three scores exactly one of the rules is said, and it holds."""
    verdict = against_adam(accuracies, margin=margin)
    assert verdict.difference is not None and verdict.adjusted_p is not None
    low, high = verdict.difference.interval
    inside, beyond_zero = -margin <= low and high <= margin, low > 0 or high < 0
    if inside:
        assert verdict.kind == "comparable"
    elif verdict.adjusted_p < 0.05 and beyond_zero:
        assert verdict.kind == ("higher" if low > 0 else "lower")
    else:
        assert verdict.kind == "undecided"
